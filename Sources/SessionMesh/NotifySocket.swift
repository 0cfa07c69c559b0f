#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where a process tells whoever started it how it is: systemd, or `sessionmesh run`. See sd_notify(3).
///
/// Nothing is ever waited for, and nothing is said when it doesn't get through: who listens has its own idea of how long silence may last.
package struct NotifySocket: Sendable {
    private let path: String
    /// Time between two heartbeats; nil when none are asked for. A third of what `WATCHDOG_USEC` allows, and at most a second.
    package let heartbeat: Duration?

    /// Nil when nobody listens: `NOTIFY_SOCKET` is not set.
    package init?(environment: [String: String]) {
        guard let path = environment["NOTIFY_SOCKET"], path.hasPrefix("/") || path.hasPrefix("@"), path.utf8.count < Self.pathBytesMax
        else {
            return nil
        }
        self.path = path
        heartbeat = environment["WATCHDOG_USEC"].flatMap { Int64($0) }.flatMap { $0 >= 3 ? min(.microseconds($0 / 3), .seconds(1)) : nil }
    }

    private static let pathBytesMax = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    package func send(_ fields: KeyValuePairs<String, String>) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { room in
            room.copyBytes(from: path.utf8)
            // A name that isn't a file's begins with a zero: unix(7).
            if path.hasPrefix("@") { room[0] = 0 }
        }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        let length = socklen_t(start + path.utf8.count + (path.hasPrefix("@") ? 0 : 1))
        #if canImport(Glibc)
            let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        #else
            let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM), 0)
        #endif
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let text = Array(fields.map { "\($0.key)=\($0.value)" }.joined(separator: "\n").utf8)
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = sendto(descriptor, text, text.count, Int32(MSG_DONTWAIT), $0, length)
            }
        }
    }
}
