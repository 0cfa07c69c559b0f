import MeshCore

/// What can be asked of the admin listener.
enum AdminRoute: Hashable {
    case page
    case members
    case member(NodeName)
    case keys
    case reloadKeys(force: Bool)
    case placement(Slot)
    case session(SessionKey)
    case slots
    case drain
    case health
    case readiness
    case metrics

    /// Longest path looked at; the longest that means anything has 76 bytes.
    static let pathBytesMax = 256

    /// Decides by request line and the headers that guard against browsers.
    ///
    /// A page of the internet can make the operator's browser send requests to this machine. It can't choose `Host` (a name that was
    /// rebound to 127.0.0.1 shows there), and can't hide `Origin` on a `POST`. Neither matters on a Unix socket, which no browser reaches.
    static func route(
        method: String, target: String, hosts: [String], origin: String?, isLocalSocket: Bool
    ) -> Result<AdminRoute, AdminRefusal> {
        if !isLocalSocket {
            guard let host = hosts.first, hosts.count == 1 else {
                return .failure(AdminRefusal(400, "the request must have one Host header"))
            }
            guard isLoopback(host) else {
                return .failure(AdminRefusal(403, "this listener answers on localhost only: ask for 127.0.0.1 or localhost"))
            }
            if let origin, method != "GET", method != "HEAD", origin != "http://\(host)" {
                return .failure(AdminRefusal(403, "changes can't be asked for by a page of another origin"))
            }
        }
        let path = target.prefix { $0 != "?" && $0 != "#" }
        guard path.utf8.count <= pathBytesMax else { return .failure(AdminRefusal(414, "the path is longer than \(pathBytesMax) bytes")) }
        let query = target.dropFirst(path.count).dropFirst().prefix { $0 != "#" }
        return find(path, query).flatMap { route in
            let wanted = route.changes ? ["POST"] : ["GET", "HEAD"]
            return wanted.contains(method)
                ? .success(route) : .failure(AdminRefusal(405, "use \(wanted[0]) here", allow: wanted.joined(separator: ", ")))
        }
    }

    private var changes: Bool {
        switch self {
        case .drain, .reloadKeys: true
        case .page, .members, .member, .keys, .placement, .session, .slots, .health, .readiness, .metrics: false
        }
    }

    private static func find(_ path: Substring, _ query: Substring) -> Result<AdminRoute, AdminRefusal> {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        switch Array(parts) {
        case [""]: return .success(.page)
        case ["v1", "members"]: return .success(.members)
        case ["v1", "drain"]: return .success(.drain)
        case ["v1", "keys"]: return .success(.keys)
        case ["v1", "slots"]: return .success(.slots)
        case ["v1", "keys", "reload"]:
            switch query {
            case "": return .success(.reloadKeys(force: false))
            case "force=true": return .success(.reloadKeys(force: true))
            default: return .failure(AdminRefusal(400, "?force=true is all that may stand behind /v1/keys/reload"))
            }
        case let path where path.count == 3 && path.starts(with: ["v1", "members"]) && !path[2].isEmpty:
            guard let name = try? NodeName(path[2]) else {
                return .failure(AdminRefusal(400, "a member's name is 1 to \(NodeName.bytesMax) characters of A-Z a-z 0-9 . _ -"))
            }
            return .success(.member(name))
        case ["healthz"]: return .success(.health)
        case ["readyz"]: return .success(.readiness)
        case ["metrics"]: return .success(.metrics)
        case let path where path.count == 3 && path.starts(with: ["v1", "placement"]):
            guard let slot = UInt16(path[2]).flatMap(Slot.init(rawValue:)) else {
                return .failure(AdminRefusal(400, "a slot is a number from 0 to \(Slot.count - 1)"))
            }
            return .success(.placement(slot))
        case let path where path.count == 3 && path.starts(with: ["v1", "sessions"]):
            guard let key = SessionKey(text: path[2]) else {
                return .failure(AdminRefusal(400, "a session key is 43 characters of base64url, as in the logs; it is not the cookie"))
            }
            return .success(.session(key))
        default:
            return .failure(AdminRefusal(404, "nothing is here: see /v1/members, /v1/keys, /v1/slots, /healthz, /readyz, /metrics or /"))
        }
    }

    /// Whether a `Host` header names this machine by an address or name that only this machine has.
    private static func isLoopback(_ host: String) -> Bool {
        var name = Substring(host)
        if name.hasPrefix("[") {
            guard let end = name.firstIndex(of: "]") else { return false }
            guard isPort(name[name.index(after: end)...]) else { return false }
            name = name[name.index(after: name.startIndex)..<end]
            return (try? Endpoint(parsing: "[\(name)]:1"))?.isLoopback ?? false
        }
        if let colon = name.firstIndex(of: ":") {
            guard isPort(name[colon...]) else { return false }
            name = name[..<colon]
        }
        return name.lowercased() == "localhost" || (try? Endpoint(parsing: "\(name):1"))?.isLoopback ?? false
    }

    private static func isPort(_ text: Substring) -> Bool {
        text.isEmpty || (text.hasPrefix(":") && UInt16(text.dropFirst()) != nil)
    }
}

/// A request that is not answered, with the HTTP status and one line that says why.
struct AdminRefusal: Error, Hashable {
    var status: Int
    var reason: String
    var allow: String?

    init(_ status: Int, _ reason: String, allow: String? = nil) {
        self.status = status
        self.reason = reason
        self.allow = allow
    }
}
