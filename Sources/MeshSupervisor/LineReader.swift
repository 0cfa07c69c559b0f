import CMeshSystem
import Glibc

/// Cuts what comes out of a pipe into lines.
struct LineReader {
    private(set) var descriptor: Int32
    private let lineBytesMax: Int
    private var pending: [UInt8] = []

    init(_ descriptor: Int32, _ lineBytesMax: Int) {
        self.descriptor = descriptor
        self.lineBytesMax = lineBytesMax
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    /// One piece; at the end of the file the descriptor is closed.
    mutating func read(_ body: (String) -> Void) { _ = readOnce(body) }

    /// As much as the largest pipe holds: who writes without end must not hold its own end up.
    mutating func readWhatIsThere(_ body: (String) -> Void) {
        for _ in 0..<64 { guard readOnce(body) else { return } }
    }

    private mutating func readOnce(_ body: (String) -> Void) -> Bool {
        guard descriptor >= 0 else { return false }
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        if count < 0, errno == EINTR { return true }
        if count < 0, errno == EAGAIN { return false }
        guard count > 0 else {
            if !pending.isEmpty { body(String(decoding: pending, as: UTF8.self)) }
            pending = []
            mesh_close(descriptor)
            descriptor = -1
            return false
        }
        for byte in buffer[..<count] {
            if byte != UInt8(ascii: "\n") { pending.append(byte) }
            guard byte == UInt8(ascii: "\n") || pending.count == lineBytesMax else { continue }
            body(String(decoding: pending, as: UTF8.self))
            pending.removeAll(keepingCapacity: true)
        }
        return true
    }
}
