/// Writes the mesh's binary formats: big-endian integers, and byte strings behind their length.
public struct ByteWriter: Sendable {
    public private(set) var bytes: [UInt8]

    public init(reserving capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    public var count: Int { bytes.count }

    /// Begins anew. Memory for at most so many bytes is kept.
    mutating func removeAll(keepingCapacityOf limit: Int) {
        bytes.removeAll(keepingCapacity: bytes.count <= limit)
    }

    public mutating func write(_ integer: some FixedWidthInteger & UnsignedInteger) {
        withUnsafeBytes(of: integer.bigEndian) { bytes.append(contentsOf: $0) }
    }

    public mutating func write(raw: some Sequence<UInt8>) {
        bytes.append(contentsOf: raw)
    }

    /// A byte string of at most 255 bytes. Longer is a mistake of the caller: lengths are checked where values are made.
    public mutating func write(short: some Collection<UInt8>) {
        precondition(short.count <= 255, "a short string holds at most 255 bytes, got \(short.count)")
        bytes.append(UInt8(short.count))
        bytes.append(contentsOf: short)
    }

    /// Leaves room for the tag and the length of what is written next; ``endFrame(from:tag:)`` fills it in.
    mutating func beginFrame() -> Int {
        for _ in 0..<3 { bytes.append(0) }
        return bytes.count
    }

    /// - Precondition: at most 65,535 bytes were written since.
    mutating func endFrame(from start: Int, tag: UInt8) {
        let length = UInt16(bytes.count - start)
        bytes[start - 3] = tag
        bytes[start - 2] = UInt8(length >> 8)
        bytes[start - 1] = UInt8(truncatingIfNeeded: length)
    }

    /// A byte string behind a 32-bit length.
    public mutating func write(long: some Collection<UInt8>) {
        write(UInt32(long.count))
        bytes.append(contentsOf: long)
    }
}
