import Foundation

/// A fresh directory, this user's alone, for the sockets and the key file of one demo.
struct DemoDirectory: Sendable {
    let path: String

    static func make(environment: [String: String]) throws -> DemoDirectory {
        // A socket's path has little room, so a long directory is no place for one.
        let base = environment["XDG_RUNTIME_DIR"].flatMap { $0.hasPrefix("/") && $0.utf8.count <= 48 && access($0, W_OK) == 0 ? $0 : nil }
        var template = Array("\(base ?? "/tmp")/sessionmesh-demo-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer in buffer.baseAddress.flatMap { mkdtemp($0) } != nil }
        guard made else {
            throw CommandFailure.configuration(
                "no directory can be made in \(base ?? "/tmp") (\(String(cString: strerror(errno)))): set XDG_RUNTIME_DIR")
        }
        return DemoDirectory(path: String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    var keyFile: String { "\(path)/mesh.key" }
    /// A FIFO: who writes a node's name into it has that node killed.
    var killSwitch: String { "\(path)/kill" }
    func client(_ node: String) -> String { "unix:\(path)/\(node).client" }
    func admin(_ member: String) -> String { "unix:\(path)/\(member).admin" }

    func remove() { try? FileManager.default.removeItem(atPath: path) }

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
