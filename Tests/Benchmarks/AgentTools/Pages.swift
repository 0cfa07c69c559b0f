import Glibc
import LabTools

/// Pages of an agent's admin listener, asked for on one connection without waiting for it.
package final class Pages: Source {
    package private(set) var descriptor: Int32
    package let asked: Duration
    private var bytes: [UInt8] = []
    private var hasEnded = false

    /// A page of all slots has half of it; more is not what was asked for.
    private static let bytesMax = 1 << 20

    package init(_ paths: [String], of socket: String, in loop: Loop) {
        asked = loop.now
        descriptor = (try? UnixSocket.connect(socket)) ?? -1
        guard descriptor >= 0 else { return }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        let requests = paths.enumerated().map { number, path in
            "GET \(path) HTTP/1.1\r\nHost: localhost\r\n" + (number == paths.count - 1 ? "Connection: close\r\n\r\n" : "\r\n")
        }
        let request = Array(requests.joined().utf8)
        if send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count { loop.add(self) } else { close() }
    }

    deinit { close() }

    package var wantsWrite: Bool { false }
    package var isOver: Bool { descriptor < 0 }

    /// The answers, heads included; nil until all of them are there.
    package var text: String? { hasEnded ? String(decoding: bytes, as: UTF8.self) : nil }

    package func isReady(toRead: Bool, toWrite: Bool) {
        let count = withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count > 0 { bytes.append(contentsOf: buffer[..<count]) }
            return count
        }
        hasEnded = count == 0
        if (count <= 0 && errno != EAGAIN) || hasEnded || bytes.count > Self.bytesMax { close() }
    }

    package func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
    }
}
