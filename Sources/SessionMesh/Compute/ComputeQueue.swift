import DequeModule

/// Decides which call is begun, which waits and which is turned away. It has no thread and no clock: a test plays both.
///
/// A call is in one place at a time: in line, handed to a thread that has not woken yet, or begun. Who takes it from there answers it, so
/// every call is answered once.
struct ComputeQueue<Call: Identifiable> {
    typealias Instant = ContinuousClock.Instant

    enum Phase {
        /// Nothing is taken. Can transition to `starting`.
        case new
        /// Its threads are being made, and nothing is taken. Can transition to `running`.
        case starting
        /// Can transition to `stopping`.
        case running
        /// What has begun is finished, nothing else is begun.
        case stopping
    }

    private struct Entry {
        let call: Call
        let arrival: Instant
        let deadline: Instant?

        func isLate(_ now: Instant) -> Bool { deadline.map { $0 <= now } ?? false }
    }

    private enum Worker {
        /// Sleeps. Can transition to `handed`.
        case idle
        /// Was woken for a call, or for none when that was taken back. Can transition to `busy`, `idle`, `ended`.
        case handed(Entry?)
        /// Runs a call that somebody waits for. Can transition to `deserted`, `handed`.
        case busy(Entry)
        /// Runs a call whose caller has been told that it took too long. Can transition to `handed`.
        case deserted
        case ended
    }

    private(set) var phase = Phase.new
    /// When somebody has to look at deadlines: no later than the soonest of them. Nil while there is none.
    private(set) var alarm: Instant?
    private var counts = ComputePool.Statistics()
    private var line = Deque<Entry>()
    private var workers: [Worker] = []
    /// Those that are idle. Who slept last is woken first: its memory is still in a cache.
    private var idle: [Int] = []
    private let lineMax: Int

    /// - Parameter lineMax: Most calls that wait for a thread, those among them that wait for room in the queue.
    init(lineMax: Int) { self.lineMax = lineMax }

    var statistics: ComputePool.Statistics {
        var statistics = counts
        statistics.waiting = line.count
        for worker in workers {
            switch worker {
            case .idle, .handed(nil): break
            case .handed: statistics.waiting += 1
            case .busy: statistics.running += 1
            case .deserted:
                statistics.running += 1
                statistics.deserted += 1
            case .ended: continue
            }
            statistics.threads += 1
        }
        return statistics
    }

    /// Whether nobody waits for an answer any more, and every thread that could end has.
    var isAtRest: Bool {
        guard phase == .stopping else { return false }
        return workers.allSatisfy { worker in
            switch worker {
            case .ended, .deserted: true
            case .idle, .handed, .busy: false
            }
        }
    }

    // MARK: Beginning

    /// - Returns: false when that was done before; nothing changes then.
    mutating func prepare() -> Bool {
        guard phase == .new else { return false }
        phase = .starting
        return true
    }

    /// - Parameter threads: how many there are, all of them asleep.
    mutating func start(threads: Int) {
        phase = .running
        workers = Array(repeating: .idle, count: threads)
        idle = Array((0..<threads).reversed())
    }

    // MARK: Calls

    enum Admission: Equatable {
        /// To be begun by this thread, which sleeps.
        case handed(Int)
        case waits
        case turnedAway(ComputePoolError.Code)
    }

    mutating func submit(_ call: Call, isCancelled: Bool = false, deadline: Instant? = nil, now: Instant) -> Admission {
        guard phase == .running else {
            counts.refused += 1
            return .turnedAway(phase == .stopping ? .stopped : .notStarted)
        }
        let entry = Entry(call: call, arrival: now, deadline: deadline)
        guard !isCancelled else {
            counts.cancelled += 1
            return .turnedAway(.cancelled)
        }
        guard !entry.isLate(now) else {
            counts.expired += 1
            return .turnedAway(.expired)
        }
        guard let worker = idle.popLast() else {
            guard line.count < lineMax else {
                counts.refused += 1
                return .turnedAway(.full)
            }
            line.append(entry)
            setAlarm(deadline)
            return .waits
        }
        workers[worker] = .handed(entry)
        setAlarm(deadline)
        return .handed(worker)
    }

    /// What a thread does next.
    enum Turn {
        case begin(Call, waited: Duration)
        case sleep
        case end
    }

    /// For a thread that is awake and has nothing to do.
    /// - Returns: also the calls that would have been begun too late.
    mutating func takeTurn(_ worker: Int, now: Instant) -> (turn: Turn, late: [Loss]) {
        var late: [Loss] = []
        var next: Entry? = if case .handed(let entry) = workers[worker] { entry } else { nil }
        while let entry = next ?? line.popFirst() {
            next = nil
            guard !entry.isLate(now) else {
                counts.expired += 1
                late.append(Loss(call: entry.call, hasBegun: false))
                continue
            }
            workers[worker] = .busy(entry)
            let waited = now - entry.arrival
            counts.longestWait = max(counts.longestWait, waited)
            return (.begin(entry.call, waited: waited), late)
        }
        guard phase != .stopping else {
            workers[worker] = .ended
            return (.end, late)
        }
        workers[worker] = .idle
        idle.append(worker)
        return (.sleep, late)
    }

    /// A call has returned, or has thrown.
    /// - Returns: whether its caller still waits.
    mutating func end(on worker: Int, threw: Bool) -> Bool {
        let isAwaited = if case .busy = workers[worker] { true } else { false }
        workers[worker] = .handed(nil)
        guard isAwaited else { return false }
        if threw { counts.failed += 1 } else { counts.completed += 1 }
        return true
    }

    // MARK: Ending early

    /// A call whose caller is to be told that it won't be answered.
    struct Loss {
        let call: Call
        /// Whether its work runs, or has never begun and won't.
        let hasBegun: Bool
    }

    /// - Returns: nil when the call is answered already.
    mutating func cancel(_ id: Call.ID) -> Loss? {
        if let index = line.firstIndex(where: { $0.call.id == id }) {
            counts.cancelled += 1
            return Loss(call: line.remove(at: index).call, hasBegun: false)
        }
        for index in workers.indices {
            if let loss = desert(index, where: { $0.call.id == id }) {
                counts.cancelled += 1
                return loss
            }
        }
        return nil
    }

    /// Takes out what is past its deadline, and sets ``alarm`` to the soonest that is left.
    mutating func expire(now: Instant) -> [Loss] {
        var late: [Loss] = []
        if line.contains(where: { $0.isLate(now) }) {
            late += line.filter { $0.isLate(now) }.map { Loss(call: $0.call, hasBegun: false) }
            line.removeAll { $0.isLate(now) }
        }
        for index in workers.indices { if let loss = desert(index, where: { $0.isLate(now) }) { late.append(loss) } }
        counts.expired += late.count
        alarm = nil
        for entry in line { setAlarm(entry.deadline) }
        for worker in workers {
            switch worker {
            case .handed(let entry?), .busy(let entry): setAlarm(entry.deadline)
            case .idle, .handed(nil), .deserted, .ended: break
            }
        }
        return late
    }

    /// From now on nothing is begun.
    /// - Returns: what waited, and the threads that sleep and are to end.
    mutating func stop() -> (losses: [Loss], idle: [Int]) {
        guard phase != .stopping else { return ([], []) }
        phase = .stopping
        var losses = line.map { Loss(call: $0.call, hasBegun: false) }
        line = []
        for index in workers.indices {
            if case .handed(let entry?) = workers[index] {
                losses.append(Loss(call: entry.call, hasBegun: false))
                workers[index] = .handed(nil)
            }
        }
        for index in idle { workers[index] = .handed(nil) }
        counts.stopped += losses.count
        defer { idle = [] }
        return (losses, idle)
    }

    /// After ``stop()``: nobody waits for what has begun either.
    mutating func desertAll() -> [Loss] {
        let losses = workers.indices.compactMap { desert($0) { _ in true } }
        counts.stopped += losses.count
        return losses
    }

    private mutating func desert(_ index: Int, where matches: (Entry) -> Bool) -> Loss? {
        switch workers[index] {
        case .handed(let entry?) where matches(entry):
            workers[index] = .handed(nil)
            return Loss(call: entry.call, hasBegun: false)
        case .busy(let entry) where matches(entry):
            workers[index] = .deserted
            return Loss(call: entry.call, hasBegun: true)
        case .idle, .handed, .busy, .deserted, .ended: return nil
        }
    }

    private mutating func setAlarm(_ deadline: Instant?) {
        guard let deadline else { return }
        alarm = alarm.map { min($0, deadline) } ?? deadline
    }
}

extension ComputeQueue.Loss: Sendable where Call: Sendable {}
