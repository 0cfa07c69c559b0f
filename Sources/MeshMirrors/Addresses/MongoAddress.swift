/// Where a MongoDB is, as libmongoc reads it:
///
///     mongodb://[user:password@]host[:port][,host[:port]...][/database][?option=value&...]
///     mongodb+srv://[user:password@]name[/database][?option=value&...]     hosts and options looked up in DNS
///
/// A host may also be the path of a Unix socket with its slashes escaped: `%2Frun%2Fmongodb.sock`. The database is `sessionmesh` unless
/// named. As with every MongoDB client it is also where the user is looked up when it is named; `?authSource=admin` says otherwise. Options
/// are those of the library; what they leave open of time-outs and of the number of connections is the mirror's.
public struct MongoAddress: Hashable, Sendable, CustomStringConvertible {
    /// All of it, for the library.
    let uri: MirrorURI.Secret
    public let user: String?
    /// The servers, or the one name to look up, for messages.
    public let place: String
    public let database: String
    let hasPassword: Bool
    private let isLookedUp: Bool
    /// What may not be repeated: passwords, and the values of options, of which some are passwords.
    private let secrets: [MirrorURI.Secret]

    static let forms = "mongodb://[user:password@]host[:port][,...][/database] or mongodb+srv://..."
    private static let hostsMax = 50
    private static let databaseBytesMax = 63

    /// - Parameter text: what follows the `://`.
    init(scheme: Substring, _ text: Substring) throws(MirrorURI.Invalid) {
        isLookedUp = scheme != "mongodb"
        guard MirrorURI.isPrintable(String(text)) else { throw MirrorURI.Invalid("mongodb:// has a control character; escape it as %XX") }
        let authority = text.prefix { $0 != "/" }
        guard !authority.contains("?"), !text.contains("#") else {
            throw MirrorURI.Invalid(
                "mongodb:// takes options after a slash, as in host/?option=value; in a password write ? as %3F, # as %23")
        }
        let (login, hosts) = MirrorURI.splitLogin(authority)
        let names = try Self.hosts(hosts, isLookedUp: isLookedUp)
        let tail = text.dropFirst(authority.count + 1).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        database = try Self.database(tail.first ?? "")
        let options = try Self.values(tail.count == 2 ? tail[1] : "")
        let password: String?
        (user, password) = try Self.login(login)
        hasPassword = password != nil
        place = names.joined(separator: ",")
        uri = MirrorURI.Secret(text: "\(scheme)://\(text)")
        let written = login.flatMap { login in login.firstIndex(of: ":").map { String(login[login.index(after: $0)...]) } }
        secrets = ([password, written].compactMap(\.self) + options).filter { !$0.isEmpty }.map(MirrorURI.Secret.init(text:))
    }

    /// Never the password nor the options, which may have others; with the user, for it helps to see who is refused.
    public var description: String {
        "mongodb\(isLookedUp ? "+srv" : "")://\(user.map { "\($0):***@" } ?? "")\(place)/\(database)"
    }

    /// `text`, or nothing of it when it repeats what is secret.
    func withoutSecrets(_ text: String) -> String? {
        secrets.contains { text.contains($0.text) } ? nil : text
    }

    /// Unlike elsewhere a user may come without a password: a certificate may be in its place.
    private static func login(_ text: Substring?) throws(MirrorURI.Invalid) -> (user: String?, password: String?) {
        guard let text else { return (nil, nil) }
        guard text.contains(":") else {
            guard let user = MirrorURI.percentDecoded(text), !user.isEmpty, MirrorURI.isPrintable(user) else {
                throw MirrorURI.Invalid("there is no user before @, or it has a % without two hexadecimal digits")
            }
            return (user, nil)
        }
        guard !text.contains("@"), text.split(separator: ":", omittingEmptySubsequences: false).count == 2 else {
            throw MirrorURI.Invalid("in a user or password write : as %3A and @ as %40")
        }
        let (user, password) = try MirrorURI.login(text)
        guard user != nil else { throw MirrorURI.Invalid("there is a password without a user; write user:password@") }
        return (user, password?.text)
    }

    private static func hosts(_ text: Substring, isLookedUp: Bool) throws(MirrorURI.Invalid) -> [String] {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count <= hostsMax else { throw MirrorURI.Invalid("there are more than \(hostsMax) hosts; name some of the set") }
        var hosts: [String] = []
        for part in parts {
            if part.hasPrefix("%2F") || part.hasPrefix("%2f") {
                guard !isLookedUp, let path = MirrorURI.percentDecoded(part), path.hasSuffix(".sock"), MirrorURI.isPrintable(path) else {
                    throw MirrorURI.Invalid("a Unix socket is written with %2F for each slash, ends in .sock and stands in mongodb://")
                }
                hosts.append(path)
            } else {
                let server = try MirrorURI.hostAndPort(part, defaultPort: 27017, form: forms)
                hosts.append(isLookedUp ? server.host : "\(server)")
            }
        }
        guard !isLookedUp || (hosts.count == 1 && !text.contains(":")) else {
            throw MirrorURI.Invalid("mongodb+srv:// has one name and no port: servers and ports are looked up")
        }
        return hosts
    }

    private static func database(_ text: Substring) throws(MirrorURI.Invalid) -> String {
        guard !text.isEmpty else { return "sessionmesh" }
        guard let name = MirrorURI.percentDecoded(text), !name.isEmpty, name.utf8.count <= databaseBytesMax, MirrorURI.isPrintable(name),
            !name.contains(where: { "/\\. \"$*<>:|?@".contains($0) })
        else {
            throw MirrorURI.Invalid(
                "no database has such a name, or one of more than \(databaseBytesMax) bytes; in a password write / as %2F"
            )
        }
        return name
    }

    /// The values of the options, which only have to look like options here.
    private static func values(_ text: Substring) throws(MirrorURI.Invalid) -> [String] {
        guard !text.isEmpty else { return [] }
        var values: [String] = []
        for option in text.split(separator: "&", omittingEmptySubsequences: false) {
            let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let name = parts.first, !name.isEmpty, name.utf8.allSatisfy({ $0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A }),
                let value = MirrorURI.percentDecoded(parts[1]), !value.isEmpty
            else { throw MirrorURI.Invalid("options are written option=value and joined by &, with letters alone in an option's name") }
            // What is short is no secret, and would stand in many a message by chance.
            if value.utf8.count > 5 { values += [value, String(parts[1])] }
        }
        return values
    }
}
