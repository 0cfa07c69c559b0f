import Foundation
import Glibc

/// A fresh directory of this user's alone, with a short path, as sockets need one. It goes when nobody holds this any more.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/sessionmesh-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Program.Failure(description: "no directory: errno \(errno)") }
        path = String(cString: made)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}
