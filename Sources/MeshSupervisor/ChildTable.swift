import CMeshSystem
import Glibc
import Synchronization

/// The children that are attended to, each by a thread of its own. Any other child is an orphan that became ours.
final class ChildTable: Sendable {
    static let shared = ChildTable()

    private let pids = Mutex<Set<pid_t>>([])

    /// - Returns: what the spawn did.
    func adding(_ spawn: () -> (result: Int32, pid: pid_t)) -> Int32 {
        pids.withLock { pids in
            let (result, pid) = spawn()
            if result == 0 { pids.insert(pid) }
            return result
        }
    }

    func remove(_ pid: pid_t) { _ = pids.withLock { $0.remove(pid) } }

    /// Orphans that have ended are let go of, as the first process of a container must; they would stay zombies for ever.
    func reapOrphans() {
        pids.withLock { pids in
            // The same one is shown until it is reaped; one of ours is about to be, by its own thread, and the rest are for the next look.
            while case let pid = mesh_ended_child(), pid > 0, !pids.contains(pid) {
                while waitpid(pid, nil, WNOHANG) < 0, errno == EINTR {}
            }
        }
    }
}
