import Glibc
import LabTools

/// What the kernel says that a process uses.
struct Cost {
    /// Of its threads, by the scheduler.
    var cpuSeconds = 0.0
    /// Not shared with another process.
    var privateBytes = 0.0

    init(of pid: Int32) {
        for thread in Self.threads(of: pid) {
            let nanoseconds = Files.read("/proc/\(pid)/task/\(thread)/schedstat").split(separator: " ").first.flatMap { Double($0) }
            cpuSeconds += (nanoseconds ?? 0) / 1e9
        }
        privateBytes = Self.privateBytes(of: pid)
    }

    static func privateBytes(of pid: Int32) -> Double {
        Files.read("/proc/\(pid)/smaps_rollup").split(separator: "\n").reduce(0) { sum, line in
            let words = line.split(separator: " ")
            guard words.count >= 2, words[0].hasPrefix("Private_") else { return sum }
            return sum + (Double(words[1]) ?? 0) * 1024
        }
    }

    private static func threads(of pid: Int32) -> [String] {
        guard let directory = opendir("/proc/\(pid)/task") else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if Int(name) != nil { names.append(name) }
        }
        return names
    }
}

enum Loopback {
    /// Bytes that went over `lo` of the lab's namespace, headers included.
    static var sentBytes: Double {
        for line in Files.read("/proc/net/dev").split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == ":" }
            if words.first == "lo", words.count > 9 { return Double(words[9]) ?? 0 }
        }
        return 0
    }
}
