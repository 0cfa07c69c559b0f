import HeapModule

/// The timers of an agent: some dozen of the core, and one of each application that registered. Exact, where the balancer's, of which each connection has
/// one, are coarse.
struct TimerQueue {
    private struct Entry: Comparable {
        let at: Int64
        /// Those of one moment fire in the order they were set.
        let number: UInt64
        let timer: LoopTimer

        static func < (lhs: Entry, rhs: Entry) -> Bool { (lhs.at, lhs.number) < (rhs.at, rhs.number) }
        static func == (lhs: Entry, rhs: Entry) -> Bool { lhs.number == rhs.number }
    }

    private var entries = Heap<Entry>()
    /// Of the one that was set last.
    private(set) var lastNumber: UInt64 = 0
    /// Those that are still in the heap. Never more than half of it and some.
    private var cancelled = 0

    var count: Int { entries.count - cancelled }
    var entryCount: Int { entries.count }

    /// When the next one is due, in nanoseconds of uptime. Nobody is woken for one that was cancelled.
    mutating func next() -> Int64? {
        while let entry = entries.min, entry.timer.body == nil {
            entries.removeMin()
            cancelled -= 1
        }
        return entries.min?.at
    }

    mutating func add(at: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        lastNumber += 1
        let timer = LoopTimer(body)
        entries.insert(Entry(at: at, number: lastNumber, timer: timer))
        return timer
    }

    /// One that has fired is left alone.
    mutating func cancel(_ timer: LoopTimer) {
        guard timer.body != nil else { return }
        timer.body = nil
        cancelled += 1
        guard cancelled > 64, cancelled > entries.count / 2 else { return }
        entries = Heap(entries.unordered.filter { $0.timer.body != nil })
        cancelled = 0
    }

    /// Takes what the next one that is due does, if it was set no later than the one of that number; nil when there is none.
    mutating func take(until now: Int64, upTo number: UInt64) -> (() -> Void)? {
        while let entry = entries.min, entry.at <= now, entry.number <= number {
            entries.removeMin()
            if let body = entry.timer.body {
                entry.timer.body = nil
                return body
            }
            cancelled -= 1
        }
        return nil
    }
}

/// One that was set.
final class LoopTimer {
    fileprivate var body: (() -> Void)?

    fileprivate init(_ body: @escaping () -> Void) { self.body = body }
}
