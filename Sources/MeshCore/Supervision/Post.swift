/// What a supervisor keeps filled with a running process.
public enum Post: Hashable, Sendable, CustomStringConvertible {
    /// One of the processes of the program, by its number from 1.
    case worker(Int)
    /// A process of another kind that runs beside the workers: the agent, the balancer.
    case sidecar(String)

    public var description: String {
        switch self {
        case .worker(let number): "worker \(number)"
        case .sidecar(let name): name
        }
    }

    /// Its number, if it is a worker.
    public var worker: Int? {
        if case .worker(let number) = self { number } else { nil }
    }
}

/// One start of a process in a post. While a worker is replaced, its post has two: the one that serves, and the one that is to.
public struct Launch: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let number: UInt64

    public init(_ number: UInt64) { self.number = number }

    public static func < (a: Launch, b: Launch) -> Bool { a.number < b.number }

    public var description: String { "#\(number)" }
}

/// How a process ended.
public enum ProcessEnding: Hashable, Sendable, CustomStringConvertible {
    case exited(code: Int32)
    case killed(signal: Int32)

    public var description: String {
        switch self {
        case .exited(let code): "exited with code \(code)"
        case .killed(let signal): "was killed by signal \(signal)"
        }
    }
}
