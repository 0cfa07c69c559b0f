import MeshCore
import NIOCore
import NIOPosix

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The TCP links between this agent and the others, dialled and accepted alike.
///
/// A link is told of in the core only once both sides have proven the gossip key. Until then it costs a connection, one short frame of
/// memory and one of few places; whoever doesn't hold the key can take nothing else.
final class PeerLinks {
    private let driver: AgentDriver
    private var keys: GossipKeyRing
    private let label: String
    private let local: Endpoint
    private let endpoint: Endpoint
    let pendingBytesMax: Int
    private var proven: [LinkID: PeerLinkHandler] = [:]
    private var unproven: [ObjectIdentifier: PeerLinkHandler] = [:]
    private var unprovenByAddress: [[UInt8]: Int] = [:]
    private var unprovenAccepted = 0
    private var nextLink: UInt64 = 0
    private var random = SystemRandomNumberGenerator()

    /// Inbound links that have proven nothing: 8 from one address are enough for its reconnects, 64 for a whole mesh that starts at once.
    /// Above it a connection is closed, and a member dials again.
    static let unprovenPerAddressMax = 8
    static let unprovenMax = 64
    /// Accepted links in all: three times what a mesh of the size that gossip is made for can ask of one agent. Above it a link is closed.
    static let acceptedMax = 1024
    static let handshakeTimeout = TimeAmount.seconds(5)
    /// On one machine or in one network an answer takes milliseconds; a host that takes longer is as good as silent.
    static let connectTimeout = TimeAmount.milliseconds(500)
    /// How long what was sent may go unacknowledged before the kernel gives the link up: as long as a request may take, so that what is asked
    /// again goes another way. Left to itself TCP would go on for a quarter of an hour.
    static let unacknowledgedMax = TimeAmount.seconds(3)
    /// `TCP_USER_TIMEOUT` of Linux, in milliseconds (tcp(7)).
    static let userTimeout = NIOBSDSocket.Option(rawValue: 18)

    init(driver: AgentDriver, keys: GossipKeyRing, label: String, local: Endpoint, endpoint: Endpoint, pendingBytesMax: Int) {
        self.local = local
        self.pendingBytesMax = pendingBytesMax
        self.driver = driver
        self.keys = keys
        self.label = label
        self.endpoint = endpoint
    }

    /// Links that are proven.
    var count: Int { proven.count }

    // MARK: What the core asks

    func dial(_ endpoint: Endpoint) {
        guard endpoint.port != 0, let address = endpoint.socketAddress else {
            driver.note(.datagramUnaddressable, "a member claims the address \(endpoint), which nobody can dial")
            return driver.feed(.connectFailed(endpoint, .silent))
        }
        let bound = NIOLoopBound(self, eventLoop: driver.loop)
        ClientBootstrap(group: driver.loop)
            .from(local, to: endpoint)
            .connectTimeout(Self.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.setPeerLinkOptions()
                    try channel.pipeline.syncOperations.addHandler(bound.value.handler(.dialled(endpoint)))
                }
            }
            .connect(to: address)
            .assumeIsolated()
            .whenFailure { error in
                let isRefused = (error as? IOError)?.errnoCode == ECONNREFUSED
                self.driver.feed(.connectFailed(endpoint, isRefused ? .refused : .silent))
            }
    }

    func send(_ message: [UInt8], over link: LinkID) {
        proven[link]?.send(message)
    }

    func close(_ link: LinkID) {
        proven[link]?.close()
    }

    /// What was proven with a key that is accepted no more is closed, and so is what may yet be; members dial again.
    func replaceKeys(_ ring: GossipKeyRing) {
        keys = ring
        for handler in unproven.values { handler.close() }
        for handler in proven.values where !(handler.key.map(ring.keys.contains) ?? false) { handler.close() }
    }

    func closeAll() {
        for handler in unproven.values { handler.close() }
        for handler in proven.values { handler.close() }
    }

    // MARK: What the listener asks

    /// Nil when there is no place for another stranger.
    func accept(from remote: SocketAddress?) -> PeerLinkHandler? {
        let address = remote.flatMap(Endpoint.init)?.address ?? []
        guard unprovenAccepted < Self.unprovenMax, unprovenByAddress[address, default: 0] < Self.unprovenPerAddressMax else {
            driver.note(.linksUnprovenFull, "too many peer connections wait without proof of the key; one was closed")
            return nil
        }
        guard proven.count < Self.acceptedMax else {
            driver.note(.linksFull, "\(Self.acceptedMax) peer links are open; another was closed")
            return nil
        }
        return handler(.accepted(address))
    }

    // MARK: What a link tells

    func opened(_ handler: PeerLinkHandler) {
        unproven[ObjectIdentifier(handler)] = handler
        guard case .accepted(let address) = handler.origin else { return }
        unprovenAccepted += 1
        unprovenByAddress[address, default: 0] += 1
    }

    func prove(_ handler: PeerLinkHandler) -> LinkID {
        forget(handler)
        nextLink += 1
        let link = LinkID(rawValue: nextLink)
        proven[link] = handler
        return link
    }

    func announce(_ link: LinkID, of handler: PeerLinkHandler, peer: MemberID, endpoint: Endpoint) {
        // The core knows a dial by what it dialled, which may be another name for what the peer advertises.
        if case .dialled(let dialled) = handler.origin {
            driver.feed(.linkUp(link, peer: peer, endpoint: dialled))
        } else {
            driver.feed(.linkUp(link, peer: peer, endpoint: endpoint))
        }
    }

    func received(_ message: [UInt8], over link: LinkID) {
        driver.feed(.linkMessage(link, message))
    }

    func closed(_ link: LinkID) {
        guard proven.removeValue(forKey: link) != nil else { return }
        driver.feed(.linkDown(link))
    }

    func gaveUp(_ handler: PeerLinkHandler, _ failure: ConnectFailure) {
        forget(handler)
        guard case .dialled(let endpoint) = handler.origin else { return }
        driver.feed(.connectFailed(endpoint, failure))
    }

    /// A dial whose connection never stood; its failure is fed by ``dial(_:)``.
    func gaveUpConnecting(_ handler: PeerLinkHandler) { forget(handler) }

    private func forget(_ handler: PeerLinkHandler) {
        guard unproven.removeValue(forKey: ObjectIdentifier(handler)) != nil, case .accepted(let address) = handler.origin else { return }
        unprovenAccepted -= 1
        let left = unprovenByAddress[address, default: 1] - 1
        unprovenByAddress[address] = left > 0 ? left : nil
    }

    private func handler(_ origin: PeerLinkHandler.Origin) -> PeerLinkHandler {
        let role: PeerLinkMachine.Role = if case .dialled = origin { .initiator } else { .acceptor }
        let nonce = (0..<PeerLinkMachine.nonceBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let machine = PeerLinkMachine(
            role: role, ring: keys, label: label, nonce: nonce, local: driver.id, endpoint: endpoint)
        return PeerLinkHandler(machine: machine, origin: origin, links: self, driver: driver)
    }
}

extension ClientBootstrap {
    /// From the address that this agent is bound to, so that the other side, its limits and its firewall know who calls.
    func from(_ local: Endpoint, to remote: Endpoint) -> ClientBootstrap {
        guard !local.isUnspecified, local.address.count == remote.address.count, let source = local.with(port: 0).socketAddress else {
            return self
        }
        return bind(to: source)
    }
}

extension Channel {
    /// At both ends: messages are small and somebody waits for each; a peer whose host vanished is noticed even on a quiet link, and one that
    /// takes nothing, as behind a cut of one direction, in ``PeerLinks/unacknowledgedMax``.
    func setPeerLinkOptions() throws {
        try syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
        try syncOptions?.setOption(.socketOption(.so_keepalive), value: 1)
        #if os(Linux)
            try syncOptions?.setOption(.tcpOption(PeerLinks.userTimeout), value: Int(PeerLinks.unacknowledgedMax.nanoseconds / 1_000_000))
        #endif
    }
}
