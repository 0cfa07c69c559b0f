import HeapModule

/// The sessions whose latest state a mirror has not acknowledged.
///
/// A set of keys, no log of writes: what is sent is the session's state at that moment, so ten changes of one session between two flushes
/// cost one write, and the set can't grow past the live sessions, however long the mirror is away. The caller marks, takes a batch on its
/// timer, and reports how it went. A session that changes while its write is on the way is dirty again when that write succeeds, for the
/// write may hold the old state.
///
/// Half of a batch are the newest, whose users are there just now, half the oldest, so that nobody waits for ever while others go on changing.
/// Marks of one moment go by their keys: the same marks give the same batches in every process.
public struct WriteBehindQueue: Sendable {
    /// How late a mirror may be in quiet: the longest interval between two flushes.
    public static let flushIntervalMax: Duration = .milliseconds(200)

    private var dirty: [SessionKey: Moment] = [:]
    private var inFlight: [SessionKey: Flight] = [:]
    /// Every dirty key is in here with its moment; what no longer agrees with `dirty` is skipped when it comes up.
    private var order = Heap<Turn>()

    public init() {}

    /// Sessions that the mirror has not acknowledged, those in flight included.
    public var count: Int { dirty.count + inFlight.count }

    public var isEmpty: Bool { count == 0 }

    /// Whether there is something to take.
    public var hasWaiting: Bool { !dirty.isEmpty }

    /// The session changed. A session that is dirty already keeps its earlier moment.
    public mutating func mark(_ key: SessionKey, at now: Moment) {
        if inFlight[key] != nil {
            if inFlight[key]?.dirtyAgain == nil { inFlight[key]?.dirtyAgain = now }
        } else if dirty[key] == nil {
            insert(key, since: now)
        }
    }

    /// The newest dirty sessions and the oldest in turn, at most `max`. They are in flight until ``succeeded(_:)``, ``failed(_:)`` or ``forget(_:)`` names them.
    public mutating func takeBatch(max: Int) -> [SessionKey] {
        var batch: [SessionKey] = []
        while batch.count < max, let turn = batch.count % 2 == 0 ? order.popMax() : order.popMin() {
            guard let since = dirty[turn.key], since.uptime == turn.since else { continue }
            dirty[turn.key] = nil
            inFlight[turn.key] = Flight(since: since)
            batch.append(turn.key)
        }
        return batch
    }

    /// The mirror has acknowledged these. Keys that aren't in flight are ignored.
    public mutating func succeeded(_ keys: some Sequence<SessionKey>) {
        for key in keys {
            guard let flight = inFlight.removeValue(forKey: key) else { continue }
            if let again = flight.dirtyAgain { insert(key, since: again) }
        }
    }

    /// These may not have reached the mirror: they are dirty since they first were. Keys that aren't in flight are ignored.
    public mutating func failed(_ keys: some Sequence<SessionKey>) {
        for key in keys {
            guard let flight = inFlight.removeValue(forKey: key) else { continue }
            insert(key, since: flight.since)
        }
    }

    /// This node has no more to say about the session: it expired, its slot moved away, or another member has mirrored it.
    public mutating func forget(_ key: SessionKey) {
        dirty[key] = nil
        inFlight[key] = nil
        compact()
    }

    /// How far the mirror is behind: the age of the oldest change that it has not acknowledged, nil when there is none.
    public func oldestAge(at now: Moment) -> Duration? {
        // Forgotten turns can stand before the first true one, so the heap's minimum alone won't do when they do.
        var oldest = inFlight.values.map(\.since.uptime).min()
        if let first = order.min, dirty[first.key]?.uptime == first.since {
            oldest = min(oldest ?? .max, first.since)
        } else if let first = dirty.values.map(\.uptime).min() {
            oldest = min(oldest ?? .max, first)
        }
        return oldest.map { .nanoseconds(now.uptime - $0) }
    }

    private mutating func insert(_ key: SessionKey, since: Moment) {
        dirty[key] = since
        order.insert(Turn(since: since.uptime, key: key))
    }

    /// Forgotten turns may not outnumber the true ones for long, or marking and forgetting in turn would fill the memory.
    private mutating func compact() {
        guard order.count > 2 * dirty.count + 64 else { return }
        order = Heap(dirty.map { Turn(since: $1.uptime, key: $0) })
    }

    private struct Flight: Sendable {
        let since: Moment
        var dirtyAgain: Moment?
    }

    private struct Turn: Comparable, Sendable {
        let since: Int64
        let key: SessionKey

        static func < (lhs: Turn, rhs: Turn) -> Bool { (lhs.since, lhs.key) < (rhs.since, rhs.key) }
    }
}
