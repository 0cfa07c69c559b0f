// RESP3 straight into an array of bytes. What an agent answers is written so, without a tree of values first: a reply is dozens of short pieces,
// and each would cost an array of its own. Even to append one costs more than it is long, so they are gathered first.

extension [UInt8] {
    /// Appends what `write` writes.
    mutating func appendRESP(_ write: (inout RESPWriter) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: RESPWriter.gatheredMax) { memory in
            withUnsafeMutablePointer(to: &self) { output in
                guard let start = memory.baseAddress else { return }
                var writer = RESPWriter(start, output)
                write(&writer)
                writer.flush()
            }
        }
    }
}

/// Writes RESP3 to the end of an array, a kilobyte at a time.
struct RESPWriter {
    /// As much as the stack has room for. Most replies are shorter.
    static let gatheredMax = 1024

    /// Has room for ``gatheredMax`` bytes.
    private let start: UnsafeMutablePointer<UInt8>
    private var count = 0
    private let output: UnsafeMutablePointer<[UInt8]>

    fileprivate init(_ start: UnsafeMutablePointer<UInt8>, _ output: UnsafeMutablePointer<[UInt8]>) {
        self.start = start
        self.output = output
    }

    fileprivate mutating func flush() {
        output.pointee.append(contentsOf: UnsafeBufferPointer(start: start, count: count))
        count = 0
    }

    /// Has `write` write the next bytes, and no more than it says, at a place that it moves on.
    private mutating func add(atMost most: Int, _ write: (inout UnsafeMutablePointer<UInt8>) -> Void) {
        precondition(most <= Self.gatheredMax, "more than \(Self.gatheredMax) bytes in one piece")
        if most > Self.gatheredMax - count { flush() }
        var place = start + count
        write(&place)
        count = place - start
    }

    // MARK: Values

    mutating func add(array count: Int) { add("*", count) }
    mutating func add(map count: Int) { add("%", count) }
    mutating func add(push count: Int) { add(">", count) }
    mutating func add(integer value: some FixedWidthInteger) { add(":", value) }
    mutating func add(boolean value: Bool) { add(literal: value ? "#t\r\n" : "#f\r\n") }
    mutating func addNull() { add(literal: "_\r\n") }

    mutating func add(bulk payload: some Collection<UInt8>) {
        let size = payload.count
        guard size + Self.lineMax + 2 <= Self.gatheredMax else {
            add("$", size)
            flush()
            output.pointee.append(contentsOf: payload)
            return add(literal: "\r\n")
        }
        add(atMost: size + Self.lineMax + 2) { place in
            Self.write("$", size, at: &place)
            _ = UnsafeMutableBufferPointer(start: place, count: size).update(fromContentsOf: payload)
            place += size
            Self.write("\r\n", at: &place)
        }
    }

    mutating func add(text: some StringProtocol) { add(bulk: text.utf8) }

    /// A constant bulk string: the key of an entry in a reply's map. Inlined, as is all that it calls, so that it is one constant of the program.
    @inline(__always)
    mutating func add(word: StaticString) {
        add(atMost: word.utf8CodeUnitCount + Self.lineMax + 2) { Self.write(word: word, at: &$0) }
    }

    /// An entry of a map: its key, and a number.
    @inline(__always)
    mutating func add(_ word: StaticString, integer value: some FixedWidthInteger) {
        add(atMost: word.utf8CodeUnitCount + 2 * Self.lineMax + 2) { place in
            Self.write(word: word, at: &place)
            Self.write(":", value, at: &place)
        }
    }

    /// A number as text: one that may need all 64 bits unsigned doesn't fit a RESP integer.
    mutating func add(textOf value: UInt64) { add(text: String(value)) }

    mutating func add(_ key: SessionKey) {
        add(atMost: SessionKey.characterCount + Self.lineMax + 2) { place in
            Self.write("$", SessionKey.characterCount, at: &place)
            key.writeText(to: UnsafeMutableBufferPointer(start: place, count: SessionKey.characterCount))
            place += SessionKey.characterCount
            Self.write("\r\n", at: &place)
        }
    }

    // MARK: Lines

    /// A type's byte, a sign, twenty digits and a line end.
    private static let lineMax = 24

    /// Bytes as they are, their lengths and line ends included.
    mutating func add(literal: StaticString) { add(atMost: literal.utf8CodeUnitCount) { Self.write(literal, at: &$0) } }

    /// A line of a type's byte and a number: a length, a count, an integer.
    mutating func add(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger) {
        add(atMost: Self.lineMax) { Self.write(kind, value, at: &$0) }
    }

    /// A line end inside `line` would let its writer forge further values, so it becomes a space.
    mutating func add(_ kind: Unicode.Scalar, line: some StringProtocol) {
        add(atMost: 1) { Self.write(UInt8(ascii: kind), at: &$0) }
        for byte in line.utf8 { add(atMost: 1) { Self.write(byte == 0x0D || byte == 0x0A ? 0x20 : byte, at: &$0) } }
        add(literal: "\r\n")
    }

    // MARK: Bytes

    private static func write(_ byte: UInt8, at place: inout UnsafeMutablePointer<UInt8>) {
        place.pointee = byte
        place += 1
    }

    @inline(__always)
    private static func write(_ literal: StaticString, at place: inout UnsafeMutablePointer<UInt8>) {
        place.update(from: literal.utf8Start, count: literal.utf8CodeUnitCount)
        place += literal.utf8CodeUnitCount
    }

    @inline(__always)
    private static func write(word: StaticString, at place: inout UnsafeMutablePointer<UInt8>) {
        write("$", word.utf8CodeUnitCount, at: &place)
        write(word, at: &place)
        write("\r\n", at: &place)
    }

    private static func write(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger, at place: inout UnsafeMutablePointer<UInt8>) {
        write(UInt8(ascii: kind), at: &place)
        if value < 0 { write(UInt8(ascii: "-"), at: &place) }
        let first = place
        var rest = UInt64(value.magnitude)
        // Two digits at a time, the last first: each division waits for the one before.
        while rest >= 10 {
            let pair = UInt8(truncatingIfNeeded: rest % 100)
            rest /= 100
            write(UInt8(ascii: "0") + pair % 10, at: &place)
            write(UInt8(ascii: "0") + pair / 10, at: &place)
        }
        if rest > 0 || place == first { write(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest), at: &place) }
        var digits = UnsafeMutableBufferPointer(start: first, count: place - first)
        digits.reverse()
        write("\r\n", at: &place)
    }
}
