public import CoreMetrics
public import Logging
import MeshCore
public import NIOCore
public import NIOPosix
public import ServiceLifecycle

/// An application's link to the mesh: sessions, channels and the view of who is alive, through the agent of its own node.
///
/// Run it as a service for as long as the application runs, and list it before the server, so that it is stopped after it:
///
/// ```swift
/// let mesh = SessionMesh(configuration: try SessionMeshConfiguration(environment: environment), logger: logger)
/// var session = try await mesh.open(cookie: cookie)
/// session.increment(visits)
/// let outcome = try await mesh.commit(&session)
/// ```
///
/// A broken connection is made anew. Requests that are safe to repeat, commits by their id among them, are sent again; a publish is not.
public final class SessionMesh: Service, Sendable {
    public let configuration: SessionMeshConfiguration
    private let link: AgentLink
    private let meter: SessionMeter

    /// - Parameters:
    ///   - eventLoopGroup: one of its loops carries the connection.
    ///   - logger: an outage of the agent is a warning when it begins, at the start of this process too, and a notice when it is over.
    ///     The rest is thrown, or below.
    ///   - metrics: where `sessionmesh_client_*` are counted; `Docs/ARCHITECTURE.md` lists them. Default: what `MetricsSystem` was
    ///     bootstrapped with before this service ran, and nothing otherwise.
    public init(
        configuration: SessionMeshConfiguration, eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "sessionmesh.client"), metrics: (any MetricsFactory)? = nil
    ) {
        self.configuration = configuration
        meter = SessionMeter(factory: metrics)
        link = AgentLink(configuration: configuration, eventLoop: eventLoopGroup.next(), logger: logger, meter: meter)
    }

    /// Keeps the connection to the agent until the task is cancelled or the service is shut down gracefully.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [link] in await link.run() }
    }

    // MARK: Sessions

    /// The session of a browser's cookie value. Without a cookie, or with one that the mesh doesn't know, it is a new session, which a
    /// commit creates under a new id: an unknown id is never adopted.
    /// - Throws: `.unavailable` when the mesh can't tell whether there is such a session. Keep the cookie and answer 503.
    public func open(cookie: String?) async throws(SessionError) -> Session {
        guard let cookie else { return Session(nil, hasCookie: false, meter: meter) }
        let bytes = Array(cookie.utf8)
        guard bytes.count <= CookieCodec.valueBytesMax else { return Session(nil, hasCookie: true, meter: meter) }
        guard case .session(let snapshot) = try await link.request(.open(cookie: bytes)) else { throw .unexpectedReply }
        return Session(snapshot, hasCookie: true, meter: meter)
    }

    /// The session of a key, as found in ``Session/key``; nil when a synced copy says that there is none.
    public func read(_ key: SessionKey) async throws(SessionError) -> Session? {
        guard case .session(let snapshot) = try await link.request(.read(key)) else { throw .unexpectedReply }
        return snapshot.map { Session($0, hasCookie: false, meter: meter) }
    }

    /// Sends what changed, all together or not at all. Returns once a second node holds it, or says `copies: 1`.
    ///
    /// Without changes nothing is sent. After an error that ``SessionError/isRetriable`` says may pass, committing the same value again
    /// counts once, even when the first attempt got through.
    /// - Parameter isSecure: whether the visitor came over HTTPS; see ``SessionCookie/isSecure(forwardedProto:)``.
    /// - Throws: `.notFound` when the session was destroyed or expired meanwhile; it is never brought back.
    public func commit(_ session: inout Session, isSecure: Bool = false) async throws(SessionError) -> CommitOutcome {
        guard let request = try session.commitRequest() else {
            // A new session that was destroyed again: nobody but the browser knows of it.
            return CommitOutcome(setCookie: session.isDestroyed && session.hasCookie ? expiry(isSecure: isSecure) : nil)
        }
        switch try await link.request(request) {
        case .done:
            session.applyDestruction()
            return CommitOutcome(setCookie: expiry(isSecure: isSecure))
        case .committed(let receipt):
            session.apply(receipt, at: await link.node)
            let setCookie = receipt.cookie.map { SetCookie(name: configuration.cookie.name, value: $0, isSecure: isSecure) }
            var counters: [String: Int64] = [:]
            for counter in receipt.counters { if case .integer(let value) = counter.value { counters[counter.name] = value } }
            return CommitOutcome(setCookie: setCookie, copies: Int(receipt.copies), counters: counters)
        default: throw .unexpectedReply
        }
    }

    /// Tells the browser to forget the session's cookie.
    public func expiry(isSecure: Bool) -> SetCookie {
        SetCookie(name: configuration.cookie.name, value: "", isSecure: isSecure, isExpiry: true)
    }

    // MARK: Channels

    /// Sends a message to every subscriber of a channel in the mesh. Never sent twice.
    /// - Parameter payload: up to 64 KiB.
    /// - Returns: where the message stands in its channel.
    /// - Throws: `.interrupted` when the connection broke after it was sent: it may have been delivered.
    @discardableResult
    public func publish(_ payload: some Sequence<UInt8>, to channel: String) async throws(SessionError) -> ChannelPosition {
        guard case .published(let position) = try await link.request(.publish(channel: channel, payload: Array(payload))) else {
            throw .unexpectedReply
        }
        return position
    }

    @discardableResult
    public func publish(_ text: String, to channel: String) async throws(SessionError) -> ChannelPosition {
        try await publish(text.utf8, to: channel)
    }

    /// The messages of a channel from now on. Subscriptions of one process to one channel share one with the agent.
    public func subscribe(to channel: String) async throws(SessionError) -> ChannelSubscription {
        let buffer = SubscriptionBuffer(
            messagesMax: configuration.subscriptionMessagesMax, bytesMax: configuration.subscriptionBytesMax)
        try await link.subscribe(to: channel, buffer)
        return ChannelSubscription(channel: channel, buffer: buffer, link: link)
    }

    // MARK: The mesh

    /// Makes this process known to every balancer, now and after each reconnect.
    public func register(service: String, address: String, weight: UInt8 = 1) async throws(SessionError) {
        let registration = SessionMeshConfiguration.Registration(service: service, address: address, weight: weight)
        guard case .done = try await link.register(registration) else { throw .unexpectedReply }
    }

    /// Who is in the mesh, as this node's agent sees it.
    public func members() async throws(SessionError) -> MeshView {
        guard case .members(let view) = try await link.request(.members) else { throw .unexpectedReply }
        return view
    }

    /// Who holds a slot.
    public func placement(of slot: Slot) async throws(SessionError) -> PlacementAnswer {
        guard case .placement(let answer) = try await link.request(.placement(slot)) else { throw .unexpectedReply }
        return answer
    }

    /// Returns when the agent is connected: at once, or when it comes.
    ///
    /// For an application that should not be listened to before it has its sessions. Requests need no such care; they wait for the agent by
    /// themselves, up to ``SessionMeshConfiguration/connectionWaitMax``. This waits as long as it takes, while ``run()`` goes on in
    /// another task; to wait no longer, cancel the task.
    /// - Throws: `.cancelled`; `.shutdown` when this process ends first; `.overloaded` beyond ``SessionMeshConfiguration/requestsMax`` tasks.
    public func waitUntilConnected() async throws(SessionError) { try await link.waitUntilOnline() }

    /// Whether the agent is connected now.
    public var isConnected: Bool { get async { await link.isOnline } }
}

extension SessionError {
    static var unexpectedReply: SessionError { SessionError(.unavailable, "the agent answered something else than was asked") }
}
