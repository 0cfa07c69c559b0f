import MeshCore

/// Why an agent could not start, or stay: something in its configuration or on its machine that a person must change. Trying again without that
/// can't help. The command line prints ``description`` and exits with 78 (`EX_CONFIG`).
public struct AgentStartError: Error, Hashable, Sendable, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public let description: String

        /// Another process listens on that address.
        public static let addressInUse = Code(description: "addressInUse")
        /// This machine doesn't have that address, or this user may not take it.
        public static let addressUnavailable = Code(description: "addressUnavailable")
        /// Not an address at all.
        public static let invalidAddress = Code(description: "invalidAddress")
        /// Clients and admin are for this machine alone.
        public static let notLoopback = Code(description: "notLoopback")
        /// The file of a Unix socket can't be made.
        public static let socketPath = Code(description: "socketPath")
        /// A living process answers on that Unix socket.
        public static let socketInUse = Code(description: "socketInUse")
        /// A client listener on TCP without a usable token.
        public static let clientToken = Code(description: "clientToken")
        /// What the agent says of itself, such as its tags, is out of bounds.
        public static let invalidAgent = Code(description: "invalidAgent")
        /// Bound to every address, so that nobody knows which one to dial.
        public static let advertiseMissing = Code(description: "advertiseMissing")
        /// Another living agent of the mesh has that name. Told by the mesh within a second of the start, or of waking.
        public static let nameTaken = Code(description: "nameTaken")
    }

    public var code: Code
    /// One line: what is wrong and what to do.
    public var description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    init(nameTakenBy holder: Member) {
        self.init(
            .nameTaken,
            "the name \(holder.name) is taken by a live agent at \(holder.endpoint): give this one another name, or stop that one first")
    }
}
