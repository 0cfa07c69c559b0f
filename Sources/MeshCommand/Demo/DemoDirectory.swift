import Foundation
import MeshSupervisor

/// Where the sockets and the key file of one demo are.
struct DemoDirectory: Sendable {
    private let directory: PrivateDirectory
    private var path: String { directory.path }

    static func make(environment: [String: String]) throws -> DemoDirectory {
        DemoDirectory(directory: try PrivateDirectory.make("sessionmesh-demo", environment: environment))
    }

    var keyFile: String { "\(path)/mesh.key" }
    /// A FIFO: who writes a node's name into it has that node killed.
    var killSwitch: String { "\(path)/kill" }
    func client(_ node: String) -> String { "unix:\(path)/\(node).client" }
    func admin(_ member: String) -> String { "unix:\(path)/\(member).admin" }

    func remove() { directory.remove() }

    /// Calls `body` with each line that is written into the kill switch, for as long as this process lives.
    func listenAtKillSwitch(_ body: @escaping @Sendable (String) -> Void) throws {
        // Open for writing as well, so that there is always a writer and never an end of file.
        guard mkfifo(killSwitch, 0o600) == 0, case let descriptor = open(killSwitch, O_RDWR | O_CLOEXEC), descriptor >= 0 else {
            throw CommandFailure.configuration("\(killSwitch) can't be made: \(String(cString: strerror(errno)))")
        }
        Thread.detachNewThread {
            var pending: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 256)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                for byte in buffer[..<count] {
                    if byte == UInt8(ascii: "\n") {
                        body(String(decoding: pending, as: UTF8.self))
                        pending = []
                    } else if pending.count < 256 {
                        pending.append(byte)
                    }
                }
            }
        }
    }
}
