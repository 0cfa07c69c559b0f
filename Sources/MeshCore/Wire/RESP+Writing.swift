// RESP3 straight into an array of bytes. What an agent answers is written so, without a tree of values first: a reply is dozens of short pieces,
// and each would cost an array of its own. Even to append one costs more than it is long, so they are gathered first.

extension [UInt8] {
    /// Appends what `write` writes.
    mutating func appendRESP(_ write: (inout RESPWriter) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: RESPWriter.gatheredMax) { memory in
            withUnsafeMutablePointer(to: &self) { output in
                var writer = RESPWriter(memory, output)
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

    private let memory: UnsafeMutableBufferPointer<UInt8>
    private let output: UnsafeMutablePointer<[UInt8]>
    private var count = 0

    fileprivate init(_ memory: UnsafeMutableBufferPointer<UInt8>, _ output: UnsafeMutablePointer<[UInt8]>) {
        self.memory = memory
        self.output = output
    }

    fileprivate mutating func flush() {
        output.pointee.append(contentsOf: UnsafeBufferPointer(rebasing: memory[..<count]))
        count = 0
    }

    /// Has `write` fill the next bytes.
    private mutating func add(count added: Int, _ write: (UnsafeMutableBufferPointer<UInt8>) -> Void) {
        precondition(added <= memory.count, "more than \(memory.count) bytes in one piece")
        if added > memory.count - count { flush() }
        write(UnsafeMutableBufferPointer(rebasing: memory[count..<count + added]))
        count += added
    }

    // MARK: Values

    mutating func add(array count: Int) { add("*", count) }
    mutating func add(map count: Int) { add("%", count) }
    mutating func add(push count: Int) { add(">", count) }
    mutating func add(integer value: some FixedWidthInteger) { add(":", value) }
    mutating func add(boolean value: Bool) { add(literal: value ? "#t\r\n" : "#f\r\n") }
    mutating func addNull() { add(literal: "_\r\n") }

    mutating func add(bulk payload: some Collection<UInt8>) {
        add("$", payload.count)
        if payload.count > Self.gatheredMax {
            flush()
            output.pointee.append(contentsOf: payload)
        } else {
            add(count: payload.count) { _ = $0.update(fromContentsOf: payload) }
        }
        add(literal: "\r\n")
    }

    mutating func add(text: some StringProtocol) { add(bulk: text.utf8) }

    /// A constant bulk string: the key of an entry in a reply's map.
    mutating func add(word: StaticString) {
        add("$", word.utf8CodeUnitCount)
        add(literal: word)
        add(literal: "\r\n")
    }

    /// An entry of a map: its key, and a number.
    mutating func add(_ word: StaticString, integer value: some FixedWidthInteger) {
        add(word: word)
        add(integer: value)
    }

    /// A number as text: one that may need all 64 bits unsigned doesn't fit a RESP integer.
    mutating func add(textOf value: UInt64) {
        add("$", Self.digitCount(of: value))
        addDecimal(value)
        add(literal: "\r\n")
    }

    mutating func add(_ key: SessionKey) {
        add("$", SessionKey.characterCount)
        add(count: SessionKey.characterCount, key.writeText)
        add(literal: "\r\n")
    }

    // MARK: Lines

    /// Bytes as they are, their lengths and line ends included.
    mutating func add(literal: StaticString) {
        add(count: literal.utf8CodeUnitCount) { $0.baseAddress?.update(from: literal.utf8Start, count: $0.count) }
    }

    /// A line end inside `line` would let its writer forge further values, so it becomes a space.
    mutating func add(_ kind: Unicode.Scalar, line: some StringProtocol) {
        add(count: 1) { $0[0] = UInt8(ascii: kind) }
        for byte in line.utf8 { add(count: 1) { $0[0] = byte == 0x0D || byte == 0x0A ? 0x20 : byte } }
        add(literal: "\r\n")
    }

    /// A line of a type's byte and a number: a length, a count, an integer.
    mutating func add(_ kind: Unicode.Scalar, _ value: some FixedWidthInteger) {
        add(count: 1) { $0[0] = UInt8(ascii: kind) }
        if value < 0 { add(literal: "-") }
        addDecimal(UInt64(value.magnitude))
        add(literal: "\r\n")
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
