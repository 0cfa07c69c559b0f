import MeshCore

/// Who answers an admin listener. On any thread.
package protocol AdminService: Sendable {
    /// - Parameter respond: is called once, on any thread.
    /// - Returns: false when nobody is there any more who could answer; the connection is closed then.
    func answer(_ request: AdminRequest, then respond: @escaping @Sendable (AdminAnswer) -> Void) -> Bool
}

/// A request line, and the headers that guard against browsers.
package struct AdminRequest: Sendable {
    package var method: String
    package var target: String
    package var hosts: [String]
    package var origin: String?
    /// No browser reaches a Unix socket.
    package var isLocalSocket: Bool
}

extension AdminRequest {
    /// A page of the internet can make the operator's browser send requests to this machine. It can't choose `Host` (a name that was
    /// rebound to 127.0.0.1 shows there), and can't hide `Origin` on a `POST`. Neither matters on a Unix socket.
    package var refusalOfBrowsers: AdminRefusal? {
        if isLocalSocket { return nil }
        guard let host = hosts.first, hosts.count == 1 else { return AdminRefusal(400, "the request must have one Host header") }
        guard Self.isLoopback(host) else {
            return AdminRefusal(403, "this listener answers on localhost only: ask for 127.0.0.1 or localhost")
        }
        if let origin, method != "GET", method != "HEAD", origin != "http://\(host)" {
            return AdminRefusal(403, "changes can't be asked for by a page of another origin")
        }
        return nil
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

/// The agent itself, and the balancer in its process if there is one.
struct AgentAdmin: AdminService {
    let handle: AgentHandle
    let companion: AgentCompanion?

    func answer(_ request: AdminRequest, then respond: @escaping @Sendable (AdminAnswer) -> Void) -> Bool {
        switch AdminRoute.route(request) {
        case .failure(let refusal):
            respond(AdminAnswer(refusal))
            return true
        case .success(let route): return handle.execute { [companion] driver in driver.answer(route, companion: companion, then: respond) }
        }
    }
}

extension AgentDriver {
    func answer(_ route: AdminRoute, companion: AgentCompanion?, then respond: @escaping @Sendable (AdminAnswer) -> Void) {
        switch route {
        case .page: respond(.page)
        case .members: respond(.members(view))
        case .member(let name): respond(.member(name, in: view, verdicts))
        case .keys: respond(.keys(keyReport))
        case .reloadKeys(let force): reloadKeys(force: force) { respond(.reloaded($0)) }
        case .health: respond(.health(status))
        case .readiness: respond(.readiness(status, companionIsReady: companion?.isReady() ?? true))
        case .metrics: respond(.metrics(figures, companion: companion?.metrics() ?? []))
        case .placement(let slot): ask(.placement(slot)) { respond(.answer($0)) }
        case .session(let key): ask(.read(key)) { respond(.session(key, $0, end: self.end(of: key))) }
        case .slots: respond(.slots(slotReports))
        case .drain:
            respond(AdminAnswer(202, json: .object([("draining", .bool(true))])))
            leave()
        }
    }
}
