import Crypto

/// SHA-256 of a session id: the only form of it that leaves the node, in peers, mirrors, logs and metrics alike.
public struct SessionKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    public static let byteCount = 32
    /// Of its text.
    static let characterCount = 43

    fileprivate init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// Nil unless there are exactly 32 bytes.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (index, byte) in bytes.enumerated() { words[index / 8] = words[index / 8] << 8 | UInt64(byte) }
        self.words = (words[0], words[1], words[2], words[3])
    }

    /// The key of an id.
    public init(of id: SessionID) {
        let digest = SHA256.hash(data: id.bytes)
        words = digest.withUnsafeBytes { digest in
            func word(_ index: Int) -> UInt64 { UInt64(bigEndian: digest.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)) }
            return (word(0), word(1), word(2), word(3))
        }
    }

    /// Reads the 43 characters that ``description`` writes; nil for anything else.
    public init?(text: some StringProtocol) {
        self.init(text: Array(text.utf8))
    }

    // A word is ten letters and four bits more: so the eleventh letter, and the twenty-second, belong to two words.

    init?(text: some Collection<UInt8>) {
        guard text.count == Self.characterCount else { return nil }
        var letters = text.makeIterator()
        let values = Base64URL.values
        var isText = true
        func next() -> UInt64 {
            guard let letter = letters.next() else { return 0 }
            let value = values[Int(letter)]
            if value > 63 { isText = false }
            return UInt64(value)
        }
        func nextTen() -> UInt64 {
            var bits: UInt64 = 0
            for _ in 0..<10 { bits = bits << 6 | next() }
            return bits
        }
        var words: (UInt64, UInt64, UInt64, UInt64)
        words.0 = nextTen() << 4
        var shared = next()
        words.0 |= shared >> 2
        words.1 = shared << 62 | nextTen() << 2
        shared = next()
        words.1 |= shared >> 4
        words.2 = shared << 60 | nextTen()
        words.3 = nextTen() << 4
        shared = next()
        words.3 |= shared >> 2
        // 43 letters hold two bits more than a key has. They are zero, so that each key has exactly one text.
        guard isText, shared & 3 == 0 else { return nil }
        self.words = words
    }

    /// Writes the characters of ``description``.
    func writeText(to text: UnsafeMutableBufferPointer<UInt8>) {
        func write(_ bits: UInt64, at index: Int, count: Int = 1) {
            for place in 0..<count { text[index + place] = Base64URL.letter(of: bits >> UInt64(6 * (count - 1 - place))) }
        }
        write(words.0 >> 4, at: 0, count: 10)
        write(words.0 << 2 | words.1 >> 62, at: 10)
        write(words.1 >> 2, at: 11, count: 10)
        write(words.1 << 4 | words.2 >> 60, at: 21)
        write(words.2, at: 22, count: 10)
        write(words.3 >> 4, at: 32, count: 10)
        write(words.3 << 2, at: 42)
    }

    public var bytes: [UInt8] {
        var writer = ByteWriter(reserving: Self.byteCount)
        writer.write(self)
        return writer.bytes
    }

    /// The slot this session lives in.
    public var slot: Slot { Slot(masking: UInt16(truncatingIfNeeded: words.0 >> 52)) }

    /// 43 characters of base64url.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.characterCount) { text in
            writeText(to: text)
            return Self.characterCount
        }
    }

    public static func == (lhs: SessionKey, rhs: SessionKey) -> Bool { lhs.words == rhs.words }
    public static func < (lhs: SessionKey, rhs: SessionKey) -> Bool { lhs.words < rhs.words }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }

    fileprivate func write(to writer: inout ByteWriter) {
        writer.write(words.0)
        writer.write(words.1)
        writer.write(words.2)
        writer.write(words.3)
    }
}

extension ByteWriter {
    public mutating func write(_ key: SessionKey) { key.write(to: &self) }
}

extension ByteReader {
    public mutating func readSessionKey() throws(WireError) -> SessionKey {
        SessionKey(words: (try read(), try read(), try read(), try read()))
    }
}
