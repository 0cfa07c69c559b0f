import Crypto

/// One of 4096 shares of all sessions and channels: the first 12 bits of SHA-256 of a session id or channel name.
public struct Slot: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 0 to 4095.
    public let rawValue: UInt16

    public static let count = 4096
    public static let all: [Slot] = (0..<UInt16(count)).map(Slot.init(masking:))

    /// Nil when `rawValue` is 4096 or more.
    public init?(rawValue: UInt16) {
        guard rawValue < Slot.count else { return nil }
        self.rawValue = rawValue
    }

    /// The slot that the lower 12 bits name.
    public init(masking value: UInt16) {
        rawValue = value & 0x0FFF
    }

    /// The slot of a channel.
    public init(channel name: some StringProtocol) {
        var first: UInt16 = 0
        for byte in SHA256.hash(data: Array(name.utf8)).prefix(2) { first = first << 8 | UInt16(byte) }
        self.init(masking: first >> 4)
    }

    public var description: String { String(rawValue) }

    public static func < (lhs: Slot, rhs: Slot) -> Bool { lhs.rawValue < rhs.rawValue }
}
