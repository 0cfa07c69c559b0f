/// Walks the value of one Cookie field (RFC 6265, section 5.4) without copying it.
public struct CookieReader {
    private let bytes: UnsafeRawBufferPointer
    private var position: Int
    private let end: Int

    /// - Parameter range: the field's value within `bytes`.
    public init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    /// Where the value of the next cookie of that name stands, without quotes around it. A name may come more than once (two paths, or someone's forgery), so a caller asks on until one verifies.
    public mutating func next(named name: [UInt8]) -> Range<Int>? {
        while position < end {
            while position < end, bytes[position] == 0x20 || bytes[position] == 0x09 || bytes[position] == UInt8(ascii: ";") {
                position += 1
            }
            let start = position
            while position < end, bytes[position] != UInt8(ascii: ";") { position += 1 }
            let valueStart = start + name.count + 1
            guard valueStart <= position, bytes[valueStart - 1] == UInt8(ascii: "="), isName(name, at: start) else { continue }
            return trimmed(valueStart..<position)
        }
        return nil
    }

    @inline(__always)
    private func isName(_ name: [UInt8], at start: Int) -> Bool {
        for offset in 0..<name.count where bytes[start + offset] != name[offset] { return false }
        return true
    }

    private func trimmed(_ range: Range<Int>) -> Range<Int> {
        var (start, stop) = (range.lowerBound, range.upperBound)
        while stop > start, bytes[stop - 1] == 0x20 || bytes[stop - 1] == 0x09 { stop -= 1 }
        if stop - start >= 2, bytes[start] == UInt8(ascii: "\""), bytes[stop - 1] == UInt8(ascii: "\"") {
            start += 1
            stop -= 1
        }
        return start..<stop
    }
}
