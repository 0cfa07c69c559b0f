import Glibc

/// Namespaces of network, mounts and processes that a lab has for itself: when its first process ends, the kernel ends all others, and nothing of
/// what was made in them is left.
package enum Namespaces {
    private static let mark = "SESSIONMESH_LAB_INSIDE"

    /// Becomes the same program within such namespaces; returns when it is there.
    package static func enter() throws {
        guard getenv(mark) == nil else { return }
        guard geteuid() == 0 else { throw LabFailure("the lab makes network namespaces, which needs root: run it with sudo") }
        setenv(mark, "1", 1)
        // Its own /run, since `ip` keeps the names of namespaces there.
        let script = "mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\""
        let unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        let words = unshare + ["sh", "-c", script, "sh"] + CommandLine.arguments
        var pointers = words.map { strdup($0) } + [nil]
        execvp("unshare", &pointers)
        throw LabFailure("unshare can't be started: \(String(cString: strerror(errno)))")
    }
}
