import Foundation
import Glibc
import TemporaryDirectory

/// A memcached of our own, on a port that the system chose.
final class MemcachedServer {
    /// Empty until it is known; so whatever fails before that, the server is stopped.
    private(set) var address = ""
    private let directory: TemporaryDirectory
    private let program: Program

    init(_ options: [String] = []) throws {
        directory = try TemporaryDirectory()
        let places = ["/usr/bin/memcached", "/usr/local/bin/memcached"]
        guard let path = places.first(where: { access($0, X_OK) == 0 }) else {
            throw Program.Failure(description: "no memcached: apt-get install memcached, or run make test")
        }
        // It refuses to run as root without being told so.
        program = try Program(
            path, ["-l", "127.0.0.1", "-p", "-1", "-U", "0"] + (getuid() == 0 ? ["-u", "root"] : []) + options,
            environment: ["MEMCACHED_PORT_FILENAME": directory.file("port")])
        var port: Substring = ""
        let file = directory.file("port")
        try eventually("memcached says its port") {
            let line = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
            // "TCP INET: 38039"
            port = line.drop { !$0.isNumber }.prefix { $0.isNumber }
            return line.contains("\n") && !port.isEmpty
        }
        address = "127.0.0.1:\(port)"
    }

    deinit { program.signal(SIGKILL) }

    /// Until it has no memory for values of any size that a session may have.
    func fill() throws {
        let wire = try Wire(address)
        var size = 32
        while size < 4096 {
            let value = String(repeating: "x", count: size)
            var answer = ""
            var number = 0
            while !answer.contains("SERVER_ERROR") {
                try wire.send(Array("set fill-\(size)-\(number) 0 0 \(size)\r\n\(value)\r\n".utf8))
                answer = String(decoding: try wire.read(through: [13, 10]), as: UTF8.self)
                number += 1
                guard number < 100_000 else { throw Program.Failure(description: "memcached has memory without end: \(answer)") }
            }
            size += size / 8
        }
    }
}
