internal import CMeshSystem
public import MeshCore
import MeshLoop

/// Where one of an agent's own listeners is: `unix:PATH` or `HOST:PORT`.
public enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    case unix(String)
    case tcp(Endpoint)

    /// - Parameter text: `unix:PATH`, or an IP address or `localhost` with a port, IPv6 in brackets.
    /// - Throws: ``AgentStartError`` of code `invalidAddress`, or `socketPath` when the path is longer than a socket's may be.
    public init(parsing text: String) throws(AgentStartError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            try Self.check(path: path)
            self = .unix(path)
        } else {
            self = .tcp(try Endpoint(parsing: text))
        }
    }

    public var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let endpoint): endpoint.description
        }
    }

    /// The kernel keeps the path in 108 bytes, a zero among them.
    static let pathBytesMax = 103

    static func check(path: String) throws(AgentStartError) {
        guard !path.isEmpty, path.utf8.count <= pathBytesMax, !path.utf8.contains(0) else {
            throw AgentStartError(
                .socketPath, "socket path \"\(path.prefix(120))\" is not 1 to \(pathBytesMax) bytes: choose a shorter one")
        }
    }
}

extension Endpoint {
    /// Reads `127.0.0.1:7946`, `[::1]:7946` or `localhost:7946`. Names other than `localhost` are for ``resolving(_:)``.
    /// - Throws: ``AgentStartError`` of code `invalidAddress`.
    public init(parsing text: String) throws(AgentStartError) {
        _ = try Self.split(text)
        guard let endpoint = Endpoint(text: text) else {
            throw AgentStartError(.invalidAddress, "\"\(text.prefix(120))\" is not an IP address and a port, such as 127.0.0.1:7946")
        }
        self = endpoint
    }

    /// The first address of `HOST:PORT`, asking the system's resolver when the host is a name. Blocks the calling thread while it asks.
    /// - Parameter local: where a socket is bound that is to be reached there; an address of its family comes first.
    /// - Throws: ``AgentStartError`` of code `invalidAddress`; a retry can help when a name server was away.
    public static func resolving(_ text: String, for local: Endpoint? = nil) throws(AgentStartError) -> Endpoint {
        if let endpoint = try? Endpoint(parsing: text) { return endpoint }
        let (host, port) = try split(text)
        let answer = SeedLookup.host(host, port: port)
        let fitting = answer.endpoints.first { $0.address.count == local?.address.count }
        guard let endpoint = fitting ?? answer.endpoints.first else {
            throw AgentStartError(.invalidAddress, "host \"\(host.prefix(120))\" has no address: check the name and the name server")
        }
        return endpoint
    }

    static func split(_ text: String) throws(AgentStartError) -> (host: String, port: UInt16) {
        guard let colon = text.lastIndex(of: ":"), text[colon...].dropFirst().allSatisfy({ $0.isASCII && $0.isNumber }),
            let port = UInt16(text[text.index(after: colon)...])
        else {
            throw AgentStartError(.invalidAddress, "\"\(text.prefix(120))\" is not HOST:PORT, such as 127.0.0.1:7946")
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.contains("%") else {
            throw AgentStartError(
                .invalidAddress,
                "\"\(text.prefix(120))\" has a scope, which means something on one machine only: use an address that all members can dial")
        }
        guard !host.isEmpty else {
            throw AgentStartError(.invalidAddress, "\"\(text.prefix(120))\" names no host: write HOST:PORT, such as 127.0.0.1:7946")
        }
        return (String(host), port)
    }

    /// Nil for a Unix socket's. An IPv4 address that came in through an IPv6 socket is taken for the IPv4 address that it is, so that a member has one
    /// endpoint.
    init?(_ address: mesh_address) {
        guard let endpoint = address.endpoint else { return nil }
        let isMapped = endpoint.address.count == 16 && endpoint.address.starts(with: Self.mappedPrefix)
        self.init(address: isMapped ? Array(endpoint.address[12...]) : endpoint.address, port: endpoint.port)
    }

    /// The address to give to a socket of the family of `local`; nil when such a socket can't reach it.
    func systemAddress(fromSocketBoundTo local: Endpoint) -> mesh_address? {
        if local.address.count == address.count { return mesh_address(self) }
        guard local.address.count == 16, local.isUnspecified else { return nil }
        return Endpoint(address: Self.mappedPrefix + address, port: port).map { mesh_address($0) }
    }
}
