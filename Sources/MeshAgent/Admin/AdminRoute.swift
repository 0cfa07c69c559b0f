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

    static func route(_ request: AdminRequest) -> Result<AdminRoute, AdminRefusal> {
        if let refusal = request.refusalOfBrowsers { return .failure(refusal) }
        let path = request.target.prefix { $0 != "?" && $0 != "#" }
        guard path.utf8.count <= pathBytesMax else { return .failure(AdminRefusal(414, "the path is longer than \(pathBytesMax) bytes")) }
        let query = request.target.dropFirst(path.count).dropFirst().prefix { $0 != "#" }
        return find(path, query).flatMap { route in
            let wanted = route.changes ? ["POST"] : ["GET", "HEAD"]
            return wanted.contains(request.method)
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
}

/// A request that is not answered, with the HTTP status and one line that says why.
package struct AdminRefusal: Error, Hashable, Sendable {
    package var status: Int
    package var reason: String
    package var allow: String?

    package init(_ status: Int, _ reason: String, allow: String? = nil) {
        self.status = status
        self.reason = reason
        self.allow = allow
    }
}
