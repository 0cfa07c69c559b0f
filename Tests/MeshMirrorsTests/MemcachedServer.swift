#if Memcached
    import Foundation
    import MeshCore
    import TemporaryDirectory

    @testable import MeshMirrors

    /// A real memcached of our own.
    final class MemcachedServer: StoreServer, @unchecked Sendable {
        // @unchecked: `process` is only touched by `start` and `stop`, which a test calls one after the other.
        private let directory: TemporaryDirectory
        let port: UInt16
        private let options: [String]
        private var process: ServerProcess?

        /// Runs `body` with a server that is gone afterwards.
        static func with(options: [String] = [], _ body: (MemcachedServer) async throws -> Void) async throws {
            try await with(1, options: options) { try await body($0[0]) }
        }

        /// Runs `body` with `count` servers.
        static func with(_ count: Int, options: [String] = [], _ body: ([MemcachedServer]) async throws -> Void) async throws {
            var servers: [MemcachedServer] = []
            defer { for server in servers { server.stop() } }
            for _ in 0..<count { servers.append(try await ServerProcess.started { try MemcachedServer(port: $0, options: options) }) }
            try await body(servers)
        }

        private init(port: UInt16, options: [String]) throws {
            self.port = port
            self.options = options
            directory = try TemporaryDirectory()
        }

        func start() async throws {
            // It refuses to run as root without being told who to be.
            let arguments = ["-l", "127.0.0.1", "-p", "\(port)", "-U", "0", "-t", "2"] + (getuid() == 0 ? ["-u", "nobody"] : []) + options
            let process = try ServerProcess("memcached", arguments, log: directory.file("log"))
            self.process = process
            try await process.becomesReady(unless: "in use") { (try? raw()) != nil }
        }

        /// Kills the server and waits until it is gone.
        func stop() {
            process?.stop()
            process = nil
        }

        func suspend() { process?.suspend() }
        func resume() { process?.resume() }

        func raw() throws -> RawSocket { try RawSocket(port: port) }
    }

    /// A blocking connection, for what a mirror would never do.
    final class RawSocket {
        private let socket: Int32

        init(port: UInt16) throws {
            socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
            guard result == 0 else { throw ServerFailure(description: "can't connect to port \(port): errno \(errno)") }
            var patience = timeval(tv_sec: 30, tv_usec: 0)
            setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        }

        deinit { close(socket) }

        /// Puts `value` under `key` with memcached's text protocol.
        func set(_ key: String, _ value: [UInt8], seconds: Int = 3600) throws {
            try send(Array("set \(key) 0 \(seconds) \(value.count)\r\n".utf8) + value + Array("\r\n".utf8))
            try expect(receive(until: "\r\n"), "STORED\r\n")
        }

        /// What is under `key`, nil when nothing is.
        func get(_ key: String) throws -> [UInt8]? {
            try send(Array("get \(key)\r\n".utf8))
            let answer = try receive(until: "END\r\n")
            guard let line = answer.firstIndex(of: 10), answer.count > 5 else { return nil }
            return Array(answer[(line + 1)...].dropLast(7))
        }

        func flush() throws {
            try send(Array("flush_all\r\n".utf8))
            try expect(receive(until: "\r\n"), "OK\r\n")
        }

        func delete(_ key: String) throws {
            try send(Array("delete \(key)\r\n".utf8))
            try expect(receive(until: "\r\n"), "DELETED\r\n")
        }

        private func expect(_ answer: [UInt8], _ text: String) throws {
            guard answer == Array(text.utf8) else {
                throw ServerFailure(description: "memcached answered \(String(decoding: answer, as: UTF8.self))")
            }
        }

        private func send(_ bytes: [UInt8]) throws {
            guard Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw ServerFailure(description: "can't send: errno \(errno)")
            }
        }

        private func receive(until end: String) throws -> [UInt8] {
            var answer: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65536)
            while !answer.suffix(end.utf8.count).elementsEqual(end.utf8) {
                let count = read(socket, &buffer, buffer.count)
                guard count > 0 else { throw ServerFailure(description: "no answer: errno \(errno)") }
                answer += buffer.prefix(count)
            }
            return answer
        }
    }

    extension MemcachedAddress {
        /// That of a whole URI.
        init(uri: String) throws {
            guard case .memcached(let address) = try MirrorURI(uri).store else {
                throw ServerFailure(description: "\(uri) is no memcached")
            }
            self = address
        }

        init(ports: [UInt16]) throws {
            try self.init(uri: "memcached://" + ports.map { "127.0.0.1:\($0)" }.joined(separator: ","))
        }
    }
#endif
