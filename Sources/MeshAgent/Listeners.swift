import MeshCore
import NIOCore
import NIOHTTP1
import NIOPosix

/// The agent's sockets, bound and not yet on the event loop: all of them or none.
struct Listeners {
    let peers: BoundSocket
    let gossip: BoundSocket
    let client: BoundSocket?
    let admin: BoundSocket?
    let addresses: BoundAddresses
    private let configuration: AgentShellConfiguration

    /// - Throws: ``AgentStartError``, after closing what was opened.
    init(binding configuration: AgentShellConfiguration) throws(AgentStartError) {
        try Self.check(configuration)
        var opened: [BoundSocket] = []
        do throws(AgentStartError) {
            let (peers, gossip) = try BoundSocket.pair(on: configuration.bind)
            opened += [peers, gossip]
            let client = try Self.bind(configuration.client)
            client.map { opened.append($0) }
            let admin = try Self.bind(configuration.admin)
            self.peers = peers
            self.gossip = gossip
            self.client = client
            self.admin = admin
        } catch {
            for socket in opened { socket.close() }
            throw error
        }
        let advertised = configuration.advertise ?? configuration.bind
        addresses = BoundAddresses(
            endpoint: advertised.port == 0 ? advertised.with(port: peers.port) : advertised,
            client: configuration.client?.with(port: client?.port),
            admin: configuration.admin?.with(port: admin?.port))
        self.configuration = configuration
    }

    func close() {
        for socket in [peers, gossip, client, admin] { socket?.close() }
    }

    /// Where the gossip socket is bound, which is not always what is advertised.
    var local: Endpoint { configuration.bind.with(port: gossip.port) }

    private static func bind(_ address: ListenAddress?) throws(AgentStartError) -> BoundSocket? {
        switch address {
        case .unix(let path): try BoundSocket.listener(onPath: path)
        case .tcp(let endpoint): try BoundSocket.listener(on: endpoint)
        case nil: nil
        }
    }

    private static func check(_ configuration: AgentShellConfiguration) throws(AgentStartError) {
        if configuration.bind.isUnspecified, configuration.advertise?.isUnspecified ?? true {
            throw AgentStartError(
                .advertiseMissing, "\(configuration.bind.host) is every address of this machine: say with --advertise which one others dial"
            )
        }
        for (address, what) in [(configuration.client, "clients"), (configuration.admin, "admin requests")] {
            guard case .tcp(let endpoint) = address, !endpoint.isLoopback else { continue }
            throw AgentStartError(
                .notLoopback, "\(endpoint) can be reached from elsewhere: listen for \(what) on 127.0.0.1, [::1] or unix:PATH")
        }
        guard case .tcp = configuration.client else { return }
        let range = AgentShellConfiguration.clientTokenBytes
        guard let token = configuration.clientToken, range ~= token.utf8.count else {
            throw AgentStartError(
                .clientToken,
                "clients on TCP need a token of \(range.lowerBound) to \(range.upperBound) bytes: give one, or listen on unix:PATH")
        }
    }
}

extension ListenAddress {
    fileprivate func with(port: UInt16?) -> ListenAddress {
        switch self {
        case .unix: self
        case .tcp(let endpoint): .tcp(port.map { endpoint.with(port: $0) } ?? endpoint)
        }
    }

    var isLocalSocket: Bool {
        if case .unix = self { true } else { false }
    }
}

// MARK: Onto the loop

extension AgentDriver {
    /// Opens every door of `listeners` on the loop; when all are open, the core starts.
    func open(_ listeners: Listeners, keys: GossipKeyRing, configuration: AgentShellConfiguration) -> EventLoopFuture<Void> {
        let gossip = GossipSocket(driver: self, socket: listeners.gossip, local: listeners.local)
        let links = PeerLinks(
            driver: self, keys: keys, label: configuration.label, local: listeners.local, endpoint: listeners.addresses.endpoint,
            pendingBytesMax: configuration.linkPendingBytesMax)
        let token = configuration.client?.isLocalSocket == false ? configuration.clientToken.map { Array($0.utf8) } : nil
        let clients = listeners.client.map { _ in ClientTable(driver: self, token: token, clientsMax: configuration.clientsMax) }
        let admin = configuration.admin.map {
            AdminTable(driver: self, isLocalSocket: $0.isLocalSocket, companion: configuration.companion)
        }
        let seeds =
            configuration.seeds.isEmpty
            ? nil
            : SeedFinder(
                driver: self, seeds: configuration.seeds, interval: configuration.seedInterval, lookup: configuration.seedLookup)
        let snapshot = configuration.snapshot.map { SnapshotKeeper(driver: self, file: $0) }
        equip(gossip: gossip, links: links, clients: clients, admin: admin, seeds: seeds, snapshot: snapshot)

        var opening = [gossip.open(), accept(on: listeners.peers) { try $0.addPeerLink(links) }]
        if let socket = listeners.client, let clients { opening.append(accept(on: socket) { try $0.addClient(clients) }) }
        if let socket = listeners.admin, let admin { opening.append(accept(on: socket) { try $0.addAdmin(admin) }) }
        return EventLoopFuture.andAllSucceed(opening, on: loop).assumeIsolated().map { self.start() }.nonisolated()
    }

    private func accept(on socket: BoundSocket, _ prepare: @escaping (any Channel) throws -> Void) -> EventLoopFuture<Void> {
        let bound = NIOLoopBound((driver: self, prepare: prepare), eventLoop: loop)
        return ServerBootstrap(group: loop)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // First in line, so that the backoff sees an accept that failed for want of descriptors.
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                    try channel.pipeline.syncOperations.addHandler(AcceptTroubleHandler(driver: bound.value.driver))
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try bound.value.prepare(channel) }
            }
            .withBoundSocket(socket.descriptor)
            .map { bound.value.driver.opened($0) }
    }
}

/// The connection gets no handler: there is no room for it, and that has been noted.
private struct NoRoom: Error {}

extension Channel {
    fileprivate func addPeerLink(_ links: PeerLinks) throws {
        guard let handler = links.accept(from: remoteAddress) else { throw NoRoom() }
        try setPeerLinkOptions()
        try pipeline.syncOperations.addHandler(handler)
    }

    fileprivate func addClient(_ clients: ClientTable) throws {
        guard let handler = clients.accept() else {
            return try pipeline.syncOperations.addHandler(TurnAwayHandler(clientsMax: clients.clientsMax))
        }
        // Answers leave in batches already; waiting for more would only add to their time.
        if localAddress?.protocol != .unix { try syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1) }
        try pipeline.syncOperations.addHandler(handler)
    }

    fileprivate func addAdmin(_ admin: AdminTable) throws {
        guard let handler = admin.accept() else { throw NoRoom() }
        // A whole request has some hundred bytes.
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 2048
        limits.maxHeaderListSize = 8192
        limits.maxHeaderFieldCount = 64
        try pipeline.syncOperations.configureHTTPServerPipeline(
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
        try pipeline.syncOperations.addHandler(handler)
    }
}

/// Connections that could not be taken are noted; the listener goes on.
private final class AcceptTroubleHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let driver: AgentDriver

    init(driver: AgentDriver) {
        self.driver = driver
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !(error is NoRoom) else { return }
        driver.note(.acceptFailed, "a connection could not be accepted: \(error)")
    }
}
