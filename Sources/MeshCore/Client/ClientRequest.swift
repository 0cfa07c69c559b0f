/// What an application, or a person at the command line, may ask of an agent.
///
/// The shell decodes it from the client protocol, the core answers with a ``ClientResponse``. `Docs/PROTOCOL.md` has the form on the wire.
public enum ClientRequest: Hashable, Sendable {
    /// Proves that the application lives; sent once a second by a linked application.
    case ping
    /// Makes the application known to every balancer until its connection closes.
    case register(service: String, address: String, weight: UInt8, cookieName: String)
    /// The session of a cookie value. An unsigned or unknown one is answered like no cookie: `session(nil)`.
    case open(cookie: [UInt8])
    /// The session of a key.
    case read(SessionKey)
    case commit(SessionCommit)
    /// Ends a session for good. The id makes a repeat harmless.
    case destroy(SessionKey, CommitID)
    case publish(channel: String, payload: [UInt8])
    case subscribe(channel: String)
    case unsubscribe(channel: String)
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

/// The changes of one request to one session, applied together or not at all.
public struct SessionCommit: Hashable, Sendable {
    /// The session to change; nil creates one, under an id that the agent mints.
    public var key: SessionKey?
    public var id: CommitID
    public var changes: [FieldChange]
    /// Binds the session to a user (`.some("ann")`), unbinds it (`.some("")`), or leaves it as it is (nil).
    public var user: String?
    /// Seconds without a request after which the session expires; nil leaves it as it is. A new session starts with the agent's default.
    public var idleSeconds: UInt32?
    /// Moves everything to a new id and destroys the old one, as is due at every login.
    public var regenerate: Bool

    public init(
        key: SessionKey?, id: CommitID, changes: [FieldChange] = [], user: String? = nil, idleSeconds: UInt32? = nil,
        regenerate: Bool = false
    ) {
        self.key = key
        self.id = id
        self.changes = changes
        self.user = user
        self.idleSeconds = idleSeconds
        self.regenerate = regenerate
    }
}

/// One change to one field.
public enum FieldChange: Hashable, Sendable {
    /// Replaces a register. Last writer wins.
    case set(String, [UInt8])
    case remove(String)
    /// Adds to a counter, which starts at 0. Increments from anywhere all count.
    case increment(String, by: Int64)

    public var field: String {
        switch self {
        case .set(let name, _), .remove(let name), .increment(let name, _): name
        }
    }
}

/// Bounds on what one session may hold. They keep one visitor from taking an agent's memory, and a delta in one peer message.
public enum SessionLimits {
    public static let sessionBytesMax = 64 * 1024
    public static let fieldBytesMax = 16 * 1024
    public static let fieldsMax = 128
    public static let fieldNameBytesMax = 64
    /// Changes that a peer accepts in one commit. A client may send ``fieldsMax`` of them; the rest is room for a later version.
    public static let changesMax = 256
    public static let userBytesMax = 128
    public static let channelNameBytesMax = 200
    public static let messageBytesMax = 64 * 1024
}
