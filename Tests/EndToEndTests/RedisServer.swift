import Foundation
import Glibc

/// A redis-server of our own, on a Unix socket in a directory of its own.
final class RedisServer {
    private let directory: String
    private var program: Program?

    init() throws {
        var template = Array("/tmp/sessionmesh-redis-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Program.Failure(description: "no directory for Redis: errno \(errno)") }
        directory = String(cString: made)
        try start()
    }

    var uri: String { "unix://\(directory)/redis.sock" }

    func start() throws {
        let places: [String] = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
        guard let path = places.first(where: { access($0, X_OK) == 0 }) else {
            throw Program.Failure(description: "no redis-server: apt-get install redis-server, or run make test")
        }
        program = try Program(
            path, ["--port", "0", "--unixsocket", "\(directory)/redis.sock", "--dir", directory, "--save", "", "--appendonly", "yes"])
        try eventually("Redis answers") { (try? command("PING")) == "+PONG" }
    }

    /// Killed, and its data as far as it was written left for the next start.
    func kill() throws {
        program?.signal(SIGKILL)
        try eventually("Redis is gone") { program?.exitCode != nil }
    }

    /// The first line of Redis' answer.
    @discardableResult
    func command(_ words: String...) throws -> String {
        let wire = try Wire("unix:\(directory)/redis.sock", patience: 2)
        var text = "*\(words.count)\r\n"
        for word in words { text += "$\(word.utf8.count)\r\n\(word)\r\n" }
        try wire.send(Array(text.utf8))
        return String(decoding: try wire.read(through: [13, 10]).dropLast(2), as: UTF8.self)
    }

    deinit {
        program?.signal(SIGKILL)
        try? FileManager.default.removeItem(atPath: directory)
    }
}
