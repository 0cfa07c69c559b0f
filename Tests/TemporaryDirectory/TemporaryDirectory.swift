import Foundation
import Glibc

/// A fresh directory of this user's alone, with a short path, as sockets need one. It goes when nobody holds this any more, unless it is kept.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    package init() throws { path = try Self.kept() }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// The path of one that nobody removes.
    package static func kept() throws -> String {
        var template = Array("/tmp/sessionmesh-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw Failure(description: "no temporary directory: \(String(cString: strerror(errno)))")
        }
        return String(cString: made)
    }
}
