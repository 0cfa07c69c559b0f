import Crypto

/// Secrets drawn deterministically from one 32-byte seed: block *n* is HMAC-SHA256(seed, n).
///
/// A shell seeds it once from the operating system; a simulator seeds it from a number. Without the seed the blocks can't
/// be told from chance (HMAC as a pseudorandom function, RFC 2104), and with it a run can be replayed.
public struct SecretGenerator: Sendable {
    private let key: SymmetricKey
    private var counter: UInt64 = 0

    public init(seed: [UInt8]) {
        key = SymmetricKey(data: seed)
    }

    /// The next 32 secret bytes.
    public mutating func next() -> [UInt8] {
        counter += 1
        var writer = ByteWriter()
        writer.write(counter)
        return Array(HMAC<SHA256>.authenticationCode(for: writer.bytes, using: key))
    }
}
