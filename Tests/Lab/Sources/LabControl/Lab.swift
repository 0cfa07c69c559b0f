import Foundation

/// The lab as the suite sees it: three nodes, a balancer, perhaps a store; what can be done to them, and what they say of themselves.
public struct Lab: Sendable {
    public let engine: Engine
    /// The store that mirrors sessions; nil when the lab has none.
    public let store: Store?
    public let nodes: [Node]
    public let front = Place.tcp(host: "balancer", port: 8080)

    /// An agent and its application, each in a container of its own.
    public struct Node: Hashable, Sendable {
        public var name: String
        public var agent: String { name }
        public var application: String { "\(name)-app" }
        public var services: [String] { [agent, application] }
    }

    /// What the compose file tells the suite's container.
    public init(environment: [String: String] = ProcessInfo.processInfo.environment) throws {
        guard let project = environment["LAB_PROJECT"], let tools = environment["LAB_TOOLS"] else {
            throw Broken(description: "LAB_PROJECT and LAB_TOOLS are not set: the suite runs in its own container, by make lab-test")
        }
        engine = Engine(project: project, tools: tools)
        store = try Store(uri: environment["SESSIONMESH_MIRROR"] ?? "")
        nodes = ["n1", "n2", "n3"].map(Node.init)
    }

    /// The lab with every fault taken back, and whole: where each test begins, whatever the one before it left behind.
    public static func whole() throws -> Lab {
        let lab = try Lab()
        try lab.mend()
        try lab.untilWhole()
        return lab
    }

    private func mend() throws {
        for container in try engine.containers() where services.contains(container.service) {
            if container.state == "paused" { try engine.unpause(container.service) }
            if container.state != "running" { try engine.start(container.service) }
        }
        for node in nodes { try restoreNetwork(of: node) }
    }

    private var services: [String] { nodes.flatMap(\.services) + ["balancer"] + (store.map { [$0.service] } ?? []) }

    // MARK: What it says of itself

    public struct Health: Decodable, Sendable {
        public var stage: String
        public var mirror: String
        public var mirrorDirty: Int
        public var sessions: Int
        public var underReplicatedSlots: Int
    }

    public func health(of node: Node) throws -> Health { try admin(node.agent, "/healthz").json(Health.self) }

    /// The sum of a figure's lines.
    public func figure(_ name: String, of member: String) throws -> Double { try sum(of: [name], of: member) }

    /// How often a member stood still, or was thought dead and wasn't.
    func standstills(of member: String) throws -> Double { try sum(of: ["pauses_total", "own_deaths_total"], of: member) }

    /// The sum of all lines of some figures.
    private func sum(of names: [String], of member: String) throws -> Double {
        let lines = try admin(member, "/metrics").text.split(separator: "\n")
        return lines.filter { line in names.contains { line.hasPrefix("sessionmesh_\($0) ") || line.hasPrefix("sessionmesh_\($0){") } }
            .compactMap { Double($0.split(separator: " ").last ?? "") }.reduce(0, +)
    }

    /// Members' sockets are mounted here; nobody reaches them over the network.
    private func admin(_ member: String, _ path: String) throws -> HTTPAnswer {
        try HTTPConnection.ask(.unix("/nodes/\(member)/\(member).admin"), "GET", path, seconds: 2)
    }

    /// Whether these nodes serve, see each other and the balancer and nobody else alive, and hold every slot twice where they are several; and
    /// the balancer knows their applications.
    public func isWhole(_ nodes: [Node]) throws -> Bool {
        struct View: Decodable {
            struct Member: Decodable {
                var name: String
                var status: String
                var stage: String
                var role: String
                var isServing: Bool { role == "balancer" || stage == "serving" }
            }
            var members: [Member]
        }
        let names = Set(nodes.map(\.name) + ["balancer"])
        for node in nodes {
            let health = try health(of: node)
            let isTwice = nodes.count == 1 || health.underReplicatedSlots == 0
            guard health.stage == "serving", health.mirror != "lost", isTwice else { return false }
            let alive = try admin(node.agent, "/v1/members").json(View.self).members.filter { $0.status == "alive" }
            guard Set(alive.map(\.name)) == names, alive.allSatisfy(\.isServing) else { return false }
        }
        // When most of them die at once, a balancer goes on asking the dead as well: it may be the one that is cut off.
        return try Int(figure("balancer_targets", of: "balancer")) == nodes.count || figure("routing_brake", of: "balancer") == 1
    }

    /// Sessions that this node owns.
    public func ownedSessions(of node: Node) throws -> Int {
        struct Answer: Decodable {
            struct Slot: Decodable {
                var part: String
                var sessions: Int
            }
            var slots: [Slot]
        }
        return try admin(node.agent, "/v1/slots").json(Answer.self).slots.filter { $0.part == "owner" }.reduce(0) { $0 + $1.sessions }
    }

    public func untilWhole(_ nodes: [Node]? = nil, within bound: Duration = .seconds(60)) throws {
        let nodes = nodes ?? self.nodes
        try eventually("\(nodes.map(\.name).joined(separator: ", ")) are whole", within: bound) { try isWhole(nodes) }
    }

    // MARK: Faults

    /// Kills both processes at one moment, as far as the engine lets us.
    public func kill(_ nodes: Node...) throws { try each(nodes.flatMap(\.services)) { try engine.kill($0) } }
    public func start(_ nodes: Node...) throws { try each(nodes.flatMap(\.services)) { try engine.start($0) } }
    public func pause(_ node: Node) throws { try each(node.services) { try engine.pause($0) } }
    public func unpause(_ node: Node) throws { try each(node.services) { try engine.unpause($0) } }

    /// First the application, so that the visitors' last requests still find their agent.
    public func stop(_ node: Node) throws { for service in node.services.reversed() { try engine.stop(service) } }

    public enum Direction: String, Sendable, CaseIterable {
        case hearing = "INPUT"
        case speaking = "OUTPUT"
    }

    /// Drops packets at a node: what it would hear, or say, or both. What stays inside the node is left alone, names are still resolved.
    /// - Parameter share: of 1.
    public func drop(_ directions: [Direction], of node: Node, share: Double = 1) throws {
        let chance = share < 1 ? ["-m", "statistic", "--mode", "random", "--probability", "\(share)"] : []
        for service in node.services {
            for direction in directions {
                // Whatever the engine calls the interface to the others: everything but the node's own loopback.
                let way = direction == .hearing ? ["!", "-i", "lo"] : ["!", "-o", "lo"]
                try engine.inNetwork(of: service, ["iptables", "-w", "-A", direction.rawValue] + way + chance + ["-j", "DROP"])
            }
        }
    }

    /// Packets that were dropped at a node by the rules that stand there now: whether the fault took place at all.
    public func droppedPackets(of node: Node) throws -> Int {
        try node.services.reduce(0) { sum, service in
            try sum + Self.droppedPackets(in: engine.inNetwork(of: service, ["iptables", "-w", "-v", "-S"]))
        }
    }

    /// - Parameter rules: lines such as `-A INPUT ! -i lo -c 34 5678 -j DROP`, of 34 packets.
    private static func droppedPackets(in rules: String) -> Int {
        rules.split(separator: "\n").filter { $0.contains("-j DROP") }
            .compactMap { rule in rule.split(separator: " ").drop(while: { $0 != "-c" }).dropFirst().first.flatMap { Int($0) } }
            .reduce(0, +)
    }

    public func restoreNetwork(of node: Node) throws {
        for service in node.services { try engine.inNetwork(of: service, ["iptables", "-w", "-F"]) }
    }

    private func each(_ services: [String], _ body: @escaping @Sendable (String) throws -> Void) throws {
        let failures = Guarded<[any Error]>([])
        let threads = services.map { service in
            Worker { do { try body(service) } catch { failures.change { $0.append(error) } } }
        }
        for thread in threads { thread.join() }
        if let failure = failures.value.first { throw failure }
    }
}

/// Waits for a state, looking every 50 ms. A look that fails is a state that isn't there yet.
public func eventually(_ what: String, within bound: Duration, _ look: () throws -> Bool) throws {
    let deadline = ContinuousClock.now + bound
    var reason = ""
    while ContinuousClock.now < deadline {
        do { if try look() { return } } catch { reason = ": \(error)" }
        usleep(50_000)
    }
    throw Broken(description: "not within \(bound): \(what)\(reason)")
}
