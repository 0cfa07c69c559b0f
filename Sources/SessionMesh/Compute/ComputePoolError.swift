/// Why a pool did not do, or did not finish, what it was asked to. What the work itself throws comes back as it is.
public struct ComputePoolError: Error, Hashable, Sendable, CustomStringConvertible {
    public var code: Code
    /// One line for a person: what is wrong and what to do.
    public var message: String
    /// Whether the work was begun. If so, it may have done something, and may still run.
    public var hasBegun: Bool

    /// May grow: always handle codes that you don't know.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public let description: String

        /// Nobody runs the pool yet.
        public static let notStarted = Code(description: "notStarted")
        /// The pool has been stopped, or is about to. It isn't started again.
        public static let stopped = Code(description: "stopped")
        /// As many calls wait as may. Shed load, try again later.
        public static let full = Code(description: "full")
        /// The deadline is past.
        public static let expired = Code(description: "expired")
        /// The task that asked was cancelled.
        public static let cancelled = Code(description: "cancelled")
        /// The pool has been run before. That one is not disturbed.
        public static let alreadyStarted = Code(description: "alreadyStarted")
        /// The configuration is outside its bounds.
        public static let invalid = Code(description: "invalid")
        /// The system has no more threads.
        public static let noThreads = Code(description: "noThreads")
    }

    public init(_ code: Code, _ message: String, hasBegun: Bool = false) {
        self.code = code
        self.message = message
        self.hasBegun = hasBegun
    }

    /// Whether the same call may succeed later, and nothing of it was done.
    public var isRetriable: Bool { [.notStarted, .full, .expired].contains(code) && !hasBegun }

    public var description: String { "\(code): \(message)" }

    /// What a caller is told that gets no result.
    static func lost(_ code: Code, hasBegun: Bool = false) -> ComputePoolError {
        let message =
            switch code {
            case .notStarted: "nobody runs this pool yet; give it to the application as a service, or wait until it is started"
            case .stopped where hasBegun: "the pool was stopped before the work was done"
            case .stopped: "the pool has been stopped, and the work was not begun"
            case .full: "as many calls wait as may, and the work was not begun; try again later"
            case .expired where hasBegun: "the work was not done by its deadline; it has been told, and its thread is busy until it returns"
            case .expired: "no thread was free before the deadline, and the work was not begun; try again later"
            case .cancelled where hasBegun: "the task was cancelled; its work has been told, and its thread is busy until that returns"
            case .cancelled: "the task was cancelled, and the work was not begun"
            case let other: other.description
            }
        return ComputePoolError(code, message, hasBegun: hasBegun)
    }
}
