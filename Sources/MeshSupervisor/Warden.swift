import CMeshSystem
import Glibc
import Logging
import Synchronization

/// The process that ends what a supervisor has started when the supervisor is gone, however it went.
///
/// The kernel kills the workers themselves; their own children it doesn't know. The warden reads a pipe whose other end the supervisor alone has:
/// it names process groups as they come and go, and the pipe's end means that nobody watches them any more.
package final class Warden: Sendable {
    private let writing: Int32
    private let program: ChildProcess.Program
    private let logger: Logger
    private let state = Mutex(State())

    private struct State {
        var child: ChildProcess?
        var groups: Set<pid_t> = []
        var isStopping = false
        /// Those in a row that ended within a second.
        var failures = 0
        var startedAt: Int64 = 0
    }

    /// A warden that ends at once so often won't do better.
    private static let failuresMax = 5

    /// - Parameters:
    ///   - executable: `sessionmesh`, of which the warden is a hidden subcommand.
    ///   - mark: what the marks of all launches begin with.
    ///   - directory: is removed at the end.
    init(
        executable: String, mark: String, directory: String, environment: [String: String], logger: Logger
    ) throws(SupervisorError) {
        self.logger = logger
        var (reading, writing): (Int32, Int32) = (-1, -1)
        guard mesh_pipe(&reading, &writing) == 0 else { throw SupervisorError(.resources, "no pipe can be made for the warden") }
        // A warden that is slow must not hold the supervisor up; the pipe has room for thousands of groups.
        _ = fcntl(writing, F_SETFL, O_NONBLOCK)
        self.writing = writing
        program = ChildProcess.Program(
            path: executable, arguments: ["warden", mark, directory], environment: environment, launcher: nil, input: reading)
    }

    deinit {
        mesh_close(writing)
        if let input = program.input { mesh_close(input) }
    }

    func start() {
        state.withLock { $0.startedAt = mesh_uptime() }
        ChildProcess.start(program) { [self] event in
            switch event {
            case .started(let child): started(child)
            case .ended, .notStarted: ended()
            case .line(_, let line): write(STDERR_FILENO, line + "\n", line.utf8.count + 1)
            case .notified, .exited: break
            }
        }
    }

    private func started(_ child: ChildProcess) {
        state.withLock { state in
            state.child = child
            if state.isStopping { child.send(SIGKILL) }
            // A former one may have read some of them, which doesn't matter: what is told twice counts once.
            for group in state.groups { tell("+\(group)") }
        }
    }

    private func ended() {
        let (isStopping, failures) = state.withLock { state in
            state.child = nil
            state.failures = mesh_uptime() - state.startedAt < 1_000_000_000 ? state.failures + 1 : 0
            return (state.isStopping, state.failures)
        }
        guard !isStopping else { return }
        guard failures < Self.failuresMax else {
            return logger.error("no warden can be kept: if this process is killed, what workers have started may outlive it")
        }
        start()
    }

    func watch(_ group: pid_t) {
        state.withLock { state in
            state.groups.insert(group)
            tell("+\(group)")
        }
    }

    func forget(_ group: pid_t) {
        state.withLock { state in
            state.groups.remove(group)
            tell("-\(group)")
        }
    }

    /// Nothing of ours runs any more, so it has nothing to do.
    func stop() {
        state.withLock { state in
            state.isStopping = true
            state.child?.send(SIGKILL)
        }
    }

    private func tell(_ line: String) { write(writing, line + "\n", line.utf8.count + 1) }
}

/// What a warden does, in its own process.
package enum WardenDuty {
    /// Returns when the supervisor is gone and what it left behind is, too.
    package static func run(mark: String, directory: String) {
        // It has to outlive whoever is told to stop.
        for number in [SIGHUP, SIGINT, SIGTERM] { signal(number, SIG_IGN) }
        // And whoever kills all processes of the supervisor's name doesn't mean this one.
        let name = open("/proc/self/comm", O_WRONLY | O_CLOEXEC)
        write(name, "mesh-warden", 11)
        close(name)
        var groups: Set<pid_t> = []
        var reader = LineReader(STDIN_FILENO, 64)
        while reader.descriptor >= 0 {
            var polled = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, -1) >= 0 || errno == EINTR else { break }
            reader.readWhatIsThere { line in
                guard let group = pid_t(line.dropFirst()), group > 1 else { return }
                if line.hasPrefix("+") { groups.insert(group) } else { groups.remove(group) }
            }
        }
        for group in groups { kill(-group, SIGKILL) }
        // Who was about to start others is found at the next look.
        for _ in 0..<10 {
            let left = ProcessScan.marked(mark)
            for pid in left { kill(pid, SIGKILL) }
            if left.isEmpty { break }
            usleep(10_000)
        }
        PrivateDirectory(path: directory).remove()
    }
}
