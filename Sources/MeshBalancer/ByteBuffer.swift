import Glibc

/// Bytes that wait: a head that is not whole, or output that a peer does not take yet. Idle connections have none.
///
/// Memory comes from a ``BufferPool`` and goes back to it by hand, at the one place where a connection lets go of it.
struct ByteBuffer {
    fileprivate let base: UnsafeMutableRawPointer
    let capacity: Int
    private var start = 0
    private var end = 0

    fileprivate init(base: UnsafeMutableRawPointer, capacity: Int) {
        self.base = base
        self.capacity = capacity
    }

    var count: Int { end - start }
    /// Nothing was taken from the front.
    var isUntouched: Bool { start == 0 }
    var room: Int { capacity - end }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + start, count: end - start) }

    /// Where the next bytes go; say how many with ``grew(by:)``.
    var free: UnsafeMutableRawPointer { base + end }

    mutating func grew(by count: Int) {
        precondition(count >= 0 && count <= room, "a buffer of \(capacity) bytes holding \(end) can't grow by \(count)")
        end += count
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        free.copyMemory(from: source, byteCount: bytes.count)
        grew(by: bytes.count)
    }

    mutating func removeFirst(_ count: Int) {
        start += count
    }

}

/// Buffers of one loop, in sizes from 1 KiB to 128 KiB. At most 512 KiB of each size are kept free (4 MiB in all); the rest goes back to the system.
struct BufferPool {
    static let largest = 128 * 1024
    private static let smallest = 1024
    private static let keptBytesMax = 512 * 1024
    private var free: [[UnsafeMutableRawPointer]]

    init() {
        free = Array(repeating: [], count: 8)
        for index in free.indices { free[index].reserveCapacity(min(64, Self.keptBytesMax / (Self.smallest << index))) }
    }

    /// A buffer of at least `count` bytes; `count` is at most ``largest``.
    mutating func take(_ count: Int) -> ByteBuffer {
        precondition(count <= Self.largest, "\(count) bytes are more than a buffer holds")
        let index = Self.index(of: count)
        let size = Self.smallest << index
        if let base = free[index].popLast() { return ByteBuffer(base: base, capacity: size) }
        return ByteBuffer(base: .allocate(byteCount: size, alignment: 16), capacity: size)
    }

    mutating func giveBack(_ buffer: ByteBuffer) {
        let index = Self.index(of: buffer.capacity)
        if free[index].count < Self.keptBytesMax / buffer.capacity {
            free[index].append(buffer.base)
        } else {
            buffer.base.deallocate()
        }
    }

    /// A larger buffer with the same bytes, or the same when it has room for `more`.
    mutating func grow(_ buffer: ByteBuffer, by more: Int) -> ByteBuffer {
        if buffer.room >= more { return buffer }
        var larger = take(buffer.count + more)
        larger.append(buffer.bytes)
        giveBack(buffer)
        return larger
    }

    mutating func releaseAll() {
        for list in free { for base in list { base.deallocate() } }
        free = []
    }

    private static func index(of count: Int) -> Int {
        count <= smallest ? 0 : Int.bitWidth - ((count - 1) / smallest).leadingZeroBitCount
    }
}
