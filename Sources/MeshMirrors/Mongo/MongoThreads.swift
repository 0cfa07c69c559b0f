#if MongoDB
    import DequeModule
    import MeshCore
    import NIOCore
    import NIOPosix
    import Synchronization

    /// Threads of a mirror's own, on which a library that blocks does its waiting, and the queue in front of them.
    ///
    /// A caller waits for its answer until its deadline and no longer, wherever its call has come to. A thread stays with the library until
    /// that gives up by its own time-outs; meanwhile the queue fills, and what would overfill it is refused.
    final class MongoThreads<Answer: Sendable>: Sendable {
        typealias Outcome = Result<Answer, MirrorError>

        /// Most calls that wait for a thread. A mirror is asked by few: two batches under way, and loads of sessions that nobody holds.
        /// More only means that it is too slow, and that they would wait in vain.
        static var waitingMax: Int { 256 }

        private struct State {
            var phase = Phase.new
            var waiting: Deque<Call> = []
        }

        private enum Phase {
            /// Nobody has run it yet; calls wait. Can transition to `running`.
            case new
            /// Can transition to `stopped`.
            case running(NIOThreadPool)
            /// Calls fail. Can transition to `running`.
            case stopped
        }

        private let state = Mutex(State())
        private let count: Int
        private let place: String

        /// - Parameter place: the server, for errors.
        init(count: Int, place: String) {
            self.count = count
            self.place = place
        }

        /// Does `work` on one of the threads.
        func perform(within timeout: Duration, _ work: @escaping @Sendable () -> Outcome) async throws(MirrorError) -> Answer {
            let outcome = await withCheckedContinuation { (waiter: CheckedContinuation<Outcome, Never>) in
                let late = MirrorError(.timedOut, "mongodb did not answer within \(timeout.wholeMilliseconds) ms (\(place))")
                let call = Call(waiter, deadline: .now() + TimeAmount(timeout), late: late, work)
                call.setTimer(
                    MultiThreadedEventLoopGroup.singleton.any().scheduleTask(deadline: call.deadline) { call.finish(.failure(late)) })
                if let error = admit(call) { call.finish(.failure(error)) }
            }
            return try outcome.get()
        }

        /// Runs the threads for as long as `body` takes. When this returns nothing is under way any more.
        func run(_ body: () async -> Void) async {
            let pool = NIOThreadPool(numberOfThreads: count)
            pool.start()
            let waiting = state.withLock { state in
                state.phase = .running(pool)
                return state.waiting.count
            }
            for _ in 0..<waiting { step(in: pool) }
            await body()
            let abandoned = state.withLock { state in
                defer { state.waiting.removeAll() }
                state.phase = .stopped
                return state.waiting
            }
            for call in abandoned { call.finish(.failure(stopped)) }
            // Throws for pools that others use too; this one is ours.
            try? await pool.shutdownGracefully()
        }

        private var stopped: MirrorError { MirrorError(.unreachable, "nobody runs this mirror (\(place))") }

        private func admit(_ call: Call) -> MirrorError? {
            let pool: NIOThreadPool?
            do throws(MirrorError) {
                pool = try state.withLock { state throws(MirrorError) in
                    if state.waiting.count >= Self.waitingMax { state.waiting.removeAll { !$0.isAwaited } }
                    guard state.waiting.count < Self.waitingMax else {
                        throw MirrorError(.unreachable, "\(Self.waitingMax) calls wait for mongodb already (\(place))")
                    }
                    switch state.phase {
                    case .stopped: throw stopped
                    case .new:
                        state.waiting.append(call)
                        return nil
                    case .running(let pool):
                        state.waiting.append(call)
                        return pool
                    }
                }
            } catch { return error }
            if let pool { step(in: pool) }
            return nil
        }

        /// Has a thread do the next call. There is a step for each call that waits, so none is left.
        private func step(in pool: NIOThreadPool) {
            pool.submit { [self] state in
                guard state == .active, let call = self.state.withLock({ $0.waiting.popFirst() }), call.isAwaited else { return }
                let outcome = call.work()
                // The library doesn't tell a time-out of its own from a broken connection.
                if case .failure = outcome, call.deadline <= .now() { call.finish(.failure(call.late)) } else { call.finish(outcome) }
            }
        }

        /// Work, and who waits for it. Whoever finishes it first, a thread or the timer, is heard.
        private final class Call: Sendable {
            let deadline: NIODeadline
            let late: MirrorError
            let work: @Sendable () -> Outcome
            private let waiter: Mutex<CheckedContinuation<Outcome, Never>?>
            private let timer = Mutex<Scheduled<Void>?>(nil)

            init(
                _ waiter: CheckedContinuation<Outcome, Never>, deadline: NIODeadline, late: MirrorError,
                _ work: @escaping @Sendable () -> Outcome
            ) {
                self.waiter = Mutex(waiter)
                self.deadline = deadline
                self.late = late
                self.work = work
            }

            var isAwaited: Bool { waiter.withLock { $0 != nil } }

            func setTimer(_ scheduled: Scheduled<Void>) { timer.withLock { $0 = scheduled } }

            func finish(_ outcome: Outcome) {
                let waiter = waiter.withLock { waiter in
                    defer { waiter = nil }
                    return waiter
                }
                guard let waiter else { return }
                timer.withLock { $0 }?.cancel()
                waiter.resume(returning: outcome)
            }
        }
    }
#endif
