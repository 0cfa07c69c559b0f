import Glibc
import LabTools

/// Little of a CPU for a few processes: a control group of the kernel's first or second kind, whichever is there.
struct Starvation {
    private let directory: String
    private let limitFile: String
    private let limit: String
    private var burner: Child?

    /// - Parameter percent: of one CPU, for each hundred milliseconds.
    init(named name: String, percent: Int) throws {
        let quota = percent * 1000
        if Files.exists("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") || Files.exists("/sys/fs/cgroup/cpu/cgroup.procs") {
            (directory, limitFile, limit) = ("/sys/fs/cgroup/cpu/\(name)", "cpu.cfs_quota_us", "\(quota)")
        } else {
            (directory, limitFile, limit) = ("/sys/fs/cgroup/\(name)", "cpu.max", "\(quota) 100000")
            try? Files.write("+cpu", to: "/sys/fs/cgroup/cgroup.subtree_control")
        }
        try Files.makeDirectory(directory)
    }

    /// Puts it in, beside a process that burns whatever there is.
    mutating func add(_ pid: Int32) throws {
        try Files.write(limit, to: "\(directory)/\(limitFile)")
        let burner = try Child(["sh", "-c", "while :; do :; done"])
        self.burner = burner
        for pid in [pid, burner.pid] { try Files.write("\(pid)", to: "\(directory)/cgroup.procs") }
    }

    /// After its processes have ended.
    mutating func end() {
        burner?.end()
        burner = nil
        Files.removeDirectory(directory)
    }
}
