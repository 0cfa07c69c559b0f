import Foundation
import Synchronization

struct ServerFailure: Error, CustomStringConvertible {
    let description: String
}

/// A real server that a test starts and stops.
protocol StoreServer {
    func start() async throws
    func stop()
}

/// Another process has the port.
struct PortTaken: Error {}

/// A real server of our own.
///
/// It is started below a shell that waits on a pipe from us and kills it when the pipe closes, so no server outlives its test, even
/// when the tests crash.
final class ServerProcess: Sendable {
    private let process: (shell: pid_t, server: pid_t, keepAlive: Int32)
    private let isStopped = Mutex(false)
    private let logPath: String

    /// - Parameters:
    ///   - program: its name, or its path.
    ///   - log: the file that gets what it prints.
    init(_ program: String, _ arguments: [String], log: String) throws {
        let script = #"log="$1"; shift; "$@" >"$log" 2>&1 & echo $!; read _; kill -9 $!; wait $!"#
        process = try Self.spawn(["/bin/sh", "-c", script, "sh", log, try Self.path(of: program)] + arguments)
        logPath = log
    }

    deinit { stop() }

    /// What it has printed.
    var log: String { (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? "" }

    /// Kills the server and waits until it is gone.
    func stop() {
        let stops = isStopped.withLock { isStopped in
            defer { isStopped = true }
            return !isStopped
        }
        guard stops else { return }
        close(process.keepAlive)
        var status: Int32 = 0
        while waitpid(process.shell, &status, 0) == -1 && errno == EINTR {}
    }

    /// A server on a free port: between our asking for one and the server's binding it another process may take it.
    static func started<Server: StoreServer>(_ make: (UInt16) throws -> Server) async throws -> Server {
        for _ in 0..<5 {
            let server = try make(freePort())
            do {
                try await server.start()
                return server
            } catch is PortTaken {
                server.stop()
            }
        }
        throw ServerFailure(description: "\(Server.self) found no free port in five attempts")
    }

    /// Polls until the server is ready, for a minute at most.
    /// - Parameter taken: what it prints when its port is another's: whoever answers there isn't ours.
    func becomesReady(unless taken: String, _ isReady: () throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            let isReady = try isReady()
            if log.contains(taken) { throw PortTaken() }
            if isReady { return }
            guard ContinuousClock.now < deadline else { throw ServerFailure(description: "the server did not start:\n\(log)") }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Takes calls and doesn't answer. Returns when none of its threads runs any more: each stops when it next comes to a processor.
    func suspend() {
        signal(SIGSTOP)
        let deadline = ContinuousClock.now + .seconds(10)
        while !isStanding, ContinuousClock.now < deadline { usleep(1000) }
    }

    private var isStanding: Bool {
        let tasks = "/proc/\(process.server)/task"
        return ((try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []).allSatisfy { thread in
            guard let stat = try? String(contentsOfFile: "\(tasks)/\(thread)/stat", encoding: .utf8) else { return true }
            return stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].hasPrefix(") T")
        }
    }

    func resume() { signal(SIGCONT) }

    private func signal(_ number: Int32) { isStopped.withLock { if !$0 { kill(process.server, number) } } }

    static func path(of program: String) throws -> String {
        let paths = program.contains("/") ? [program] : ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map { "\($0)/\(program)" }
        guard let path = paths.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
            throw ServerFailure(description: "\(program) is not installed; `.ci/setup test` installs what these tests need")
        }
        return path
    }

    /// A pipe's end that another child inherited between `pipe` and `fcntl` would never read as closed.
    private static let spawning = Mutex(())

    private static func spawn(_ arguments: [String]) throws -> (shell: pid_t, server: pid_t, keepAlive: Int32) {
        try spawning.withLock { _ in try spawnAlone(arguments) }
    }

    private static func spawnAlone(_ arguments: [String]) throws -> (shell: pid_t, server: pid_t, keepAlive: Int32) {
        var toShell: [Int32] = [0, 0]
        var fromShell: [Int32] = [0, 0]
        guard pipe(&toShell) == 0, pipe(&fromShell) == 0 else { throw ServerFailure(description: "no pipe: errno \(errno)") }
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
            throw ServerFailure(description: "no shell: errno \(result)")
        }
        var line = [UInt8](repeating: 0, count: 32)
        let count = read(fromShell[0], &line, line.count)
        guard count > 0,
            let server = pid_t(String(decoding: line.prefix(count), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
        else {
            close(toShell[1])
            throw ServerFailure(description: "the shell named no process")
        }
        return (shell, server, toShell[1])
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
        guard result == 0 else { throw ServerFailure(description: "no free port: errno \(errno)") }
        return UInt16(bigEndian: address.sin_port)
    }
}
