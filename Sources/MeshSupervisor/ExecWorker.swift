import CMeshSystem
import Glibc

/// Becomes another program, one that does not outlive who started it.
package enum ExecWorker {
    /// Returns only when it could not be done, and says why.
    package static func become(_ path: String, _ arguments: [String], childOf parent: Int32) -> SupervisorError {
        let result = mesh_die_with_parent()
        guard result == 0 else {
            return SupervisorError(.resources, "the kernel refuses a death signal: \(String(cString: strerror(-result)))")
        }
        // The parent may have died before the signal was asked for; nobody would kill us any more.
        guard getppid() == parent else { return SupervisorError(.resources, "the process \(parent) is gone") }
        // What this process ignores or blocks, the program would too.
        signal(SIGPIPE, SIG_DFL)
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        execv(path, &words)
        return SupervisorError(.program, "\(path) can't be run: \(String(cString: strerror(errno)))")
    }
}
