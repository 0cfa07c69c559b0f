/// How an agent and its mirror get on.
public struct MirrorStatus: Hashable, Sendable {
    /// Why the mirror was given up, in one line; nil while it answers.
    public var loss: String?
    public var breaker: CircuitBreaker.State
    /// Sessions whose last change the mirror doesn't have yet, and how long the oldest of those changes has waited. Zero when there is none.
    public var dirty: Int
    public var lag: Duration
    public var counters: MirrorCounters

    public init(
        loss: String? = nil, breaker: CircuitBreaker.State = .closed(failuresInARow: 0), dirty: Int = 0, lag: Duration = .zero,
        counters: MirrorCounters = .init()
    ) {
        self.loss = loss
        self.breaker = breaker
        self.dirty = dirty
        self.lag = lag
        self.counters = counters
    }

    public var isLost: Bool { loss != nil }
}

/// What was asked of a mirror since the agent started. Sums only.
public struct MirrorCounters: Hashable, Sendable {
    /// Sessions written.
    public var merged: UInt64 = 0
    /// Sessions that the mirror would not take or give, because what stands under their key is another program's.
    public var refused: UInt64 = 0
    /// Calls that failed for the mirror's part: it could not be reached, was late, or refused.
    public var failures: UInt64 = 0
    /// Times that it was found emptied, swapped, or with older data.
    public var stale: UInt64 = 0
    /// From a request to its answer, of batches written and of sessions looked up. Failures are in it.
    public var merges = DurationHistogram()
    public var loads = DurationHistogram()

    public init() {}
}
