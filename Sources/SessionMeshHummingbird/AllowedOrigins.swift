import HTTPTypes

/// From whose pages a browser may ask for something. A browser sends cookies along with any page's request, so it must be looked at who
/// asks; what is no browser says nothing of it, and is let through.
public enum AllowedOrigins: Hashable, Sendable {
    /// Pages of the host that the request itself names.
    case sameHost
    /// Pages of these origins, such as `https://example.org`, and no others. The application's own is one of them.
    case these(Set<String>)
    case any

    func allows(_ request: HTTPRequest) -> Bool {
        let origin = HTTPField.Name("Origin").flatMap { request.headerFields[$0] }
        switch self {
        case .any: return true
        case .these(let origins): return origin.map(origins.contains) ?? true
        case .sameHost:
            // The browser's own word, which no page can forge, counts more than a comparison with a host that a proxy may have rewritten.
            switch HTTPField.Name("Sec-Fetch-Site").flatMap({ request.headerFields[$0] }) {
            case "same-origin", "none": return true
            case .some: return false
            case nil: break
            }
            guard let origin else { return true }
            guard let separator = origin.firstRange(of: "://"), let host = request.authority, !host.isEmpty else { return false }
            return origin[separator.upperBound...].lowercased() == host.lowercased()
        }
    }
}
