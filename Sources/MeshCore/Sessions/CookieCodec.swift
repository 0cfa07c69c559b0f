import Crypto

/// Signs session ids into cookie values and takes them out again.
///
/// A value whose signature fails never reaches a peer or a mirror, so guessing costs the mesh nothing but one HMAC. Every key of the ring
/// verifies, and one signs; how that one is chosen: ``CookieRotation``.
public struct CookieCodec: Sendable {
    private let signing: CookieKey
    private let keys: [UInt16: SymmetricKey]
    /// The numbers of the keys that stand before the one that signs.
    private let older: Set<UInt16>

    /// - Parameter signing: one of the ring; nil for its last.
    /// - Returns: nil for an empty ring: a mesh without a cookie key can't know its own cookies.
    public init?(ring: [CookieKey], signing: CookieKey? = nil) {
        guard let signing = signing ?? ring.last else { return nil }
        self.signing = signing
        older = Set(ring.prefix { $0 != signing }.map(\.number))
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
        return .signed(value.id, by: value.keyNumber)
    }

    /// The cookie value that is due instead of one which the key of that number signed; nil while that one is good enough.
    public func renewal(of id: SessionID, signedBy number: UInt16) -> String? {
        older.contains(number) ? value(for: id) : nil
    }
}

/// What a cookie value turns out to be.
public enum CookieVerdict: Hashable, Sendable {
    /// Signed with the key of ours that has the number.
    case signed(SessionID, by: UInt16)
    case refused(SessionAbsence)

    public var id: SessionID? { if case .signed(let id, _) = self { id } else { nil } }
}
