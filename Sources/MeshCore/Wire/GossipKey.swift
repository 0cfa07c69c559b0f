import Crypto

/// Names a key of a ring among members without giving it away: they tell each other which keys they accept.
public struct KeyMark: Hashable, Sendable {
    public let number: UInt16
    /// Of the secret, so that two secrets that were given one number by mistake are not taken for one key.
    public let check: UInt32

    public init(number: UInt16, check: UInt32) {
        self.number = number
        self.check = check
    }

    init(number: UInt16, of secret: [UInt8], info: String) {
        let check = HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: secret), info: Array(info.utf8), outputByteCount: 4)
        self.init(number: number, check: check.withUnsafeBytes { $0.reduce(0) { $0 << 8 | UInt32($1) } })
    }

    static let bytes = 6
}

/// One key of the gossip ring. Whoever has it is a member of the mesh; it is never printed.
public struct GossipKey: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Names the key inside packets and hellos; never used twice in a ring.
    public let number: UInt16
    /// 32 bytes.
    public let secret: [UInt8]
    public let mark: KeyMark

    public static let secretBytes = 32

    /// Nil unless the secret has 32 bytes.
    public init?(number: UInt16, secret: [UInt8]) {
        guard secret.count == Self.secretBytes else { return nil }
        self.number = number
        self.secret = secret
        mark = KeyMark(number: number, of: secret, info: "sessionmesh key check 1")
    }

    public var description: String { "gossip key \(number)" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: ["number": number]) }
}

/// The gossip keys that a process accepts, and the one it seals with: the last.
///
/// How it follows a key file that changes: ``KeyRotation``.
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

    /// Keys of a ring and those kept from the one before it: their numbers differ, and there are at most twice as many.
    init(accepting others: [GossipKey], sealing: GossipKey) {
        keys = others.suffix(2 * Self.keysMax - 1) + [sealing]
        self.sealing = sealing
    }

    /// What others are told: which keys are accepted, the one that is used last.
    public var marks: [KeyMark] { keys.map(\.mark) }

    public subscript(number: UInt16) -> GossipKey? {
        keys.first { $0.number == number }
    }
}
