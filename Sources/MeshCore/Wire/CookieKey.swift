import Crypto

/// One key of the cookie ring.
public struct CookieKey: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Names the key inside cookie values; rising, never used twice in a ring.
    public let number: UInt16
    /// 32 bytes.
    public let secret: [UInt8]
    /// What members tell each other of it.
    public let mark: KeyMark

    public init(number: UInt16, secret: [UInt8]) {
        self.number = number
        self.secret = secret
        mark = KeyMark(number: number, of: secret, info: "sessionmesh cookie check 1")
    }

    /// Without the secret, so that a stray interpolation can't leak it.
    public var description: String { "cookie key \(number)" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: ["number": number]) }
}
