/// Base64 in the URL alphabet without padding (RFC 4648, section 5).
public enum Base64URL {
    private static let letters: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    public static func encode(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count * 4 + 2) / 3)
        append(bytes, to: &text)
        return text
    }

    private static func append(_ bytes: some Sequence<UInt8>, to text: inout [UInt8]) {
        let letters = letters.utf8Start
        var bits: UInt32 = 0
        var bitCount = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            bitCount += 8
            while bitCount >= 6 {
                bitCount -= 6
                text.append(letters[Int(bits >> UInt32(bitCount) & 63)])
            }
        }
        if bitCount > 0 { text.append(letters[Int(bits << UInt32(6 - bitCount) & 63)]) }
    }

    /// Nil for a character outside the alphabet, a length no encoder writes, or unused bits that are not zero, so that each byte string
    /// has exactly one text.
    public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count * 3 / 4)
        var bits: UInt32 = 0
        var bitCount = 0
        let values = values
        for letter in text {
            let value = values[Int(letter)]
            guard value < 64 else { return nil }
            bits = bits << 6 | UInt32(value)
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(bitCount)))
            }
        }
        return bits & (1 << UInt32(bitCount) - 1) == 0 ? bytes : nil
    }

    /// What a letter stands for; 64 for what is none. Looked up, since letters come at random and each comparison would be a guess. Who reads many
    /// takes it once: each access asks whether it is made.
    static let values: [UInt8] = {
        var values = [UInt8](repeating: 64, count: 256)
        for value in 0..<64 as Range<UInt8> { values[Int(letter(of: UInt64(value)))] = value }
        return values
    }()

    /// That of the lowest six bits.
    static func letter(of bits: UInt64) -> UInt8 { letters.utf8Start[Int(bits & 63)] }
}
