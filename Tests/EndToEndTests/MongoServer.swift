import Foundation
import Glibc
import TemporaryDirectory

/// A mongod of our own, on a Unix socket in a directory of its own.
final class MongoServer {
    private let directory: TemporaryDirectory
    private let program: Program

    init() throws {
        directory = try TemporaryDirectory()
        program = try Program(
            try Self.path(),
            // The prefix is of the socket that it makes besides, which stands in /tmp otherwise.
            ["--bind_ip", directory.file("mongod.sock"), "--unixSocketPrefix", directory.path, "--dbpath", directory.path]
                + ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"])
        try eventually("MongoDB waits for connections", within: 60) {
            if let code = program.exitCode { throw Program.Failure(description: "mongod ended with \(code): \(program.lines.suffix(3))") }
            return program.lines.contains { $0.contains("Waiting for connections") }
        }
    }

    deinit { program.signal(SIGKILL) }

    var uri: String { "mongodb://\(directory.file("mongod.sock").replacing("/", with: "%2F"))" }

    /// On the PATH's usual places, or where `.ci/setup test` has put it.
    private static func path() throws -> String {
        let environment = ProcessInfo.processInfo.environment
        let cache = environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? "")/.cache"
        let places = ["/usr/bin/mongod", "/usr/local/bin/mongod", "\(cache)/sessionmesh/mongod-6.0.5/mongod"]
        guard let path = places.first(where: { access($0, X_OK) == 0 }) else {
            throw Program.Failure(description: "no mongod: run make test, which fetches it, or install MongoDB 5 or later")
        }
        return path
    }
}
