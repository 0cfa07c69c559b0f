import Testing

@testable import SessionMesh

/// What a pool decides, played by hand.
@Suite struct ComputeQueueTests {
    struct Errand: Identifiable { let id: Int }

    static let start = ContinuousClock.now

    private static func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private static func queue(threads: Int, lineMax: Int = 100) -> ComputeQueue<Errand> {
        var queue = ComputeQueue<Errand>(lineMax: lineMax)
        #expect(queue.prepare() == true)
        queue.start(threads: threads)
        return queue
    }

    /// What a thread that is awake does next: the errand's number, nil when it sleeps or ends.
    private static func turn(_ queue: inout ComputeQueue<Errand>, _ worker: Int, at milliseconds: Int = 0) -> Int? {
        if case .begin(let errand, _) = queue.takeTurn(worker, now: at(milliseconds)).turn { errand.id } else { nil }
    }

    // MARK: Order

    @Test func aThreadThatSleepsIsHandedTheCall() {
        var queue = Self.queue(threads: 2)
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .handed(0))
        #expect(queue.submit(Errand(id: 2), now: Self.start) == .handed(1))
        #expect(queue.submit(Errand(id: 3), now: Self.start) == .waits)
        #expect(queue.statistics.waiting == 3 && queue.statistics.running == 0)
        #expect(Self.turn(&queue, 1) == 2 && Self.turn(&queue, 0) == 1)
        #expect(queue.statistics.waiting == 1 && queue.statistics.running == 2)
    }

    @Test func whoWaitsLongestIsNext() {
        var queue = Self.queue(threads: 1)
        for id in 1...4 { _ = queue.submit(Errand(id: id), now: Self.at(id)) }
        for id in 1...4 {
            #expect(Self.turn(&queue, 0, at: 10) == id)
            #expect(queue.end(on: 0, threw: false) == true)
        }
        #expect(Self.turn(&queue, 0) == nil)
        #expect(queue.statistics.completed == 4 && queue.statistics.longestWait == .milliseconds(9))
    }

    @Test func beyondItsBoundTheLineTakesNobody() {
        var queue = Self.queue(threads: 1, lineMax: 2)
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .handed(0))
        #expect(queue.submit(Errand(id: 2), now: Self.start) == .waits)
        #expect(queue.submit(Errand(id: 3), now: Self.start) == .waits)
        #expect(queue.submit(Errand(id: 4), now: Self.start) == .turnedAway(.full))
        #expect(queue.cancel(2)?.hasBegun == false)
        #expect(queue.submit(Errand(id: 5), now: Self.start) == .waits)
        #expect(queue.statistics.refused == 1)
    }

    @Test func nothingIsTakenBeforeTheStartAndNobodyStartsTwice() {
        var queue = ComputeQueue<Errand>(lineMax: 1)
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .turnedAway(.notStarted))
        #expect(queue.prepare() == true)
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .turnedAway(.notStarted))
        #expect(queue.prepare() == false)
        queue.start(threads: 3)
        #expect(queue.prepare() == false && queue.statistics.threads == 3)
    }

    // MARK: Deadlines

    @Test func whatIsLateIsNeverBegunEvenIfNobodyLookedAtTheClock() {
        var queue = Self.queue(threads: 1)
        _ = queue.submit(Errand(id: 1), deadline: Self.at(5), now: Self.start)
        _ = queue.submit(Errand(id: 2), deadline: Self.at(5), now: Self.start)
        _ = queue.submit(Errand(id: 3), deadline: Self.at(6), now: Self.start)
        let (turn, late) = queue.takeTurn(0, now: Self.at(5))
        guard case .begin(let errand, let waited) = turn else { return #expect(Bool(false), "there was one in time") }
        #expect(errand.id == 3 && waited == .milliseconds(5))
        #expect(late.map(\.call.id) == [1, 2] && late.allSatisfy { !$0.hasBegun })
    }

    @Test func theAlarmIsTheSoonestDeadlineThatIsLeft() {
        var queue = Self.queue(threads: 1)
        #expect(queue.alarm == nil)
        _ = queue.submit(Errand(id: 1), deadline: Self.at(50), now: Self.start)
        _ = queue.submit(Errand(id: 2), deadline: Self.at(20), now: Self.start)
        _ = queue.submit(Errand(id: 3), deadline: Self.at(30), now: Self.start)
        _ = queue.submit(Errand(id: 4), now: Self.start)
        #expect(queue.alarm == Self.at(20))
        #expect(Self.turn(&queue, 0) == 1)
        #expect(queue.expire(now: Self.at(29)).map(\.call.id) == [2])
        #expect(queue.alarm == Self.at(30))
        let late = queue.expire(now: Self.at(50))
        #expect(late.map(\.call.id) == [3, 1] && late.map(\.hasBegun) == [false, true])
        #expect(queue.alarm == nil && queue.statistics.expired == 3)
    }

    @Test func aDeadlineThatIsPastIsNotWaitedFor() {
        var queue = Self.queue(threads: 1)
        #expect(queue.submit(Errand(id: 1), deadline: Self.start, now: Self.start) == .turnedAway(.expired))
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .handed(0))
    }

    // MARK: Ends

    @Test func aThreadThatIsDesertedIsBusyUntilItsWorkReturns() {
        var queue = Self.queue(threads: 1)
        _ = queue.submit(Errand(id: 1), deadline: Self.at(5), now: Self.start)
        #expect(Self.turn(&queue, 0) == 1)
        _ = queue.expire(now: Self.at(5))
        #expect(queue.submit(Errand(id: 2), now: Self.at(6)) == .waits)
        #expect(queue.statistics.running == 1 && queue.statistics.deserted == 1)
        #expect(queue.end(on: 0, threw: false) == false)
        #expect(Self.turn(&queue, 0, at: 7) == 2)
        #expect(queue.statistics.deserted == 0 && queue.statistics.completed == 0 && queue.statistics.expired == 1)
    }

    @Test func aCallTakenBackBeforeItsThreadWakesIsNotBegun() {
        var queue = Self.queue(threads: 1)
        #expect(queue.submit(Errand(id: 1), now: Self.start) == .handed(0))
        #expect(queue.cancel(1)?.hasBegun == false)
        #expect(queue.cancel(1)?.hasBegun == nil)
        #expect(queue.submit(Errand(id: 2), now: Self.start) == .waits)
        #expect(Self.turn(&queue, 0) == 2)
        #expect(queue.cancel(2)?.hasBegun == true)
        #expect(queue.end(on: 0, threw: true) == false)
        #expect(Self.turn(&queue, 0) == nil)
        #expect(queue.statistics.cancelled == 2)
    }

    @Test func aStopLetsWhatRunsFinishAndNothingElse() {
        var queue = Self.queue(threads: 3)
        for id in 1...2 { _ = queue.submit(Errand(id: id), now: Self.start) }
        #expect(Self.turn(&queue, 0) == 1)
        let (losses, idle) = queue.stop()
        // The second was handed over, and its thread has not woken yet.
        #expect(losses.map(\.call.id) == [2] && idle == [2])
        #expect(queue.submit(Errand(id: 4), now: Self.start) == .turnedAway(.stopped))
        for worker in 1...2 { #expect(Self.turn(&queue, worker) == nil) }
        #expect(queue.statistics.threads == 1 && !queue.isAtRest)
        #expect(queue.end(on: 0, threw: false) == true)
        #expect(Self.turn(&queue, 0) == nil)
        #expect(queue.statistics.threads == 0 && queue.isAtRest)
    }

    @Test func atAStopAtOnceNobodyWaitsForWhatRuns() {
        var queue = Self.queue(threads: 1)
        _ = queue.submit(Errand(id: 1), now: Self.start)
        #expect(Self.turn(&queue, 0) == 1)
        _ = queue.stop()
        #expect(!queue.isAtRest)
        #expect(queue.desertAll().map(\.hasBegun) == [true])
        #expect(queue.isAtRest && queue.statistics.threads == 1)
        #expect(queue.end(on: 0, threw: false) == false)
        #expect(Self.turn(&queue, 0) == nil)
        #expect(queue.statistics.threads == 0 && queue.statistics.stopped == 1)
    }

    /// Whatever comes in whatever order: each call is answered once, the line keeps its bound, and no thread sleeps while a call waits.
    @Test(arguments: 1...20 as ClosedRange<UInt64>) func everyCallIsAnsweredOnce(seed: UInt64) {
        var chance = Chance(state: seed)
        let threads = 3
        var queue = Self.queue(threads: threads, lineMax: 5)
        var isAwake = Array(repeating: false, count: threads)
        var isBusy = Array(repeating: false, count: threads)
        var running = Array(repeating: 0, count: threads)
        var answers: [Int: Int] = [:]
        var asked = 0
        func answer(_ losses: [ComputeQueue<Errand>.Loss]) { for loss in losses { answers[loss.call.id, default: 0] += 1 } }
        for step in 0..<2000 {
            let now = Self.at(step)
            switch Int.random(in: 0..<10, using: &chance) {
            case 0..<5:
                asked += 1
                let deadline = now + .milliseconds(Int.random(in: 0...40, using: &chance))
                switch queue.submit(Errand(id: asked), deadline: Bool.random(using: &chance) ? deadline : nil, now: now) {
                case .handed(let worker):
                    #expect(!isAwake[worker] && !isBusy[worker])
                    isAwake[worker] = true
                case .waits: #expect(queue.statistics.waiting > 0)
                case .turnedAway: answers[asked, default: 0] += 1
                }
            case 5..<8:
                let worker = Int.random(in: 0..<threads, using: &chance)
                if isBusy[worker] {
                    isBusy[worker] = false
                    isAwake[worker] = true
                    if queue.end(on: worker, threw: Bool.random(using: &chance)) { answers[running[worker], default: 0] += 1 }
                }
                guard isAwake[worker] else { continue }
                isAwake[worker] = false
                let (turn, late) = queue.takeTurn(worker, now: now)
                answer(late)
                if case .begin(let errand, _) = turn { (isBusy[worker], running[worker]) = (true, errand.id) }
            case 8: if asked > 0, let loss = queue.cancel(Int.random(in: 1...asked, using: &chance)) { answer([loss]) }
            default: answer(queue.expire(now: now))
            }
            let figures = queue.statistics
            #expect(figures.waiting <= 5 + threads && figures.running == isBusy.count { $0 } && figures.deserted <= figures.running)
            #expect(asked == figures.calls)
        }
        answer(queue.stop().losses)
        answer(queue.desertAll())
        #expect(answers.count == asked && answers.values.allSatisfy { $0 == 1 })
        #expect(queue.statistics.calls == asked)
    }

    private struct Chance: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state ^ (state >> 29)) &* 0xBF58_476D_1CE4_E5B9
        }
    }
}

extension ComputePool.Statistics {
    /// By what its documentation says of them.
    var calls: Int { waiting + running - deserted + completed + failed + refused + expired + cancelled + stopped }
}
