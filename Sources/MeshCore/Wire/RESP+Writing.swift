// RESP3 straight into an array of bytes. What an agent answers is written so, without a tree of values first: a reply is dozens of short pieces,
// and each would cost an array of its own. Even to append one costs more than it is long, so those that belong together are gathered first.

extension [UInt8] {
    /// Appends, at once, the short pieces that `gather` puts together: at most ``RESPPieces/bytesMax`` bytes.
    mutating func appendRESP(_ gather: (inout RESPPieces) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: RESPPieces.bytesMax) { memory in
            var pieces = RESPPieces(memory)
            gather(&pieces)
            append(contentsOf: UnsafeBufferPointer(rebasing: memory[..<pieces.count]))
        }
    }

    /// Bytes as they are, their lengths and line ends included.
    mutating func appendRESP(_ literal: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
    }

    /// A constant bulk string: the key of an entry in a reply's map.
    mutating func appendRESP(word: StaticString) { appendRESP { $0.add(word: word) } }

    mutating func appendRESP(_ key: SessionKey) { appendRESP { $0.add(key) } }
    mutating func appendRESPNull() { appendRESP("_\r\n") }
    mutating func appendRESP(boolean value: Bool) { appendRESP(value ? "#t\r\n" : "#f\r\n") }
    mutating func appendRESP(map count: Int) { appendRESP("%", count) }
    mutating func appendRESP(array count: Int) { appendRESP("*", count) }
    mutating func appendRESP(push count: Int) { appendRESP(">", count) }
    mutating func appendRESP(integer value: some FixedWidthInteger) { appendRESP(":", value) }

    mutating func appendRESP(bulk payload: some Collection<UInt8>) {
        appendRESP("$", payload.count)
        append(contentsOf: payload)
        appendRESP("\r\n")
    }

    mutating func appendRESP(text: some StringProtocol) { appendRESP(bulk: text.utf8) }

    /// A number as text: one that may need all 64 bits unsigned doesn't fit a RESP integer.
    mutating func appendRESP(textOf value: UInt64) { appendRESP { $0.add(textOf: value) } }

    /// A line end inside `line` would let its writer forge further values, so it becomes a space.
    mutating func appendRESP(_ kind: Unicode.Scalar, line: some StringProtocol) {
        append(UInt8(ascii: kind))
        for byte in line.utf8 { append(byte == 0x0D || byte == 0x0A ? 0x20 : byte) }
        appendRESP("\r\n")
    }

    /// A line of a type's byte and a number: a length, a count, an integer.
    mutating func appendRESP(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger) { appendRESP { $0.add(kind, value) } }
}

/// Short pieces of RESP, one behind the other, in memory that doesn't grow.
struct RESPPieces {
    /// The longest head of a session's reply takes some 500: two names of 64 bytes, a key, five numbers.
    static let bytesMax = 640

    private let memory: UnsafeMutableBufferPointer<UInt8>
    private(set) var count = 0

    fileprivate init(_ memory: UnsafeMutableBufferPointer<UInt8>) { self.memory = memory }

    /// Has `write` fill the next bytes.
    /// - Precondition: there are as many. The callers know the bounds of what they write.
    private mutating func add(count added: Int, _ write: (UnsafeMutableBufferPointer<UInt8>) -> Void) {
        precondition(added <= memory.count - count, "more than \(memory.count) bytes of pieces")
        write(UnsafeMutableBufferPointer(rebasing: memory[count..<count + added]))
        count += added
    }

    /// Bytes as they are, their lengths and line ends included.
    mutating func add(_ literal: StaticString) {
        add(count: literal.utf8CodeUnitCount) { $0.baseAddress?.update(from: literal.utf8Start, count: $0.count) }
    }

    /// A constant bulk string: the key of an entry in a reply's map.
    mutating func add(word: StaticString) {
        add("$", word.utf8CodeUnitCount)
        add(word)
        add("\r\n")
    }

    mutating func add(_ key: SessionKey) {
        add("$", SessionKey.characterCount)
        add(count: SessionKey.characterCount, key.writeText)
        add("\r\n")
    }

    mutating func add(_ name: NodeName) {
        var text = name.description
        text.withUTF8 { text in
            add("$", text.count)
            add(count: text.count) { _ = $0.update(fromContentsOf: text) }
            add("\r\n")
        }
    }

    mutating func add(map count: Int) { add("%", count) }
    mutating func add(integer value: some FixedWidthInteger) { add(":", value) }

    /// An entry of a map: its key, and a number.
    mutating func add(_ word: StaticString, integer value: some FixedWidthInteger) {
        add(word: word)
        add(integer: value)
    }

    /// A number as text.
    mutating func add(textOf value: UInt64) {
        add("$", Self.digitCount(of: value))
        addDecimal(value)
        add("\r\n")
    }

    /// A line of a type's byte and a number: a length, a count, an integer.
    mutating func add(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger) {
        add(count: 1) { $0[0] = UInt8(ascii: kind) }
        if value < 0 { add("-") }
        addDecimal(UInt64(value.magnitude))
        add("\r\n")
    }

    private mutating func addDecimal(_ value: UInt64) {
        add(count: Self.digitCount(of: value)) { digits in
            var rest = value
            for index in digits.indices.reversed() {
                digits[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            }
        }
    }

    private static func digitCount(of value: UInt64) -> Int {
        var count = 1
        var bound: UInt64 = 10
        // 2^64 has 20 digits, and 10^20 doesn't fit.
        while value >= bound, count < 20 {
            count += 1
            bound = bound &* 10
        }
        return count
    }
}
