/// A store behind an agent, such as a Redis, reduced to what the mesh needs of it.
///
/// A mirror holds copies and decides nothing. Each ``MirrorEntry`` merges by itself: the greater version stays. So writes may come late,
/// twice or in any order, and from two agents at once, and the mirror still ends with what the mesh has. ``MirrorRecord/merge(_:)`` is the
/// law that every mirror keeps.
///
/// Every call may throw ``MirrorError`` and nothing else; each is safe to repeat. Calls may run at the same time. None waits for its answer
/// longer than the mirror's command timeout, which a long batch counts anew for each part of it that is sent.
public protocol Mirror: Sendable {
    /// The record of `key`, or nil when the mirror answered that it has none. Not having got an answer is an error, never nil.
    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord?

    /// Merges each record into what is there. Done when the mirror has acknowledged all of them.
    ///
    /// One record that can't be merged doesn't hold up the others: it is named in ``MirrorError/keys``, and all others were merged. When
    /// `keys` is empty, any of the records may have been merged or not.
    func merge(_ records: [MirrorRecord]) async throws(MirrorError)

    /// Runs the mirror's connections until the task is cancelled; they are closed when this returns.
    func run() async
}

/// Why a mirror did not do what was asked. None of them means "not found".
public struct MirrorError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// No connection, or it broke before the answer. Try again later.
        case unreachable
        /// The answer did not come in time. Try again later.
        case timedOut
        /// The mirror answered with an error: wrong password, read-only replica, out of memory. Trying again helps only when an operator
        /// acts.
        case refused
        /// What is stored under our key is not ours. It is left alone.
        case foreignData
    }

    public var code: Code
    /// One line for a person, without secrets.
    public var description: String
    /// The only records of the batch that were not merged, in the order of the batch; trying them again is of no use until someone acts.
    /// Empty when the error is about all of the call.
    public var keys: [SessionKey]

    public init(_ code: Code, _ description: String, keys: [SessionKey] = []) {
        self.code = code
        self.description = description
        self.keys = keys
    }

    /// Whether this speaks against the mirror as a whole, so that a ``CircuitBreaker`` must count it.
    public var isFailureOfTheMirror: Bool { code != .foreignData && keys.isEmpty }
}
