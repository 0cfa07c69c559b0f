/// Why the mesh did not do what an application asked.
public struct SessionError: Error, Sendable, CustomStringConvertible {
    public var code: Code
    /// One line for a person: what is wrong and what to do.
    public var message: String
    /// What lies beneath, when something does: a failed connection. Never anything that a session holds.
    public var cause: (any Error)?

    /// May grow: always handle codes that you don't know.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public let description: String

        /// The mesh can't answer just now, which is *not* "no such session". Keep the cookie, answer 503, try again.
        public static let unavailable = Code(description: "unavailable")
        /// The session is gone: expired, destroyed or never was. Nothing was changed.
        public static let notFound = Code(description: "notFound")
        /// A name, value or number is outside its bounds. Trying again can't help.
        public static let invalid = Code(description: "invalid")
        /// The commit rested on a field's value that is another by now. Nothing was changed. Decide anew.
        public static let conflict = Code(description: "conflict")
        /// So many others changed a field at one moment that this update got no turn. Nothing was changed. Try again later.
        public static let contended = Code(description: "contended")
        /// The agent holds as much as it may. Try again later.
        public static let full = Code(description: "full")
        /// Too many requests of this process wait for the agent. Shed load, try again later.
        public static let overloaded = Code(description: "overloaded")
        /// The connection to the agent broke after a publish was sent. Whether it was delivered is not known.
        public static let interrupted = Code(description: "interrupted")
        /// A subscription was read more slowly than its channel was written. Subscribe again, and fetch what was missed elsewhere.
        public static let slowConsumer = Code(description: "slowConsumer")
        /// The task that asked was cancelled.
        public static let cancelled = Code(description: "cancelled")
        /// This process is shutting down.
        public static let shutdown = Code(description: "shutdown")
    }

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// Whether the same request may succeed later, and repeating it is safe.
    public var isRetriable: Bool { [.unavailable, .contended, .full, .overloaded].contains(code) }

    /// Whether what was asked for may have been done all the same.
    var leavesOutcomeOpen: Bool { [.unavailable, .cancelled, .shutdown].contains(code) }

    public var description: String { cause.map { "\(code): \(message) (\($0))" } ?? "\(code): \(message)" }
}
