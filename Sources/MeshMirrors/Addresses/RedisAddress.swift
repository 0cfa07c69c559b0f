/// Where a Redis is:
///
///     redis://[user:password@]host[:port][/db]
///     unix://[user:password@]/path?db=N            behind a Unix socket
public struct RedisAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Server: Hashable, Sendable {
        case tcp(HostAndPort)
        /// The path of a Unix socket.
        case unix(path: String)
    }

    public let server: Server
    /// Nil logs in as the default user when there is a password.
    public let user: String?
    public let password: MirrorURI.Secret?
    public let database: UInt16

    static let forms = "redis://[user:password@]host[:port][/db] or unix:///path?db=N"
    /// `sun_path` of Linux, less its terminating zero.
    private static let socketPathBytesMax = 107

    /// - Parameter text: what follows the `://`.
    init(scheme: Substring, _ text: Substring) throws(MirrorURI.Invalid) {
        if scheme == "unix" { try self.init(unix: text) } else { try self.init(redis: text) }
    }

    private init(redis text: Substring) throws(MirrorURI.Invalid) {
        guard !text.contains("?"), !text.contains("#") else {
            throw MirrorURI.Invalid("redis:// takes no options behind ? or #; in a password write them as %3F and %23")
        }
        let authority = text.prefix { $0 != "/" }
        let path = text.dropFirst(authority.count + 1)
        let (login, place) = MirrorURI.splitLogin(authority)
        (user, password) = try MirrorURI.login(login)
        server = .tcp(try MirrorURI.hostAndPort(place, defaultPort: 6379, form: Self.forms))
        database = try path.isEmpty ? 0 : Self.database(path)
    }

    private init(unix text: Substring) throws(MirrorURI.Invalid) {
        let authority = text.prefix { $0 != "/" }
        let (login, host) = MirrorURI.splitLogin(authority)
        guard host.isEmpty else { throw MirrorURI.Invalid("unix:// needs an absolute path, as in unix:///run/redis/redis.sock?db=0") }
        (user, password) = try MirrorURI.login(login)
        let parts = text.dropFirst(authority.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard let encoded = parts.first, let path = MirrorURI.percentDecoded(encoded), path.utf8.count > 1 else {
            throw MirrorURI.Invalid("unix:// needs an absolute path, as in unix:///run/redis/redis.sock?db=0")
        }
        guard path.utf8.count <= Self.socketPathBytesMax, MirrorURI.isPrintable(path) else {
            throw MirrorURI.Invalid("the socket's path must be at most \(Self.socketPathBytesMax) printable characters")
        }
        server = .unix(path: path)
        if parts.count == 2 {
            guard parts[1].hasPrefix("db=") else { throw MirrorURI.Invalid("unix:// takes the single option db, as in ?db=1") }
            database = try Self.database(parts[1].dropFirst(3))
        } else {
            database = 0
        }
    }

    /// Never the password; with the user, for it helps to see who is refused.
    public var description: String {
        let login = password == nil ? "" : "\(user ?? ""):***@"
        return switch server {
        case .tcp(let server): "redis://\(login)\(server)/\(database)"
        case .unix(let path): "unix://\(login)\(path)?db=\(database)"
        }
    }

    /// The server alone, for messages.
    public var place: String {
        switch server {
        case .tcp(let server): "\(server)"
        case .unix(let path): path
        }
    }

    private static func database(_ text: Substring) throws(MirrorURI.Invalid) -> UInt16 {
        guard let number = UInt16(text) else {
            throw MirrorURI.Invalid("the database is not a number of 0 to 65535; in a password write / as %2F")
        }
        return number
    }
}
