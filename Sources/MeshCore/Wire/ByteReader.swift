/// Reads the mesh's binary formats. Every read is checked against what is there; nothing traps, and no memory is taken for a
/// length before that many bytes are known to be present.
public struct ByteReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    public init(_ bytes: [UInt8]) {
        self.init(bytes[...])
    }

    public var remaining: Int { bytes.endIndex - position }
    public var isAtEnd: Bool { remaining == 0 }

    public mutating func read<Integer: FixedWidthInteger & UnsignedInteger>(_: Integer.Type = Integer.self) throws(WireError) -> Integer {
        let size = MemoryLayout<Integer>.size
        guard remaining >= size else { throw .truncated }
        var value: Integer = 0
        withUnsafeMutableBytes(of: &value) { value in
            bytes[position..<position + size].withUnsafeBytes { value.copyMemory(from: $0) }
        }
        position += size
        return Integer(bigEndian: value)
    }

    public mutating func read(raw count: Int) throws(WireError) -> ArraySlice<UInt8> {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return bytes[position..<position + count]
    }

    /// What `check` reads, as it is.
    mutating func read(_ check: (inout ByteReader) throws(WireError) -> Void) throws(WireError) -> ArraySlice<UInt8> {
        let start = position
        try check(&self)
        return bytes[start..<position]
    }

    public mutating func readShort() throws(WireError) -> ArraySlice<UInt8> {
        let count = try read(UInt8.self)
        return try read(raw: Int(count))
    }

    /// A byte string behind a 32-bit length.
    /// - Parameter limit: the longest string accepted, in bytes.
    public mutating func readLong(limit: Int) throws(WireError) -> ArraySlice<UInt8> {
        let count = try read(UInt32.self)
        guard count <= limit else { throw .tooLarge }
        return try read(raw: Int(count))
    }

    /// A count of items that follow, refused when even the smallest items could not fit in what remains.
    public mutating func readCount(itemBytesMin: Int, limit: Int) throws(WireError) -> Int {
        let count = Int(try read(UInt32.self))
        guard count <= limit else { throw .tooLarge }
        guard count * itemBytesMin <= remaining else { throw .truncated }
        return count
    }

    public mutating func finish() throws(WireError) {
        guard isAtEnd else { throw .trailingBytes }
    }
}

/// Why bytes from outside were not understood. The receiver drops them and counts the reason.
public enum WireError: Error, Hashable, Sendable, CaseIterable {
    /// The bytes end before the value does.
    case truncated
    /// A length or count is above its bound.
    case tooLarge
    /// Bytes follow where the value should have ended.
    case trailingBytes
    /// A tag, name or flag that this version doesn't know.
    case unknownValue
    /// Written by an agent of another version of the protocol.
    case wrongVersion
    /// Text that is not UTF-8, or a name with a character that names may not have.
    case malformedText
}
