import Glibc

/// A blocking stream socket with a deadline for every call: what a browser, an operator or an attacker holds in these tests.
final class Wire {
    private let descriptor: Int32
    private var unread: [UInt8] = []

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameter address: `unix:PATH` or `IPv4:PORT`.
    init(_ address: String, patience: Int = 10) throws {
        let isUnix = address.hasPrefix("unix:")
        descriptor = socket(isUnix ? AF_UNIX : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(description: "no socket: errno \(errno)") }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let status = isUnix ? Self.connect(descriptor, path: String(address.dropFirst(5))) : Self.connect(descriptor, host: address)
        guard status == 0 else {
            let reason = errno
            close(descriptor)
            throw Failure(description: "connecting to \(address): errno \(reason)")
        }
    }

    deinit { close(descriptor) }

    private static func connect(_ descriptor: Int32, path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func connect(_ descriptor: Int32, host: String) -> Int32 {
        let parts = host.split(separator: ":")
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = (parts.last.flatMap { UInt16($0) } ?? 0).bigEndian
        inet_pton(AF_INET, String(parts.first ?? "127.0.0.1"), &address.sin_addr)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    func send(_ bytes: some Collection<UInt8>) throws {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { throw Failure(description: "sending: errno \(errno)") }
            rest = rest.dropFirst(sent)
        }
    }

    /// At least one byte; empty at the end of the stream.
    private func receive() throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
        guard count >= 0 else { throw Failure(description: "receiving: errno \(errno)") }
        return Array(buffer.prefix(count))
    }

    func read(_ count: Int) throws -> [UInt8] {
        while unread.count < count {
            let more = try receive()
            guard !more.isEmpty else { throw Failure(description: "the other side hung up after \(unread.count) of \(count) bytes") }
            unread += more
        }
        defer { unread.removeFirst(count) }
        return Array(unread.prefix(count))
    }

    /// Up to and including `end`.
    func read(through end: [UInt8], limit: Int = 1 << 20) throws -> [UInt8] {
        var searched = 0
        while true {
            if unread.count >= end.count {
                for index in max(0, searched - end.count)...(unread.count - end.count)
                where Array(unread[index..<index + end.count]) == end {
                    return try read(index + end.count)
                }
            }
            searched = unread.count
            guard searched < limit else { throw Failure(description: "no end within \(limit) bytes") }
            let more = try receive()
            guard !more.isEmpty else { throw Failure(description: "the other side hung up") }
            unread += more
        }
    }

    func readToEnd() throws -> [UInt8] {
        while true {
            let more = try receive()
            if more.isEmpty {
                defer { unread = [] }
                return unread
            }
            unread += more
        }
    }
}
