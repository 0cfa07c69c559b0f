/// One key of the gossip ring. Whoever has it is a member of the mesh; it is never printed.
public struct GossipKey: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Names the key inside packets and hellos; never used twice in a ring.
    public let number: UInt16
    /// 32 bytes.
    public let secret: [UInt8]

    public static let secretBytes = 32

    /// Nil unless the secret has 32 bytes.
    public init?(number: UInt16, secret: [UInt8]) {
        guard secret.count == Self.secretBytes else { return nil }
        self.number = number
        self.secret = secret
    }

    public var description: String { "gossip key \(number)" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: ["number": number]) }
}

/// The gossip keys that a process accepts, and the one it seals with: the last.
///
/// To rotate, on every agent before the next step: put the new key before the old one (accepted, not used), move it last (used), take the
/// old one out.
public struct GossipKeyRing: Hashable, Sendable {
    public let keys: [GossipKey]
    public let sealing: GossipKey

    /// More keys than a rotation can need. Each costs a packet that names it one derivation.
    public static let keysMax = 16

    /// Nil when the ring is empty, too long, or has one number twice.
    public init?(_ keys: [GossipKey]) {
        guard let last = keys.last, keys.count <= Self.keysMax, Set(keys.map(\.number)).count == keys.count else { return nil }
        self.keys = keys
        sealing = last
    }

    public subscript(number: UInt16) -> GossipKey? {
        keys.first { $0.number == number }
    }
}
