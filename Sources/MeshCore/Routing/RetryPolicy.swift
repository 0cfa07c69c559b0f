/// Whether a request that failed at one instance may be given to another. A pure table, because a wrong yes charges a card twice.
///
/// Sources: RFC 9110, section 9.2.2 (what may be repeated automatically) and RFC 9112, section 9.3.1 (retrying when a kept connection closes).
public struct RetryPolicy: Hashable, Sendable {
    /// At most this many repeats of one request. Default 2.
    public var retriesMax = 2
    /// Repeats going on at once, as a share of the requests going on, in percent; without it a dying mesh drowns in its own repeats. Default 20.
    public var budgetPercent = 20
    /// That many repeats at once are always allowed. Default 3.
    public var budgetFloor = 3
    /// Trust `Idempotency-Key` to make a POST repeatable. Default false: the application must be known to honour it.
    public var honoursIdempotencyKey = false

    public init() {}

    /// How far the failed attempt had come.
    public enum Progress: Hashable, Sendable, CaseIterable {
        /// No byte of the request was written: connect refused or timed out, or the kept connection was already closed.
        case nothingWritten
        /// The request may have been read, and acted on.
        case written
        /// A byte of the answer was seen.
        case answered
    }

    public struct Failure: Hashable, Sendable {
        public var method: HTTPMethod
        public var hasIdempotencyKey: Bool
        public var progress: Progress
        /// What was sent of the request is still in the buffer, or nothing was sent.
        public var isReplayable: Bool
        /// The connection had served before: that it closed says nothing about the instance.
        public var wasKept: Bool
        /// Repeats of this request so far.
        public var retries: Int
        /// Requests going on in this loop, and how many of them are repeats.
        public var activeRequests: Int
        public var activeRetries: Int

        public init(
            method: HTTPMethod, hasIdempotencyKey: Bool = false, progress: Progress, isReplayable: Bool = true, wasKept: Bool = false,
            retries: Int = 0, activeRequests: Int = 1, activeRetries: Int = 0
        ) {
            self.method = method
            self.hasIdempotencyKey = hasIdempotencyKey
            self.progress = progress
            self.isReplayable = isReplayable
            self.wasKept = wasKept
            self.retries = retries
            self.activeRequests = activeRequests
            self.activeRetries = activeRetries
        }
    }

    public enum Decision: Hashable, Sendable {
        /// Again at once, on a new connection to the same instance.
        case reconnect
        /// Again at once, at an instance not tried yet. The target changes, so there is no back-off.
        case elsewhere
        case giveUp(Reason)
    }

    public enum Reason: Hashable, Sendable, CaseIterable {
        /// The answer had begun: the client leg is cut so that truncation is visible.
        case answerBegun
        /// The request may have been acted on, and its method is not idempotent.
        case notIdempotent
        /// Part of the body is gone.
        case bodyGone
        case triesUsedUp
        case budgetUsedUp
    }

    public func decide(_ failure: Failure) -> Decision {
        switch failure.progress {
        case .answered: return .giveUp(.answerBegun)
        case .written:
            guard failure.method.isIdempotent || (failure.hasIdempotencyKey && honoursIdempotencyKey) else {
                return .giveUp(.notIdempotent)
            }
        case .nothingWritten: break
        }
        guard failure.isReplayable else { return .giveUp(.bodyGone) }
        guard failure.retries < retriesMax else { return .giveUp(.triesUsedUp) }
        guard failure.activeRetries < max(budgetFloor, failure.activeRequests * budgetPercent / 100) else {
            return .giveUp(.budgetUsedUp)
        }
        return failure.wasKept ? .reconnect : .elsewhere
    }
}
