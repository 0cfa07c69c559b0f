#if Memcached || MongoDB
    import DequeModule
    import MeshCore
    import NIOConcurrencyHelpers
    import NIOCore
    import NIOPosix
    import Synchronization

    /// Threads of a mirror's own, on which a library that blocks does its waiting, and the queue in front of them.
    ///
    /// A caller waits for its answer until its deadline and no longer, wherever its call has come to. A thread stays with the library until
    /// that gives up by its own time-outs; meanwhile the queue fills, and what would overfill it is refused.
    ///
    /// Each thread has a `Worker` to itself, for what the library lets only one thread touch.
    final class MirrorThreads<Worker>: @unchecked Sendable {
        // @unchecked: `calls` and `phase` are only touched under `condition`.

        private struct Call: Sendable {
            let run: @Sendable (Worker) -> Void
            let fail: @Sendable (MirrorError) -> Void
            let isAwaited: @Sendable () -> Bool
        }

        private enum Phase {
            /// Nobody has run it yet; calls wait. Can transition to `running`.
            case new
            /// Can transition to `stopped`.
            case running
            /// Calls fail. Can transition to `running`.
            case stopped
        }

        private let count: Int
        private let waitingMax: Int
        private let store: String
        private let place: String
        /// True while there is something for a thread to do, or it must end.
        private let condition = ConditionLock(value: false)
        private var calls = Deque<Call>()
        private var phase = Phase.new
        private let clock: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()

        /// - Parameters:
        ///   - waitingMax: Most calls that wait for a thread. What the threads can't do within a command timeout is better refused at once.
        ///   - store: what it is, and `place` where, for errors.
        init(count: Int, waitingMax: Int, store: String, place: String) {
            self.count = count
            self.waitingMax = waitingMax
            self.store = store
            self.place = place
        }

        /// Does `work` on one of the threads, unless nobody waits for it any more; it is told until when somebody will.
        func perform<Answer: Sendable>(
            within timeout: Duration, _ work: @escaping @Sendable (Worker, NIODeadline) throws(MirrorError) -> Answer
        ) async throws(MirrorError) -> Answer {
            let deadline = NIODeadline.now() + TimeAmount(timeout)
            let late = error(.timedOut, "\(store) did not answer within \(timeout)")
            let outcome: Result<Answer, MirrorError> = await withCheckedContinuation { continuation in
                let waiter = Waiter(continuation)
                let alarm = clock.scheduleTask(deadline: deadline) { waiter.answer(.failure(late)) }
                admit(
                    Call(
                        run: { worker in
                            do throws(MirrorError) {
                                waiter.answer(.success(try work(worker, deadline)))
                            } catch { waiter.answer(.failure(error)) }
                            alarm.cancel()
                        },
                        fail: { error in
                            waiter.answer(.failure(error))
                            alarm.cancel()
                        }, isAwaited: { waiter.isWaiting }))
            }
            return try outcome.get()
        }

        /// Runs the threads for as long as `body` takes. When this returns nothing is under way any more.
        func run(with makeWorker: @escaping @Sendable () -> Worker, _ body: () async -> Void) async {
            let pool = NIOThreadPool(numberOfThreads: count)
            pool.start()
            condition.lock()
            phase = .running
            unlock()
            await withDiscardingTaskGroup { group in
                for _ in 0..<count {
                    group.addTask { try? await pool.runIfActive { self.work(with: makeWorker()) } }
                }
                await body()
                stop()
            }
            // Throws for pools that others use too; this one is ours.
            try? await pool.shutdownGracefully()
        }

        /// Puts the call at the end of the queue, or lets it fail.
        private func admit(_ call: Call) {
            condition.lock()
            if calls.count >= waitingMax { calls.removeAll { !$0.isAwaited() } }
            let refusal: MirrorError? =
                if phase == .stopped {
                    stopped
                } else if calls.count >= waitingMax {
                    error(.timedOut, "\(waitingMax) calls are waiting for \(store) already")
                } else {
                    nil
                }
            if refusal == nil { calls.append(call) }
            unlock()
            if let refusal { call.fail(refusal) }
        }

        /// Lets all threads end after the call they are at, and those that wait fail.
        private func stop() {
            condition.lock()
            phase = .stopped
            let rest = calls
            calls = []
            unlock()
            for call in rest { call.fail(stopped) }
        }

        /// Does calls, one after the other, until told to stop. A thread is in here for as long as that takes.
        private func work(with worker: Worker) {
            while let call = next() { if call.isAwaited() { call.run(worker) } }
        }

        private func next() -> Call? {
            condition.lock(whenValue: true)
            let call = phase == .running ? calls.popFirst() : nil
            unlock()
            return call
        }

        private func unlock() { condition.unlock(withValue: phase == .stopped || (phase == .running && !calls.isEmpty)) }

        private var stopped: MirrorError { error(.unreachable, "nobody runs this mirror") }

        private func error(_ code: MirrorError.Code, _ words: String) -> MirrorError { MirrorError(code, "\(words) (\(place))") }
    }

    /// Who waits for a call: answered once, by its thread or by the clock.
    private final class Waiter<Answer: Sendable>: Sendable {
        private let continuation: Mutex<CheckedContinuation<Result<Answer, MirrorError>, Never>?>

        init(_ continuation: CheckedContinuation<Result<Answer, MirrorError>, Never>) {
            self.continuation = Mutex(continuation)
        }

        var isWaiting: Bool { continuation.withLock { $0 != nil } }

        func answer(_ outcome: Result<Answer, MirrorError>) {
            let continuation = self.continuation.withLock { continuation in
                defer { continuation = nil }
                return continuation
            }
            continuation?.resume(returning: outcome)
        }
    }
#endif
