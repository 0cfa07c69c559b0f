/// The secrets of a mesh as text: two rings that rotate apart.
///
/// ```
/// # what seals packets and peer links
/// gossip 1 mJ9x...            (base64url of 32 bytes)
/// # what signs session cookies
/// cookie 1 Zk3p...
/// ```
///
/// In each ring the last line is used and every line is accepted. Blank lines and what follows a `#` count for nothing.
public struct KeyFile: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    public var gossip: GossipKeyRing
    /// Never empty; the last one signs.
    public var cookie: [CookieKey]

    /// A file of two full rings has a quarter of this; more is not a key file.
    public static let bytesMax = 16 * 1024

    init(gossip: GossipKeyRing, cookie: [CookieKey]) {
        self.gossip = gossip
        self.cookie = cookie
    }

    /// New secrets, number 1 in each ring. `generator` must be the operating system's, or a simulator's.
    public static func generate(using generator: inout some RandomNumberGenerator) -> KeyFile {
        guard let key = GossipKey(number: 1, secret: newSecret(using: &generator)), let ring = GossipKeyRing([key]) else {
            preconditionFailure("four words are \(GossipKey.secretBytes) bytes")
        }
        return KeyFile(gossip: ring, cookie: [CookieKey(number: 1, secret: newSecret(using: &generator))])
    }

    static func newSecret(using generator: inout some RandomNumberGenerator) -> [UInt8] {
        var writer = ByteWriter(reserving: GossipKey.secretBytes)
        for _ in 0..<GossipKey.secretBytes / 8 { writer.write(generator.next() as UInt64) }
        return writer.bytes
    }

    /// Reads a file's bytes.
    /// - Throws: ``KeyFileError``, which names the line and never what a secret is made of.
    public init(parsing bytes: [UInt8]) throws(KeyFileError) {
        guard bytes.count <= Self.bytesMax else { throw KeyFileError(line: nil, problem: .fileTooLarge) }
        var gossip: [GossipKey] = []
        var cookie: [CookieKey] = []
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let words = Self.words(of: line)
            guard let ring = words.first.map({ String(decoding: $0, as: UTF8.self) }) else { continue }
            func fail(_ problem: KeyFileError.Problem) -> KeyFileError { KeyFileError(line: index + 1, problem: problem) }
            guard words.count == 3 else { throw fail(.notThreeWords) }
            guard let number = UInt16(String(decoding: words[1], as: UTF8.self)), number > 0 else { throw fail(.badNumber) }
            guard let secret = Base64URL.decode(words[2]), let key = GossipKey(number: number, secret: secret) else {
                throw fail(.badSecret)
            }
            switch KeyRing(rawValue: ring) {
            case .gossip:
                guard !gossip.contains(where: { $0.number == number }) else { throw fail(.numberTwice) }
                gossip.append(key)
            case .cookie:
                guard !cookie.contains(where: { $0.number == number }) else { throw fail(.numberTwice) }
                cookie.append(CookieKey(number: number, secret: secret))
            case nil: throw fail(.unknownRing)
            }
            guard max(gossip.count, cookie.count) <= GossipKeyRing.keysMax else { throw fail(.tooManyKeys) }
        }
        guard let ring = GossipKeyRing(gossip) else { throw KeyFileError(line: nil, problem: .noGossipKey) }
        guard !cookie.isEmpty else { throw KeyFileError(line: nil, problem: .noCookieKey) }
        self.init(gossip: ring, cookie: cookie)
    }

    /// What stands in a line before its comment.
    static func words(of line: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        line.prefix { $0 != UInt8(ascii: "#") }.split { [9, 13, 32].contains($0) }
    }

    /// What to write into a file of mode 0600. Holds the secrets.
    public var text: String {
        func line(_ ring: KeyRing, _ number: UInt16, _ secret: [UInt8]) -> String {
            "\(ring.rawValue) \(number) \(String(decoding: Base64URL.encode(secret), as: UTF8.self))\n"
        }
        return "# Secrets of a mesh: the same file on every agent and balancer, readable by its user alone.\n"
            + "# In each ring the last key is used and all are accepted.\n"
            + gossip.keys.map { line(.gossip, $0.number, $0.secret) }.joined()
            + cookie.map { line(.cookie, $0.number, $0.secret) }.joined()
    }

    /// Without the secrets, so that a stray interpolation can't leak them.
    public var description: String { "key file of \(gossip.keys.count) gossip and \(cookie.count) cookie keys" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: ["gossip": gossip.keys.count, "cookie": cookie.count]) }
}

/// What a key is for.
public enum KeyRing: String, Hashable, Sendable, CaseIterable {
    /// Seals packets and peer links.
    case gossip
    /// Signs session cookies.
    case cookie
}

/// What is wrong with a key file, for the person who wrote it.
public struct KeyFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// From 1; nil when the whole file is meant.
    public var line: Int?
    public var problem: Problem

    public enum Problem: Hashable, Sendable {
        case fileTooLarge, notThreeWords, unknownRing, badNumber, badSecret, numberTwice, tooManyKeys, noGossipKey, noCookieKey
        case noSuchKey(KeyRing)
    }

    public var description: String {
        let advice =
            switch problem {
            case .fileTooLarge: "the file is larger than \(KeyFile.bytesMax) bytes; make one with `sessionmesh keygen`"
            case .notThreeWords: "a key is three words: a ring, a number and a secret, as in `gossip 1 SECRET`"
            case .unknownRing: "the first word must be `gossip` or `cookie`"
            case .badNumber: "the second word must be the key's number, 1 to 65535"
            case .badSecret: "the secret must be 32 bytes in base64url (43 characters); make one with `sessionmesh keygen`"
            case .numberTwice: "this number is in its ring already; give each new key a number of its own"
            case .tooManyKeys: "a ring holds at most \(GossipKeyRing.keysMax) keys; take retired ones out"
            case .noGossipKey: "there is no `gossip` line; make one with `sessionmesh keygen`"
            case .noSuchKey(let ring): "there is no \(ring.rawValue) key of that number in it"
            case .noCookieKey: "there is no `cookie` line; make one with `sessionmesh keygen`"
            }
        return line.map { "key file, line \($0): \(advice)" } ?? "key file: \(advice)"
    }
}
