import CMeshSystem
import Glibc
import Synchronization

/// The children that are attended to, each by a thread of its own. Any other child is an orphan that became ours, or was there before.
final class ChildTable: Sendable {
    static let shared = ChildTable()

    private let state = Mutex(State())

    private struct State {
        var attended: Set<pid_t> = []
        /// A shell that starts something and then becomes this program leaves it children that are not its business.
        var former: Set<pid_t> = []
    }

    /// From now on, orphans become children of this process.
    func adoptOrphans() {
        let former = Set(ProcessScan.children(of: getpid()))
        state.withLock { $0.former = former }
        _ = mesh_adopt_orphans()
    }

    /// - Returns: what the spawn did.
    func adding(_ spawn: () -> (result: Int32, pid: pid_t)) -> Int32 {
        state.withLock { state in
            let (result, pid) = spawn()
            if result == 0 { state.attended.insert(pid) }
            return result
        }
    }

    /// Waits for the end of a child that has ended, or is about to.
    /// - Returns: its status, as waitpid(2) has it.
    func reap(_ pid: pid_t) -> Int32 {
        state.withLock { state in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            // The number may be the next child's from here on, which the lock keeps from being added before.
            state.attended.remove(pid)
            return status
        }
    }

    /// At the end: orphans that nobody knew of go too, and theirs, which become ours then.
    func endOrphans() {
        for _ in 0..<Self.generationsMax {
            reapOrphans()
            let others = state.withLock { $0.attended.union($0.former) }
            let orphans = ProcessScan.children(of: getpid()).filter { !others.contains($0) }
            guard !orphans.isEmpty else { return }
            for pid in orphans { kill(pid, SIGKILL) }
            usleep(10_000)
        }
    }

    /// Who has started so many one after the other in the meantime means to go on.
    private static let generationsMax = 100

    /// Orphans that have ended are let go of, as the first process of a container must; they would stay zombies for ever.
    func reapOrphans() {
        state.withLock { state in
            // The same one is shown until it is reaped; one of ours is about to be, by its own thread, and the rest are for the next look.
            while case let pid = mesh_ended_child(), pid > 0, !state.attended.contains(pid) {
                while waitpid(pid, nil, WNOHANG) < 0, errno == EINTR {}
                state.former.remove(pid)
            }
        }
    }
}
