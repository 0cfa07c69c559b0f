/// Where a Redis is:
///
///     redis://[user:password@]host[:port][/db]
///     rediss://[user:password@]host[:port][/db][?ca=/file.pem][&cert=/file.pem&key=/file.pem]     over TLS
///     unix://[user:password@]/path?db=N                                                           behind a Unix socket
///     redis+sentinel://[user:password@]sentinel[:port][,sentinel[:port]].../name[/db]             whom Sentinels name master
///     redis+cluster://[user:password@]host[:port][,host[:port]]...                                a Redis Cluster
///
/// `rediss+sentinel` and `rediss+cluster` are the same over TLS, and take its options too.
///
/// A user with the fewest rights needs the keys `sm:*` and the channels of the same names, PING, EVAL and EVALSHA and what the scripts call,
/// PSUBSCRIBE, and SELECT where the database is not 0; behind Sentinels also ROLE, in a Redis Cluster CLUSTER SLOTS and ASKING. Without INFO
/// nothing is missed but what an inspection says of the store's memory and persistence.
public struct RedisAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Server: Hashable, Sendable, CustomStringConvertible {
        case tcp(HostAndPort)
        /// The path of a Unix socket.
        case unix(path: String)

        public var description: String {
            switch self {
            case .tcp(let server): "\(server)"
            case .unix(let path): path
            }
        }
    }

    public enum Place: Hashable, Sendable {
        case server(Server)
        /// Sentinels, and the name under which they know the master.
        case sentinels([HostAndPort], name: String)
        /// Some nodes of a Redis Cluster, which tell of the others.
        case cluster([HostAndPort])
    }

    /// What a connection over TLS is checked by. The certificate of Redis must be good for the host that the connection goes to, and be signed by a
    /// known authority; nothing turns that off.
    public struct TLS: Hashable, Sendable {
        /// A PEM file with the authorities that are known; nil takes those of the system.
        public var authorities: String?
        /// PEM files with a certificate of our own and its key, which a Redis asks for unless `tls-auth-clients` says otherwise.
        public var certificate: String?
        public var key: String?
    }

    public let place: Place
    /// Nil where the connection is in clear text.
    public let tls: TLS?
    /// Nil logs in as the default user when there is a password. Sentinels are asked without either.
    public let user: String?
    public let password: MirrorURI.Secret?
    public let database: UInt16

    /// Most hosts that a URI may name; asking more of them in turn would take longer than anybody waits.
    public static let hostsMax = 16

    static let schemes: Set<Substring> = [
        "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
    ]
    static let forms =
        "redis://[user:password@]host[:port][/db], rediss://... (TLS), unix:///path?db=N, redis+sentinel://host[:port][,...]/name[/db], "
        + "redis+cluster://host[:port][,...]"
    /// `sun_path` of Linux, less its terminating zero.
    private static let socketPathBytesMax = 107
    private static let nameBytesMax = 255

    /// - Parameter text: what follows the `://`.
    init(scheme: Substring, _ text: Substring) throws(MirrorURI.Invalid) {
        if scheme == "unix" { try self.init(unix: text) } else { try self.init(redis: text, scheme: scheme) }
    }

    private init(redis text: Substring, scheme: Substring) throws(MirrorURI.Invalid) {
        let isEncrypted = scheme.hasPrefix("rediss")
        guard !text.contains("#"), isEncrypted || !text.contains("?") else {
            throw MirrorURI.Invalid(
                "\(scheme):// takes no \(isEncrypted ? "#" : "options behind ? or #"); in a password write ? as %3F, # as %23")
        }
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let body = parts.first ?? ""
        tls = isEncrypted ? try TLS(parts.count == 2 ? parts[1] : nil) : nil
        let authority = body.prefix { $0 != "/" }
        let path = body.dropFirst(authority.count + 1)
        let (login, hosts) = MirrorURI.splitLogin(authority)
        (user, password) = try MirrorURI.login(login)
        switch scheme.split(separator: "+").last {
        case "sentinel":
            let (name, database) = try Self.nameAndDatabase(path)
            place = .sentinels(try Self.hosts(hosts, defaultPort: 26379), name: name)
            self.database = database
        case "cluster":
            guard path.isEmpty else { throw MirrorURI.Invalid("a Redis Cluster has no database but 0; write nothing behind the hosts") }
            place = .cluster(try Self.hosts(hosts, defaultPort: 6379))
            database = 0
        default:
            place = .server(.tcp(try MirrorURI.hostAndPort(hosts, defaultPort: 6379, form: Self.forms)))
            database = try path.isEmpty ? 0 : Self.database(path)
        }
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
        place = .server(.unix(path: path))
        tls = nil
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
        let scheme = tls == nil ? "redis" : "rediss"
        func list(_ hosts: [HostAndPort]) -> String { hosts.map(\.description).joined(separator: ",") }
        let whole =
            switch place {
            case .server(.tcp(let server)): "\(scheme)://\(login)\(server)/\(database)"
            case .server(.unix(let path)): "unix://\(login)\(path)?db=\(database)"
            case .sentinels(let hosts, let name): "\(scheme)+sentinel://\(login)\(list(hosts))/\(name)/\(database)"
            case .cluster(let hosts): "\(scheme)+cluster://\(login)\(list(hosts))"
            }
        return whole + (tls?.options ?? "")
    }

    private static func hosts(_ text: Substring, defaultPort: Int) throws(MirrorURI.Invalid) -> [HostAndPort] {
        let places = text.split(separator: ",", omittingEmptySubsequences: false)
        guard places.count <= hostsMax else {
            throw MirrorURI.Invalid("there are \(places.count) hosts, of which \(hostsMax) may be named; they tell of the others")
        }
        var hosts: [HostAndPort] = []
        for place in places {
            let host = try MirrorURI.hostAndPort(place, defaultPort: defaultPort, form: forms)
            guard !hosts.contains(host) else { throw MirrorURI.Invalid("\(host) is named twice") }
            hosts.append(host)
        }
        return hosts
    }

    private static func nameAndDatabase(_ path: Substring) throws(MirrorURI.Invalid) -> (String, UInt16) {
        let parts = path.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = MirrorURI.percentDecoded(parts.first ?? ""), 1...nameBytesMax ~= name.utf8.count, MirrorURI.isPrintable(name)
        else {
            throw MirrorURI.Invalid("behind the Sentinels must stand the name under which they know the master, as in host:26379/mymaster")
        }
        return (name, parts.count == 2 ? try database(parts[1]) : 0)
    }

    private static func database(_ text: Substring) throws(MirrorURI.Invalid) -> UInt16 {
        guard let number = UInt16(text) else {
            throw MirrorURI.Invalid("the database is not a number of 0 to 65535; in a password write / as %2F")
        }
        return number
    }
}

extension RedisAddress.TLS {
    private static let pathBytesMax = 4095

    /// - Parameter text: what follows the `?`.
    init(_ text: Substring?) throws(MirrorURI.Invalid) {
        for option in text?.split(separator: "&", omittingEmptySubsequences: false) ?? [] {
            let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let path = MirrorURI.percentDecoded(parts[1]), path.hasPrefix("/"),
                path.utf8.count <= Self.pathBytesMax,
                MirrorURI.isPrintable(path)
            else {
                throw MirrorURI.Invalid(
                    "options of rediss:// are absolute paths: ?ca=/file.pem&cert=/file.pem&key=/file.pem; in a password write ? as %3F")
            }
            let option: WritableKeyPath<Self, String?>
            switch parts[0] {
            case "ca": option = \.authorities
            case "cert": option = \.certificate
            case "key": option = \.key
            default: throw MirrorURI.Invalid("rediss:// takes the options ca, cert and key, and no others")
            }
            guard self[keyPath: option] == nil else { throw MirrorURI.Invalid("an option of rediss:// is given twice") }
            self[keyPath: option] = path
        }
        guard (certificate == nil) == (key == nil) else {
            throw MirrorURI.Invalid("cert and key go together: the one is of no use without the other")
        }
    }

    fileprivate var options: String {
        let options = [("ca", authorities), ("cert", certificate), ("key", key)].compactMap { name, path in path.map { "\(name)=\($0)" } }
        return options.isEmpty ? "" : "?\(options.joined(separator: "&"))"
    }
}
