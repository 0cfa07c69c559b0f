/// Where a mirror is, as an operator writes it:
///
///     redis://[user:password@]host[:port][/db]
///     unix://[user:password@]/path?db=N            a Redis behind a Unix socket
///
/// A user, password or path may hold `%XX` for any byte; `/`, `@`, `:` and `%` in a password must be written so. Whatever is printed of a
/// URI, by `description`, a dump or an error, is without its password.
public struct MirrorURI: Hashable, Sendable, CustomStringConvertible {
    /// The software behind the address.
    public enum Store: Hashable, Sendable {
        case redis
    }

    public enum Address: Hashable, Sendable {
        case tcp(host: String, port: Int)
        /// The path of a Unix socket.
        case unix(path: String)
    }

    public let store: Store
    public let address: Address
    /// Nil logs in as the default user when there is a password.
    public let user: String?
    public let password: Secret?
    public let database: UInt16

    /// Text that prints as `***`.
    public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        let text: String

        public var description: String { "***" }
        public var debugDescription: String { "***" }
        public var customMirror: Swift.Mirror { Swift.Mirror(self, children: []) }
    }

    /// What is wrong with a URI, in one line that doesn't repeat what could be a secret.
    public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String

        init(_ reason: String) {
            description = "mirror URI: \(reason)"
        }
    }

    static let forms = "redis://[user:password@]host[:port][/db] or unix:///path?db=N"
    /// `sun_path` of Linux, less its terminating zero.
    private static let socketPathBytesMax = 107

    public init(_ text: String) throws(Invalid) {
        guard let separator = text.firstRange(of: "://") else { throw Invalid("there is no \"://\"; write \(Self.forms)") }
        let scheme = text[..<separator.lowerBound]
        let rest = text[separator.upperBound...]
        switch scheme {
        case "redis": try self.init(redis: rest)
        case "unix": try self.init(unix: rest)
        case "rediss": throw Invalid("rediss:// (TLS) is not supported yet; write \(Self.forms)")
        default:
            // An unknown scheme is repeated only when it looks like one: a password may stand before a misplaced "://".
            let known =
                scheme.utf8.count <= 16 && scheme.utf8.allSatisfy { UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || $0 == UInt8(ascii: "+") }
            throw Invalid("\(known ? "\(scheme):// is not supported" : "the scheme is not supported"); write \(Self.forms)")
        }
    }

    private init(redis text: Substring) throws(Invalid) {
        guard !text.contains("?"), !text.contains("#") else {
            throw Invalid("redis:// takes no options behind ? or #; in a password write them as %3F and %23")
        }
        let authority = text.prefix { $0 != "/" }
        let path = text.dropFirst(authority.count + 1)
        let (login, place) = Self.splitLogin(authority)
        (user, password) = try Self.login(login)
        let (host, port) = try Self.hostAndPort(place)
        store = .redis
        address = .tcp(host: host, port: port)
        database = try path.isEmpty ? 0 : Self.database(path)
    }

    private init(unix text: Substring) throws(Invalid) {
        let authority = text.prefix { $0 != "/" }
        let (login, host) = Self.splitLogin(authority)
        guard host.isEmpty else { throw Invalid("unix:// needs an absolute path, as in unix:///run/redis/redis.sock?db=0") }
        (user, password) = try Self.login(login)
        let parts = text.dropFirst(authority.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard let encoded = parts.first, let path = Self.percentDecoded(encoded), path.utf8.count > 1 else {
            throw Invalid("unix:// needs an absolute path, as in unix:///run/redis/redis.sock?db=0")
        }
        guard path.utf8.count <= Self.socketPathBytesMax, Self.isPrintable(path) else {
            throw Invalid("the socket's path must be at most \(Self.socketPathBytesMax) printable characters")
        }
        store = .redis
        address = .unix(path: path)
        if parts.count == 2 {
            guard parts[1].hasPrefix("db=") else { throw Invalid("unix:// takes the single option db, as in ?db=1") }
            database = try Self.database(parts[1].dropFirst(3))
        } else {
            database = 0
        }
    }

    /// Never the password; with the user, for it helps to see who is refused.
    public var description: String {
        let login = password == nil ? "" : "\(user ?? ""):***@"
        return switch address {
        case .tcp(let host, let port): "redis://\(login)\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
        case .unix(let path): "unix://\(login)\(path)?db=\(database)"
        }
    }

    /// The address alone, for messages.
    public var place: String {
        switch address {
        case .tcp(let host, let port): "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        case .unix(let path): path
        }
    }

    /// At the last `@`, so that a password with an unescaped one is still taken out of the host.
    private static func splitLogin(_ authority: Substring) -> (login: Substring?, place: Substring) {
        guard let at = authority.lastIndex(of: "@") else { return (nil, authority) }
        return (authority[..<at], authority[authority.index(after: at)...])
    }

    private static func login(_ text: Substring?) throws(Invalid) -> (user: String?, password: Secret?) {
        guard let text else { return (nil, nil) }
        guard let colon = text.firstIndex(of: ":") else {
            throw Invalid("there is a user without a password; write user:password@ or :password@")
        }
        guard let user = percentDecoded(text[..<colon]), let password = percentDecoded(text[text.index(after: colon)...]), isPrintable(user)
        else {
            throw Invalid("the user or password has a % that isn't followed by two hexadecimal digits, or isn't UTF-8; write % as %25")
        }
        guard !password.isEmpty else { throw Invalid("the password before @ is empty") }
        return (user.isEmpty ? nil : user, Secret(text: password))
    }

    private static func hostAndPort(_ text: Substring) throws(Invalid) -> (host: String, port: Int) {
        var host = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw Invalid("an IPv6 address must stand in brackets: redis://[::1]:6379") }
            host = text[text.index(after: text.startIndex)..<end]
            let tail = text[text.index(after: end)...]
            guard tail.isEmpty || tail.hasPrefix(":") else { throw Invalid("only :port may follow the ] of an IPv6 address") }
            port = tail.isEmpty ? nil : tail.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        let isHost = host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "%"):
                true
            default: false
            }
        }
        guard !host.isEmpty, host.utf8.count <= 253, isHost else {
            throw Invalid("there is no host, or it has a character no host has; write \(forms)")
        }
        guard let port else { return (String(host), 6379) }
        guard let number = UInt16(port), number > 0 else {
            throw Invalid("the port is not a number of 1 to 65535; in a password write : as %3A and / as %2F")
        }
        return (String(host), Int(number))
    }

    private static func database(_ text: Substring) throws(Invalid) -> UInt16 {
        guard let number = UInt16(text) else { throw Invalid("the database is not a number of 0 to 65535; in a password write / as %2F") }
        return number
    }

    private static func isPrintable(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    }

    private static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexValue), let low = rest.popFirst().flatMap(hexValue) else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
