import MeshCore
import Testing

@Suite struct CircuitBreakerTests {
    private var breaker = CircuitBreaker(generator: SeededGenerator(seed: 1))
    private var now = Moment(uptime: 0, wall: 0)

    private mutating func advance(_ duration: Duration) { now = now.advanced(by: duration) }

    /// One call that takes `duration`; says what came of it.
    private mutating func call(_ outcome: CircuitBreaker.Outcome, taking duration: Duration = .milliseconds(1)) -> String {
        guard let permit = breaker.admit(at: now) else { return "not admitted" }
        advance(duration)
        switch breaker.record(outcome, of: permit, at: now) {
        case .opened(let until): return "opened for \(until.since(now).milliseconds) ms"
        case .closed: return "closed"
        case nil: return "\(breaker.state)"
        }
    }

    @Test mutating func anOutageIsFoundKeptAwayAndFoundToBeOver() {
        var transcript: [String] = []
        func note(_ line: String) { transcript.append(line) }
        note(call(.succeeded))
        note(call(.failed))
        note(call(.failed))
        note(call(.succeeded))
        note(call(.failed))
        note(call(.failed))
        note(call(.failed))
        note(call(.succeeded))
        for _ in 0..<7 {
            advance(.seconds(13))
            note(call(.failed))
        }
        advance(.seconds(13))
        note(call(.succeeded))
        note(call(.succeeded))
        #expect(
            transcript == [
                "closed(failuresInARow: 0)", "closed(failuresInARow: 1)", "closed(failuresInARow: 2)", "closed(failuresInARow: 0)",
                "closed(failuresInARow: 1)", "closed(failuresInARow: 2)", "opened for 516 ms", "not admitted",
                "opened for 1122 ms", "opened for 2471 ms", "opened for 1944 ms", "opened for 1944 ms", "opened for 2262 ms",
                "opened for 2377 ms",
                "opened for 2023 ms", "closed", "closed(failuresInARow: 0)",
            ])
    }

    @Test mutating func waitsDoubleFromHalfASecondToTwoSecondsWithinTheirJitter() {
        for _ in 0..<2 { _ = call(.failed) }
        for expected in [500, 1000, 2000, 2000, 2000] {
            guard let permit = breaker.admit(at: now), case .opened(let until) = breaker.record(.failed, of: permit, at: now) else {
                Issue.record("it did not open: \(breaker.state)")
                return
            }
            let wait = Double(until.since(now).milliseconds)
            #expect((0.75 * Double(expected) - 1...1.25 * Double(expected)).contains(wait), "\(wait) of \(expected)")
            now = until.advanced(by: .nanoseconds(-1))
            #expect(breaker.admit(at: now) == nil)
            now = until
        }
    }

    @Test mutating func afterAReturnTheFirstWaitIsShortAgain() {
        for _ in 0..<3 { _ = call(.failed) }
        for _ in 0..<4 {
            advance(.seconds(13))
            _ = call(.failed)
        }
        advance(.seconds(13))
        #expect(call(.succeeded) == "closed")
        for _ in 0..<2 { _ = call(.failed) }
        guard let permit = breaker.admit(at: now), case .opened(let until) = breaker.record(.failed, of: permit, at: now) else {
            Issue.record("it did not open")
            return
        }
        #expect(until.since(now) <= .milliseconds(625))
    }

    @Test mutating func oneSlowCallOpensItEvenIfItSucceeds() {
        #expect(call(.succeeded, taking: .seconds(1)) == "closed(failuresInARow: 0)")
        #expect(call(.succeeded, taking: .milliseconds(1001)).hasPrefix("opened"))
    }

    @Test mutating func onlyOneProbeIsOnItsWay() {
        for _ in 0..<3 { _ = call(.failed) }
        advance(.seconds(1))
        let probe = breaker.admit(at: now)
        #expect(probe != nil && breaker.state == .halfOpen)
        advance(.seconds(100))
        #expect(breaker.admit(at: now) == nil)
    }

    @Test mutating func outcomesOfCallsFromBeforeItOpenedAreIgnored() throws {
        let early = (0..<5).compactMap { _ in breaker.admit(at: now) }
        for permit in early.prefix(3) { breaker.record(.failed, of: permit, at: now) }
        let state = breaker.state
        #expect(breaker.record(.failed, of: early[3], at: now) == nil)
        #expect(breaker.state == state)
        advance(.seconds(1))
        let admitted = breaker.admit(at: now)
        let probe = try #require(admitted)
        #expect(breaker.record(.succeeded, of: early[4], at: now) == nil)
        #expect(breaker.state == .halfOpen)
        #expect(breaker.record(.succeeded, of: probe, at: now) == .closed)
    }

    @Test func theSameSeedGivesTheSameWaits() throws {
        func waits(_ seed: UInt64) throws -> [CircuitBreaker.State] {
            var breaker = CircuitBreaker(generator: SeededGenerator(seed: seed))
            var now = Moment(uptime: 0, wall: 0)
            return try (0..<8).map { _ in
                let admitted = breaker.admit(at: now)
                let permit = try #require(admitted)
                breaker.record(.failed, of: permit, at: now)
                defer { if case .open(let until) = breaker.state { now = until } }
                return breaker.state
            }
        }
        #expect(try waits(5) == waits(5))
        #expect(try waits(5) != waits(6))
    }
}
