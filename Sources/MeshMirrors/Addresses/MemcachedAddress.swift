/// Where Memcached is, on one server or several that share the sessions:
///
///     memcached://host[:port][,host[:port]]...
///
/// Every agent must name the same servers: who names others looks for sessions where nobody has put them. Their order is of no weight.
public struct MemcachedAddress: Hashable, Sendable, CustomStringConvertible {
    /// One to ``serversMax``, none of them twice.
    public let servers: [HostAndPort]

    /// More would be more connections, one a server and thread, for less on each.
    public static let serversMax = 16

    static let forms = "memcached://host[:port][,host[:port]]..."
    private static let defaultPort = 11211

    /// - Parameter text: what follows the `://`.
    init(_ text: Substring) throws(MirrorURI.Invalid) {
        guard !text.contains("@") else {
            throw MirrorURI.Invalid("memcached:// takes no user or password, for the server is asked without them; write \(Self.forms)")
        }
        guard !text.contains("?"), !text.contains("#") else {
            throw MirrorURI.Invalid("memcached:// takes no options behind ? or #; write \(Self.forms)")
        }
        guard !text.contains("/") else { throw MirrorURI.Invalid("memcached:// takes no path; write \(Self.forms)") }
        let places = text.split(separator: ",", omittingEmptySubsequences: false)
        guard places.count <= Self.serversMax else {
            throw MirrorURI.Invalid("memcached:// takes at most \(Self.serversMax) servers, and there are \(places.count)")
        }
        var servers: [HostAndPort] = []
        for place in places {
            let server = try MirrorURI.hostAndPort(place, defaultPort: Self.defaultPort, form: Self.forms)
            guard !servers.contains(server) else { throw MirrorURI.Invalid("memcached:// names the server \(server) twice") }
            servers.append(server)
        }
        self.servers = servers
    }

    public var description: String { "memcached://\(servers.map(\.description).joined(separator: ","))" }
}
