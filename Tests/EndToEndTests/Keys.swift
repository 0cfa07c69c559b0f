import Foundation
import TemporaryDirectory

/// A key file that outlives a mesh, as an operator's does.
final class Keys {
    private let directory: TemporaryDirectory
    var path: String { directory.file("mesh.keys") }

    init() throws {
        directory = try TemporaryDirectory()
        let keygen = try Program(Program.path(of: "sessionmesh"), ["keygen"])
        try eventually("keygen ends") { keygen.exitCode != nil }
        let text = keygen.lines.joined(separator: "\n") + "\n"
        guard FileManager.default.createFile(atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600]) else {
            throw Program.Failure(description: "no key file at \(path)")
        }
    }
}
