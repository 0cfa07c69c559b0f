import Foundation
import Glibc
import Synchronization
import TemporaryDirectory

/// A redis-server of our own, on a Unix socket in a directory of its own.
final class RedisServer: Sendable {
    private let directory: TemporaryDirectory
    private let program = Mutex<Program?>(nil)

    init() throws {
        directory = try TemporaryDirectory()
        try start()
    }

    private var socket: String { directory.file("redis.sock") }

    var uri: String { "unix://\(socket)" }

    func start() throws {
        let places: [String] = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
        guard let path = places.first(where: { access($0, X_OK) == 0 }) else {
            throw Program.Failure(description: "no redis-server: apt-get install redis-server, or run make test")
        }
        let started = try Program(
            path, ["--port", "0", "--unixsocket", socket, "--dir", directory.path, "--save", "", "--appendonly", "yes"])
        program.withLock { $0 = started }
        try eventually("Redis answers") { (try? command("PING")) == "+PONG" }
    }

    /// Killed, and its data as far as it was written left for the next start.
    func kill() throws {
        signal(SIGKILL)
        try eventually("Redis is gone") { program.withLock { $0?.exitCode } != nil }
    }

    /// Stands still, or goes on: its socket takes connections meanwhile, and nobody answers.
    func freeze() throws { try program.withLock { $0 }?.freeze() }
    func thaw() { signal(SIGCONT) }

    private func signal(_ number: Int32) { program.withLock { $0 }?.signal(number) }

    /// Every byte that it has written to files.
    var files: [UInt8] {
        var bytes: [UInt8] = []
        for case let name as String in FileManager.default.enumerator(atPath: directory.path) ?? .init() {
            if let data = FileManager.default.contents(atPath: directory.file(name)) { bytes += data }
        }
        return bytes
    }

    /// The first line of Redis' answer.
    @discardableResult
    func command(_ words: String...) throws -> String {
        let wire = try Wire("unix:\(socket)", patience: 2)
        var text = "*\(words.count)\r\n"
        for word in words { text += "$\(word.utf8.count)\r\n\(word)\r\n" }
        try wire.send(Array(text.utf8))
        return String(decoding: try wire.read(through: [13, 10]).dropLast(2), as: UTF8.self)
    }

    deinit { signal(SIGKILL) }
}
