import Glibc

package enum UnixSocket {
    package static func connect(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard descriptor >= 0, bytes.count < room else { throw LabFailure("no socket for \(path)") }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw LabFailure("nobody answers on \(path)")
        }
        return descriptor
    }
}

/// The admin listener of a member of ours.
package enum Admin {
    /// By name with labels, as the page has them. Empty when it can't be had within a second.
    package static func metrics(socket: String) -> [String: Int] {
        var figures: [String: Int] = [:]
        for line in page("/metrics", socket: socket).split(separator: "\n") where line.first != "#" {
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.count == 2, let value = Int(words[1]) { figures[String(words[0])] = value }
        }
        return figures
    }

    /// An answer with its head; empty when it can't be had within a second.
    package static func page(_ path: String, socket: String) -> String {
        guard let descriptor = try? UnixSocket.connect(socket) else { return "" }
        defer { close(descriptor) }
        var patience = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return "" }
        var page: [UInt8] = []
        // A page has some kilobytes; more than that is not one.
        while page.count < 1 << 20 {
            let count = withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 1) { buffer in
                let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
                if count > 0 { page.append(contentsOf: buffer[..<count]) }
                return count
            }
            guard count > 0 else { break }
        }
        return String(decoding: page, as: UTF8.self)
    }
}
