#if Redis
    import Foundation
    import NIOCore
    import TemporaryDirectory

    @testable import MeshMirrors

    /// A real redis-server of our own in a temporary directory, on a Unix socket and, when asked, on a TCP port.
    final class RedisServer: StoreServer, @unchecked Sendable {
        // @unchecked: `process` is only touched by `start` and `stop`, which a test calls one after the other.
        private let directory: TemporaryDirectory
        let port: UInt16
        private let portOption: String
        private let options: [String]
        private var process: ServerProcess?

        var socketPath: String { directory.file("s") }

        /// Runs `body` with a server that is gone afterwards.
        /// - Parameter portOption: what the TCP port is for.
        static func with(
            tcp: Bool = false, portOption: String = "--port", options: [String] = [], _ body: (RedisServer) async throws -> Void
        ) async throws {
            let server = try await ServerProcess.started {
                try RedisServer(port: tcp ? $0 : 0, portOption: portOption, options: options)
            }
            defer { server.stop() }
            try await body(server)
        }

        /// Runs `body` with a Sentinel that watches `master` under the name of `sessions`.
        static func withSentinel(
            of master: RedisServer, portOption: String = "--port", options: [String] = [], _ body: (RedisServer) async throws -> Void
        ) async throws {
            let sentinel = try await ServerProcess.started { port in
                // Sentinels keep what they know in their configuration.
                try RedisServer(
                    port: port, portOption: portOption, options: ["--sentinel"] + options,
                    configuration: """
                        sentinel monitor sessions 127.0.0.1 \(master.port) 1
                        sentinel down-after-milliseconds sessions 3000
                        sentinel failover-timeout sessions 2000

                        """)
            }
            defer { sentinel.stop() }
            try await body(sentinel)
        }

        init(port: UInt16, portOption: String = "--port", options: [String], configuration: String? = nil) throws {
            self.port = port
            self.portOption = portOption
            directory = try TemporaryDirectory()
            guard let configuration else {
                self.options = ["--save", "", "--appendonly", "no"] + options
                return
            }
            try configuration.write(toFile: directory.file("conf"), atomically: false, encoding: .utf8)
            self.options = [directory.file("conf")] + options
        }

        func start() async throws {
            let ports = (portOption == "--port" ? [] : ["--port", "0"]) + [portOption, "\(port)", "--bind", "127.0.0.1"]
            // A file of options must come first.
            let arguments = options + ports + ["--unixsocket", socketPath, "--dir", directory.path, "--daemonize", "no"]
            let process = try ServerProcess("redis-server", arguments, log: directory.file("log"))
            self.process = process
            try await process.becomesReady(unless: "Failed listening on port") { [socketPath] in
                (try? RawRedis(socketPath: socketPath).command("PING")) != nil
            }
        }

        /// Kills the server and waits until it is gone.
        func stop() {
            process?.stop()
            process = nil
        }

        func suspend() { process?.suspend() }
        func resume() { process?.resume() }

        func raw() throws -> RawRedis { try RawRedis(socketPath: socketPath) }

        func configuration(login: String = "", database: Int = 0, tcp: Bool = false, commandTimeout: Duration = .seconds(30)) throws
            -> RedisMirror.Configuration
        {
            let uri = tcp ? "redis://\(login)127.0.0.1:\(port)/\(database)" : "unix://\(login)\(socketPath)?db=\(database)"
            return try .patient(uri, commandTimeout: commandTimeout)
        }
    }

    extension RedisMirror.Configuration {
        /// Times that are of no weight for most claims: a loaded machine must not fail them.
        static func patient(_ uri: String, commandTimeout: Duration = .seconds(30)) throws -> RedisMirror.Configuration {
            var configuration = RedisMirror.Configuration(address: try RedisAddress(uri: uri))
            configuration.commandTimeout = commandTimeout
            configuration.connectTimeout = .seconds(5)
            configuration.reconnectDelayMax = .milliseconds(200)
            return configuration
        }
    }

    /// A blocking connection to a server, for what a mirror would never do.
    final class RawRedis {
        private let socket: Int32
        private var reader: RedisReplyReader

        init(socketPath: String) throws {
            guard let reader = RedisReplyReader() else { throw ServerFailure(description: "no reader") }
            self.reader = reader
            socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: socketPath.utf8.prefix($0.count - 1)) }
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            guard result == 0 else { throw ServerFailure(description: "can't connect to \(socketPath): errno \(errno)") }
            var patience = timeval(tv_sec: 30, tv_usec: 0)
            setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        }

        deinit { close(socket) }

        @discardableResult
        func command(_ arguments: String...) throws -> RedisReply {
            var request = "*\(arguments.count)\r\n"
            for argument in arguments { request += "$\(argument.utf8.count)\r\n\(argument)\r\n" }
            let bytes = Array(request.utf8)
            guard send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw ServerFailure(description: "can't send: errno \(errno)")
            }
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                if let reply = try reader.next() { return reply }
                let count = read(socket, &buffer, buffer.count)
                guard count > 0 else { throw ServerFailure(description: "no reply: errno \(errno)") }
                try reader.feed(ByteBuffer(bytes: buffer.prefix(count)))
            }
        }
    }
#endif
