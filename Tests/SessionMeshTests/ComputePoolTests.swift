import Dispatch
import Foundation
import MetricsTestKit
import ScriptedAgent
import Synchronization
import Testing

@testable import SessionMesh

/// Runs a pool for as long as `body` takes.
private func withPool<Result: Sendable>(
    threads: Int = 2, queueMax: Int = 100, whenFull: ComputePoolConfiguration.WhenFull = .refuse, metrics: TestMetrics? = nil,
    _ body: @Sendable (ComputePool) async throws -> Result
) async throws -> Result {
    var configuration = ComputePoolConfiguration()
    (configuration.threads, configuration.queueMax, configuration.whenFull) = (threads, queueMax, whenFull)
    // Tests that run beside these keep every core busy.
    configuration.priority = .normal
    let pool = try ComputePool(configuration: configuration, metrics: metrics)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await pool.run() }
        try await eventually("started") { pool.statistics.threads == threads }
        let outcome: Swift.Result<Result, any Error>
        do { outcome = .success(try await body(pool)) } catch { outcome = .failure(error) }
        group.cancelAll()
        try await group.waitForAll()
        return try outcome.get()
    }
}

/// Holds work until it is opened.
private final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func pass() { semaphore.wait() }
    func open(_ times: Int = 1) { for _ in 0..<times { semaphore.signal() } }
}

/// What work and its test both look at.
private final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    var value: Value { mutex.withLock { $0 } }
    func change(_ body: (inout Value) -> Void) { mutex.withLock { body(&$0) } }
}

private func failure(_ body: () async throws -> Void) async -> ComputePoolError? {
    do {
        try await body()
        return nil
    } catch { return error as? ComputePoolError }
}

@Suite struct ComputePoolTests {
    struct Mishap: Error, Equatable { let number: Int }

    // MARK: Results

    @Test func aThrownErrorComesBackAsItWas() async throws {
        try await withPool { pool in
            for number in 0..<20 {
                await #expect(throws: Mishap(number: number)) { try await pool.run { throw Mishap(number: number) } }
            }
            // What work throws is its own, also when it is of this library.
            let own = ComputePoolError(.full, "no room on the shelf")
            await #expect(throws: own) { try await pool.run { throw own } }
            let seven = try await pool.run { 7 }
            #expect(seven == 7)
            #expect(pool.statistics.failed == 21 && pool.statistics.completed == 1)
        }
    }

    @Test("a result that holds an error is a result: U13") func aResultWithAnErrorKeyIsAResult() async throws {
        try await withPool { pool in
            #expect(try await pool.run { ["error": "none", "stack": "of cards"] } == ["error": "none", "stack": "of cards"])
            let outcome: Result<Int, Mishap> = try await pool.run { .failure(Mishap(number: 3)) }
            #expect(outcome == .failure(Mishap(number: 3)))
            let absent: Int? = try await pool.run { nil }
            #expect(absent == nil && pool.statistics.failed == 0)
        }
    }

    /// Work is synchronous, which the compiler sees to. Who asks is not, and what comes back need not be.
    @Test("asynchronous callers, and results that are: U14") func callersAndResultsMayBeAsynchronous() async throws {
        try await withPool { pool in
            let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 1...100 { group.addTask { try await pool.run { number } } }
                return try await group.reduce(0, +)
            }
            #expect(sum == 5050)
            let numbers = try await pool.run {
                AsyncStream { stream in
                    for number in 1...3 { stream.yield(number) }
                    stream.finish()
                }
            }
            #expect(await numbers.reduce(0, +) == 6)
        }
    }

    // MARK: Threads

    @Test func workIsDoneOnThePoolsThreadsAndNoOthers() async throws {
        let threads = Shared<Set<UInt>>([])
        try await withPool(queueMax: 200) { pool in
            let callers = try await withThrowingTaskGroup(of: UInt.self) { group in
                for _ in 0..<200 {
                    group.addTask {
                        let caller = UInt(pthread_self())
                        try await pool.run { threads.change { _ = $0.insert(UInt(pthread_self())) } }
                        return caller
                    }
                }
                return try await group.reduce(into: Set<UInt>()) { $0.insert($1) }
            }
            #expect(threads.value.count <= 2 && threads.value.isDisjoint(with: callers))
        }
    }

    @Test(arguments: [ComputePoolConfiguration.Priority.idle, .normal])
    func threadsStandBackWhenTheyAreToldTo(priority: ComputePoolConfiguration.Priority) async throws {
        var configuration = ComputePoolConfiguration()
        configuration.priority = priority
        let pool = try ComputePool(configuration: configuration)
        let running = Task { try await pool.run() }
        try await eventually("started") { pool.statistics.threads > 0 }
        let niceness = nice(0)
        let standsBack = try await pool.run {
            // Of the thread that asks. SCHED_IDLE, or the last nice value where a container forbids that.
            sched_getscheduler(0) == 5 || nice(0) > niceness
        }
        #expect(standsBack == (priority == .idle))
        // Tasks go on where they always do, also when they were answered by many threads at once.
        let isUsual = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await pool.run {}
                    return sched_getscheduler(0) == 0 && nice(0) == niceness
                }
            }
            return try await group.reduce(true) { $0 && $1 }
        }
        #expect(isUsual)
        running.cancel()
        try await running.value
    }

    @Test("work is refused and never spills over: U12") func workNeverSpillsOver() async throws {
        try await withPool(threads: 1, queueMax: 1) { pool in
            let gate = Gate()
            let begun = Shared<[Int]>([])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<2 {
                    group.addTask {
                        try await pool.run {
                            begun.change { $0.append(number) }
                            gate.pass()
                        }
                    }
                    try await eventually("taken") { pool.statistics.running == 1 && pool.statistics.waiting == number }
                }
                for number in 2..<100 {
                    let error = await failure { try await pool.run { begun.change { $0.append(number) } } }
                    #expect(error?.code == .full && error?.isRetriable == true && error?.hasBegun == false)
                }
                #expect(begun.value == [0])
                gate.open(2)
                try await group.waitForAll()
            }
            #expect(begun.value == [0, 1] && pool.statistics.refused == 98)
        }
    }

    @Test func whoWaitsForRoomGetsItInOrder() async throws {
        try await withPool(threads: 1, queueMax: 1, whenFull: .wait(callersMax: 3)) { pool in
            let gate = Gate()
            let done = Shared<[Int]>([])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<5 {
                    group.addTask {
                        try await pool.run {
                            gate.pass()
                            done.change { $0.append(number) }
                        }
                    }
                    try await eventually("taken") { pool.statistics.running == 1 && pool.statistics.waiting == number }
                }
                #expect(await failure { try await pool.run {} }?.code == .full)
                gate.open(5)
                try await group.waitForAll()
            }
            #expect(done.value == [0, 1, 2, 3, 4])
        }
    }

    @Test("what throws, and what does not return, leaves a pool its size: U11, scenario 54") func aPoolKeepsItsSize() async throws {
        try await withPool { pool in
            for number in 0..<50 { await #expect(throws: Mishap.self) { try await pool.run { throw Mishap(number: number) } } }
            let gate = Gate()
            let error = await failure { try await pool.run(deadline: .now + .milliseconds(100)) { gate.pass() } }
            #expect(error?.code == .expired && error?.hasBegun == true && error?.isRetriable == false)
            #expect(pool.statistics.threads == 2 && pool.statistics.running == 1 && pool.statistics.deserted == 1)
            #expect(try await pool.run { 7 } == 7)
            gate.open()
            try await eventually("it returned") { pool.statistics.deserted == 0 }
            // Each waits for the other, so there are two threads.
            let (here, there) = (Gate(), Gate())
            async let one: Void = pool.run {
                here.open()
                there.pass()
            }
            async let other: Void = pool.run {
                there.open()
                here.pass()
            }
            _ = try await (one, other)
        }
    }

    @Test func poolsAreIndependent() async throws {
        try await withPool(threads: 1, queueMax: 1) { full in
            let gate = Gate()
            async let first: Void = full.run { gate.pass() }
            try await eventually("busy") { full.statistics.running == 1 }
            async let second: Void = full.run {}
            try await eventually("full") { full.statistics.waiting == 1 }
            try await withPool(threads: 1, queueMax: 1) { other in
                let seven = try await other.run { 7 }
                #expect(seven == 7 && other.statistics.completed == 1 && full.statistics.completed == 0)
            }
            gate.open()
            _ = try await (first, second)
        }
    }

    // MARK: Beginning and end

    @Test("before its start a pool says so, and starting it twice does not double it: U15") func aPoolIsStartedOnce() async throws {
        var configuration = ComputePoolConfiguration()
        (configuration.threads, configuration.priority) = (2, .normal)
        let pool = try ComputePool(configuration: configuration)
        let early = await failure { try await pool.run {} }
        #expect(early?.code == .notStarted && early?.isRetriable == true && pool.statistics.threads == 0)
        let running = Task { try await pool.run() }
        try await eventually("started") { pool.statistics.threads == 2 }
        #expect(await failure { try await pool.run() }?.code == .alreadyStarted)
        #expect(pool.statistics.threads == 2)
        #expect(try await pool.run { 7 } == 7)
        running.cancel()
        try await running.value
        let late = await failure { try await pool.run {} }
        #expect(late?.code == .stopped && late?.isRetriable == false && pool.statistics.threads == 0)
        #expect(await failure { try await pool.run() }?.code == .alreadyStarted)
    }

    @Test func aRunThatIsCancelledLeavesNobodyWaiting() async throws {
        var configuration = ComputePoolConfiguration()
        configuration.priority = .normal
        let pool = try ComputePool(configuration: configuration)
        let gate = Gate()
        let seen = Shared(0)
        let running = Task { try await pool.run() }
        try await eventually("started") { pool.statistics.threads > 0 }
        let threads = pool.statistics.threads
        let held = (0..<threads).map { _ in
            Task {
                try await pool.run { context in
                    gate.pass()
                    if context.isCancelled { seen.change { $0 += 1 } }
                }
            }
        }
        try await eventually("busy") { pool.statistics.running == threads }
        let waiting = Task { try await pool.run { 7 } }
        try await eventually("waiting") { pool.statistics.waiting == 1 }
        running.cancel()
        try await running.value
        for task in held { #expect(await failure { try await task.value }?.hasBegun == true) }
        let error = await failure { _ = try await waiting.value }
        #expect(error?.code == .stopped && error?.hasBegun == false)
        #expect(pool.statistics.deserted == threads && pool.statistics.stopped == threads + 1)
        gate.open(threads)
        try await eventually("no thread is left") { pool.statistics.threads == 0 }
        #expect(seen.value == threads)
    }

    @Test func aConfigurationOutOfBoundsIsRefused() {
        for change: (inout ComputePoolConfiguration) -> Void in [
            { $0.threads = 0 }, { $0.threads = 1025 }, { $0.queueMax = 0 }, { $0.queueMax = .max },
            { $0.whenFull = .wait(callersMax: .max) },
        ] {
            var configuration = ComputePoolConfiguration()
            change(&configuration)
            #expect { try ComputePool(configuration: configuration) } throws: { ($0 as? ComputePoolError)?.code == .invalid }
        }
    }

    // MARK: Cancellation

    @Test func aCancelledTaskLeavesTheLineAtOnce() async throws {
        try await withPool(threads: 1) { pool in
            let gate = Gate()
            async let first: Void = pool.run { gate.pass() }
            try await eventually("busy") { pool.statistics.running == 1 }
            let hasBegun = Shared(false)
            let task = Task { try await pool.run { hasBegun.change { $0 = true } } }
            try await eventually("waiting") { pool.statistics.waiting == 1 }
            task.cancel()
            let error = await failure { try await task.value }
            #expect(error?.code == .cancelled && error?.hasBegun == false)
            #expect(pool.statistics.waiting == 0 && pool.statistics.running == 1)
            gate.open()
            try await first
            #expect(try await pool.run { 7 } == 7)
            #expect(!hasBegun.value)
        }
    }

    @Test func workSeesThatItsTaskWasCancelled() async throws {
        try await withPool(threads: 1) { pool in
            let returned = Shared(false)
            let task = Task {
                try await pool.run { context in
                    defer { returned.change { $0 = true } }
                    while true { try context.checkCancellation() }
                }
            }
            try await eventually("running") { pool.statistics.running == 1 }
            task.cancel()
            let error = await failure { try await task.value }
            #expect(error?.code == .cancelled && error?.hasBegun == true)
            try await eventually("returned") { pool.statistics.running == 0 }
            #expect(returned.value && pool.statistics.cancelled == 1 && pool.statistics.failed == 0)
        }
    }

    @Test func aTaskThatIsCancelledAlreadyBeginsNothing() async throws {
        try await withPool { pool in
            let hasBegun = Shared(false)
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                try await pool.run { hasBegun.change { $0 = true } }
            }
            let error = await failure { try await task.value }
            #expect(error?.code == .cancelled && error?.hasBegun == false)
            try await pool.run {}
            #expect(!hasBegun.value)
        }
    }

    // MARK: Deadlines

    /// No thread gets free before the caller is told, so it is the deadline that tells it.
    @Test func whatWaitsIsToldAtItsDeadlineAndNeverBegun() async throws {
        try await withPool(threads: 1) { pool in
            let gate = Gate()
            async let first: Void = pool.run { gate.pass() }
            try await eventually("busy") { pool.statistics.running == 1 }
            let hasBegun = Shared(false)
            for pause in [100, 0, -100] {
                let error = await failure {
                    try await pool.run(deadline: .now + .milliseconds(pause)) { hasBegun.change { $0 = true } }
                }
                #expect(error?.code == .expired && error?.hasBegun == false && error?.isRetriable == true)
            }
            #expect(pool.statistics.expired == 3 && pool.statistics.waiting == 0)
            gate.open()
            try await first
            #expect(try await pool.run { 7 } == 7)
            #expect(!hasBegun.value)
        }
    }

    @Test func aSoonerDeadlineIsNotHeldUpByALaterOne() async throws {
        try await withPool(threads: 2) { pool in
            let gate = Gate()
            let patient = Task { try await pool.run(deadline: .now + .seconds(600)) { gate.pass() } }
            try await eventually("busy") { pool.statistics.running == 1 }
            let error = await failure { try await pool.run(deadline: .now + .milliseconds(50)) { gate.pass() } }
            #expect(error?.code == .expired)
            gate.open(2)
            try await patient.value
        }
    }

    @Test func workSeesThatItsDeadlineIsPast() async throws {
        try await withPool(threads: 1) { pool in
            let deadline = ContinuousClock.now + .milliseconds(50)
            let seen = Shared<ContinuousClock.Instant?>(nil)
            let error = await failure {
                try await pool.run(deadline: deadline) { context in
                    while !context.isCancelled {}
                    seen.change { $0 = context.deadline }
                }
            }
            #expect(error?.code == .expired && error?.hasBegun == true)
            try await eventually("returned") { pool.statistics.running == 0 }
            #expect(seen.value == deadline && pool.statistics.completed == 0)
        }
    }

    // MARK: Figures

    @Test func figuresAreCountedWhereTheApplicationCounts() async throws {
        let metrics = TestMetrics()
        @Sendable func total(_ outcome: String) -> Int64 {
            metrics.counterTotal(label: "sessionmesh_compute_calls_total", dimensions: [("pool", "compute"), ("outcome", outcome)])
        }
        try await withPool(threads: 1, queueMax: 1, metrics: metrics) { pool in
            _ = try await pool.run { 7 }
            _ = await failure { try await pool.run { throw Mishap(number: 1) } }
            let gate = Gate()
            async let first: Void = pool.run { gate.pass() }
            try await eventually("busy") { pool.statistics.running == 1 }
            _ = await failure { try await pool.run(deadline: .now + .milliseconds(20)) {} }
            let task = Task { try await pool.run {} }
            try await eventually("waiting") { pool.statistics.waiting == 1 }
            _ = await failure { try await pool.run {} }
            task.cancel()
            _ = await failure { try await task.value }
            try await eventually("counted") { metrics.meters(label: "sessionmesh_compute_running").first?.lastValue == 1 }
            gate.open()
            try await first
        }
        #expect(total("completed") == 2)
        for outcome in ["failed", "expired", "cancelled", "refused"] { #expect(total(outcome) == 1, "\(outcome)") }
        #expect(metrics.meters(label: "sessionmesh_compute_running").first?.lastValue == 0)
        for label in ["sessionmesh_compute_wait_seconds", "sessionmesh_compute_duration_seconds"] {
            #expect(metrics.timers(label: label).first?.values.count == 3)
        }
    }

    /// Threads, callers, deadlines and cancellations at once: each caller hears one thing, and the figures add up.
    @Test func nothingIsLostInAStorm() async throws {
        try await withPool(threads: 3, queueMax: 20) { pool in
            let results = await withTaskGroup(of: Int.self) { group in
                for number in 0..<2000 {
                    group.addTask {
                        let task = Task {
                            try await pool.run(deadline: number % 3 == 0 ? .now + .microseconds(number % 500) : nil) { context in
                                if number % 7 == 0 { throw Mishap(number: number) }
                                for _ in 0..<100 { if context.isCancelled { return -1 } }
                                return number
                            }
                        }
                        if number % 5 == 0 { task.cancel() }
                        switch await task.result {
                        case .success(let value): return value == number ? 1 : 0
                        case .failure(let error as Mishap): return error.number == number ? 1 : 0
                        case .failure(let error as ComputePoolError):
                            return [.full, .expired, .cancelled].contains(error.code) ? 1 : 0
                        case .failure: return 0
                        }
                    }
                }
                return await group.reduce(0, +)
            }
            #expect(results == 2000)
            try await eventually("quiet") { pool.statistics.running == 0 }
            #expect(pool.statistics.calls == 2000 && pool.statistics.waiting == 0)
            #expect(try await pool.run { 7 } == 7)
        }
    }
}
