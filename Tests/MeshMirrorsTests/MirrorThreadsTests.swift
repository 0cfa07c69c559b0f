#if Memcached || MongoDB
    import Foundation
    import MeshCore
    import Synchronization
    import Testing

    @testable import MeshMirrors

    @Suite struct MirrorThreadsTests {
        private static let waitingMax = 64

        @Test func aCallerWaitsForItsDeadlineThoughItsThreadIsStuck() async throws {
            let threads = MirrorThreads<Void>(count: 1, waitingMax: Self.waitingMax, store: "it", place: "there")
            let stuck = DispatchSemaphore(value: 0)
            let count = Count()
            await threads.run(with: {}) {
                // On a slow machine the time of a call may be up before it is begun.
                while count.calls.load(ordering: .relaxed) == 0 {
                    let error = await errorOf {
                        _ = try await threads.perform(within: .milliseconds(50)) { _, _ in
                            count.calls.add(1, ordering: .relaxed)
                            stuck.wait()
                            return 1
                        }
                    }
                    #expect(error?.code == .timedOut && error?.description.contains("there") == true, "\(String(describing: error))")
                }
                // The next waits for the same thread, and isn't begun when nobody wants it any more.
                let error2 = await errorOf {
                    _ = try await threads.perform(within: .milliseconds(50)) { _, _ in
                        Issue.record("it was begun")
                        return 2
                    }
                }
                #expect(error2?.code == .timedOut)
                stuck.signal()
                let last = await errorOf { _ = try await threads.perform(within: .seconds(30)) { _, _ in 3 } }
                #expect(last == nil)
            }
        }

        @Test func whatWouldOverfillTheQueueIsRefusedAtOnce() async throws {
            let threads = MirrorThreads<Void>(count: 1, waitingMax: Self.waitingMax, store: "it", place: "there")
            let max = Self.waitingMax
            let done = Count()
            await withTaskGroup(of: MirrorError?.self) { group in
                for _ in 0..<(max + 10) {
                    group.addTask {
                        await errorOf {
                            _ = try await threads.perform(within: .seconds(60)) { _, _ in
                                done.calls.add(1, ordering: .relaxed)
                                return 0
                            }
                        }
                    }
                }
                // Nobody runs them yet: ten are refused, and the others wait.
                var refused: [MirrorError?] = []
                while refused.count < 10, let error = await group.next() { refused.append(error) }
                #expect(refused.allSatisfy { $0?.code == .timedOut && $0?.description.contains("waiting") == true }, "\(refused)")
                await threads.run(with: {}) {
                    let others = await group.reduce(into: []) { $0.append($1) }
                    #expect(others.count == max && others.allSatisfy { $0 == nil }, "\(others)")
                }
            }
            #expect(done.calls.load(ordering: .relaxed) == max)
        }

        private final class Count: Sendable {
            let calls = Atomic(0)
        }

        @Test func whenItStopsWhoStillWaitsIsTold() async throws {
            let threads = MirrorThreads<Void>(count: 1, waitingMax: Self.waitingMax, store: "it", place: "there")
            let stuck = DispatchSemaphore(value: 0)
            let began = AsyncStream.makeStream(of: Void.self)
            await withTaskGroup(of: MirrorError?.self) { group in
                await threads.run(with: {}) {
                    group.addTask {
                        await errorOf {
                            _ = try await threads.perform(within: .seconds(60)) { _, _ in
                                began.continuation.finish()
                                stuck.wait()
                                return 1
                            }
                        }
                    }
                    for await _ in began.stream {}
                    DispatchQueue.global().asyncAfter(deadline: .now() + 0.05) { stuck.signal() }
                }
                #expect(await group.next() == .some(nil))
                #expect(await errorOf { _ = try await threads.perform(within: .seconds(60)) { _, _ in 1 } }?.code == .unreachable)
            }
        }
    }
#endif
