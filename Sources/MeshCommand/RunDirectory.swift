import Foundation

/// Where the processes of one user find each other: the default sockets, and the key file of a mesh on loopback.
struct RunDirectory: Hashable {
    let path: String

    /// In `$XDG_RUNTIME_DIR` when there is such a directory, else in `/tmp`. Made with mode 0700 when it is missing.
    /// - Throws: a configuration's failure when it is somebody else's, or others may enter: keys and sockets would be theirs.
    static func open(environment: [String: String] = ProcessInfo.processInfo.environment) throws -> RunDirectory {
        let directory = RunDirectory(path: place(environment))
        guard mkdir(directory.path, 0o700) == 0 || errno == EEXIST else {
            throw CommandFailure.configuration(
                "\(directory.path) can't be made (\(String(cString: strerror(errno)))): set XDG_RUNTIME_DIR to a directory of this user")
        }
        try directory.check()
        return directory
    }

    private static func place(_ environment: [String: String]) -> String {
        var status = stat()
        if let base = environment["XDG_RUNTIME_DIR"], base.hasPrefix("/"), stat(base, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            return "\(base)/sessionmesh"
        }
        return "/tmp/sessionmesh-\(geteuid())"
    }

    private func check() throws {
        var status = stat()
        // Not through a link: in /tmp anybody may have made one.
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw CommandFailure.configuration("\(path) is no directory: remove it")
        }
        guard status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw CommandFailure.configuration(
                "\(path) is not this user's alone (owner \(status.st_uid), mode \(String(status.st_mode & 0o7777, radix: 8))): "
                    + "make it so with chown and chmod 700, or set XDG_RUNTIME_DIR to another directory")
        }
    }

    var keyFile: String { "\(path)/mesh.key" }
    func clientSocket(of name: String) -> String { "\(path)/\(name)\(Self.clientSuffix)" }
    func adminSocket(of name: String) -> String { "\(path)/\(name)\(Self.adminSuffix)" }

    func supervisorSocket(of name: String) -> String { "\(path)/\(name)\(Self.supervisorSuffix)" }

    private static let clientSuffix = ".client"
    private static let adminSuffix = ".admin"
    private static let supervisorSuffix = ".supervisor"

    /// The client sockets that stand here, of agents that run or were killed.
    var clientSockets: [String] { sockets(Self.clientSuffix) }
    /// The admin sockets, those of balancers among them.
    var adminSockets: [String] { sockets(Self.adminSuffix) }
    var supervisorSockets: [String] { sockets(Self.supervisorSuffix) }

    private func sockets(_ suffix: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.filter { $0.hasSuffix(suffix) }.sorted().map { "\(path)/\($0)" }
    }
}
