/// A store behind an agent, such as a Redis, reduced to what the mesh needs of it.
///
/// A mirror holds copies and decides nothing. Each ``MirrorEntry`` merges by itself: the greater version stays. So writes may come late,
/// twice or in any order, and from two agents at once, and the mirror still ends with what the mesh has. ``MirrorRecord/merge(_:)`` is the
/// law that every mirror keeps; the library `MirrorConformance` finds out whether one does.
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

    /// Removes the records of these sessions, whatever is in them; one that isn't there is as good as removed. What is not ours stays, and is named
    /// in ``MirrorError/keys``. Unlike a tombstone it forbids nothing: a late merge brings back what it knows.
    func remove(_ keys: [SessionKey]) async throws(MirrorError)

    /// Sessions whose record named `user` when it was merged, those that expire last first, at most ``MirrorRecord/sessionsOfUserMax``.
    ///
    /// It is an index and no more: a session in it may have ended since, or be another's. Whoever asks loads each.
    func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey]

    /// Leaves `number` in the mirror as the last of `name`, and answers what stood there before.
    ///
    /// So whoever writes notices a mirror that was emptied, swapped for another, or came back with older data: the generation is another one, or
    /// the last number is not the last that was left.
    func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit

    /// Appends to the log of a channel slot, and answers where the last item stands. An item is at most ``ChannelItem/payloadMax`` bytes.
    ///
    /// When it throws, any of the items may have been appended or not; to append them again may bring them twice.
    @discardableResult
    func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark

    /// What stands behind `mark` in the log of a channel slot, at most ``ChannelTail/itemsMax``; nil begins at the present end. When nothing does, it
    /// waits for the first as long as `patience`, which doesn't count as a command's time.
    ///
    /// Whatever was lost in between is told: ``ChannelTail/isGapped``.
    func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail

    /// What the server says of itself. No agent asks; it is for people, and as slow as several calls.
    func inspect() async throws(MirrorError) -> MirrorInspection

    /// Runs the mirror's connections until the task is cancelled; they are closed when this returns.
    func run() async
}

/// What stood in a mirror when it was last visited.
public struct MirrorVisit: Hashable, Sendable {
    /// Drawn by whoever came first, and the same from then on. Of a mirror of several servers one for all of them.
    public var generation: UInt64
    /// The number that was last left under the same name; nil when there was none. Of several servers the least.
    public var last: UInt64?

    public init(generation: UInt64, last: UInt64?) {
        self.generation = generation
        self.last = last
    }
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
