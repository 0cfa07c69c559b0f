import Crypto

/// SHA-256 of a session id: the only form of it that leaves the node, in peers, mirrors, logs and metrics alike.
public struct SessionKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    public static let byteCount = 32
    /// Of its text.
    static let characterCount = 43

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

    init?(text: some Collection<UInt8>) {
        guard text.count == Self.characterCount else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        var lettersLeft = Self.characterCount
        for letter in text {
            guard var value = Base64URL.value(of: letter) else { return nil }
            lettersLeft -= 1
            // 43 letters hold two bits more than a key has. They are zero, so that each key has exactly one text.
            if lettersLeft == 0 {
                guard value & 3 == 0 else { return nil }
                value >>= 2
            }
            let width: UInt64 = lettersLeft == 0 ? 4 : 6
            words.0 = words.0 << width | words.1 >> (64 - width)
            words.1 = words.1 << width | words.2 >> (64 - width)
            words.2 = words.2 << width | words.3 >> (64 - width)
            words.3 = words.3 << width | UInt64(value)
        }
        self.words = words
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
        var text: [UInt8] = []
        appendText(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends the characters of ``description``.
    func appendText(to text: inout [UInt8]) {
        withUnsafeBytes(of: (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)) { bytes in
            Base64URL.append(bytes, to: &text)
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
        guard let key = SessionKey(bytes: try read(raw: SessionKey.byteCount)) else { throw .truncated }
        return key
    }
}
