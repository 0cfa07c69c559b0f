internal import CMeshSystem
import MeshCore
import MeshLoop

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
    private var proven: [LinkID: PeerLink] = [:]
    private var unproven: [ObjectIdentifier: PeerLink] = [:]
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
    static let handshakeTimeout = Duration.seconds(5)
    /// On one machine or in one network an answer takes milliseconds; a host that takes longer is as good as silent.
    static let connectTimeout = Duration.milliseconds(500)
    /// How long what was sent may go unacknowledged before the kernel gives the link up: as long as a request may take, so that what is asked
    /// again goes another way. Left to itself TCP would go on for a quarter of an hour.
    static let unacknowledgedMax = Duration.seconds(3)

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
        guard endpoint.port != 0 else {
            driver.note(.datagramUnaddressable, "a member claims the address \(endpoint), which nobody can dial")
            return driver.feed(.connectFailed(endpoint, .silent))
        }
        let descriptor = connect(endpoint)
        guard descriptor >= 0 else {
            return driver.feed(.connectFailed(endpoint, mesh_says_refused(-descriptor) ? .refused : .silent))
        }
        if !open(descriptor, .dialled(endpoint)) { driver.feed(.connectFailed(endpoint, .silent)) }
    }

    /// From the address that this agent is bound to, so that the other side, its limits and its firewall know who calls.
    private func connect(_ remote: Endpoint) -> Int32 {
        var target = mesh_address(remote)
        guard !local.isUnspecified, local.address.count == remote.address.count else { return mesh_connect(&target, nil) }
        var source = mesh_address(local.with(port: 0))
        return mesh_connect(&target, &source)
    }

    /// At both ends: messages are small and somebody waits for each; a peer whose host vanished is noticed even on a quiet link, and one that
    /// takes nothing, as behind a cut of one direction, in ``unacknowledgedMax``.
    static func setOptions(of descriptor: Int32) {
        mesh_set_link_options(descriptor, Int32(unacknowledgedMax.nanoseconds / 1_000_000))
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
        for link in unproven.values { link.close() }
        for link in proven.values where !(link.key.map(ring.keys.contains) ?? false) { link.close() }
    }

    func closeAll() {
        for link in unproven.values { link.close() }
        for link in proven.values { link.close() }
    }

    // MARK: What the listener asks

    /// Closed when there is no place for another stranger.
    func accept(_ descriptor: Int32, from remote: Endpoint?) {
        let address = remote?.address ?? []
        guard unprovenAccepted < Self.unprovenMax, unprovenByAddress[address, default: 0] < Self.unprovenPerAddressMax else {
            driver.note(.linksUnprovenFull, "too many peer connections wait without proof of the key; one was closed")
            return mesh_close(descriptor)
        }
        guard proven.count < Self.acceptedMax else {
            driver.note(.linksFull, "\(Self.acceptedMax) peer links are open; another was closed")
            return mesh_close(descriptor)
        }
        _ = open(descriptor, .accepted(address))
    }

    /// False when the kernel refuses the socket, which is closed then.
    private func open(_ descriptor: Int32, _ origin: PeerLink.Origin) -> Bool {
        Self.setOptions(of: descriptor)
        let link = PeerLink(descriptor: descriptor, machine: machine(origin), origin: origin, links: self, driver: driver)
        guard link.open() else {
            mesh_close(descriptor)
            return false
        }
        unproven[ObjectIdentifier(link)] = link
        guard case .accepted(let address) = origin else { return true }
        unprovenAccepted += 1
        unprovenByAddress[address, default: 0] += 1
        return true
    }

    // MARK: What a link tells

    func prove(_ link: PeerLink) -> LinkID {
        forget(link)
        nextLink += 1
        let id = LinkID(rawValue: nextLink)
        proven[id] = link
        return id
    }

    func announce(_ id: LinkID, of link: PeerLink, peer: MemberID, endpoint: Endpoint) {
        // The core knows a dial by what it dialled, which may be another name for what the peer advertises.
        if case .dialled(let dialled) = link.origin {
            driver.feed(.linkUp(id, peer: peer, endpoint: dialled))
        } else {
            driver.feed(.linkUp(id, peer: peer, endpoint: endpoint))
        }
    }

    func received(_ message: [UInt8], over link: LinkID) {
        driver.feed(.linkMessage(link, message))
    }

    func closed(_ link: LinkID) {
        guard proven.removeValue(forKey: link) != nil else { return }
        driver.feed(.linkDown(link))
    }

    func gaveUp(_ link: PeerLink, _ failure: ConnectFailure) {
        forget(link)
        guard case .dialled(let endpoint) = link.origin else { return }
        driver.feed(.connectFailed(endpoint, failure))
    }

    private func forget(_ link: PeerLink) {
        guard unproven.removeValue(forKey: ObjectIdentifier(link)) != nil, case .accepted(let address) = link.origin else { return }
        unprovenAccepted -= 1
        let left = unprovenByAddress[address, default: 1] - 1
        unprovenByAddress[address] = left > 0 ? left : nil
    }

    private func machine(_ origin: PeerLink.Origin) -> PeerLinkMachine {
        let role: PeerLinkMachine.Role = if case .dialled = origin { .initiator } else { .acceptor }
        let nonce = (0..<PeerLinkMachine.nonceBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        return PeerLinkMachine(role: role, ring: keys, label: label, nonce: nonce, local: driver.id, endpoint: endpoint)
    }
}
