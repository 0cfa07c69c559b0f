#if MongoDB
    import Foundation
    import MeshCore
    import Synchronization
    import Testing

    @testable import MeshMirrors

    @Suite struct MongoThreadsTests {
        @Test func aCallerWaitsForItsDeadlineThoughItsThreadIsStuck() async throws {
            let threads = MongoThreads<Int>(count: 1, place: "there")
            let stuck = DispatchSemaphore(value: 0)
            await threads.run {
                let error = await errorOf {
                    _ = try await threads.perform(within: .milliseconds(50)) {
                        stuck.wait()
                        return .success(1)
                    }
                }
                #expect(error?.code == .timedOut && error?.description.contains("there") == true, "\(String(describing: error))")
                // The next waits for the same thread, and isn't begun when nobody wants it any more.
                let error2 = await errorOf {
                    _ = try await threads.perform(within: .milliseconds(50)) {
                        Issue.record("it was begun")
                        return .success(2)
                    }
                }
                #expect(error2?.code == .timedOut)
                stuck.signal()
                let last = await errorOf { _ = try await threads.perform(within: .seconds(30)) { .success(3) } }
                #expect(last == nil)
            }
        }

        @Test func whatWouldOverfillTheQueueIsRefusedAtOnce() async throws {
            let threads = MongoThreads<Int>(count: 1, place: "there")
            let max = MongoThreads<Int>.waitingMax
            let done = Count()
            await withTaskGroup(of: MirrorError?.self) { group in
                for _ in 0..<(max + 10) {
                    group.addTask {
                        await errorOf {
                            _ = try await threads.perform(within: .seconds(60)) {
                                done.calls.add(1, ordering: .relaxed)
                                return .success(0)
                            }
                        }
                    }
                }
                // Nobody runs them yet: ten are refused, and the others wait.
                var refused: [MirrorError?] = []
                while refused.count < 10, let error = await group.next() { refused.append(error) }
                #expect(refused.allSatisfy { $0?.code == .unreachable }, "\(refused)")
                await threads.run {
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
            let threads = MongoThreads<Int>(count: 1, place: "there")
            let stuck = DispatchSemaphore(value: 0)
            let began = AsyncStream.makeStream(of: Void.self)
            await withTaskGroup(of: MirrorError?.self) { group in
                await threads.run {
                    group.addTask {
                        await errorOf {
                            _ = try await threads.perform(within: .seconds(60)) {
                                began.continuation.finish()
                                stuck.wait()
                                return .success(1)
                            }
                        }
                    }
                    for await _ in began.stream {}
                    DispatchQueue.global().asyncAfter(deadline: .now() + 0.05) { stuck.signal() }
                }
                #expect(await group.next() == .some(nil))
                #expect(await errorOf { _ = try await threads.perform(within: .seconds(60)) { .success(1) } }?.code == .unreachable)
            }
        }
    }
#endif
