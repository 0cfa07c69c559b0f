import Crypto

/// Signs session ids into cookie values and takes them out again.
///
/// A value is `id.keyid.hmac`: 43 characters of base64url for the 32-byte id, the key's number in decimal, and 43 characters for
/// HMAC-SHA256 over `id.keyid`. A value whose signature fails never reaches a peer or a mirror, so guessing costs the mesh
/// nothing but one HMAC. The newest key signs; every key of the ring verifies.
public struct CookieCodec: Sendable {
    private let signing: CookieKey
    private let keys: [UInt16: SymmetricKey]

    /// Longest value this codec writes: anything longer is refused before it is decoded.
    public static let valueBytesMax = 43 + 1 + 5 + 1 + 43

    /// Nil for an empty ring: a mesh without a cookie key can't know its own cookies.
    public init?(ring: [CookieKey]) {
        guard let newest = ring.last else { return nil }
        signing = newest
        keys = Dictionary(ring.map { ($0.number, SymmetricKey(data: $0.secret)) }, uniquingKeysWith: { $1 })
    }

    public func value(for id: SessionID) -> String {
        var text = Base64URL.encode(id.bytes)
        text.append(UInt8(ascii: "."))
        text.append(contentsOf: String(signing.number).utf8)
        let mac = HMAC<SHA256>.authenticationCode(for: text, using: SymmetricKey(data: signing.secret))
        text.append(UInt8(ascii: "."))
        text.append(contentsOf: Base64URL.encode(Array(mac)))
        return String(decoding: text, as: UTF8.self)
    }

    /// The id that a session goes on under when `commit` moves it. Nobody without the cookie key can tell it, and whoever has the key gets the
    /// same from the same `draw`: so a move that is sent again, by way of whichever agent, gives the same cookie though no id is ever sent.
    public func successor(of key: SessionKey, by commit: CommitID, draw: UInt64) -> SessionID? {
        successor(of: key, by: commit, draw: draw, under: SymmetricKey(data: signing.secret))
    }

    /// The cookie value of a successor; nil when it was made under a key that is not in the ring.
    public func value(ofSuccessor successor: SessionKey, of key: SessionKey, by commit: CommitID, draw: UInt64) -> String? {
        for secret in keys.values {
            guard let id = self.successor(of: key, by: commit, draw: draw, under: secret), SessionKey(of: id) == successor else { continue }
            return value(for: id)
        }
        return nil
    }

    private func successor(of key: SessionKey, by commit: CommitID, draw: UInt64, under secret: SymmetricKey) -> SessionID? {
        var writer = ByteWriter()
        writer.write(raw: Array("sessionmesh move 1".utf8))
        writer.write(key)
        writer.write(commit)
        writer.write(draw)
        return SessionID(bytes: Array(HMAC<SHA256>.authenticationCode(for: writer.bytes, using: secret)))
    }

    /// The id inside a cookie value, or nil when it is malformed, of an unknown key, or not signed by us. The comparison takes the
    /// same time wherever the first difference is.
    public func id(in value: some Collection<UInt8>) -> SessionID? {
        guard value.count <= Self.valueBytesMax else { return nil }
        let value = Array(value)
        guard let macDot = value.lastIndex(of: UInt8(ascii: ".")),
            let keyDot = value[..<macDot].lastIndex(of: UInt8(ascii: ".")),
            let number = UInt16(String(decoding: value[(keyDot + 1)..<macDot], as: UTF8.self)),
            let key = keys[number],
            let mac = Base64URL.decode(value[(macDot + 1)...]),
            HMAC<SHA256>.isValidAuthenticationCode(mac, authenticating: value[..<macDot], using: key),
            let id = Base64URL.decode(value[..<keyDot])
        else { return nil }
        return SessionID(bytes: id)
    }
}

/// One key of the cookie ring.
public struct CookieKey: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Names the key inside cookie values; rising, never used twice in a ring.
    public let number: UInt16
    /// 32 bytes.
    public let secret: [UInt8]

    public init(number: UInt16, secret: [UInt8]) {
        self.number = number
        self.secret = secret
    }

    /// Without the secret, so that a stray interpolation can't leak it.
    public var description: String { "cookie key \(number)" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: ["number": number]) }
}
