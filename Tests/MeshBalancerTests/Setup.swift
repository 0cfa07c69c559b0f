import MeshBalancer
import MeshCore

/// A balancer in front of origins, for one test.
struct Setup {
    let balancer: Balancer
    let port: UInt16

    init(_ table: RoutingTable, _ change: (inout BalancerConfiguration) -> Void = { _ in }) throws {
        var configuration = BalancerConfiguration(listen: .loopback(port: 0))
        configuration.limits.clientConnectionsMax = 2000
        change(&configuration)
        balancer = try Balancer(configuration, table: table, log: { _ in })
        port = balancer.address.port
    }

    init(_ origins: Origin..., change: (inout BalancerConfiguration) -> Void = { _ in }) throws {
        try self.init(RoutingTable(upstreams: origins.map { .loopback(port: $0.port) }), change)
    }

    func client(receiveBuffer: Int32? = nil) throws -> Wire {
        let wire = try Wire(port: port, receiveBuffer: receiveBuffer)
        wire.keeps = balancer
        return wire
    }
}

/// A mesh of nodes, each with one instance at a port.
struct TestMesh {
    static let key = CookieKey(number: 7, secret: Array(repeating: 42, count: 32))
    var view = MeshView()

    init(_ ports: [(name: String, port: UInt16)]) throws {
        for (index, node) in ports.enumerated() {
            let id = MemberID(name: try NodeName(node.name), life: Life(rawValue: UInt64(index + 1)))
            view.members.append(Member(id: id, stage: .serving, endpoint: .loopback(port: 7946)))
            view.instances.append(Instance(node: id, number: 1, service: "web", address: "127.0.0.1:\(node.port)"))
        }
    }

    var placement: PlacementTable { PlacementTable(view.placementCandidates) }
    var table: RoutingTable { RoutingTable(view: view, placement: placement, service: "web", cookieRing: [Self.key]) }

    mutating func set(_ name: String, _ change: (inout Member) -> Void) {
        for index in view.members.indices where view.members[index].name.description == name { change(&view.members[index]) }
    }

    /// A cookie whose session's slot has these nodes as rank 0 and 1.
    func cookie(primary: String, backup: String? = nil) -> String {
        guard let codec = CookieCodec(ring: [Self.key]) else { return "" }
        let placement = placement
        var seed: UInt64 = 1
        while true {
            defer { seed += 1 }
            guard let id = Self.session(seed) else { continue }
            let slot = SessionKey(of: id).slot
            if placement.primary(of: slot)?.description == primary, backup == nil || placement.backup(of: slot)?.description == backup {
                return codec.value(for: id)
            }
        }
    }

    /// Cookies of as many sessions, each with the node that its slot has as rank 0.
    func visitors(_ count: UInt64) -> [(cookie: String, primary: String)] {
        guard let codec = CookieCodec(ring: [Self.key]) else { return [] }
        let placement = placement
        var visitors: [(cookie: String, primary: String)] = []
        for seed in 1...count {
            guard let id = Self.session(seed), let primary = placement.primary(of: SessionKey(of: id).slot) else { continue }
            visitors.append((cookie: codec.value(for: id), primary: primary.description))
        }
        return visitors
    }

    private static func session(_ seed: UInt64) -> SessionID? {
        var generator = SeededGenerator(seed: seed)
        var bytes: [UInt8] = []
        for _ in 0..<4 { withUnsafeBytes(of: generator.next()) { bytes.append(contentsOf: $0) } }
        return SessionID(bytes: bytes)
    }
}
