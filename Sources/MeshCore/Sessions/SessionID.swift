/// The secret that a cookie carries: 32 random bytes. Never logged, never sent to another node; see ``SessionKey``.
public struct SessionID: Hashable, Sendable {
    let bytes: [UInt8]

    public static let byteCount = 32

    /// Nil unless there are exactly 32 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }
}
