/// A Redis, Memcached or MongoDB behind an agent, reduced to what the mesh needs of it.
///
/// A mirror holds copies and decides nothing. Each ``MirrorEntry`` merges by itself: the greater version stays. So writes may come late, twice or in
/// any order, and from two agents at once, and the mirror still ends with what the mesh has.
///
/// Every call may throw ``MirrorError`` and nothing else; each is safe to repeat. Calls may run at the same time.
public protocol Mirror: Sendable {
    /// The record of `key`, or nil when the mirror answered that it has none. Not having got an answer is an error, never nil.
    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord?

    /// Merges each record into what is there. Done when the mirror has acknowledged all of them.
    func merge(_ records: [MirrorRecord]) async throws(MirrorError)

    /// Runs the mirror's connections until the task is cancelled; they are closed when this returns.
    func run() async
}

/// A session as a mirror keeps it: named entries that merge one by one.
public struct MirrorRecord: Hashable, Sendable {
    public var key: SessionKey
    /// In the order of their names. A tombstone has the single entry that says so.
    public var entries: [MirrorEntry]
    /// When the mirror may forget it, in Unix milliseconds.
    public var expiresAt: Int64
    /// The session was destroyed: drop every other entry, now and whenever a late merge comes.
    public var isTombstone: Bool

    public init(key: SessionKey, entries: [MirrorEntry], expiresAt: Int64, isTombstone: Bool = false) {
        self.key = key
        self.entries = entries
        self.expiresAt = expiresAt
        self.isTombstone = isTombstone
    }
}

/// One named value with the version that decides a merge.
public struct MirrorEntry: Hashable, Sendable {
    /// At most 255 bytes, any bytes.
    public var name: [UInt8]
    /// 16 bytes, compared as unsigned bytes from the left; the greater wins, an equal one changes nothing.
    public var version: [UInt8]
    public var payload: [UInt8]

    public static let versionBytes = 16

    public init(name: [UInt8], version: [UInt8], payload: [UInt8]) {
        self.name = name
        self.version = version
        self.payload = payload
    }
}

/// Why a mirror did not do what was asked. None of them means "not found".
public struct MirrorError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// No connection, or it broke before the answer. Try again later.
        case unreachable
        /// The answer did not come in time. Try again later.
        case timedOut
        /// The mirror answered with an error: wrong password, read-only replica, out of memory. Trying again helps only when an operator acts.
        case refused
        /// What is stored under our key is not ours. It is left alone.
        case foreignData
    }

    public var code: Code
    /// One line for a person, without secrets.
    public var description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
