import Dispatch
import MeshCore

/// The key file of an agent that runs, read again off its thread. One read at a time, so that what was asked for last also counts last.
struct KeyReader: Sendable {
    private let body: @Sendable () throws -> KeyFile
    private let queue = DispatchQueue(label: "sessionmesh.keys")

    init(_ body: @escaping @Sendable () throws -> KeyFile) {
        self.body = body
    }

    /// `answer` is called on the reader's own thread.
    func read(then answer: @escaping @Sendable (Result<KeyFile, KeyReloadFailure>) -> Void) {
        queue.async { [body] in
            answer(Result(catching: body).mapError { .unusable("\($0)") })
        }
    }
}

/// Why a key file that was to be read again changed nothing.
enum KeyReloadFailure: Error, Hashable, CustomStringConvertible {
    /// There is no file to read again.
    case notAFile
    /// It can't be read, or what it holds is no ring.
    case unusable(String)
    case refused(KeyRotation.Problem)
    /// The agent is not in the mesh yet, or no more.
    case notRunning

    var description: String {
        switch self {
        case .notAFile: "the keys did not come from a file: start this member with --key-file FILE to change them while it runs"
        case .unusable(let line): line
        case .refused(let problem): problem.description
        case .notRunning: "the agent is leaving the mesh"
        }
    }
}
