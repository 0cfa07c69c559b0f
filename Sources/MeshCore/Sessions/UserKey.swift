import Crypto

/// SHA-256 of a user's name: the form in which it stands in a mirror's index, where a name could be of any length and hold any character.
public struct UserKey: Hashable, Sendable, CustomStringConvertible {
    /// 32 of them.
    public let bytes: [UInt8]

    public init(of user: String) { bytes = Array(SHA256.hash(data: Array(user.utf8))) }

    /// 43 characters of base64url.
    public var description: String { String(decoding: Base64URL.encode(bytes), as: UTF8.self) }
}
