import Crypto

/// Signs session ids into cookie values and takes them out again.
///
/// A value whose signature fails never reaches a peer or a mirror, so guessing costs the mesh nothing but one HMAC. The newest key signs;
/// every key of the ring verifies.
public struct CookieCodec: Sendable {
    private let signing: CookieKey
    private let keys: [UInt16: SymmetricKey]

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

    /// Whether a cookie value is ours. The comparison takes the same time wherever the first difference is.
    public func verdict(of value: some Collection<UInt8>) -> CookieVerdict {
        guard let value = CookieValue(parsing: value) else { return .refused(.malformed) }
        guard let key = keys[value.keyNumber] else { return .refused(.unknownKey) }
        guard HMAC<SHA256>.isValidAuthenticationCode(value.signature, authenticating: value.signed, using: key) else {
            return .refused(.badSignature)
        }
        return .signed(value.id)
    }
}

/// What a cookie value turns out to be.
public enum CookieVerdict: Hashable, Sendable {
    /// Signed with a key of ours.
    case signed(SessionID)
    case refused(SessionAbsence)

    public var id: SessionID? { if case .signed(let id) = self { id } else { nil } }
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
