// RESP3 straight into an array of bytes. What an agent answers is written so, without a tree of values first: a reply is a dozen short pieces,
// and each would cost an array of its own.

extension [UInt8] {
    /// Bytes as they are, their lengths and line ends included.
    mutating func appendRESP(_ literal: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
    }

    /// A constant bulk string: the key of an entry in a reply's map.
    mutating func appendRESP(word: StaticString) {
        appendRESP("$", word.utf8CodeUnitCount)
        appendRESP(word)
        appendRESP("\r\n")
    }

    mutating func appendRESP(_ key: SessionKey) {
        appendRESP("$", SessionKey.characterCount)
        key.appendText(to: &self)
        appendRESP("\r\n")
    }

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
    mutating func appendRESP(textOf value: UInt64) {
        var digits = 1
        var rest = value
        while rest >= 10 {
            rest /= 10
            digits += 1
        }
        appendRESP("$", digits)
        appendDecimal(value)
        appendRESP("\r\n")
    }

    /// A line end inside `line` would let its writer forge further values, so it becomes a space.
    mutating func appendRESP(_ kind: Unicode.Scalar, line: some StringProtocol) {
        append(UInt8(ascii: kind))
        for byte in line.utf8 { append(byte == 0x0D || byte == 0x0A ? 0x20 : byte) }
        appendRESP("\r\n")
    }

    /// A line of a type's byte and a number: a length, a count, an integer.
    mutating func appendRESP(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger) {
        // The type's byte, a sign, 20 digits of 2^64 and the line's end, from the back, and appended at once: replies are made of these.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { line in
            (line[22], line[23]) = (0x0D, 0x0A)
            var first = 22
            var rest = UInt64(value.magnitude)
            repeat {
                first -= 1
                line[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            if value < 0 {
                first -= 1
                line[first] = UInt8(ascii: "-")
            }
            first -= 1
            line[first] = UInt8(ascii: kind)
            append(contentsOf: UnsafeBufferPointer(rebasing: line[first...]))
        }
    }

    private mutating func appendDecimal(_ value: UInt64) {
        // 2^64 has 20 digits.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var first = 20
            var rest = value
            repeat {
                first -= 1
                digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            append(contentsOf: UnsafeBufferPointer(rebasing: digits[first...]))
        }
    }
}
