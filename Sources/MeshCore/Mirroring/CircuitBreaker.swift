/// Keeps a mirror that is down or slow from being asked again and again, and finds out when it is back.
///
/// Ask ``admit(at:)`` before each call and tell ``record(_:of:at:)`` how it went. A permit belongs to the state it was given in: the
/// outcome of a call that began before the breaker opened says nothing about the mirror of now and is ignored. Every permit must be
/// answered for, the probe's above all; mirrors bound their calls, so an outcome always comes.
public struct CircuitBreaker: Sendable {
    public enum State: Hashable, Sendable {
        /// Calls pass. Can transition to open.
        case closed(failuresInARow: Int)
        /// No call passes before the moment. Can transition to halfOpen, by the first call after it.
        case open(until: Moment)
        /// One call, the probe, is on its way, and all others wait for its outcome. Can transition to closed and open.
        case halfOpen
    }

    public struct Configuration: Hashable, Sendable {
        /// Failures in a row that open the breaker. More makes requests wait longer for a dead mirror, fewer lets one lost packet count as
        /// an outage.
        public var failuresMax = 3
        /// One call that takes longer opens the breaker at once, even if it succeeds: a mirror this slow holds up more than it keeps.
        public var latencyMax: Duration = .seconds(1)
        /// The first wait before a probe; doubled after each probe that fails.
        public var waitMin: Duration = .milliseconds(500)
        /// The longest wait before a probe, and so about the longest that a mirror's return goes unnoticed.
        public var waitMax: Duration = .seconds(2)
        /// Waits are drawn from wait ± this share, so that the agents of a mesh don't all probe at once.
        public var jitter = 0.25

        public init() {}
    }

    /// What the outcome of a call changed.
    public enum Transition: Hashable, Sendable {
        case opened(until: Moment)
        case closed
    }

    public enum Outcome: Hashable, Sendable {
        case succeeded
        case failed
    }

    /// Leave to make one call.
    public struct Permit: Hashable, Sendable {
        fileprivate let period: UInt64
        public let startedAt: Moment
    }

    public private(set) var state = State.closed(failuresInARow: 0)
    private let configuration: Configuration
    private var generator: SeededGenerator
    /// The number of transitions so far: what tells a permit of now from one of before.
    private var period: UInt64 = 0
    private var wait: Duration

    public init(configuration: Configuration = Configuration(), generator: SeededGenerator) {
        self.configuration = configuration
        self.generator = generator
        wait = configuration.waitMin
    }

    /// A permit for one call, or nil while the mirror must be left alone.
    public mutating func admit(at now: Moment) -> Permit? {
        switch state {
        case .closed: break
        case .open(let until):
            guard now.uptime >= until.uptime else { return nil }
            enter(.halfOpen)
        case .halfOpen: return nil
        }
        return Permit(period: period, startedAt: now)
    }

    /// - Returns: what this outcome changed, nil when nothing did.
    @discardableResult
    public mutating func record(_ outcome: Outcome, of permit: Permit, at now: Moment) -> Transition? {
        guard permit.period == period else { return nil }
        let isSlow = now.since(permit.startedAt) > configuration.latencyMax
        switch (state, outcome) {
        case (.open, _): return nil
        case (.closed, .succeeded) where !isSlow:
            state = .closed(failuresInARow: 0)
            return nil
        case (.closed(let failures), .failed) where !isSlow && failures + 1 < configuration.failuresMax:
            state = .closed(failuresInARow: failures + 1)
            return nil
        case (.halfOpen, .succeeded) where !isSlow:
            wait = configuration.waitMin
            enter(.closed(failuresInARow: 0))
            return .closed
        case (.closed, _), (.halfOpen, _):
            let until = now.advanced(by: generator.jittered(wait, share: configuration.jitter))
            wait = min(wait * 2, configuration.waitMax)
            enter(.open(until: until))
            return .opened(until: until)
        }
    }

    private mutating func enter(_ state: State) {
        self.state = state
        period += 1
    }
}
