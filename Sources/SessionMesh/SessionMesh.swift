public import CoreMetrics
public import Logging
public import MeshCore
public import NIOCore
public import NIOPosix
public import ServiceLifecycle
import Synchronization

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
    let link: AgentLink
    private let meter: SessionMeter
    private let served = Atomic<UInt64>(0)

    /// - Parameters:
    ///   - eventLoopGroup: one of its loops carries the connection.
    ///   - logger: an outage of the agent is a warning when it begins, at the start of this process too, and a notice when it is over.
    ///     The rest is thrown, or logged at lower levels.
    ///   - metrics: where `sessionmesh_client_*` are counted; `Docs/OPERATING.md` lists them. Default: what `MetricsSystem` was
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
        await cancelWhenGracefulShutdown { [self] in
            async let reports: Void = link.reportToSupervisor { self.served.load(ordering: .relaxed) }
            await link.run()
            // Ended by the same cancellation.
            await reports
        }
    }

    /// Counts a request that this application has served, so that a supervisor can replace its process after so many. The Hummingbird
    /// middleware does it by itself.
    public func requestServed() { served.wrappingAdd(1, ordering: .relaxed) }

    // MARK: Sessions

    /// The session of a browser's cookie value. Without a cookie, or with one that opens none, it is a new session, which a commit creates
    /// under a new id: an unknown id is never adopted. ``Session/absence`` says why a cookie opened none.
    /// - Throws: `.unavailable` when the mesh can't tell whether there is such a session. Keep the cookie and answer 503.
    public func open(cookie: String?) async throws(SessionError) -> Session {
        guard let cookie else { return Session(nil, cookie: nil, meter: meter) }
        let bytes = Array(cookie.utf8)
        guard bytes.count <= CookieValue.bytesMax else { return Session(nil, cookie: cookie, absence: .malformed, meter: meter) }
        return switch try await link.request(.open(cookie: bytes)) {
        case .opened(let snapshot, let renewal): Session(snapshot, cookie: cookie, renewal: renewal, meter: meter)
        case .absent(let reason): Session(nil, cookie: cookie, absence: reason, meter: meter)
        default: throw .unexpectedReply
        }
    }

    /// The session of a key, as found in ``Session/key``; nil when a synced copy says that there is none.
    public func read(_ key: SessionKey) async throws(SessionError) -> Session? {
        guard case .session(let snapshot) = try await link.request(.read(key)) else { throw .unexpectedReply }
        return snapshot.map { Session($0, cookie: nil, meter: meter) }
    }

    /// Sends what changed, all together or not at all. Returns once a second node holds it, or says `copies: 1`.
    ///
    /// Without changes nothing is sent. After an error that ``SessionError/isRetriable`` says may pass, committing the same value again
    /// counts once, even when the first attempt got through.
    /// - Parameters:
    ///   - acknowledgement: how far it is to get before this returns. A destroy and a regenerated id are always held twice.
    ///   - isSecure: whether the visitor came over HTTPS; see ``SessionCookie/isSecure(forwardedProto:)``.
    /// - Throws: `.notFound` when the session was destroyed or expired meanwhile; it is never brought back. `.invalid` when the mirror is to
    ///   have it and there is none, or when a regenerated id is to be acknowledged otherwise. `.conflict` when an update of
    ///   this value, whose outcome was not known, turns out not to have been made.
    public func commit(
        _ session: inout Session, acknowledgement: AcknowledgementLevel = .replicated, isSecure: Bool = false
    ) async throws(SessionError) -> CommitOutcome {
        guard let outcome = try await attempt(&session, acknowledgement, isSecure: isSecure) else {
            throw SessionError(.conflict, "the field has another value by now, and nothing was changed; decide anew from what it is")
        }
        return outcome
    }

    /// Nil when a condition of the commit doesn't hold: nothing was changed, and the session has what is there.
    private func attempt(
        _ session: inout Session, _ acknowledgement: AcknowledgementLevel = .replicated, isSecure: Bool
    ) async throws(SessionError) -> CommitOutcome? {
        guard let request = try session.commitRequest(acknowledgement) else {
            // A new session that was destroyed again: nobody but the browser knows of it.
            guard !session.isDestroyed else { return CommitOutcome(setCookie: session.hasCookie ? expiry(isSecure: isSecure) : nil) }
            return CommitOutcome(setCookie: renewal(of: session, isSecure: isSecure))
        }
        switch try await link.request(request) {
        case .done:
            session.applyDestruction()
            return CommitOutcome(setCookie: expiry(isSecure: isSecure))
        case .committed(let receipt):
            session.apply(receipt, at: await link.node)
            var counters: [String: Int64] = [:]
            for counter in receipt.counters { if case .integer(let value) = counter.value { counters[counter.name] = value } }
            let setCookie = receipt.cookie.map { configuration.cookie.setCookie($0, isSecure: isSecure) }
            return CommitOutcome(
                setCookie: setCookie ?? renewal(of: session, isSecure: isSecure), copies: Int(receipt.copies),
                isMirrored: receipt.isMirrored, counters: counters)
        case .conflict(let present):
            session.adopt(present)
            return nil
        default: throw .unexpectedReply
        }
    }

    /// A commit as it is, for what else this package keeps in the mesh under keys of its own.
    package func send(_ commit: SessionCommit) async throws(SessionError) -> ClientResponse { try await link.request(.commit(commit)) }

    /// Changes a field by what it is, so that no other request's change is lost: `body` is run again, on what is there by then, until nobody
    /// came between. Other changes of the session are committed along with it.
    ///
    /// ```swift
    /// let (isBooked, outcome) = try await mesh.update(&session, seats) { seats in
    ///     guard let free = seats, free > 0 else { return false }
    ///     seats = free - 1
    ///     return true
    /// }
    /// ```
    ///
    /// The answer rests on what the session's owner has, also when `body` changes nothing, and on a majority's word that nobody else is owner: in
    /// a network that is cut in two, one side at most updates, and the other is told `.unavailable`. An increment needs none of this; see
    /// ``SessionCounter``.
    /// - Parameter body: gets the field's value, nil when there is none or it can't be read, and leaves what it is to be. Run at least once,
    ///   so it should do nothing else.
    /// - Returns: what `body` returned when its change was made, and what the commit brought about.
    /// - Throws: what `body` throws, and nothing is changed; `.contended` when others came between 64 times; `.invalid` when the field has a
    ///   change that was not committed, or is a number or a set. After `.unavailable` it is not known whether the change was made:
    ///   committing the same value again finds out, and counts once.
    public nonisolated(nonsending) func update<Value, Result>(
        _ session: inout Session, _ field: SessionField<Value>, isSecure: Bool = false, _ body: (inout Value?) throws -> Result
    ) async throws -> (result: Result, outcome: CommitOutcome) {
        for round in 0..<Self.updateAttemptsMax {
            // Apart, so that those who compete don't meet again in the same order. A cancelled task is told so by its next request.
            if round > 0 { try? await Task.sleep(for: .microseconds(Int64.random(in: 0...5000))) }
            var changed = session
            try changed.commitOnlyIfUnchanged(field)
            var value = changed[field]
            let result = try body(&value)
            changed[field] = value
            do {
                let outcome = try await attempt(&changed, isSecure: isSecure)
                session = changed
                if let outcome { return (result, outcome) }
            } catch {
                if error.leavesOutcomeOpen { session = changed }
                throw error
            }
        }
        throw SessionError(
            .contended, "field \(field.name) was changed by others \(Self.updateAttemptsMax) times in a row; try again later")
    }

    /// 64 requests that update one field at one moment all get their turn, even when each time the last one does.
    private static let updateAttemptsMax = 64

    /// Takes a field away and gives its value to one caller only, of however many ask at one moment: for a code that may be used once.
    /// - Returns: nil for all others, and when there is no such field. Answered by what was loaded when that has none.
    /// - Throws: as ``update(_:_:isSecure:_:)``.
    public func consume<Value>(
        _ session: inout Session, _ field: SessionField<Value>, isSecure: Bool = false
    ) async throws -> (value: Value?, outcome: CommitOutcome) {
        guard session[field] != nil else { return (nil, CommitOutcome()) }
        let (value, outcome) = try await update(&session, field, isSecure: isSecure) { value in
            defer { value = nil }
            return value
        }
        return (value, outcome)
    }

    /// Tells the browser to forget the session's cookie.
    public func expiry(isSecure: Bool) -> SetCookie {
        SetCookie(name: configuration.cookie.name, value: "", isSecure: isSecure, maxAge: .zero)
    }

    /// The cookie again, when the browser is to keep it longer for having come, or is to have one that was signed by another key.
    private func renewal(of session: Session, isSecure: Bool) -> SetCookie? {
        guard session.key != nil, let cookie = session.cookie else { return nil }
        let isRolling = if case .rolling = configuration.cookie.lifetime { true } else { false }
        guard isRolling || session.isCookieRenewed else { return nil }
        return configuration.cookie.setCookie(cookie, isSecure: isSecure)
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
        try await subscribe(to: .channel(channel)) { push in
            switch push {
            case .message(let message): .message(message)
            case .gap: .gap
            case .event: nil
            }
        }
    }

    private func subscribe<Element>(
        to topic: Topic, _ element: @escaping @Sendable (ClientPush) -> Element?
    ) async throws(SessionError) -> Subscription<Element> {
        let buffer = SubscriptionBuffer(
            messagesMax: configuration.subscriptionMessagesMax, bytesMax: configuration.subscriptionBytesMax)
        try await link.subscribe(to: topic, buffer)
        return Subscription(topic, buffer: buffer, link: link, element: element)
    }

    /// Which sessions begin and end from now on, wherever in the mesh they are.
    ///
    /// ```swift
    /// for try await notice in try await mesh.sessionEvents() {
    ///     guard case .event(let event) = notice, case .expired = event.kind else { continue }
    ///     await carts.release(of: event.key)
    /// }
    /// ```
    ///
    /// Every event is told at least once, also when the node that owned the session is killed; one that is told again has the same
    /// ``SessionEvent/key`` and ``SessionEvent/kind``. What was missed while this process had no agent is a ``SessionNotice/gap``.
    /// Every process that follows is told all; a commit under a key of its own, with a condition, lets one of them act.
    /// An event costs some 80 bytes to each node where somebody follows.
    public func sessionEvents() async throws(SessionError) -> Subscription<SessionNotice> {
        try await subscribe(to: .sessions) { push in
            switch push {
            case .event(let event): .event(event)
            case .gap: .gap
            case .message: nil
            }
        }
    }

    // MARK: The mesh

    /// Makes this process known to every balancer, now and after each reconnect. As a worker of `sessionmesh run` it tells the supervisor that it
    /// is ready, and where; the supervisor makes it known, under its own name for the service.
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
