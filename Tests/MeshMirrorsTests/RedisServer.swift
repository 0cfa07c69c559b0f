#if Redis
    import Foundation
    import NIOCore
    import Synchronization
    import TemporaryDirectory

    @testable import MeshMirrors

    /// A real redis-server of our own in a temporary directory, on a Unix socket and, when asked, on a TCP port.
    ///
    /// It is started below a shell that waits on a pipe from us and kills it when the pipe closes, so no server outlives its test, even
    /// when the tests crash.
    final class RedisServer: @unchecked Sendable {
        // @unchecked: `process` is only touched by `start` and `stop`, which a test calls one after the other.
        struct Failure: Error, CustomStringConvertible {
            let description: String
        }

        private let directory: TemporaryDirectory
        let port: UInt16
        private let options: [String]
        private var process: (shell: pid_t, redis: pid_t, keepAlive: Int32)?

        var socketPath: String { directory.file("s") }
        private var logPath: String { directory.file("log") }

        /// Runs `body` with a server that is gone afterwards.
        static func with(tcp: Bool = false, options: [String] = [], _ body: (RedisServer) async throws -> Void) async throws {
            let server = try await started(tcp: tcp, options: options)
            defer { server.stop() }
            try await body(server)
        }

        private static func started(tcp: Bool, options: [String]) async throws -> RedisServer {
            // Between our asking for a free port and Redis' binding it another process may take it.
            for _ in 0..<5 {
                let server = try RedisServer(port: tcp ? freePort() : 0, options: options)
                do {
                    try await server.start()
                    return server
                } catch is PortTaken {
                    server.stop()
                }
            }
            throw Failure(description: "redis-server found no free port in five attempts")
        }

        private struct PortTaken: Error {}

        private init(port: UInt16, options: [String]) throws {
            self.port = port
            self.options = options
            directory = try TemporaryDirectory()
        }

        func start() async throws {
            guard
                let program = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map({ $0 + "/redis-server" }).first(where: {
                    FileManager.default.isExecutableFile(atPath: $0)
                })
            else { throw Failure(description: "redis-server is not installed; these tests need the Debian package redis-server") }
            let script = #"log="$1"; shift; "$@" >"$log" 2>&1 & echo $!; read _; kill -9 $!; wait $!"#
            let arguments =
                ["/bin/sh", "-c", script, "sh", logPath, program]
                + ["--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socketPath, "--dir", directory.path]
                + ["--save", "", "--appendonly", "no", "--daemonize", "no"] + options
            process = try Self.spawn(arguments)
            let deadline = ContinuousClock.now + .seconds(30)
            while true {
                if let connection = try? RawRedis(socketPath: socketPath), (try? connection.command("PING")) != nil { return }
                let log = (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? ""
                if log.contains("Failed listening on port") { throw PortTaken() }
                guard ContinuousClock.now < deadline else { throw Failure(description: "redis-server did not start:\n\(log)") }
                try await Task.sleep(for: .milliseconds(10))
            }
        }

        /// Kills the server and waits until it is gone.
        func stop() {
            guard let process else { return }
            self.process = nil
            close(process.keepAlive)
            var status: Int32 = 0
            while waitpid(process.shell, &status, 0) == -1 && errno == EINTR {}
        }

        func suspend() { if let process { kill(process.redis, SIGSTOP) } }
        func resume() { if let process { kill(process.redis, SIGCONT) } }

        func raw() throws -> RawRedis { try RawRedis(socketPath: socketPath) }

        func configuration(login: String = "", database: Int = 0, tcp: Bool = false, commandTimeout: Duration = .seconds(30)) throws
            -> RedisMirror.Configuration
        {
            let uri = try MirrorURI(tcp ? "redis://\(login)127.0.0.1:\(port)/\(database)" : "unix://\(login)\(socketPath)?db=\(database)")
            var configuration = RedisMirror.Configuration(uri: uri)
            // Of no weight for most claims, and a loaded machine must not fail them.
            configuration.commandTimeout = commandTimeout
            configuration.connectTimeout = .seconds(5)
            configuration.reconnectDelayMax = .milliseconds(200)
            return configuration
        }

        /// A pipe's end that another child inherited between `pipe` and `fcntl` would never read as closed.
        private static let spawning = Mutex(())

        private static func spawn(_ arguments: [String]) throws -> (shell: pid_t, redis: pid_t, keepAlive: Int32) {
            try spawning.withLock { _ in try spawnAlone(arguments) }
        }

        private static func spawnAlone(_ arguments: [String]) throws -> (shell: pid_t, redis: pid_t, keepAlive: Int32) {
            var toShell: [Int32] = [0, 0]
            var fromShell: [Int32] = [0, 0]
            guard pipe(&toShell) == 0, pipe(&fromShell) == 0 else { throw Failure(description: "no pipe: errno \(errno)") }
            for end in toShell + fromShell { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, toShell[0], 0)
            posix_spawn_file_actions_adddup2(&actions, fromShell[1], 1)
            // Threads that run tests block signals, and a shell that inherits this never hears that its child is gone.
            var attributes = posix_spawnattr_t()
            posix_spawnattr_init(&attributes)
            defer { posix_spawnattr_destroy(&attributes) }
            var noSignals = sigset_t()
            sigemptyset(&noSignals)
            posix_spawnattr_setsigmask(&attributes, &noSignals)
            posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
            var shell: pid_t = 0
            var pointers = arguments.map { strdup($0) } + [nil]
            defer { pointers.forEach { free($0) } }
            let result = posix_spawn(&shell, arguments[0], &actions, &attributes, &pointers, environ)
            close(toShell[0])
            close(fromShell[1])
            defer { close(fromShell[0]) }
            guard result == 0 else {
                close(toShell[1])
                throw Failure(description: "no shell: errno \(result)")
            }
            var line = [UInt8](repeating: 0, count: 32)
            let count = read(fromShell[0], &line, line.count)
            guard count > 0,
                let redis = pid_t(String(decoding: line.prefix(count), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
            else {
                close(toShell[1])
                throw Failure(description: "the shell named no process")
            }
            return (shell, redis, toShell[1])
        }

        static func freePort() throws -> UInt16 {
            let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(socket) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(socket, $0, length) == 0 ? getsockname(socket, $0, &length) : -1
                }
            }
            guard result == 0 else { throw Failure(description: "no free port: errno \(errno)") }
            return UInt16(bigEndian: address.sin_port)
        }
    }

    /// A blocking connection to a server, for what a mirror would never do.
    final class RawRedis {
        private let socket: Int32
        private var reader: RedisReplyReader

        init(socketPath: String) throws {
            guard let reader = RedisReplyReader() else { throw RedisServer.Failure(description: "no reader") }
            self.reader = reader
            socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: socketPath.utf8.prefix($0.count - 1)) }
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            guard result == 0 else { throw RedisServer.Failure(description: "can't connect to \(socketPath): errno \(errno)") }
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
                throw RedisServer.Failure(description: "can't send: errno \(errno)")
            }
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                if let reply = try reader.next() { return reply }
                let count = read(socket, &buffer, buffer.count)
                guard count > 0 else { throw RedisServer.Failure(description: "no reply: errno \(errno)") }
                try reader.feed(ByteBuffer(bytes: buffer.prefix(count)))
            }
        }
    }
#endif
