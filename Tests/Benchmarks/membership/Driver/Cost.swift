import Glibc

enum Files {
    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else { throw LabFailure("\(path) can't be written: \(String(cString: strerror(errno)))") }
        let wrote = fputs(text, file) >= 0
        guard fclose(file) == 0, wrote else { throw LabFailure("\(path) can't be written: \(String(cString: strerror(errno)))") }
    }

    static func read(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while bytes.count < 1 << 20 {
            let next = fgetc(file)
            guard next != EOF else { break }
            bytes.append(UInt8(truncatingIfNeeded: next))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func makeDirectory(_ path: String) throws {
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            throw LabFailure("\(path) can't be made: \(String(cString: strerror(errno)))")
        }
    }

    /// The kernel needs a moment to see that its processes are gone.
    static func removeDirectory(_ path: String) {
        for _ in 0..<50 where rmdir(path) != 0 { usleep(20_000) }
    }
}

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

/// What the whole machine did.
struct HostLoad {
    private let busy: Double
    private let all: Double

    init() {
        let fields =
            Files.read("/proc/stat").split(separator: "\n").first?.split(separator: " ").dropFirst().compactMap { Double($0) } ?? []
        all = fields.reduce(0, +)
        busy = fields.count > 4 ? all - fields[3] - fields[4] : 0
    }

    /// Share of all CPUs that was not idle since then, in percent.
    static func percent(since start: HostLoad) -> Double {
        let now = HostLoad()
        return now.all > start.all ? 100 * (now.busy - start.busy) / (now.all - start.all) : 0
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
