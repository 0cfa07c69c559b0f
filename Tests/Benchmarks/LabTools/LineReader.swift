import Glibc

/// One end of a pipe, in lines.
package struct LineReader {
    package private(set) var descriptor: Int32
    package private(set) var isAtEnd = false
    private var rest: [UInt8] = []

    /// Longer than any line that is waited for. What a line has beyond it is cut off.
    private static let lineBytesMax = 16 * 1024

    package init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Takes what is there, without waiting for more.
    package mutating func read(_ body: (ArraySlice<UInt8>) -> Void) {
        guard !isAtEnd else { return }
        while true {
            let count = withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
                let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                if count > 0 { rest.append(contentsOf: buffer[..<count]) }
                return count
            }
            if count == 0 { isAtEnd = true }
            guard count > 0 else { break }
        }
        var start = 0
        while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
            body(rest[start..<end])
            start = end + 1
        }
        rest.removeFirst(start)
        if rest.count > Self.lineBytesMax { rest.removeAll() }
    }

    package mutating func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
        isAtEnd = true
    }
}
