import Glibc
import LabTools
import TemporaryDirectory

/// What agents are started from.
package struct Toolbox {
    /// The program under test.
    package var sessionmesh: String
    /// For sockets, the key file and what agents say.
    package var directory: String
    /// A library that shifts an agent's wall clock; nil: none can be shifted.
    package var clockShift: String?

    package var keyFile: String { "\(directory)/mesh.key" }

    /// Makes the key file, in a directory of this user's alone.
    /// - Parameters:
    ///   - sessionmesh: nil for the program beside this one.
    ///   - directory: nil for a temporary one, which nobody removes but who has asked for it.
    package init(sessionmesh: String?, directory: String?, clockShift: String? = nil) throws {
        umask(0o077)
        self.sessionmesh = try sessionmesh ?? Self.beside("sessionmesh")
        if let directory { try Files.makeDirectory(directory) }
        self.directory = try directory ?? TemporaryDirectory.kept()
        self.clockShift = clockShift
        try Files.write(try Child.run([self.sessionmesh, "keygen"]), to: keyFile)
        _ = chmod(keyFile, 0o600)
    }

    package func remove() { _ = try? Child.run(["rm", "-r", directory]) }

    /// The path of a program in the folder of the one that runs.
    package static func beside(_ name: String) throws -> String {
        let own = try Child.run(["readlink", "/proc/\(getpid())/exe"])
        return own.lastIndex(of: "/").map { own[...$0] + name } ?? name
    }
}
