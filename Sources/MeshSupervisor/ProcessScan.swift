import Glibc

/// What `/proc` tells of processes (proc(5)). A process that goes away while it is looked at is passed over.
enum ProcessScan {
    /// The variable by which a launch is known, also to what has left its process group; children inherit it.
    static let markName = "SESSIONMESH_LAUNCH"

    /// The processes of a group that still run.
    static func members(ofGroup group: pid_t) -> [pid_t] {
        everybody().filter { $0.group == group && !$0.isZombie }.map(\.pid)
    }

    /// The processes whose mark begins so, and that still run.
    static func marked(_ mark: String) -> [pid_t] {
        let wanted = Array("\(markName)=\(mark)".utf8)
        return everybody().filter { !$0.isZombie && environment(of: $0.pid).contains { $0.starts(with: wanted) } }.map(\.pid)
    }

    static func children(of parent: pid_t) -> [pid_t] {
        everybody().filter { $0.parent == parent && !$0.isZombie }.map(\.pid)
    }

    /// Bytes of resident memory, by process group.
    static func memoryByGroup() -> [pid_t: UInt64] {
        let page = UInt64(max(sysconf(Int32(_SC_PAGESIZE)), 1))
        return everybody().reduce(into: [:]) { sums, process in sums[process.group, default: 0] += process.residentPages * page }
    }

    /// The TCP ports that the processes of a group listen on.
    static func listeningPorts(ofGroup group: pid_t) -> Set<UInt16> {
        let inodes = members(ofGroup: group).reduce(into: Set<Substring>()) { $0.formUnion(sockets(of: $1)) }
        return Set((listening("/proc/net/tcp") + listening("/proc/net/tcp6")).filter { inodes.contains($0.inode) }.map(\.port))
    }

    // MARK: Reading

    private struct Process {
        var pid: pid_t
        var isZombie: Bool
        var parent: pid_t
        var group: pid_t
        var residentPages: UInt64
    }

    private static func everybody() -> [Process] { DirectoryListing.names(in: "/proc").compactMap { pid_t($0) }.compactMap(process) }

    private static func process(_ pid: pid_t) -> Process? {
        let text = String(decoding: contents(of: "/proc/\(pid)/stat"), as: UTF8.self)
        // The name in parentheses may hold anything.
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 21, let parent = pid_t(fields[1]), let group = pid_t(fields[2]) else { return nil }
        return Process(
            pid: pid, isZombie: fields[0] == "Z" || fields[0] == "X", parent: parent, group: group, residentPages: UInt64(fields[21]) ?? 0)
    }

    private static func environment(of pid: pid_t) -> [ArraySlice<UInt8>] { contents(of: "/proc/\(pid)/environ").split(separator: 0) }

    private static func sockets(of pid: pid_t) -> Set<Substring> {
        Set(
            DirectoryListing.names(in: "/proc/\(pid)/fd").compactMap { name in
                var buffer = [CChar](repeating: 0, count: 64)
                let count = readlink("/proc/\(pid)/fd/\(name)", &buffer, buffer.count)
                guard count > 0 else { return nil }
                let target = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
                guard target.hasPrefix("socket:["), target.hasSuffix("]") else { return nil }
                return target.dropFirst("socket:[".count).dropLast()
            })
    }

    private static func listening(_ path: String) -> [(inode: Substring, port: UInt16)] {
        String(decoding: contents(of: path), as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ")
            // 0A is TCP_LISTEN.
            guard fields.count > 9, fields[3] == "0A", let colon = fields[1].lastIndex(of: ":"),
                let port = UInt16(fields[1][fields[1].index(after: colon)...], radix: 16)
            else { return nil }
            return (fields[9], port)
        }
    }

    /// Files of `/proc` have no size that could be asked for.
    private static func contents(of path: String) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while bytes.count < 4 << 20 {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return bytes
    }
}
