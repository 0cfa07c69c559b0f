import MeshAgent
import MeshBalancer
import MeshCore
import MeshMirrors
import MeshSupervisor
import SessionMesh

/// Why a command ends: one line for a person, and a code for a program.
struct CommandFailure: Error, Hashable, CustomStringConvertible {
    var code: Int32
    /// What is wrong and what to do.
    var line: String

    var description: String { line }

    /// `EX_CONFIG`: starting again without a change can't help.
    static func configuration(_ line: String) -> CommandFailure { CommandFailure(code: 78, line: line) }
    /// It was tried and did not work.
    static func failed(_ line: String) -> CommandFailure { CommandFailure(code: 1, line: line) }

    private init(code: Int32, line: String) {
        self.code = code
        self.line = line
    }

    /// Nil for what the argument parser deals with.
    init?(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let error as AgentStartError: self = .configuration(error.description)
        case let error as BalancerError: self = .configuration(error.description)
        case let error as MirrorURI.Invalid: self = .configuration(error.description)
        case let error as KeyFileError: self = .configuration(error.description)
        case let error as SupervisorError: self = error.code == .sidecar ? .failed(error.message) : .configuration(error.message)
        case let error as SessionError: self = .failed(error.message)
        default: return nil
        }
    }
}
