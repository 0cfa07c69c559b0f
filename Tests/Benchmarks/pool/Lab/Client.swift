import Glibc
import LabTools

/// A kept connection that asks for one page again and again.
struct Client {
    let descriptor: Int32
    private let request: [UInt8]
    private var received: [UInt8] = []
    /// When it was asked, or should have been.
    private(set) var since: Instant?

    init(_ path: String, port: UInt16) throws {
        request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard Loopback.connect(descriptor, to: port) else { throw LabFailure("nobody answers on port \(port)") }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    func close() { _ = Glibc.close(descriptor) }

    mutating func ask(since: Instant) throws {
        self.since = since
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw LabFailure("the server takes no request: \(String(cString: strerror(errno)))")
        }
    }

    /// - Returns: since when it waited, once its answer is there.
    mutating func read() throws -> Instant? {
        let count = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count > 0 { received.append(contentsOf: buffer[..<count]) }
            return count
        }
        guard count > 0 || errno == EAGAIN else { throw LabFailure("the server closed a connection") }
        // Pages are one line, which no head ends with.
        guard let since, received.last == UInt8(ascii: "\n"), received.suffix(4) != [13, 10, 13, 10] else { return nil }
        guard received.starts(with: Array("HTTP/1.1 200".utf8)) else {
            throw LabFailure("the server answered \(String(decoding: received.prefix { $0 != 13 }, as: UTF8.self))")
        }
        received.removeAll(keepingCapacity: true)
        self.since = nil
        return since
    }
}
