/// How an application reaches its agent, and how it behaves when it can't.
public struct SessionMeshConfiguration: Sendable {
    /// Where the agent of this node listens for applications.
    public var agent: AgentAddress
    /// Proves the right to speak over TCP; a Unix socket needs none.
    public var token: String?
    /// Makes the application known to every balancer as soon as the agent is connected. Nil registers nothing.
    public var registration: Registration?
    public var cookie = SessionCookie()
    /// The supervisor whose worker this process is. It makes the process known to balancers when it is ready and takes it out when it is to
    /// stop, so the process registers nothing by itself.
    var supervisor: NotifySocket?

    /// How long a request waits for a connection before it fails as unavailable. Default 0.8 s: a quick restart of the agent is not noticed, and
    /// a longer outage is answered with 503 within a second. A visitor, and the connections of many, wait as long.
    public var connectionWaitMax: Duration = .milliseconds(800)
    /// How long a request waits altogether, its repeats over new connections included. Default 10 s: longer than any takeover.
    public var requestTimeout: Duration = .seconds(10)
    /// Requests that wait or are unanswered. Beyond it they fail as overloaded at once. Default 4096.
    public var requestsMax = 4096
    /// Bytes of those requests: 4096 requests of the longest kind would be 256 MiB. Default 16 MiB.
    public var requestBytesMax = 16 * 1024 * 1024
    /// Time between two heartbeats; three unanswered ones give the connection up. Default 1 s, what agents expect.
    public var heartbeat: Duration = .seconds(1)
    /// The first and the longest pause between attempts to connect, doubled in between, each drawn from half to one and a half of it.
    public var backoff: ClosedRange<Duration> = .milliseconds(50) ... .seconds(2)

    /// Messages and bytes that a subscription buffers while its reader is busy. Beyond either it ends as a slow consumer.
    public var subscriptionMessagesMax = 1024
    public var subscriptionBytesMax = 1024 * 1024
    /// Subscriptions of this process at a time.
    public var subscriptionsMax = 16 * 1024

    public init(agent: AgentAddress, token: String? = nil, registration: Registration? = nil) {
        self.agent = agent
        self.token = token
        self.registration = registration
    }

    /// Reads `SESSIONMESH_AGENT` (`unix:PATH` or `HOST:PORT`), `SESSIONMESH_TOKEN`, `SESSIONMESH_COOKIE_SECURE` (`auto`, `always`,
    /// `never`), and for the registration `SESSIONMESH_SERVICE`, `SESSIONMESH_ADDRESS` (default `127.0.0.1:$PORT`) and
    /// `SESSIONMESH_WEIGHT` (default 1). Without a service, or without both address and port, nothing is registered; nor is it as a worker of
    /// `sessionmesh run`, which sets `SESSIONMESH_WORKER` and registers its workers itself.
    /// - Throws: `.invalid`, naming the variable and what it should hold.
    public init(environment: [String: String]) throws(SessionError) {
        guard let text = environment["SESSIONMESH_AGENT"], !text.isEmpty else {
            throw SessionError(.invalid, "SESSIONMESH_AGENT is not set; set it to unix:PATH or HOST:PORT of this node's agent")
        }
        self.init(agent: try AgentAddress(text), token: environment["SESSIONMESH_TOKEN"])
        if let text = environment["SESSIONMESH_COOKIE_SECURE"] {
            guard let secure = SessionCookie.Secure(rawValue: text) else {
                throw SessionError(.invalid, "SESSIONMESH_COOKIE_SECURE is \"\(text)\"; set it to auto, always or never")
            }
            cookie.secure = secure
        }
        if environment["SESSIONMESH_WORKER"] != nil { supervisor = NotifySocket(environment: environment) }
        guard let service = environment["SESSIONMESH_SERVICE"] else { return }
        guard let address = environment["SESSIONMESH_ADDRESS"] ?? environment["PORT"].map({ "127.0.0.1:\($0)" }) else { return }
        let weight = environment["SESSIONMESH_WEIGHT"] ?? "1"
        guard let weight = UInt8(weight), 1...100 ~= weight else {
            throw SessionError(.invalid, "SESSIONMESH_WEIGHT is \"\(weight)\"; set it to a whole number from 1 to 100")
        }
        registration = Registration(service: service, address: address, weight: weight)
    }

    /// What a balancer must know of this process.
    public struct Registration: Hashable, Sendable {
        /// Which application this is; a balancer routes to one service.
        public var service: String
        /// `IP:PORT` or `localhost:PORT` where it answers HTTP, as balancers are to dial it; they resolve no names.
        public var address: String
        /// Its share of new visitors, 1 to 100.
        public var weight: UInt8

        public init(service: String, address: String, weight: UInt8 = 1) {
            self.service = service
            self.address = address
            self.weight = weight
        }
    }
}

/// Where an agent listens for applications.
public enum AgentAddress: Hashable, Sendable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: Int)

    /// Longest path that a Unix socket's address holds on Linux, without its final zero.
    private static let pathBytesMax = 107

    /// - Throws: `.invalid` for anything but `unix:PATH` and `HOST:PORT`.
    public init(_ text: String) throws(SessionError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard 1...Self.pathBytesMax ~= path.utf8.count else {
                throw SessionError(
                    .invalid, "the agent's socket path \"\(path)\" has not 1 to \(Self.pathBytesMax) bytes; use a shorter one")
            }
            self = .unix(path: path)
            return
        }
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let port = Int(text[text.index(after: colon)...]), 1...65535 ~= port
        else { throw SessionError(.invalid, "the agent's address \"\(text)\" is neither unix:PATH nor HOST:PORT") }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        self = .tcp(host: String(host), port: port)
    }

    public var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}
