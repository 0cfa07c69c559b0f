/// What an application, or a person at the command line, may ask of an agent.
///
/// The shell decodes it from the client protocol, the core answers with a ``ClientResponse``. `Docs/PROTOCOL.md` has the form on the wire.
public enum ClientRequest: Hashable, Sendable {
    /// Proves that the application lives; sent once a second by a linked application.
    case ping
    /// Makes the application known to every balancer until its connection closes.
    case register(service: String, address: String, weight: UInt8, cookieName: String)
    /// The session of a cookie value, or why there is none.
    case open(cookie: [UInt8])
    /// The session of a key.
    case read(SessionKey)
    /// Boxed: it is by far the longest, and most requests are reads.
    indirect case commit(SessionCommit)
    /// Ends a session for good. The id makes a repeat harmless.
    case destroy(SessionKey, CommitID)
    /// The sessions that are bound to a user and have greater keys than `after`.
    case list(user: String, after: SessionKey?)
    /// Ends all sessions of a user but one, or with nil those of everybody.
    case revoke(user: String?, except: SessionKey?)
    case publish(channel: String, payload: [UInt8])
    case subscribe(channel: String)
    case unsubscribe(channel: String)
    /// What becomes of sessions from now on follows as pushes; see ``SessionEvent``.
    case follow
    case unfollow
    /// The agent's view of the mesh.
    case members
    /// Who holds a slot.
    case placement(Slot)
}

/// Names one commit for ever: 16 random bytes, kept over retries, so that a commit sent twice counts once.
public struct CommitID: Hashable, Comparable, Sendable {
    public let upper: UInt64
    public let lower: UInt64

    public init(upper: UInt64, lower: UInt64) {
        self.upper = upper
        self.lower = lower
    }

    public init(using generator: inout some RandomNumberGenerator) {
        self.init(upper: generator.next(), lower: generator.next())
    }

    public static func < (lhs: CommitID, rhs: CommitID) -> Bool { (lhs.upper, lhs.lower) < (rhs.upper, rhs.lower) }
}

/// How far a commit has got when it is answered.
public enum AcknowledgementLevel: UInt8, Hashable, Sendable, CaseIterable {
    /// The primary has it. Should that be killed within the next round trip, it is lost; nobody else is shown it before a second node has it.
    case local
    /// Two nodes have it, so that one may be killed. The default.
    case replicated
    /// Two nodes and the mirror have it, so that all nodes may be killed: a round trip to the mirror more, a fifth of a second while it is busy.
    case mirrored
}

/// The changes of one request to one session, applied together or not at all. Those that change nothing are not written anywhere.
public struct SessionCommit: Hashable, Sendable {
    /// The session to change; nil creates one, under an id that the agent mints.
    public var key: SessionKey?
    public var id: CommitID
    public var changes: [FieldChange]
    /// What must be so, at the session's primary, for the changes to be made; else the answer is ``ClientResponse/conflict(_:)``.
    public var conditions: [FieldCondition]
    /// Makes the session, under this key, when there is none; otherwise that is ``ClientFailure/Code/notFound``. One that was destroyed stays so.
    public var makesSession: Bool
    /// Binds the session to a user (`.some("ann")`), unbinds it (`.some("")`), or leaves it as it is (nil).
    public var user: String?
    /// Seconds without a request after which the session expires; nil leaves it as it is. A new session starts with the agent's default.
    public var idleSeconds: UInt32?
    /// Seconds since it was made at which the session expires whatever happens; nil leaves it as it is.
    public var absoluteSeconds: UInt32?
    /// Whether a request is enough to go on; else the idle time counts from the last commit. Nil leaves it as it is.
    public var isRolling: Bool?
    /// Unix milliseconds at which the session expires whatever happens; 0 takes such a date away, nil leaves it as it is.
    public var until: Int64?
    /// Moves everything to a new id and destroys the old one, as is due at every login. It is always held by two nodes before it is answered.
    public var regenerate: Bool
    /// ``AcknowledgementLevel/mirrored`` at an agent without a mirror is ``ClientFailure/Code/invalid``.
    public var acknowledgement: AcknowledgementLevel
    /// Makes no change unless more than half of the nodes say that nobody else answers for the session: in a mesh that is cut in two, at most
    /// one side changes it. It costs a round trip to all nodes. A node counts until it is known to be gone; without a majority the answer is
    /// ``ClientFailure/Code/unavailable``.
    public var isStrict: Bool

    public init(
        key: SessionKey?, id: CommitID, changes: [FieldChange] = [], conditions: [FieldCondition] = [], makesSession: Bool = false,
        user: String? = nil, idleSeconds: UInt32? = nil, absoluteSeconds: UInt32? = nil, isRolling: Bool? = nil, until: Int64? = nil,
        regenerate: Bool = false, acknowledgement: AcknowledgementLevel = .replicated, isStrict: Bool = false
    ) {
        self.key = key
        self.id = id
        self.changes = changes
        self.conditions = conditions
        self.makesSession = makesSession
        self.user = user
        self.idleSeconds = idleSeconds
        self.absoluteSeconds = absoluteSeconds
        self.isRolling = isRolling
        self.until = until
        self.regenerate = regenerate
        self.acknowledgement = acknowledgement
        self.isStrict = isStrict
    }
}

/// One change to one field.
public enum FieldChange: Hashable, Sendable {
    /// Replaces a register. Last writer wins.
    case set(String, [UInt8])
    case remove(String)
    /// Adds to a counter, which starts at 0. Increments from anywhere all count.
    case increment(String, by: Int64)
    /// Raises a maximum, which is made by it, to that value at least.
    case raise(String, to: Int64)
    /// Adds an element to a set, which is made by it.
    case insert(String, [UInt8])
    /// Takes an element out of a set.
    case erase(String, [UInt8])
    /// Removes a register that still has this value; another value stays.
    case drop(String, [UInt8])

    public var field: String {
        switch self {
        case .set(let name, _), .remove(let name), .increment(let name, _), .raise(let name, _), .insert(let name, _), .erase(let name, _),
            .drop(let name, _):
            name
        }
    }
}

/// What a commit rests on. Compared by value: a field that was changed and changed back is what it was.
public enum FieldCondition: Hashable, Sendable {
    /// The field is a register of this value.
    case holds(String, [UInt8])
    /// There is no such field.
    case isAbsent(String)

    public var field: String {
        switch self {
        case .holds(let name, _), .isAbsent(let name): name
        }
    }
}

/// Bounds on what one session may hold. They keep one visitor from taking an agent's memory, and a delta in one peer message.
public enum SessionLimits {
    public static let sessionBytesMax = 64 * 1024
    public static let fieldBytesMax = 16 * 1024
    public static let fieldsMax = 128
    /// Of all sets of a session together: each is an entry of its own in a mirror.
    public static let elementsMax = 256
    public static let elementBytesMax = 128
    public static let fieldNameBytesMax = 64
    /// Changes that a peer accepts in one commit. A client may send ``fieldsMax`` of them; the rest is room for a later version.
    public static let changesMax = 256
    public static let userBytesMax = 128
    /// Unix milliseconds: some nine thousand years on.
    public static let dateMax: Int64 = 1 << 48
    public static let channelNameBytesMax = 200
    public static let messageBytesMax = 64 * 1024
}
