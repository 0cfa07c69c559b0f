/// Why a supervisor can't work.
public struct SupervisorError: Error, Hashable, CustomStringConvertible {
    /// May grow: have a default case.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Name: String { case configuration, program, ports, resources, sidecar, running }

        private let name: Name
        public var description: String { name.rawValue }

        /// A setting makes no sense.
        public static let configuration = Code(name: .configuration)
        /// The program isn't there, or can't be run.
        public static let program = Code(name: .program)
        /// There are too few free ports.
        public static let ports = Code(name: .ports)
        /// The system gave no descriptor, thread or directory.
        public static let resources = Code(name: .resources)
        /// A sidecar did not come up; it has said why on standard error.
        public static let sidecar = Code(name: .sidecar)
        /// This supervisor runs already, or has run.
        public static let running = Code(name: .running)
    }

    public let code: Code
    /// One line: what is wrong and what to do.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
