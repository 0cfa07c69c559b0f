public import MeshCore

/// Where other members may be found, as an operator writes it.
public enum SeedAddress: Hashable, Sendable, CustomStringConvertible {
    /// `127.0.0.1:7946`, `[::1]:7946` or `localhost:7946`: never looked up.
    case endpoint(Endpoint)
    /// `mesh.example.org:7946`: every address that the name has.
    case host(String, port: UInt16)
    /// `srv:_sessionmesh._udp.example.org`: every host and port that the SRV records name.
    case service(String)
    /// `file:PATH`: one seed a line, of any kind but this. What follows a # is a comment.
    case file(String)

    /// Seeds of one agent. Each costs a lookup every 10 s while nobody is found behind it.
    public static let countMax = 64

    /// - Throws: ``AgentStartError`` of code `invalidAddress` for what can't be an address. Whether there is such a host isn't asked here.
    public init(parsing text: String) throws(AgentStartError) {
        if text.hasPrefix("file:") {
            self = .file(try Self.path(text))
        } else if text.hasPrefix("srv:") {
            let name = String(text.dropFirst("srv:".count))
            guard Self.isName(name), name.contains(".") else {
                throw AgentStartError(
                    .invalidAddress, "\"\(text.prefix(120))\" is not srv:NAME, such as srv:_sessionmesh._udp.example.org")
            }
            self = .service(name)
        } else if let endpoint = Endpoint(text: text) {
            guard endpoint.port != 0, !endpoint.isUnspecified else {
                throw AgentStartError(.invalidAddress, "nobody can be reached at \(endpoint): name an address and a port above 0")
            }
            self = .endpoint(endpoint)
        } else {
            let (host, port) = try Endpoint.split(text)
            guard Self.isName(host), Self.hasLetter(host), port != 0 else {
                throw AgentStartError(
                    .invalidAddress, "\"\(text.prefix(120))\" is not HOST:PORT, srv:NAME or file:PATH, such as 127.0.0.1:7946")
            }
            self = .host(host, port: port)
        }
    }

    private static func path(_ text: String) throws(AgentStartError) -> String {
        let path = String(text.dropFirst("file:".count))
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw AgentStartError(.invalidAddress, "\"\(text.prefix(120))\" names no file: write file:PATH")
        }
        return path
    }

    /// As the name system has them, and `_` as its services have it; at most 253 bytes, a part of at most 63.
    private static func isName(_ text: String) -> Bool {
        let bare = text.hasSuffix(".") ? text.dropLast() : text[...]
        let parts = bare.split(separator: ".", omittingEmptySubsequences: false)
        return bare.utf8.count <= 253
            && parts.allSatisfy { part in
                (1...63).contains(part.utf8.count)
                    && part.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
            }
    }

    /// `1.2.3` is half an address rather than a name, though a resolver would take it.
    private static func hasLetter(_ text: String) -> Bool { text.contains { $0.isLetter } }

    public var description: String {
        switch self {
        case .endpoint(let endpoint): endpoint.description
        case .host(let name, let port): "\(name):\(port)"
        case .service(let name): "srv:\(name)"
        case .file(let path): "file:\(path)"
        }
    }

    /// Whether it leads to this machine whatever a name server says.
    public var isLoopback: Bool {
        if case .endpoint(let endpoint) = self { endpoint.isLoopback } else { false }
    }
}
