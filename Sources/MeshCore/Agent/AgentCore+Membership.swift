// Gossip, peer links, and who can be reached.

/// What is known about the way to one member.
struct Peer: Sendable {
    var id: MemberID
    /// Proven links, oldest first; the first is the one used. Two exist when both sides dialled at once.
    var links: [LinkID]
    var syncStream = SyncStream()
}

/// A link whose peer is another life than the view's. What it brings, but for membership, waits until the view has that life or the link goes.
struct Stranger: Sendable {
    var id: MemberID
    var since: Int64
    var waiting: [[UInt8]] = []
}

/// Dials under way and what to do once they succeed.
struct Dials: Sendable {
    /// When each dial under way was begun, in uptime nanoseconds.
    var started: [Endpoint: Int64] = [:]
    /// Those that gossip asked for, and wants to hear the outcome of.
    var forSync: Set<Endpoint> = []
    /// Since when nodes within reach have had no link, in uptime nanoseconds.
    var missingSince: [NodeName: Int64] = [:]
    /// Links that may be dialled at once for nobody's sake. A few make a small mesh whole in an instant; a large one that starts together
    /// would keep its hosts busy with handshakes while its members have still to meet.
    private var allowance = Self.allowanceMax
    private var allowanceAt = Int64.min

    private static let allowanceMax = 8.0
    private static let allowancePerSecond = 10.0
    /// Of two nodes the one whose name comes first dials; the other waits so long for it.
    static let patience: Duration = .seconds(1)

    mutating func takeAllowance(at now: Moment) -> Bool {
        if allowanceAt > .min {
            allowance = min(Self.allowanceMax, allowance + Double(now.uptime - allowanceAt) / 1e9 * Self.allowancePerSecond)
        }
        allowanceAt = now.uptime
        guard allowance >= 1 else { return false }
        allowance -= 1
        return true
    }
}

/// Nodes that come all at once, as when a whole mesh is started. Links and slots are every newcomer's business with every other: begun for each
/// as it comes, they would keep hosts busy while members have still to hear of each other. So they wait until no more come, for longer the
/// more there are, and until this process is not held up any more.
struct Arrivals: Sendable {
    private var count: Int64 = 0
    private var first = Int64.min / 2
    private var last = Int64.min / 2

    /// Fewer are linked in an instant, and somebody may be waiting for them.
    private static let crowd = 16
    /// Without a newcomer for so long, for each that came.
    private static let calm: Duration = .milliseconds(5)
    /// However many keep coming.
    private static let patience: Duration = .seconds(10)

    mutating func note(at now: Moment) {
        if now.uptime - last > Self.patience.nanoseconds { (count, first) = (0, now.uptime) }
        count += 1
        last = now.uptime
    }

    /// - Parameter isLate: this process comes to its work late.
    func areUnderWay(isLate: Bool, at now: Moment) -> Bool {
        guard count >= Self.crowd, now.uptime < first + Self.patience.nanoseconds else { return false }
        return isLate || now.uptime < last + count * Self.calm.nanoseconds
    }
}

extension AgentCore {
    mutating func start() {
        gossip(.start)
        scheduleHousekeeping()
        announceView()
    }

    /// A step that comes late means that this process was stopped meanwhile, and that others may have acted in its place.
    mutating func noticePause() {
        let gap = now.uptime - lastStepAt
        lastStepAt = now.uptime
        if gap > Self.pauseMin.nanoseconds { verifyOwnership() }
    }

    /// The timers of probes, or of housekeeping, alone make several steps within this.
    static let pauseMin: Duration = .milliseconds(500)

    // MARK: Gossip

    mutating func gossip(_ input: SWIM.Input) { gossip(.membership(input)) }

    /// Lets the gossip layer take a step, and carries out what it asks for. What comes of that for the gossip layer itself waits until all is
    /// carried out, so that no step's directives come between another's.
    mutating func gossip(_ input: Gossip.Input) {
        gossipWaiting.append(input)
        guard !isGossiping else { return }
        isGossiping = true
        defer { isGossiping = false }
        while !gossipWaiting.isEmpty {
            let next = gossipWaiting.removeFirst()
            let (epoch, ringCount) = (swim.epoch, membership.ringCount)
            perform(membership.step(next, at: now))
            if membership.ringCount != ringCount { ringChanged() }
            if swim.epoch != epoch { viewChanged() }
        }
    }

    /// The cookie ring is as the file has it from now on; the gossip ring follows as the members allow.
    mutating func reload(_ keys: KeyFile, force: Bool) {
        let (epoch, ringCount) = (swim.epoch, membership.ringCount)
        do { perform(try membership.load(keys.gossip, force: force, at: now)) } catch {
            return directives.append(.keysReloaded(.refused(error)))
        }
        cookies = CookieCodec(ring: keys.cookie)
        if membership.ringCount != ringCount { ringChanged() }
        if swim.epoch != epoch { viewChanged() }
        directives.append(.keysReloaded(.done(membership.keyReport)))
    }

    private mutating func ringChanged() {
        directives.append(.ring(membership.ring))
        directives.append(.event(.keys(membership.keyReport)))
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
        case .cancelTimer(let timer): directives.append(.cancelTimer(.swim(timer)))
        case .syncWith(let endpoint): exchangeState(with: endpoint)
        case .sendState(let member, let asking):
            guard let link = link(to: member) else { break }
            for page in swim.statePages(asking: asking) {
                directives.append(.linkMessage(link, PeerMessage.membership(page.encoded).encoded))
            }
        case .checkPort(_, let endpoint): dial(endpoint)
        case .memberChanged(let member, let former):
            let verdict = member.status == .dead ? swim.verdict(on: member.id) : nil
            directives.append(.event(.member(member, epoch: swim.epoch, verdict: verdict)))
            if former == nil {
                if member.role == .node, member.status.isReachable, member.id != id { arrivals.note(at: now) }
                welcome(member.id)
            }
        case .instancesChanged, .paused: break
        case .instanceRefused(let number, let refusal): directives.append(.event(.instanceRefused(number: number, refusal)))
        case .declaredDead: beginNewLife(after: nil)
        case .becameStale(let known): beginNewLife(after: known)
        case .departed: directives.append(.departed)
        case .nameTaken(let holder): directives.append(.nameTaken(by: holder))
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
        for link in strangers.keys.sorted() { directives.append(.closeLink(link)) }
        strangers = [:]
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
        // A loss is acted on at once. Newcomers may come in bursts: the first counts at once, the rest together.
        let isDue = now.uptime >= reachChangedAt + Housekeeping.busyInterval.nanoseconds
        if isDue || otherNodes.contains(where: { !isReachable($0) }) { reachChanged() } else { reachIsStale = true }
        announceView()
    }

    /// Building a view walks all members, and nobody but a balancer lives by each.
    mutating func announceView() {
        if configuration.role == .balancer { directives.append(.view(swim.view)) }
    }

    /// Somebody came within reach or went out of it.
    mutating func reachChanged() {
        reachIsStale = false
        reachChangedAt = now.uptime
        let nodes = swim.others.filter { $0.role == .node && isReachable($0.id) }
        otherNodes = nodes.map(\.id)
        guard configuration.role == .node else { return }
        dialMissingPeers()
        // A silent peer's link may stand for long; what it was asked is asked elsewhere now.
        for (number, operation) in operations.sorted(by: { $0.key < $1.key }) {
            if let name = operation.sentTo, !otherNames.contains(name) { park(number) }
        }
        verifying.removeAll { !otherNames.contains($0) }
        rank((nodes + [swim.local]).filter(\.ranks))
        planIfChanged()
        retryParked()
    }

    private mutating func rank(_ members: [Member]) {
        table.replaceCandidates(with: members.map(PlacementCandidate.init(of:)))
        rankedLives = members.sorted { $0.name < $1.name }.map { $0.id == id ? nil : $0.id }
    }

    // MARK: Links

    /// Two when both sides dialled at once, and one that only asked whether the port is open.
    private static let linksMax = 3

    /// Links and slots can wait.
    var isCrowded: Bool { arrivals.areUnderWay(isLate: swim.isLate, at: now) }

    mutating func dialMissingPeers() {
        let missing = otherNodes.filter { !hasLink(to: $0.name) }
        let names = Set(missing.map(\.name))
        dials.missingSince = dials.missingSince.filter { names.contains($0.key) }
        let isCrowded = isCrowded
        for member in missing {
            let since = dials.missingSince[member.name] ?? now.uptime
            dials.missingSince[member.name] = since
            guard !isCrowded else { continue }
            guard id.name < member.name || now.uptime - since >= Dials.patience.nanoseconds,
                let endpoint = swim.member(named: member.name)?.endpoint, dials.started[endpoint] == nil
            else { continue }
            guard dials.takeAllowance(at: now) else { return }
            dial(endpoint)
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
        guard isWelcome(peer, at: endpoint) else {
            keepApart(link, of: peer)
            if dials.forSync.remove(endpoint) != nil { gossip(.syncOpened(endpoint, peer: peer)) }
            return
        }
        adopt(link, of: peer)
        if dials.forSync.remove(endpoint) != nil { gossip(.syncOpened(endpoint, peer: peer)) }
    }

    private mutating func adopt(_ link: LinkID, of peer: MemberID) {
        if let known = peers[peer.name], known.id != peer {
            for old in known.links {
                directives.append(.closeLink(old))
                forget(old, of: peer.name)
            }
        }
        guard peers[peer.name]?.links.count ?? 0 < Self.linksMax else { return directives.append(.closeLink(link)) }
        linkNames[link] = peer.name
        peers[peer.name, default: Peer(id: peer, links: [])].links.append(link)
        if gone.remove(peer) != nil { reachChanged() }
        gossip(.linkUp(peer))
        guard peers[peer.name]?.links == [link] else { return }
        linkInUse(peer.name)
    }

    // MARK: Strangers

    /// Links kept apart: more than all that start anew in a mesh of the size that gossip is made for. When full another is closed.
    private static let strangersMax = 64
    /// A stranger has few things to say before it is a member; then it is one within half a second. When full its link is closed.
    private static let strangerMessagesMax = 32
    /// Longer than a contest for a name.
    private static let strangerPatience: Duration = .seconds(5)

    /// Whether that life may have the link of its name. One of the view's may, and of a name that nobody has; one that came back at the same
    /// address, or after a death, is about to be believed. Any other must not displace a link that may be a living member's.
    private func isWelcome(_ peer: MemberID, at endpoint: Endpoint) -> Bool {
        guard peer.name != id.name else { return false }
        guard let known = swim.member(named: peer.name) else { return peers[peer.name].map { $0.id == peer } ?? true }
        guard known.id != peer else { return true }
        return peer.life > known.id.life && (!known.status.isReachable || known.endpoint == endpoint)
    }

    private mutating func keepApart(_ link: LinkID, of peer: MemberID) {
        guard strangers.count < Self.strangersMax else { return directives.append(.closeLink(link)) }
        strangers[link] = Stranger(id: peer, since: now.uptime)
    }

    /// The view has that life now.
    private mutating func welcome(_ member: MemberID) {
        for link in strangers.keys.sorted() where strangers[link]?.id == member {
            guard let stranger = strangers.removeValue(forKey: link) else { continue }
            adopt(link, of: member)
            for bytes in stranger.waiting where linkNames[link] != nil { receive(bytes, over: link) }
        }
    }

    private mutating func receive(_ bytes: [UInt8], from stranger: Stranger, over link: LinkID) {
        if case .membership(let state) = try? PeerMessage(decoding: bytes) { return receiveState(state, from: stranger.id) }
        guard stranger.waiting.count < Self.strangerMessagesMax else {
            strangers[link] = nil
            return directives.append(.closeLink(link))
        }
        strangers[link]?.waiting.append(bytes)
    }

    /// Whoever has not become a member by now won't.
    mutating func dismissStrangers() {
        for (link, stranger) in strangers.sorted(by: { $0.key < $1.key }) {
            guard now.uptime - stranger.since >= Self.strangerPatience.nanoseconds else { continue }
            strangers[link] = nil
            directives.append(.closeLink(link))
        }
    }

    private func link(to member: MemberID) -> LinkID? {
        if let peer = peers[member.name], peer.id == member { return peer.links.first }
        return strangers.filter { $0.value.id == member }.keys.min()
    }

    // MARK: Links in use

    /// There is another link to be used than before.
    private mutating func linkInUse(_ name: NodeName) {
        send(.clock(now.wall), to: name)
        if verifying.contains(name) { inquire(of: [name]) }
        guard configuration.role == .node else { return }
        pull(from: name)
        planSlots(touching: name)
        retryParked()
    }

    mutating func linkDown(_ link: LinkID) {
        strangers[link] = nil
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
        replicaLost(name)
        for slot in leftoverSlots where slots[Int(slot.rawValue)].tenure.owner?.name == name { recallLeftover(of: slot) }
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
        sendSlotNews(to: name)
        guard let link = peers[name]?.links.first else { return false }
        directives.append(.linkMessage(link, message.encoded))
        return true
    }

    /// The same to several, encoded once.
    mutating func send(_ message: PeerMessage, to names: [NodeName]) {
        let encoded = message.encoded
        for name in names {
            sendSlotNews(to: name)
            if let link = peers[name]?.links.first { directives.append(.linkMessage(link, encoded)) }
        }
    }

    mutating func receive(_ bytes: [UInt8], over link: LinkID) {
        if let stranger = strangers[link] { return receive(bytes, from: stranger, over: link) }
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
        case .grant(let slots): receiveGrants(slots, from: name)
        case .lead(let slots): receiveLead(slots, from: peer)
        case .release(let slots): for slot in slots { released(slot) }
        case .spare(let slots): answerSpares(slots, from: name)
        case .push(let ticket, let sessions): receivePush(ticket: ticket, sessions, from: name)
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
