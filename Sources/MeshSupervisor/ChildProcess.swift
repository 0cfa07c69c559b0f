import CMeshSystem
import Glibc
package import MeshCore
import MeshLoop
import Synchronization

/// A process that this one started, with what it says and how it ends.
///
/// It leads a process group of its own and dies with this process, even when this one is killed: the kernel then sends it SIGKILL. It does so
/// when the *thread* that started the child ends (prctl(2)), so each child has a thread of its own, which starts it, waits for whatever it does,
/// and can't end before it.
package final class ChildProcess: Sendable {
    package let pid: Int32
    private let launchMark: String?
    private let state = Mutex(State())
    private let waker: Int32

    private struct State {
        /// From the moment it is reaped, the pid may be anybody's.
        var isReaped = false
        /// Its group has nobody left, so its number may be anybody's too.
        var isGroupGone = false
        /// It was asked to end: what its children still have to do, they may finish.
        var isTerminated = false
        /// It is to end at once, and so is what it starts from now on.
        var isKilled = false
        var errorTail: [String] = []
    }

    package enum Event: Sendable {
        case started(ChildProcess)
        case notStarted(reason: String)
        case line(Stream, String)
        /// What it says of itself by sd_notify(3).
        case notified([String: String])
        /// It is no more. What it has left behind is looked for, which takes some milliseconds.
        case exited
        /// Comes last. `leftBehind` counts processes that it started and that outlived it; they are killed by now.
        case ended(ProcessEnding, leftBehind: Int, lastLines: [String])
    }

    package enum Stream: Sendable {
        case output, errors
    }

    package struct Program: Sendable {
        package var path: String
        package var arguments: [String]
        package var environment: [String: String]
        /// Where it may notify; removed when it ends.
        package var notifySocket: String?
        /// Starts it and has the kernel bind its life to ours: `sessionmesh exec-worker`. Nil for one that must outlive us.
        package var launcher: String?
        /// What it reads; nothing when nil.
        package var input: Int32?

        package init(
            path: String, arguments: [String], environment: [String: String], notifySocket: String? = nil, launcher: String?,
            input: Int32? = nil
        ) {
            self.path = path
            self.arguments = arguments
            self.environment = environment
            self.notifySocket = notifySocket
            self.launcher = launcher
            self.input = input
        }
    }

    /// Longest line that is looked at; a longer one comes in pieces.
    private static let lineBytesMax = 64 * 1024
    /// Nanoseconds that those who are killed have to end.
    private static let killedMax: Int64 = 10_000_000_000
    /// Lines of standard error that are kept for whoever asks why it crashed, and how much of each.
    private static let tailLinesMax = 64
    private static let tailLineBytesMax = 1024

    /// - Parameter heed: called on the child's own thread, in the order of what happens.
    package static func start(_ program: Program, _ heed: @escaping @Sendable (Event) -> Void) {
        do {
            try LoopThread.start {
                defer { if let path = program.notifySocket { unlink(path) } }
                switch Self.spawn(program) {
                case .failure(let failure): heed(.notStarted(reason: failure.reason))
                case .success(let (child, sources)):
                    heed(.started(child))
                    child.attend(sources, heed)
                }
            }
        } catch {
            heed(.notStarted(reason: "no thread can be made: \(error)"))
        }
    }

    private init(pid: pid_t, launchMark: String?, waker: Int32) {
        self.pid = pid
        self.launchMark = launchMark
        self.waker = waker
    }

    deinit { mesh_close(waker) }

    // MARK: Signals

    /// To the whole group, so that a shell's children hear of it too, and to what has left the group.
    package func terminate() {
        state.withLock { state in
            state.isTerminated = true
            if !state.isGroupGone { kill(-pid, SIGTERM) }
        }
        mesh_eventfd_signal(waker)
    }

    package func abort() {
        state.withLock { state in if !state.isReaped { kill(pid, SIGABRT) } }
    }

    /// The whole group, and what has left the group.
    package func killAll() {
        state.withLock { state in
            state.isKilled = true
            if !state.isGroupGone { kill(-pid, SIGKILL) }
        }
        mesh_eventfd_signal(waker)
    }

    /// What it has started and is not of its group any more, such as a daemon. Every process of the machine is looked at, so this is for the
    /// child's own thread.
    private func strays() -> [pid_t] {
        launchMark.map { mark in ProcessScan.marked(mark).filter { getpgid($0) != pid } } ?? []
    }

    private func signalStrays() {
        mesh_eventfd_clear(waker)
        let signal = state.withLock { $0.isKilled ? SIGKILL : SIGTERM }
        for stray in strays() { kill(stray, signal) }
    }

    package func send(_ signal: Int32) {
        state.withLock { state in if !state.isReaped { kill(pid, signal) } }
    }

    // MARK: Attending

    /// What its thread listens to.
    private struct Sources {
        var pidfd: Int32
        var output: LineReader
        var errors: LineReader
        var notices: Int32
    }

    private func attend(_ sources: Sources, _ heed: (Event) -> Void) {
        var sources = sources
        defer {
            for descriptor in [sources.pidfd, sources.output.descriptor, sources.errors.descriptor, sources.notices] where descriptor >= 0 {
                mesh_close(descriptor)
            }
        }
        var noticesFrom: Int64 = 0
        while true {
            // A process that notifies without end is heard fifty times a second; what it says meanwhile waits in its socket.
            let isQuiet = mesh_uptime() < noticesFrom
            var polled = [sources.pidfd, sources.output.descriptor, sources.errors.descriptor, isQuiet ? -1 : sources.notices, waker].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            guard poll(&polled, nfds_t(polled.count), isQuiet ? 20 : -1) >= 0 || errno == EINTR else { return }
            if polled[1].revents != 0 { sources.output.read { heed(.line(.output, $0)) } }
            if polled[2].revents != 0 { sources.errors.read { hear($0, heed) } }
            if polled[3].revents != 0, let notice = Notice.receive(from: sources.notices) {
                noticesFrom = mesh_uptime() + 20_000_000
                heed(.notified(notice))
            }
            if polled[4].revents != 0 { signalStrays() }
            if polled[0].revents != 0 { break }
        }
        heed(.exited)
        let ending = reap()
        // What it said before, and as last words; its children may hold the pipes open.
        if sources.notices >= 0, let notice = Notice.receive(from: sources.notices) { heed(.notified(notice)) }
        sources.output.readWhatIsThere { heed(.line(.output, $0)) }
        sources.errors.readWhatIsThere { hear($0, heed) }
        let leftBehind = outlastOthers {
            sources.output.readWhatIsThere { heed(.line(.output, $0)) }
            sources.errors.readWhatIsThere { hear($0, heed) }
        }
        heed(.ended(ending, leftBehind: leftBehind, lastLines: state.withLock { $0.errorTail }))
    }

    private func hear(_ line: String, _ heed: (Event) -> Void) {
        state.withLock { state in
            if state.errorTail.count == Self.tailLinesMax { state.errorTail.removeFirst() }
            state.errorTail.append(String(decoding: line.utf8.prefix(Self.tailLineBytesMax), as: UTF8.self))
        }
        heed(.line(.errors, line))
    }

    private func reap() -> ProcessEnding {
        state.withLock { state in
            state.isReaped = true
            let status = ChildTable.shared.reap(pid)
            return status & 0x7F == 0 ? .exited(code: status >> 8 & 0xFF) : .killed(signal: status & 0x7F)
        }
    }

    /// Returns when nothing that it started runs any more. Who was asked to end gets the time until ``killAll()``; everybody else is killed. Who
    /// can't be killed, because a disk doesn't answer it, is waited for no longer than ``killedMax``.
    /// - Returns: how many were left.
    private func outlastOthers(_ listen: () -> Void) -> Int {
        let count = ProcessScan.members(ofGroup: pid).count + strays().count
        if count > 0, !state.withLock({ $0.isTerminated }) { killAll() }
        var pause: Int32 = 5
        var killedAt: Int64?
        while true {
            let isAlive = isGroupAlive
            let strays = strays()
            guard isAlive || !strays.isEmpty else { break }
            if state.withLock({ $0.isKilled }) {
                // One that was being started while the others were killed was not among them.
                for stray in strays { kill(stray, SIGKILL) }
                let now = mesh_uptime()
                if now - (killedAt ?? now) > Self.killedMax { break }
                killedAt = killedAt ?? now
            }
            // Who finishes what it has to may not be held up by a pipe that nobody reads.
            listen()
            var woken = pollfd(fd: waker, events: Int16(POLLIN), revents: 0)
            if poll(&woken, 1, pause) > 0 { signalStrays() }
            pause = min(pause * 2, 100)
        }
        listen()
        return count
    }

    private var isGroupAlive: Bool {
        state.withLock { state in
            guard !state.isGroupGone else { return false }
            // Orphans that became ours are reaped here, or the group would never be empty.
            while waitpid(-pid, nil, WNOHANG) > 0 {}
            let isAlive = kill(-pid, 0) == 0 && !ProcessScan.members(ofGroup: pid).isEmpty
            state.isGroupGone = !isAlive
            return isAlive
        }
    }

    // MARK: Starting

    private struct Failure: Error {
        var reason: String

        init(_ what: String, _ error: Int32) { reason = "\(what): \(SystemError(number: error))" }
    }

    private static func spawn(_ program: Program) -> Result<(ChildProcess, Sources), Failure> {
        var opened: [Int32] = []
        func fail(_ what: String, _ error: Int32) -> Result<(ChildProcess, Sources), Failure> {
            for descriptor in opened { mesh_close(descriptor) }
            return .failure(Failure(what, error))
        }
        var (outputs, errors): ((Int32, Int32), (Int32, Int32)) = ((-1, -1), (-1, -1))
        var result = mesh_pipe(&outputs.0, &outputs.1)
        guard result == 0 else { return fail("no pipe can be made", -result) }
        opened += [outputs.0, outputs.1]
        result = mesh_pipe(&errors.0, &errors.1)
        guard result == 0 else { return fail("no pipe can be made", -result) }
        opened += [errors.0, errors.1]
        var notices: Int32 = -1
        if let path = program.notifySocket {
            notices = mesh_datagrams_at(path)
            guard notices >= 0 else { return fail("\(path) can't be listened on", -notices) }
            opened.append(notices)
        }
        let waker = mesh_eventfd()
        guard waker >= 0 else { return fail("no event can be made", -waker) }
        opened.append(waker)

        let words = program.launcher.map { [$0, "exec-worker", "\(getpid())", "--", program.path] } ?? [program.path]
        var arguments = (words + program.arguments).map { strdup($0) } + [nil]
        var variables = program.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        var pid: pid_t = 0
        // No orphan is looked for meanwhile: until it is in the table, the child would be taken for one.
        result = ChildTable.shared.adding { () -> (Int32, pid_t) in
            let result = mesh_spawn(
                words[0], &arguments, &variables, program.input ?? -1, outputs.1, errors.1, &pid)
            return (result, pid)
        }
        guard result == 0 else { return fail("\(words[0]) can't be started", -result) }
        mesh_close(outputs.1)
        mesh_close(errors.1)
        let pidfd = mesh_pidfd(pid)
        guard pidfd >= 0 else {
            kill(-pid, SIGKILL)
            _ = ChildTable.shared.reap(pid)
            opened.removeAll { $0 == outputs.1 || $0 == errors.1 }
            return fail("the end of a process can't be waited for (Linux 5.3 can)", -pidfd)
        }
        let mark = program.environment[ProcessScan.markName]
        let child = ChildProcess(pid: pid, launchMark: mark, waker: waker)
        return .success(
            (
                child,
                Sources(
                    pidfd: pidfd, output: LineReader(outputs.0, lineBytesMax), errors: LineReader(errors.0, lineBytesMax),
                    notices: notices)
            ))
    }
}
