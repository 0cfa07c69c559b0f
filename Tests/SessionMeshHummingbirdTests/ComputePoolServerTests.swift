import Dispatch
import Hummingbird
import HummingbirdCore
import Logging
import NIOPosix
import ScriptedAgent
import ServiceLifecycle
import SessionMesh
import SessionMeshHummingbird
import Synchronization
import Testing

/// A pool behind a real server, and among an application's services.
@Suite struct ComputePoolServerTests {
    private static func pool(threads: Int, queueMax: Int) throws -> ComputePool {
        var configuration = ComputePoolConfiguration()
        (configuration.threads, configuration.queueMax, configuration.priority) = (threads, queueMax, .normal)
        return try ComputePool(configuration: configuration)
    }

    @Test("pages are answered while the pool is saturated, and no loop computes: U12, scenario 32")
    func pagesAreAnsweredWhileThePoolIsSaturated() async throws {
        let pool = try Self.pool(threads: 1, queueMax: 1)
        let gate = DispatchSemaphore(value: 0)
        let sawLoop = Mutex(false)
        let router = Router()
        router.get("/") { _, _ in "here" }
        router.get("/work") { _, _ in
            try await pool.run {
                if MultiThreadedEventLoopGroup.currentEventLoop != nil { sawLoop.withLock { $0 = true } }
                // Work, and no waiting: it keeps a core busy until it is done.
                while gate.wait(timeout: .now()) == .timedOut {}
                return "done"
            }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await pool.run() }
            try await eventually("started") { pool.statistics.threads == 1 }
            try await withServer(router.buildResponder()) { port, _ in
                let client = TestClient(port: port)
                async let running = client.execute(uri: "/work", method: .get) { $0.status }
                try await eventually("busy") { pool.statistics.running == 1 }
                async let waiting = client.execute(uri: "/work", method: .get) { $0.status }
                try await eventually("full") { pool.statistics.waiting == 1 }
                for _ in 0..<20 {
                    try await client.execute(uri: "/", method: .get) { #expect(String(buffer: $0.body) == "here") }
                    try await client.execute(uri: "/work", method: .get) { response in
                        #expect(response.status == .serviceUnavailable && response.headers[.retryAfter] == "1")
                    }
                }
                #expect(pool.statistics.running == 1 && pool.statistics.waiting == 1 && pool.statistics.refused == 20)
                gate.signal()
                gate.signal()
                #expect(try await [running, waiting] == [.ok, .ok])
            }
            group.cancelAll()
        }
        #expect(!sawLoop.withLock { $0 })
    }

    @Test func aGracefulShutdownFinishesWhatHasBegun() async throws {
        let pool = try Self.pool(threads: 1, queueMax: 10)
        let services = ServiceGroup(services: [pool], logger: Logger(label: "test"))
        let running = Task { try await services.run() }
        try await eventually("started") { pool.statistics.threads == 1 }
        let gate = DispatchSemaphore(value: 0)
        let begun = Task {
            try await pool.run { context in
                gate.wait()
                return !context.isCancelled
            }
        }
        try await eventually("busy") { pool.statistics.running == 1 }
        let waiting = Task { try await pool.run { true } }
        try await eventually("waiting") { pool.statistics.waiting == 1 }
        await services.triggerGracefulShutdown()
        await #expect { _ = try await waiting.value } throws: { ($0 as? ComputePoolError)?.code == .stopped }
        await #expect { _ = try await pool.run { true } } throws: { ($0 as? ComputePoolError)?.code == .stopped }
        #expect(pool.statistics.running == 1)
        gate.signal()
        #expect(try await begun.value)
        try await running.value
        #expect(pool.statistics.threads == 0)
    }

    /// Its caller has been told, so nobody waits for it at a shutdown either.
    @Test func aGracefulShutdownDoesNotWaitForWorkThatNobodyWaitsFor() async throws {
        let pool = try Self.pool(threads: 1, queueMax: 10)
        let services = ServiceGroup(services: [pool], logger: Logger(label: "test"))
        let running = Task { try await services.run() }
        try await eventually("started") { pool.statistics.threads == 1 }
        let gate = DispatchSemaphore(value: 0)
        await #expect { try await pool.run(deadline: .now + .milliseconds(20)) { gate.wait() } } throws: {
            ($0 as? ComputePoolError)?.code == .expired
        }
        await services.triggerGracefulShutdown()
        try await running.value
        gate.signal()
        try await eventually("no thread is left") { pool.statistics.threads == 0 }
    }
}
