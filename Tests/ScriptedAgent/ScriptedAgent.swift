import Foundation
public import MeshCore
import NIOCore
import NIOPosix
import Synchronization

/// An agent for tests: real sockets, the real codec, and real sessions in one process. A script may answer, ignore or hang up on any request
/// instead.
public final class ScriptedAgent: Sendable {
    public enum Reaction: Sendable {
        /// What the store says.
        case serve
        case reply(ClientResponse)
        /// Never answered, and nothing after it on that connection either.
        case silence
        /// The connection closes without an answer.
        case hangUp
        /// The store does it, then the connection closes without an answer.
        case serveThenHangUp
    }

    public typealias Script = @Sendable (ClientRequest) -> Reaction

    private struct State {
        var script: Script = { _ in .serve }
        var listener: (any Channel)?
        var connections: [ObjectIdentifier: any Channel] = [:]
        var subscriptions: [String: [ObjectIdentifier: any Channel]] = [:]
        /// Connections that follow what becomes of sessions.
        var following: [ObjectIdentifier: any Channel] = [:]
        var requests: [ClientRequest] = []
        var connectionCount = 0
        var sessions: [SessionKey: SessionState] = [:]
        var receipts: [CommitID: CommitReceipt] = [:]
        var sessionCount: UInt8 = 0
        var offset: UInt64 = 0
    }

    private let state = Mutex(State())
    public let node: NodeName
    public let token: String?

    public init(node: String = "n1", token: String? = nil) throws {
        self.node = try NodeName(node)
        self.token = token
    }

    // MARK: What a test does and sees

    public func script(_ script: @escaping Script) { state.withLock { $0.script = script } }
    public func serve() { script { _ in .serve } }
    public var requests: [ClientRequest] { state.withLock { $0.requests.filter { $0 != .ping } } }
    public var connectionCount: Int { state.withLock { $0.connectionCount } }
    /// Those that live.
    public var sessions: [SessionKey: SessionSnapshot] {
        state.withLock { state in
            Dictionary(uniqueKeysWithValues: state.sessions.keys.compactMap { key in snapshot(key, state).map { (key, $0) } })
        }
    }
    public func subscriberCount(of channel: String) -> Int { state.withLock { $0.subscriptions[channel]?.count ?? 0 } }
    public var followingCount: Int { state.withLock { $0.following.count } }

    /// Listens at a Unix socket.
    public func start(path: String) async throws {
        let channel = try await bootstrap.bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
        state.withLock { $0.listener = channel }
    }

    /// Listens at a port of loopback that the system chooses.
    public func startTCP() async throws -> Int {
        let channel = try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
        state.withLock { $0.listener = channel }
        return channel.localAddress?.port ?? 0
    }

    /// Stops listening and closes every connection; may be started again.
    public func stop() async {
        let listener = state.withLock { $0.listener.take() }
        try? await listener?.close()
        await dropConnections()
    }

    public func dropConnections() async {
        let connections = state.withLock { Array($0.connections.values) }
        for connection in connections { try? await connection.close() }
    }

    /// Sends bytes of the test's choice to every connection.
    public func write(raw bytes: [UInt8]) {
        for connection in state.withLock({ Array($0.connections.values) }) {
            connection.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        }
    }

    /// What the store makes of a request that a script then answers, or doesn't.
    public func perform(_ request: ClientRequest) { _ = serve(request, from: nil) }

    public func publish(_ payload: [UInt8], to channel: String) {
        _ = serve(.publish(channel: channel, payload: payload), from: nil)
    }

    /// Tells all that follow.
    public func tell(_ push: ClientPush) {
        var bytes: [UInt8] = []
        ClientProtocol.write(push, to: &bytes)
        for connection in state.withLock({ Array($0.following.values) }) {
            connection.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        }
    }

    public static func cookie(of key: SessionKey) -> String { "\(key)\(signature)" }
    private static let signature = ".1.signed"

    // MARK: How it answers

    private var bootstrap: ServerBootstrap {
        ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Connection(agent: self))
                }
            }
    }

    fileprivate func opened(_ channel: any Channel) {
        state.withLock {
            $0.connections[ObjectIdentifier(channel)] = channel
            $0.connectionCount += 1
        }
    }

    fileprivate func closed(_ channel: any Channel) {
        state.withLock { state in
            state.connections[ObjectIdentifier(channel)] = nil
            for name in state.subscriptions.keys { state.subscriptions[name]?[ObjectIdentifier(channel)] = nil }
            state.following[ObjectIdentifier(channel)] = nil
        }
    }

    fileprivate func reaction(to request: ClientRequest) -> Reaction {
        let script = state.withLock {
            $0.requests.append(request)
            return $0.script
        }
        return script(request)
    }

    fileprivate func serve(_ request: ClientRequest, from channel: (any Channel)?) -> ClientResponse {
        let (response, deliveries) = state.withLock { state in serve(request, from: channel, &state) }
        for (subscriber, bytes) in deliveries { subscriber.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
        return response
    }

    private func serve(
        _ request: ClientRequest, from channel: (any Channel)?, _ state: inout State
    ) -> (ClientResponse, [(any Channel, [UInt8])]) {
        switch request {
        case .ping, .register: return (.done, [])
        case .open(let cookie):
            let text = String(decoding: cookie, as: UTF8.self)
            guard let key = text.hasSuffix(Self.signature) ? SessionKey(text: text.dropLast(Self.signature.count)) : nil else {
                return (.absent(.malformed), [])
            }
            return (snapshot(key, state).map { .opened($0, cookie: nil) } ?? .absent(.ended), [])
        case .read(let key): return (.session(snapshot(key, state)), [])
        case .commit(let commit): return (self.commit(commit, &state), [])
        case .destroy(let key, _):
            state.sessions[key] = nil
            return (.done, [])
        case .list(let user, let after):
            let found = state.sessions.keys.sorted().compactMap { key -> SessionSummary? in
                guard let session = live(key, state), session.user == user, after.map({ $0 < key }) ?? true else { return nil }
                return SessionSummary(
                    key: key, createdAt: session.created.milliseconds, accessedAt: session.accessedAt,
                    expiresAt: session.expiresAt(Self.expiry), fields: UInt16(session.visibleFields.count), bytes: 0)
            }
            // Pages of two, so that tests turn them.
            return (.listed(SessionPage(sessions: Array(found.prefix(2)), next: found.count > 2 ? found[1].key : nil)), [])
        case .revoke(let user, let except):
            let ended = state.sessions.keys.filter { key in
                guard let session = live(key, state) else { return false }
                return key != except && user.map { $0 == session.user } ?? true
            }
            for key in ended { state.sessions[key] = nil }
            return (.revoked(UInt64(ended.count)), [])
        case .publish(let name, let payload):
            state.offset += 1
            let position = ChannelPosition(epoch: 1, offset: state.offset)
            var bytes: [UInt8] = []
            ClientProtocol.write(.message(ChannelMessage(channel: name, position: position, payload: payload)), to: &bytes)
            return (.published(position), state.subscriptions[name, default: [:]].values.map { ($0, bytes) })
        case .subscribe(let name):
            if let channel { state.subscriptions[name, default: [:]][ObjectIdentifier(channel)] = channel }
            return (.done, [])
        case .unsubscribe(let name):
            if let channel { state.subscriptions[name]?[ObjectIdentifier(channel)] = nil }
            return (.done, [])
        case .follow:
            if let channel { state.following[ObjectIdentifier(channel)] = channel }
            return (.done, [])
        case .unfollow:
            if let channel { state.following[ObjectIdentifier(channel)] = nil }
            return (.done, [])
        case .members:
            let member = Member(
                id: MemberID(name: node, life: Life(rawValue: 1)), stage: .serving, endpoint: .loopback(port: 7946), tags: ["zone": "a"])
            return (.members(MeshView(epoch: 1, digest: 2, members: [member])), [])
        case .placement(let slot): return (.placement(PlacementAnswer(slot: slot, term: 1, ranking: [node])), [])
        }
    }

    private static let expiry = ExpiryPolicy()
    private static let life = Life(rawValue: 1)
    /// Unix milliseconds.
    private var wall: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    /// Nil when there is no such session, or it has expired.
    private func live(_ key: SessionKey, _ state: State) -> SessionState? {
        state.sessions[key].flatMap { $0.isDestroyed || $0.isExpired(wall: wall, policy: Self.expiry) ? nil : $0 }
    }

    private func snapshot(_ key: SessionKey, _ state: State) -> SessionSnapshot? {
        live(key, state).map { session in
            SessionSnapshot(
                key: key, createdAt: session.created.milliseconds, accessedAt: session.accessedAt,
                idleSeconds: session.terms.idleSeconds ?? UInt32(Self.expiry.idle.components.seconds),
                expiresAt: session.expiresAt(Self.expiry),
                user: session.user, fields: session.visibleFields, primary: node, backup: nil)
        }
    }

    private func commit(_ commit: SessionCommit, _ state: inout State) -> ClientResponse {
        if let receipt = state.receipts[commit.id] { return .committed(receipt) }
        guard var key = commit.key ?? mint(&state) else { return .failure(ClientFailure(.full, "no key left")) }
        let present = live(key, state)
        guard present != nil || commit.key == nil || commit.makesSession else {
            return .failure(ClientFailure(.notFound, "the session is gone"))
        }
        var session = present ?? SessionState(createdAt: wall)
        if let fields = session.conflict(with: commit) { return .conflict(fields) }
        do { _ = try session.apply(commit, life: Self.life, wall: wall) } catch { return .failure(error) }
        if commit.regenerate, commit.key != nil {
            state.sessions[key] = nil
            guard let moved = mint(&state) else { return .failure(ClientFailure(.full, "no key left")) }
            key = moved
        }
        state.sessions[key] = session
        let changed = commit.changes.compactMap { change in
            switch change {
            case .increment(let name, _), .raise(let name, _): name
            default: nil
            }
        }
        let receipt = CommitReceipt(
            key: key, cookie: commit.key == nil || commit.regenerate ? Self.cookie(of: key) : nil, copies: 2,
            counters: session.visibleFields.filter { changed.contains($0.name) })
        state.receipts[commit.id] = receipt
        return .committed(receipt)
    }

    private func mint(_ state: inout State) -> SessionKey? {
        state.sessionCount &+= 1
        return SessionKey(bytes: [UInt8](repeating: state.sessionCount, count: SessionKey.byteCount))
    }
}

/// One application's connection.
private final class Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let agent: ScriptedAgent
    private var reader = CommandReader()
    private var isSilent = false
    private var isAuthenticated: Bool

    init(agent: ScriptedAgent) {
        self.agent = agent
        isAuthenticated = agent.token == nil
    }

    func channelActive(context: ChannelHandlerContext) { agent.opened(context.channel) }
    func channelInactive(context: ChannelHandlerContext) { agent.closed(context.channel) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        Self.unwrapInboundIn(data).withUnsafeReadableBytes { reader.append($0) }
        do {
            while let command = try reader.next() { try answer(command, context) }
        } catch let failure as ClientFailure {
            write(context) { ClientProtocol.write(failure, to: &$0) }
        } catch {
            context.close(promise: nil)
        }
    }

    private func answer(_ command: Result<ClientCommand, ClientFailure>, _ context: ChannelHandlerContext) throws {
        guard !isSilent else { return }
        switch try command.get() {
        case .authenticate(let token):
            guard token == agent.token.map({ Array($0.utf8) }) else { throw ClientFailure(.invalid, "AUTH: wrong token") }
            isAuthenticated = true
            write(context) { RESPValue.simple("OK").append(to: &$0) }
        case _ where !isAuthenticated: context.close(promise: nil)
        case .hello: write(context) { ClientProtocol.write(ClientGreeting(version: "test", node: agent.node), to: &$0) }
        case .request(let request):
            switch agent.reaction(to: request) {
            case .serve:
                let response = agent.serve(request, from: context.channel)
                write(context) { ClientProtocol.write(response, answering: request.kind, to: &$0) }
            case .reply(let response): write(context) { ClientProtocol.write(response, answering: request.kind, to: &$0) }
            case .silence: isSilent = true
            case .hangUp: context.close(promise: nil)
            case .serveThenHangUp:
                _ = agent.serve(request, from: context.channel)
                context.close(promise: nil)
            }
        }
    }

    private func write(_ context: ChannelHandlerContext, _ write: (inout [UInt8]) -> Void) {
        var bytes: [UInt8] = []
        write(&bytes)
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }
}
