/// What a member is for.
public enum Role: UInt8, Hashable, Sendable, CaseIterable {
    /// Holds sessions, ranks, is counted.
    case node = 0
    /// Gossips and routes; never ranks, never votes on another's death.
    case balancer = 1
}

/// Whether a member is believed to run. The order is the order of precedence among claims of one incarnation.
public enum Status: UInt8, Hashable, Comparable, Sendable, CaseIterable {
    case alive = 0
    /// A probe went unanswered; the member keeps its rank until the suspicion is settled. Can transition to alive (refuted), dead.
    case suspect = 1
    /// Held to have crashed. Final for that life.
    case dead = 2
    /// Said goodbye. Final for that life.
    case left = 3

    public static func < (lhs: Status, rhs: Status) -> Bool { lhs.rawValue < rhs.rawValue }

    /// Whether the member may still be spoken to.
    public var isReachable: Bool { self <= .suspect }
}

/// How far a node is with the slots it ranks for. Says nothing about balancers.
public enum Stage: UInt8, Hashable, Sendable, CaseIterable {
    /// Started, and pulling the slots it will rank for; takes no rank yet.
    case syncing = 0
    /// Ranks.
    case serving = 1
    /// Is about to leave; keeps its rank until it has handed off.
    case draining = 2
}

/// One member as one observer sees it.
public struct Member: Hashable, Sendable {
    public var id: MemberID
    /// Raised by the member alone: to refute a suspicion, and whenever something it says of itself below changes.
    public var incarnation: UInt32
    public var status: Status
    public var role: Role
    public var stage: Stage
    /// Where its gossip (UDP) and its peer links (TCP) are reached.
    public var endpoint: Endpoint
    /// Its share of slots, 1 to 16.
    public var weight: UInt8
    /// Alive, but it was silent too often of late, or is just back from a death that was none: who has a choice leaves it alone. This
    /// observer's own judgement; never told to others, and placement ignores it.
    ///
    /// Not the last of the fields: the optimizer of Swift 6.3 then reads what stands beside a member in an enum's case from a wrong place.
    public var isDegraded = false
    /// An operator's labels, at most 512 bytes when encoded; see ``Member/tagsBytesMax``.
    public var tags: [String: String]
    /// The gossip keys it accepts, at most ``keysMax``; the last is the one it seals with.
    public var keys: [KeyMark]
    /// The cookie keys it accepts, at most ``cookieKeysMax``; the last is the one it signs with.
    public var cookieKeys: [KeyMark]

    public static let tagsBytesMax = 512
    /// Of a full ring and one kept beside it.
    public static let keysMax = 2 * GossipKeyRing.keysMax
    /// Of a full ring.
    public static let cookieKeysMax = GossipKeyRing.keysMax

    public init(
        id: MemberID, incarnation: UInt32 = 0, status: Status = .alive, role: Role = .node, stage: Stage = .syncing,
        endpoint: Endpoint, weight: UInt8 = 1, tags: [String: String] = [:], keys: [KeyMark] = [],
        cookieKeys: [KeyMark] = []
    ) {
        self.id = id
        self.incarnation = incarnation
        self.status = status
        self.role = role
        self.stage = stage
        self.endpoint = endpoint
        self.weight = weight
        self.tags = tags
        self.keys = keys
        self.cookieKeys = cookieKeys
    }

    public var name: NodeName { id.name }

    /// Whether placement ranks this member.
    public var ranks: Bool { role == .node && stage != .syncing && status.isReachable }
}
