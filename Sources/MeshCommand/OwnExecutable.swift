import CMeshSystem
import Foundation
import Synchronization

/// A process that this one started, with what it prints.
///
/// It dies with this process, even when this one is killed: the kernel then sends it SIGKILL. It does so when the *thread* that started the
/// child ends, so each child has a thread of its own, which starts it, reads what it prints, and can't end before it.
final class ChildProcess: Sendable {
    let pid: pid_t
    /// What it prints, a line each, and then how it ended. When nobody reads, the oldest lines are dropped.
    let events: AsyncStream<Event>
    /// Whether the pid is still the child's: from the moment it is reaped, it may be anybody's.
    private let isReaped = Mutex(false)

    enum Event: Sendable {
        case line(String)
        case ended(Ending)
    }

    enum Ending: Hashable, Sendable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    struct Program: Sendable {
        var path: String
        var arguments: [String]
        var environment: [String: String]
    }

    /// Longest line that is looked at; a longer one comes in pieces.
    private static let lineBytesMax = 64 * 1024

    static func start(_ program: Program) async throws -> ChildProcess {
        let (events, continuation) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingNewest(256))
        return try await withCheckedThrowingContinuation { started in
            Thread.detachNewThread {
                switch spawn(program) {
                case .failure(let failure): started.resume(throwing: failure)
                case .success(let (pid, output)):
                    let child = ChildProcess(pid: pid, events: events)
                    started.resume(returning: child)
                    read(lines: output) { continuation.yield(.line($0)) }
                    continuation.yield(.ended(child.wait()))
                    continuation.finish()
                }
            }
        }
    }

    private init(pid: pid_t, events: AsyncStream<Event>) {
        self.pid = pid
        self.events = events
    }

    /// Sends a signal, unless the child is gone.
    func send(_ signal: Int32) {
        isReaped.withLock { isReaped in
            if !isReaped { kill(pid, signal) }
        }
    }

    private func wait() -> Ending {
        // Not reaped at once: until it is, the pid can't become another process', and a signal on its way hits nobody else.
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
        return isReaped.withLock { isReaped in
            isReaped = true
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            return status & 0x7F == 0 ? .exited(status >> 8 & 0xFF) : .killed(signal: status & 0x7F)
        }
    }

    private static func read(lines descriptor: CInt, _ body: (String) -> Void) {
        defer { close(descriptor) }
        var pending: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = Foundation.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            for byte in buffer[..<count] {
                if byte != UInt8(ascii: "\n") { pending.append(byte) }
                guard byte == UInt8(ascii: "\n") || pending.count == lineBytesMax else { continue }
                body(String(decoding: pending, as: UTF8.self))
                pending.removeAll(keepingCapacity: true)
            }
        }
    }

    // MARK: Starting

    private static func spawn(_ program: Program) -> Result<(pid: pid_t, output: CInt), CommandFailure> {
        var (reading, writing): (CInt, CInt) = (-1, -1)
        var result = mesh_pipe(&reading, &writing)
        guard result == 0 else { return .failure(.failed("no pipe can be made: \(String(cString: strerror(-result)))")) }
        let own = OwnExecutable.path
        var words = ([own, "exec-child", "\(getpid())", "--", program.path] + program.arguments).map { strdup($0) } + [nil]
        var variables = program.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in words + variables { free(text) } }
        var pid: pid_t = 0
        result = mesh_spawn(own, &words, &variables, writing, &pid)
        close(writing)
        guard result == 0 else {
            close(reading)
            return .failure(.failed("\(own) can't be started: \(String(cString: strerror(-result)))"))
        }
        return .success((pid, reading))
    }
}

/// The file that this process runs.
enum OwnExecutable {
    static let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/proc/self/exe"

    /// The file of that name beside this one.
    static func neighbour(_ name: String) -> String {
        URL(filePath: path).deletingLastPathComponent().appending(path: name).path
    }
}
