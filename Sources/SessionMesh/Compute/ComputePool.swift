public import CoreMetrics
import DequeModule
import Dispatch
public import ServiceLifecycle
import Synchronization

/// Threads for work that takes the CPU, apart from those that answer requests.
///
/// A request that computes for 50 ms holds up every other one on its thread for as long. Here it waits for a result, and its thread goes
/// on:
///
/// ```swift
/// let pool = try ComputePool()
/// let app = Application(router: router, services: [pool])
/// router.get("/report") { _, _ in
///     try await pool.run(deadline: .now + .seconds(2)) { context in try makeReport { context.isCancelled } }
/// }
/// ```
///
/// - Work never runs on the caller's thread, on an event loop or on a task's thread, however full the pool is: when no thread is free it
///   waits, and when too many wait it is refused.
/// - Work is a plain function. What has to be awaited is awaited before or after; an `async` closure doesn't compile here, because a thread
///   that waits is a thread that doesn't compute. Callers are `async`, and a result may be anything `Sendable`.
///   Start no tasks in it: a thread that the system makes for them has the priority of the pool's.
/// - What the work throws is thrown to the caller as it is, and the thread takes the next call.
/// - A trap in the work (a failed precondition, an index out of range, a stack that overflows) ends the whole process, as everywhere in
///   Swift: no thread can be given up for it. Work on input that may do that belongs into a process of its own.
/// - Work that never returns keeps its thread, for no thread can be stopped from outside. Its caller is told at its deadline, so give one.
///   Nothing else is lost, and ``Statistics/deserted`` says how many threads are in that state.
///
/// Pools know nothing of each other; have one for each kind of work that must not hold up another.
public final class ComputePool: Service, Sendable {
    public let configuration: ComputePoolConfiguration
    private let meter: ComputeMeter
    private let state: Mutex<State>
    /// Where each thread sleeps.
    private let beds: [DispatchSemaphore]
    /// Where the one that answers callers does.
    private let bell = DispatchSemaphore(value: 0)

    private struct State {
        var queue: ComputeQueue<Call>
        /// What callers are to be told; no more than there are tasks that wait for it.
        var answers = Deque<@Sendable () -> Void>()
        /// Of who runs the pool, once it waits for the rest.
        var atRest: CheckedContinuation<Void, Never>?

        /// To be resumed outside of the lock.
        mutating func takeAtRest() -> CheckedContinuation<Void, Never>? {
            guard queue.isAtRest else { return nil }
            defer { atRest = nil }
            return atRest
        }
    }

    /// Without its types. Whoever takes it out of the queue answers it, so each continuation is resumed once.
    private struct Call: Identifiable, Sendable {
        let signal: ComputeContext.Signal
        /// Does the work.
        let perform: @Sendable () -> Answer
        let refuse: @Sendable (ComputePoolError) -> Void

        var id: ObjectIdentifier { ObjectIdentifier(signal) }
    }

    private struct Answer: Sendable {
        let threw: Bool
        let give: @Sendable () -> Void
    }

    /// - Parameter metrics: where `sessionmesh_compute_*` are counted; `Docs/OPERATING.md` lists them. Default: what `MetricsSystem` was
    ///   bootstrapped with before the first call, and nothing otherwise.
    /// - Throws: `.invalid` when the configuration is outside its bounds.
    public init(
        configuration: ComputePoolConfiguration = ComputePoolConfiguration(), metrics: (any MetricsFactory)? = nil
    ) throws(ComputePoolError) {
        try configuration.check()
        self.configuration = configuration
        meter = ComputeMeter(pool: configuration.name, factory: metrics)
        state = Mutex(State(queue: ComputeQueue(lineMax: configuration.waitingMax)))
        beds = (0..<configuration.threads).map { _ in DispatchSemaphore(value: 0) }
    }

    // MARK: Running

    /// Has the threads for as long as it runs. A pool is run once.
    ///
    /// At a graceful shutdown what has begun is finished and answered; what waits is told `.stopped`, and so is who comes later. When the
    /// task is cancelled, callers whose work has begun are told so too, and the work sees that it is cancelled. Returns when nobody waits
    /// for an answer: a thread whose caller was told before, at its deadline, is not waited for, and ends when its work returns.
    /// - Throws: `.alreadyStarted`; `.noThreads` when the system has none left, and then the pool is stopped.
    public func run() async throws {
        guard state.withLock({ $0.queue.prepare() }) else {
            throw ComputePoolError(.alreadyStarted, "this pool has been run before; run each once, and make another for another run")
        }
        let failure = startThreads()
        if failure != nil { stop() }
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await rest()
            } onGracefulShutdown: {
                self.stop()
            }
        } onCancel: {
            abandon()
        }
        if let failure { throw failure }
    }

    private func startThreads() -> ComputePoolError? {
        var error = ComputeThread.start(name: "\(configuration.name)-answers", priority: .normal) { self.answer() }
        var made = 0
        while error == 0, made < beds.count {
            let index = made
            error = ComputeThread.start(name: "\(configuration.name)-\(index)", priority: configuration.priority) { self.work(index) }
            if error == 0 { made += 1 }
        }
        state.withLock { $0.queue.start(threads: made) }
        guard error != 0 else { return nil }
        return ComputePoolError(
            .noThreads, "the system gives no \(beds.count) threads (error \(error)); set a lower number, or raise its limit")
    }

    private func rest() async {
        await withCheckedContinuation { continuation in
            let atRest = state.withLock { state in
                state.atRest = continuation
                return state.takeAtRest()
            }
            atRest?.resume()
        }
    }

    /// Lets what waits fail, and threads end when they have done what they are at.
    private func stop() {
        let (losses, idle) = state.withLock { $0.queue.stop() }
        for index in idle { beds[index].signal() }
        bell.signal()
        tell(losses, .stopped)
    }

    private func abandon() {
        stop()
        tell(state.withLock { $0.queue.desertAll() }, .stopped)
        bell.signal()
    }

    // MARK: Work

    /// Does `body` on one of the pool's threads.
    /// - Parameters:
    ///   - deadline: when the caller stops waiting, in the queue or for the work itself. What has not begun by then never is. What runs
    ///     then is told by ``ComputeContext/isCancelled`` and keeps its thread until it returns. Default: none, as long as it takes.
    ///   - body: synchronous, and with nothing in it that waits for others.
    /// - Returns: what `body` returned, whatever that holds.
    /// - Throws: what `body` throws, as it is; otherwise a ``ComputePoolError``: `.full`, `.expired`, `.cancelled`, `.notStarted`,
    ///   `.stopped`. A caller that is cancelled is told at once, wherever its work is.
    public nonisolated(nonsending) func run<Value: Sendable>(
        deadline: ContinuousClock.Instant? = nil, _ body: @escaping @Sendable (ComputeContext) throws -> Value
    ) async throws -> Value {
        let signal = ComputeContext.Signal()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let perform: @Sendable () -> Answer = {
                    let result = Result { try body(ComputeContext(deadline: deadline, signal: signal)) }
                    let threw = if case .failure = result { true } else { false }
                    return Answer(threw: threw) { continuation.resume(with: result) }
                }
                submit(Call(signal: signal, perform: perform) { continuation.resume(throwing: $0) }, deadline: deadline)
            }
        } onCancel: {
            cancel(signal)
        }
    }

    /// The same, for work that does not ask whether it is cancelled.
    public nonisolated(nonsending) func run<Value: Sendable>(
        deadline: ContinuousClock.Instant? = nil, _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await run(deadline: deadline) { _ in try body() }
    }

    private func submit(_ call: Call, deadline: ContinuousClock.Instant?) {
        let (admission, isSooner) = state.withLock { state in
            let alarm = state.queue.alarm
            let admission = state.queue.submit(call, isCancelled: call.signal.isRaised, deadline: deadline, now: .now)
            return (admission, state.queue.alarm != alarm)
        }
        if isSooner { bell.signal() }
        switch admission {
        case .handed(let thread): beds[thread].signal()
        case .waits: break
        case .turnedAway(let code):
            meter.ended([.full, .notStarted, .stopped].contains(code) ? "refused" : code.description)
            call.refuse(.lost(code))
        }
    }

    private func cancel(_ signal: ComputeContext.Signal) {
        let loss = state.withLock { state in
            let loss = state.queue.cancel(ObjectIdentifier(signal))
            // What is only about to be submitted is turned away then. What runs must not see it before its caller is told, or it would
            // answer.
            if loss == nil { signal.raise() }
            return loss
        }
        if let loss { tell([loss], .cancelled) }
        // It may have been the last that a shutdown waited for.
        if loss?.hasBegun == true { bell.signal() }
    }

    private func tell(_ losses: [ComputeQueue<Call>.Loss], _ code: ComputePoolError.Code) {
        for loss in losses {
            loss.call.signal.raise()
            meter.ended(code.description)
            loss.call.refuse(.lost(code, hasBegun: loss.hasBegun))
        }
    }

    // MARK: Threads

    private func work(_ index: Int) {
        // Made asleep, as the queue takes it to be.
        beds[index].wait()
        while true {
            switch takeTurn(index) {
            case .begin(let call, let waited): perform(call, after: waited, on: index)
            case .sleep: beds[index].wait()
            case .end: return
            }
        }
    }

    private func takeTurn(_ index: Int) -> ComputeQueue<Call>.Turn {
        let (turn, rings) = state.withLock { state in
            let isFirst = state.answers.isEmpty
            let (turn, late) = state.queue.takeTurn(index, now: .now)
            for loss in late { state.answers.append { self.tell([loss], .expired) } }
            return (turn, isFirst && !late.isEmpty || state.queue.isAtRest)
        }
        if rings { bell.signal() }
        return turn
    }

    private func perform(_ call: Call, after waited: Duration, on index: Int) {
        meter.began(after: waited)
        let start = ContinuousClock.now
        let answer = call.perform()
        meter.returned(after: .now - start)
        let rings = state.withLock { state in
            guard state.queue.end(on: index, threw: answer.threw) else { return false }
            state.answers.append {
                self.meter.ended(answer.threw ? "failed" : "completed")
                answer.give()
            }
            return state.answers.count == 1
        }
        if rings { bell.signal() }
    }

    /// Tells callers what came of their calls, from a thread of its own.
    ///
    /// In time, because all others may be busy. And never from a thread that stands back: to go on, a caller's task may need a new thread,
    /// which the system then makes with the priority of whoever asked, and requests would be answered by threads that stand back too.
    private func answer() {
        while true {
            let (answers, late, alarm, isOver, atRest) = state.withLock { state in
                let answers = state.answers
                state.answers = []
                let isDue = state.queue.alarm.map { $0 <= .now } ?? false
                let late = isDue ? state.queue.expire(now: .now) : []
                return (answers, late, state.queue.alarm, state.queue.isAtRest, state.takeAtRest())
            }
            for give in answers { give() }
            tell(late, .expired)
            atRest?.resume()
            if isOver { return }
            guard let alarm else {
                bell.wait()
                continue
            }
            // On Linux the semaphore goes by the wall clock: when that is set back, it is at most so much late.
            let pause = min(max(alarm - .now, .zero), .seconds(1))
            _ = bell.wait(timeout: .now() + .nanoseconds(Int(pause / .nanoseconds(1))))
        }
    }

    // MARK: Statistics

    /// How the pool does at this moment. What was counted is counted since it was made.
    ///
    /// Every call is in one of: waiting, running without those deserted, completed, failed, refused, expired, cancelled, stopped.
    public struct Statistics: Hashable, Sendable {
        /// Threads there are: those that were asked for while the pool runs, none before, and afterwards those that are still deserted.
        public var threads = 0
        /// Threads with work, those deserted among them.
        public var running = 0
        /// Threads whose work nobody waits for any more and has not returned yet. When it stays above 0, something there doesn't end.
        public var deserted = 0
        /// Calls that were not begun yet.
        public var waiting = 0
        /// Calls that returned.
        public var completed = 0
        /// Calls that threw.
        public var failed = 0
        /// Calls turned away at once: the queue was full, or nobody ran the pool.
        public var refused = 0
        /// Calls past their deadline, begun or not.
        public var expired = 0
        /// Calls whose task was cancelled, begun or not.
        public var cancelled = 0
        /// Calls that were ended by a shutdown.
        public var stopped = 0
        /// The longest that a call has waited before it was begun.
        public var longestWait = Duration.zero
    }

    public var statistics: Statistics { state.withLock { $0.queue.statistics } }
}
