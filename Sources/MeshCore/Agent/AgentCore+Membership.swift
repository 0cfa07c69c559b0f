// Gossip, peer links, and who can be reached.

/// What is known about the way to one member.
struct Peer: Sendable {
    var id: MemberID
    /// Proven links, oldest first; the first is the one used. Two exist when both sides dialled at once.
    var links: [LinkID]
    var syncStream = SyncStream()
}

/// Dials under way and what to do once they succeed.
struct Dials: Sendable {
    /// When each dial under way was begun, in uptime nanoseconds.
    var started: [Endpoint: Int64] = [:]
    /// Those that gossip asked for, and wants to hear the outcome of.
    var forSync: Set<Endpoint> = []
}

extension AgentCore {
    mutating func start() {
        gossip(.start)
        directives.append(.timer(.housekeeping, after: Self.housekeepingInterval))
        announceView()
    }

    /// A step that comes late means that this process was stopped meanwhile, and that others may have acted in its place.
    mutating func noticePause() {
        let gap = now.uptime - lastStepAt
        lastStepAt = now.uptime
        if gap > Self.pauseMin.nanoseconds { verifyOwnership() }
    }

    /// The housekeeping timer alone makes a step ten times within this.
    static let pauseMin: Duration = .milliseconds(500)

    // MARK: Gossip

    mutating func gossip(_ input: SWIM.Input) { gossip(.membership(input)) }

    /// Lets the gossip layer take a step, and carries out what it asks for.
    mutating func gossip(_ input: Gossip.Input) {
        let epoch = swim.epoch
        perform(membership.step(input, at: now))
        if swim.epoch != epoch { viewChanged() }
    }

    private mutating func perform(_ asked: [Gossip.Directive]) {
        for directive in asked {
            switch directive {
            case .packet(let packet, let endpoint): directives.append(.datagram(packet, to: endpoint))
            case .membership(let directive): perform(directive)
            }
        }
    }

    private mutating func perform(_ directive: SWIM.Directive) {
        switch directive {
        case .send: break  // Never here: the gossip layer has sealed it.
        case .startTimer(let timer, let delay): directives.append(.timer(.swim(timer), after: delay))
        case .syncWith(let endpoint): exchangeState(with: endpoint)
        case .sendState(let member, let asking):
            for page in swim.statePages(asking: asking) { send(.membership(page.encoded), to: member.name) }
        case .checkPort(_, let endpoint): dial(endpoint)
        case .memberChanged(let member, _): directives.append(.event(.member(member, epoch: swim.epoch)))
        case .instancesChanged, .paused: break
        case .instanceRefused(let number, let refusal): directives.append(.event(.instanceRefused(number: number, refusal)))
        case .declaredDead: beginNewLife(after: nil)
        case .becameStale(let known): beginNewLife(after: known)
        case .departed: directives.append(.departed)
        }
    }

    private mutating func exchangeState(with endpoint: Endpoint) {
        let linked = peers.keys.sorted().first { swim.member(named: $0)?.endpoint == endpoint && hasLink(to: $0) }
        if let linked, let peer = peers[linked]?.id {
            gossip(.syncOpened(endpoint, peer: peer))
        } else {
            dials.forSync.insert(endpoint)
            dial(endpoint)
        }
    }

    private mutating func beginNewLife(after known: Life?) {
        let isBalancer = configuration.role == .balancer
        perform(membership.beginNewLife(at: now, stage: isBalancer ? .serving : .syncing, after: known))
        stage = .syncing
        pulledAt = nil
        // A link introduces a life; those of the old one are closed and dialled anew.
        for (link, name) in linkNames.sorted(by: { $0.key < $1.key }) {
            directives.append(.closeLink(link))
            forget(link, of: name)
        }
        for index in slots.indices where slots[index].isOwner {
            slots[index].tenure.owner = id
            // Copies are of another owner's tenure now.
            slots[index].ownership = .init()
        }
        directives.append(.event(.newLife(id.life)))
        verifyOwnership()
        viewChanged()
    }

    // MARK: What the view says

    func isReachable(_ member: MemberID) -> Bool {
        guard member != id else { return true }
        guard let known = swim.member(named: member.name) else { return false }
        return known.id == member && known.status.isReachable && !gone.contains(member)
    }

    var isAlone: Bool { otherNodes.isEmpty }

    mutating func viewChanged() {
        gone = gone.filter { swim.member(named: $0.name)?.id == $0 }
        for (name, peer) in peers.sorted(by: { $0.key < $1.key }) where swim.member(named: name).map({ $0.id != peer.id }) ?? true {
            for link in peer.links { directives.append(.closeLink(link)) }
            for link in peer.links { forget(link, of: name) }
        }
        reachChanged()
        announceView()
    }

    mutating func announceView() { directives.append(.view(swim.view)) }

    /// Somebody came within reach or went out of it.
    mutating func reachChanged() {
        otherNodes = swim.view.members.filter { $0.role == .node && $0.id != id && isReachable($0.id) }.map(\.id)
        guard configuration.role == .node else { return }
        dialMissingPeers()
        // A silent peer's link may stand for long; what it was asked is asked elsewhere now.
        for (number, operation) in operations.sorted(by: { $0.key < $1.key }) {
            if let name = operation.sentTo, !otherNodes.contains(where: { $0.name == name }) { park(number) }
        }
        verifying.removeAll { name in !otherNodes.contains { $0.name == name } }
        rank(
            swim.view.members.filter { $0.ranks && isReachable($0.id) }
                .map { PlacementCandidate(name: $0.name, weight: Int($0.weight)) })
        planIfChanged()
        retryParked()
    }

    /// One member's change touches that member's slots alone.
    private mutating func rank(_ candidates: [PlacementCandidate]) {
        guard candidates != table.candidates else { return }
        for former in table.candidates where !candidates.contains(where: { $0.name == former.name }) { table.remove(former.name) }
        for candidate in candidates { table.insert(candidate) }
    }

    // MARK: Links

    /// Two when both sides dialled at once, and one that only asked whether the port is open.
    private static let linksMax = 3

    mutating func dialMissingPeers() {
        for member in otherNodes where peers[member.name]?.links.isEmpty ?? true {
            if let endpoint = swim.member(named: member.name)?.endpoint { dial(endpoint) }
        }
    }

    mutating func dial(_ endpoint: Endpoint) {
        guard endpoint != configuration.endpoint, dials.started[endpoint] == nil else { return }
        dials.started[endpoint] = now.uptime
        directives.append(.connect(endpoint))
    }

    mutating func linkUp(_ link: LinkID, peer: MemberID, endpoint: Endpoint) {
        dials.started[endpoint] = nil
        guard peer != id else {
            directives.append(.closeLink(link))
            if dials.forSync.remove(endpoint) != nil { gossip(.syncOpened(endpoint, peer: peer)) }
            return
        }
        if let known = peers[peer.name], known.id != peer {
            for old in known.links {
                directives.append(.closeLink(old))
                forget(old, of: peer.name)
            }
        }
        guard peers[peer.name]?.links.count ?? 0 < Self.linksMax else { return directives.append(.closeLink(link)) }
        linkNames[link] = peer.name
        peers[peer.name, default: Peer(id: peer, links: [])].links.append(link)
        gone.remove(peer)
        gossip(.linkUp(peer))
        if dials.forSync.remove(endpoint) != nil { gossip(.syncOpened(endpoint, peer: peer)) }
        guard peers[peer.name]?.links == [link] else { return }
        linkInUse(peer.name)
    }

    /// There is another link to be used than before.
    private mutating func linkInUse(_ name: NodeName) {
        send(.clock(now.wall), to: name)
        if verifying.contains(name) { inquire(of: name) }
        reachChanged()
    }

    mutating func linkDown(_ link: LinkID) {
        guard let name = linkNames[link], let peer = peers[name] else { return }
        let wasInUse = peer.links.first == link
        forget(link, of: name)
        guard wasInUse else { return }
        gossip(.linkDown(peer.id, refused: false))
        if hasLink(to: name) {
            // What was under way on the lost one is begun again on the next.
            linkLost(name)
            linkInUse(name)
        } else if isReachable(peer.id), let endpoint = swim.member(named: name)?.endpoint {
            dial(endpoint)
        }
        retryParked()
    }

    private mutating func forget(_ link: LinkID, of name: NodeName) {
        linkNames[link] = nil
        peers[name]?.links.removeAll { $0 == link }
        if peers[name]?.links.isEmpty ?? false {
            linkLost(name)
            peers[name] = nil
        }
    }

    /// Nothing sent to `name` and not answered can be counted on.
    private mutating func linkLost(_ name: NodeName) {
        guard configuration.role == .node else { return }
        plannedOn = nil
        replicaLost(name)
        for (id, operation) in operations.sorted(by: { $0.key < $1.key }) where operation.sentTo == name { park(id) }
    }

    mutating func connectFailed(_ endpoint: Endpoint, _ failure: ConnectFailure) {
        dials.started[endpoint] = nil
        if dials.forSync.remove(endpoint) != nil { gossip(.syncFailed(endpoint, refused: failure == .refused)) }
        guard failure == .refused else { return }
        // Nobody listens where a member should: its process is gone. Nobody need wait for gossip to agree.
        for member in swim.view.members where member.endpoint == endpoint && member.id != id && member.status.isReachable {
            gone.insert(member.id)
            gossip(.linkDown(member.id, refused: true))
        }
        reachChanged()
    }

    func hasLink(to name: NodeName) -> Bool { !(peers[name]?.links.isEmpty ?? true) }

    /// Sends over the link to `name`; false when there is none.
    @discardableResult
    mutating func send(_ message: PeerMessage, to name: NodeName) -> Bool {
        guard let link = peers[name]?.links.first else { return false }
        directives.append(.linkMessage(link, message.encoded))
        return true
    }

    mutating func receive(_ bytes: [UInt8], over link: LinkID) {
        guard let name = linkNames[link], let peer = peers[name]?.id else { return }
        let message: PeerMessage
        do { message = try PeerMessage(decoding: bytes) } catch {
            // The frame was sealed by a member, so this is another version of us, not noise. Skipping would lose order.
            linkMessagesDropped["link-\(error)", default: 0] += 1
            directives.append(.closeLink(link))
            return
        }
        switch message {
        case .membership(let state): receiveState(state, from: peer)
        case .clock(let wall): clock.heard(name, saying: wall, at: now)
        // A balancer has no slots, and whoever speaks to it of some is mistaken.
        case _ where configuration.role == .balancer: linkMessagesDropped["link-notForABalancer", default: 0] += 1
        case .forward(let id, let operation): accept(operation, from: link, id: id)
        case .answer(let id, let result): answered(id, result, by: peer)
        case .delta(let slot, let ticket, let key, let state, let whole):
            receiveDelta(slot, ticket: ticket, key, state, whole: whole, from: peer)
        case .sync(let ticket, let chunks): receiveSync(ticket: ticket, chunks, from: peer)
        case .ack(let ticket): acknowledged(ticket, by: name)
        case .superseded(let slots): for slot in slots { heard(slot) }
        case .grant(let slot, let synced): receiveGrant(slot, synced: synced, from: name)
        case .lead(let slots): receiveLead(slots, from: peer)
        case .release(let slots): for slot in slots { released(slot) }
        case .spare(let slots): answerSpares(slots, from: name)
        case .push(let sessions): receivePush(sessions)
        case .claim(let slots): answerClaim(slots, from: peer)
        case .claimAnswer(let nothing, let held): receiveClaimAnswer(nothing: nothing, held: held, from: peer)
        case .pull(let slots): receivePull(slots, from: peer)
        case .inquire(let slots): answerInquiry(slots, from: name)
        case .inquired: inquired(by: name)
        case .mirrored(let sessions): receiveMirrored(sessions)
        case .message(let message): deliver(message)
        }
    }

    private mutating func receiveState(_ state: [UInt8], from peer: MemberID) {
        do { gossip(.state(try GossipMessage(decoding: state), from: peer)) } catch {
            linkMessagesDropped["state-\(error)", default: 0] += 1
        }
    }
}
