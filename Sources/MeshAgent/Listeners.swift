import MeshCore
import MeshLoop

/// The agent's sockets, bound and not yet in a loop: all of them or none.
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

    /// - Parameter exceptAdmin: when its socket is another's already.
    func close(exceptAdmin: Bool = false) {
        for socket in [peers, gossip, client, exceptAdmin ? nil : admin] { socket?.close() }
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

// MARK: Into the loop

extension AgentDriver {
    /// Opens every door of `listeners` but the admin one, which is another thread's.
    ///
    /// - Throws: when the kernel can't watch another socket. All are the caller's still.
    func open(_ listeners: Listeners, keys: GossipKeyRing, configuration: AgentShellConfiguration) throws(AgentStartError) {
        let gossip = GossipSocket(driver: self, socket: listeners.gossip, local: listeners.local)
        let links = PeerLinks(
            driver: self, keys: keys, label: configuration.label, local: listeners.local, endpoint: listeners.addresses.endpoint,
            pendingBytesMax: configuration.linkPendingBytesMax)
        let isLocal = configuration.client?.isLocalSocket ?? true
        let token = isLocal ? nil : configuration.clientToken.map { Array($0.utf8) }
        let clients = listeners.client.map { _ in ClientTable(driver: self, token: token, clientsMax: configuration.clientsMax) }
        let seeds =
            configuration.seeds.isEmpty
            ? nil
            : SeedFinder(
                driver: self, seeds: configuration.seeds, interval: configuration.seedInterval, lookup: configuration.seedLookup)
        let snapshot = configuration.snapshot.map { SnapshotKeeper(driver: self, file: $0) }
        var opened = [LoopListener(listeners.peers, driver: self) { links.accept($0, from: $1) }]
        if let socket = listeners.client, let clients {
            opened.append(LoopListener(socket, driver: self) { descriptor, _ in clients.accept(descriptor, isLocal: isLocal) })
        }
        guard gossip.open(), opened.allSatisfy({ $0.open() }) else { throw .unwatched }
        equip(gossip: gossip, links: links, clients: clients, seeds: seeds, snapshot: snapshot, listeners: opened)
    }
}
