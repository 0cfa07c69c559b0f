/// Where requests may go: one immutable picture, made from one view of the mesh and handed to every loop.
///
/// It holds what the mesh knows. What a loop finds out by itself (in flight, refused a moment ago) lives beside it, in ``RequestRouter``.
public struct RoutingTable: Sendable {
    /// Every instance that may be dialled.
    public let targets: [RouteTarget]
    /// The targets for visitors that are bound to nobody: of nodes alive and serving. When there is none, of suspect nodes, because a
    /// suspicion is no reason to send everybody away.
    public let newVisitors: [UInt16]
    /// How sessions are found in cookies; nil without a key ring, and then nobody is bound to a node.
    public let affinity: SessionAffinity?

    /// The targets of each node that has any, and those nodes' names.
    private(set) var nodes: [[UInt16]]
    private let nodeNames: [NodeName]
    /// Two nodes a slot, rank 0 first among those that have targets.
    private let firstTwo: [UInt16]
    private let placement: PlacementTable

    static let nobody = UInt16.max
    /// A view of more instances than this is cut: indices are 16 bits wide.
    public static let targetsMax = 16_384

    /// The table of one service of the mesh.
    /// - Parameters:
    ///   - placement: over `view.placementCandidates`.
    ///   - cookieRing: the keys that sign session cookies; empty for no stickiness.
    public init(view: MeshView, placement: PlacementTable, service: String, cookieRing: [CookieKey]) {
        var targets: [RouteTarget] = []
        var nodes: [[UInt16]] = []
        var nodeNames: [NodeName] = []
        let members = Dictionary(view.members.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for instance in view.instances where instance.service == service && targets.count < Self.targetsMax {
            guard let member = members[instance.node.name], member.id == instance.node, member.ranks,
                let endpoint = Endpoint(text: instance.address), endpoint.port > 0
            else { continue }
            if nodeNames.last != member.name {
                nodeNames.append(member.name)
                nodes.append([])
            }
            nodes[nodes.count - 1].append(UInt16(targets.count))
            targets.append(
                RouteTarget(
                    node: member.id, number: instance.number, endpoint: endpoint, weight: Int(instance.weight),
                    isSuspect: member.status == .suspect, isDraining: member.stage == .draining, nodeIndex: nodes.count - 1))
        }
        let cookieNames = Set(view.instances.filter { $0.service == service }.map(\.cookieName)).sorted()
        self.init(
            targets: targets, nodes: nodes, nodeNames: nodeNames, placement: placement,
            affinity: CookieCodec(ring: cookieRing).map { SessionAffinity(codec: $0, names: cookieNames.map { Array($0.utf8) }) })
    }

    /// The table of a fixed list, without a mesh and without stickiness.
    public init(upstreams: [Endpoint]) {
        let targets = upstreams.prefix(Self.targetsMax).enumerated().map { index, endpoint in
            RouteTarget(node: nil, number: UInt32(index), endpoint: endpoint, weight: 1, isSuspect: false, isDraining: false, nodeIndex: 0)
        }
        self.init(targets: targets, nodes: [targets.indices.map { UInt16($0) }], nodeNames: [], placement: PlacementTable(), affinity: nil)
    }

    private init(
        targets: [RouteTarget], nodes: [[UInt16]], nodeNames: [NodeName], placement: PlacementTable, affinity: SessionAffinity?
    ) {
        self.targets = targets
        self.nodes = nodes
        self.nodeNames = nodeNames
        self.placement = placement
        self.affinity = affinity
        let indices = targets.indices.map { UInt16($0) }
        let steady = indices.filter { !targets[Int($0)].isSuspect && !targets[Int($0)].isDraining }
        newVisitors = steady.isEmpty ? indices.filter { !targets[Int($0)].isDraining } : steady

        let indexOf = Dictionary(uniqueKeysWithValues: nodeNames.enumerated().map { ($1, UInt16($0)) })
        var firstTwo: [UInt16] = []
        if !indexOf.isEmpty {
            firstTwo.reserveCapacity(Slot.count * 2)
            for slot in Slot.all {
                var holders = [placement.primary(of: slot), placement.backup(of: slot)].compactMap { $0.flatMap { indexOf[$0] } }
                // Only where a holder has no instance is the whole ranking worth its price.
                if holders.count < min(2, indexOf.count) {
                    holders = Array(placement.ranking(of: slot).compactMap { indexOf[$0] }.prefix(2))
                }
                firstTwo.append(holders.first ?? Self.nobody)
                firstTwo.append(holders.dropFirst().first ?? Self.nobody)
            }
        }
        self.firstTwo = firstTwo
    }

    /// Whether slots lead anywhere.
    var isRanked: Bool { !firstTwo.isEmpty }

    /// The node of that rank (0 or 1) among those that have targets.
    func node(of slot: Slot, rank: Int) -> Int? {
        let node = firstTwo[Int(slot.rawValue) * 2 + rank]
        return node == Self.nobody ? nil : Int(node)
    }

    /// Every node that has targets, rank 0 first. For the rare walk past the backup.
    func nodesRanked(for slot: Slot) -> [Int] {
        placement.ranking(of: slot).compactMap { name in nodeNames.firstIndex(of: name) }
    }

    /// The instances for a slot in the order in which they are tried.
    public func candidates(of slot: Slot) -> [RouteTarget] {
        nodesRanked(for: slot).flatMap { nodes[$0].map { targets[Int($0)] } }
    }
}

/// An instance as a balancer dials it.
public struct RouteTarget: Hashable, Sendable {
    /// Nil in a fixed list.
    public let node: MemberID?
    /// The instance's number at its node, or its place in a fixed list.
    public let number: UInt32
    public let endpoint: Endpoint
    public let weight: Int
    /// Its node may be gone: dial it for bound visitors only, and with little patience.
    public let isSuspect: Bool
    /// Its node is about to leave: bound visitors only.
    public let isDraining: Bool
    let nodeIndex: Int

    /// Equal in two tables exactly when it is the same process at the same address.
    var identity: Identity { Identity(node: node, number: number, endpoint: endpoint) }

    struct Identity: Hashable {
        let node: MemberID?
        let number: UInt32
        let endpoint: Endpoint
    }
}
