/// What this agent holds of one slot, and in which part.
struct SlotState: Sendable {
    // What every request looks at lies together.

    var part = Part.none
    var sessions: [SessionKey: SessionEntry] = [:] { didSet { keptDigest = nil } }
    /// Commits of this slot that some replica has not confirmed, oldest first.
    var pending: [UInt64] = []
    /// The greatest tenure heard of.
    var tenure = Tenure.none

    /// Of the sessions as they are, once it was asked for; see `+AntiEntropy`.
    var keptDigest: UInt64?
    /// Set while this agent has rank 0 and looks for who has the sessions.
    var claim: Claim?
    /// What a former ownership left here, until the present owner is known to have it.
    var leftover: Leftover?
    /// Set while sessions of the slot may live out of reach; see `+Doubt`. Second copies keep it too.
    var doubt: Doubt?
    /// Whether what was held here, until a greater tenure was heard of, was all that had been acknowledged in the last.
    var wasWhole = false

    enum Part: Sendable {
        /// Holds nothing that counts. Can transition to: replica (an owner syncs us), owner (nobody has it).
        case none
        /// Holds a copy for the owner. Can transition to: owner (takeover, grant), none (released).
        case replica(Replica)
        /// Answers. Can transition to: replica (granted away), none (superseded; what it held is a leftover).
        case owner(Ownership)
    }

    struct Replica: Sendable {
        /// Whether it holds everything the owner has acknowledged.
        var isSynced: Bool
        /// While a sync is under way: the sessions it mentioned. What is not mentioned by its end is dropped.
        var mentioned: Set<SessionKey> = []

        /// Whether what is held of a session is of this tenure. In one tenure a session only grows.
        func knows(_ key: SessionKey) -> Bool { isSynced || mentioned.contains(key) }
    }

    struct Ownership: Sendable {
        var replicas: [ReplicaProgress] = []
        /// Set after a takeover until everybody has given what they hold of the slot; nothing is answered until then.
        var inquiry: UInt64?
        /// Out of whose hearing the tenure was raised, for a strict commit.
        var raisedWithout: Set<NodeName> = []

        var synced: [MemberID] { replicas.filter { $0.progress == .synced }.map(\.member) }
        /// Who holds the second copy.
        var backup: NodeName? { replicas.first { $0.progress == .synced }?.member.name }
    }

    struct ReplicaProgress: Sendable {
        let member: MemberID
        var progress: Progress

        enum Progress: Sendable {
            case unsynced
            /// Waits in the peer's sync stream, or is on its way.
            case queued
            case synced
            /// Has none of the slot but single sessions, of which a synced copy is late; see `+Commits`.
            case aside
        }
    }

    struct Leftover: Sendable {
        var sessions: [SessionKey: SessionEntry]
        /// Messages that carry it to the owner and are not acknowledged yet; empty while it is not on its way.
        var tickets: Set<UInt64> = []
        var sentAt: Int64 = 0
        var sentTo: NodeName?
    }

    struct Claim: Sendable {
        /// Members whose word is still missing, or who hold it. Looked up, and walked only to ask.
        var outstanding: Set<NodeName>
        /// When to ask again, in uptime nanoseconds.
        var askAgainAt: Int64
        /// After how long then; each time twice as long.
        var patience = AgentCore.claimInterval
        /// The owner is alive and will hand over by itself; asking is for when it doesn't.
        var waitsForGrant: Bool
    }

    var isOwner: Bool { if case .owner = part { true } else { false } }
    var isSyncedReplica: Bool { if case .replica(let replica) = part { replica.isSynced } else { false } }

    var ownership: Ownership? {
        get { if case .owner(let ownership) = part { ownership } else { nil } }
        set { if let newValue { part = .owner(newValue) } }
    }

    /// Changes an entry where it lies: by the subscript it would be copied out and in again. Nil when there is none.
    @discardableResult
    mutating func update<Result, Failure>(
        _ key: SessionKey, _ change: (inout SessionEntry) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard let index = sessions.index(forKey: key) else { return nil }
        return try change(&sessions.values[index])
    }

    /// The sessions in an order that is the same in every process.
    var sortedKeys: [SessionKey] { sessions.keys.sorted() }
}

/// One session as an agent keeps it.
struct SessionEntry: Sendable {
    var state: SessionState
    /// The highest stamp that the mirror is known to hold. Replicas keep it too, so that a successor knows what is left to write.
    var mirrored: Stamp = .zero
    private var waiting: Boxed<[UInt64]>?

    init(state: SessionState, mirrored: Stamp = .zero) {
        self.state = state
        self.mirrored = mirrored
    }

    /// Operations that read what waits for a second copy. Few sessions have any just now.
    var readers: [UInt64] {
        get { waiting?.value ?? [] }
        set { waiting = newValue.isEmpty ? nil : Boxed(newValue) }
    }
}
