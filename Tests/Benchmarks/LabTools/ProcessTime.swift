package import Glibc

package enum ProcessTime {
    /// Nanoseconds that a process' threads ran, as the kernel's scheduler has them; those of threads that have ended are not in it.
    package static func nanoseconds(of pid: pid_t) -> Int {
        guard let folder = opendir("/proc/\(pid)/task") else { return 0 }
        defer { closedir(folder) }
        var sum = 0
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) { String(cString: $0) }
            }
            let words = Files.read("/proc/\(pid)/task/\(name)/schedstat").split(separator: " ")
            sum += words.first.flatMap { Int($0) } ?? 0
        }
        return sum
    }
}
