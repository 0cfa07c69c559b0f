import NIOCore

/// How many threads a pool has, how long its queue is, and what happens when that is full.
public struct ComputePoolConfiguration: Hashable, Sendable {
    /// Of its threads and in its metrics.
    public var name = "compute"

    /// 1 to 1024. Default: one a core, as many as the process may use (a container's limit counts). Work that takes the CPU is not done
    /// sooner by more threads than cores; each takes up to 8 MiB of stack as well. Fewer leave cores idle when nothing else wants them.
    public var threads = min(max(System.coreCount, 1), Self.threadsMax)

    /// Calls that wait for a thread, 1 to 16384. Default 256: with work of 10 ms on two threads the last of them waits over a second, as
    /// long as a visitor should. More is more delay and not more work done, and what their closures hold is kept meanwhile.
    public var queueMax = 256

    public var whenFull = WhenFull.refuse

    /// Who goes first when there are more threads than cores. Default ``Priority/idle``.
    public var priority = Priority.idle

    public enum WhenFull: Hashable, Sendable {
        /// The caller is told `.full` at once, and can answer 503 while its visitor is still there.
        case refuse
        /// The caller waits for room, in the order of calls; 1 to 16384 of them, and who comes then is told `.full`. For work that nobody
        /// waits for at a browser: the queue is longer, no more. A deadline counts meanwhile.
        case wait(callersMax: Int)
    }

    public enum Priority: Hashable, Sendable {
        /// The threads have the cores that no other thread wants at that moment, and give one up as soon as an event loop wakes. Linux:
        /// `SCHED_IDLE`, sched(7), or where that is forbidden a nice value of 19; elsewhere the class of long work. What it costs: as long
        /// as others keep every core busy, those of other processes among them, work in the pool hardly goes on. A deadline tells its
        /// caller.
        case idle
        /// Each thread takes as much of a core as an event loop does, which then waits for its turn like any other.
        case normal
    }

    public init() {}

    static let threadsMax = 1024
    /// A call that is taken out of the middle of the line moves those behind it: some microseconds for as many.
    static let lineMax = 16384

    /// Most calls that may wait, for a thread or for room.
    var waitingMax: Int {
        switch whenFull {
        case .refuse: queueMax
        case .wait(let callersMax): queueMax + callersMax
        }
    }

    func check() throws(ComputePoolError) {
        func check(_ what: String, _ value: Int, _ range: ClosedRange<Int>) throws(ComputePoolError) {
            guard !range.contains(value) else { return }
            let bounds = "from \(range.lowerBound) to \(range.upperBound)"
            throw ComputePoolError(.invalid, "\(what) of a pool is \(value); set it to a whole number \(bounds)")
        }
        try check("threads", threads, 1...Self.threadsMax)
        try check("queueMax", queueMax, 1...Self.lineMax)
        if case .wait(let callersMax) = whenFull { try check("callersMax", callersMax, 1...Self.lineMax) }
    }
}
