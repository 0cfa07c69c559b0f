// Peer links: whom to dial, and which link is whose.

/// What is known about the way to one member.
struct Peer: Sendable {
    var id: MemberID
    /// Proven links, oldest first; the first is the one used. Two exist when both sides dialled at once.
    var links: [LinkID]
    var syncStream = SyncStream()
    /// One of several links has ended, and the peer may have been using that one: it says `clock` over the link that it goes on with, and what it
    /// answered before may be lost.
    var mayMissAnswers = false
    /// The greatest ticket of a change or a sync that came from it. What it says in order has a greater one.
    var lastTicket: UInt64 = 0
    /// When it was last sent slots or events, or all that is under way was begun anew, in uptime nanoseconds.
    var askedAt = Int64.min
}

/// A link that is up but not in use, because one side has yet to know in which life the other is. Membership and messages to channels, which
/// are said to whoever there is, pass all the same.
struct LinkApart: Sendable {
    enum Wait: Sendable {
        /// For the view to have the peer's life; what it says waits too. `renewed` links are welcomed then.
        case recognition(said: [[UInt8]], renewed: Bool)
        /// For the peer, of whom a later life is known, to go on in it. What it said in the former is over.
        case renewal
        /// For the peer to know our new life. What it says meanwhile is meant for the former.
        case welcome
    }

    var id: MemberID
    var since: Int64
    var wait: Wait
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
    /// Of two nodes the one whose name comes first dials; the other waits so long for it, and both for a link that is ``LinkApart``.
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
        let apartNames = Set(apart.values.map(\.id.name))
        for member in missing {
            let since = dials.missingSince[member.name] ?? now.uptime
            dials.missingSince[member.name] = since
            guard !isCrowded else { continue }
            let isOurs = id.name < member.name && !apartNames.contains(member.name)
            guard isOurs || now.uptime - since >= Dials.patience.nanoseconds,
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
        if peer == id {
            directives.append(.closeLink(link))
        } else if now.uptime < renewedAt + Self.introductionTime.nanoseconds {
            renew(link, of: peer)
        } else {
            place(link, of: peer, at: endpoint)
        }
        if dials.forSync.remove(endpoint) != nil { gossip(.syncOpened(endpoint, peer: peer)) }
    }

    private mutating func adopt(_ link: LinkID, of peer: MemberID) {
        if let known = peers[peer.name], known.id != peer { for old in known.links { setApart(old, .renewal) } }
        guard peers[peer.name]?.links.count ?? 0 < Self.linksMax else {
            peers[peer.name]?.mayMissAnswers = true
            return directives.append(.closeLink(link))
        }
        linkNames[link] = peer.name
        peers[peer.name, default: Peer(id: peer, links: [])].links.append(link)
        if missedLinks.remove(peer.name) != nil { peers[peer.name]?.mayMissAnswers = true }
        if gone.remove(peer) != nil { reachChanged() }
        if let member = swim.member(named: peer.name), member.id == peer { meetAfterAbsence(member) }
        gossip(.linkUp(peer))
        guard peers[peer.name]?.links == [link] else { return }
        linkInUse(peer.name)
    }

    // MARK: Links apart

    /// Links of unknown lives: more than all that start anew in a mesh of the size that gossip is made for. When full another is closed.
    private static let unrecognizedMax = 64
    /// Who is unknown has few things to say before it is a member; then it is one within half a second. When full its link is closed.
    private static let unrecognizedMessagesMax = 32
    /// Longer than a contest for a name.
    private static let apartPatience: Duration = .seconds(5)
    /// Longer than a link may take from its introduction to its being up.
    private static let introductionTime: Duration = .seconds(10)

    /// Whether that life may have the link of its name. One of the view's may, and of a name that nobody has; one that came back at the same
    /// address, or after a death, is about to be believed. Any other must not displace a link that may be a living member's.
    private func isWelcome(_ peer: MemberID, at endpoint: Endpoint?) -> Bool {
        guard peer.name != id.name else { return false }
        guard let known = swim.member(named: peer.name) else { return peers[peer.name].map { $0.id == peer } ?? true }
        guard known.id != peer else { return true }
        return peer.life > known.id.life && (!known.status.isReachable || known.endpoint == endpoint)
    }

    private mutating func place(_ link: LinkID, of peer: MemberID, at endpoint: Endpoint?, renewed: Bool = false) {
        if isWelcome(peer, at: endpoint) {
            if renewed { directives.append(.linkMessage(link, PeerMessage.welcomed(peer.life).encoded)) }
            adopt(link, of: peer)
        } else if let known = swim.member(named: peer.name), known.id.life > peer.life {
            apart[link] = LinkApart(id: peer, since: now.uptime, wait: .renewal)
        } else {
            keepForRecognition(link, of: peer, renewed: renewed)
        }
    }

    private mutating func keepForRecognition(_ link: LinkID, of peer: MemberID, renewed: Bool = false) {
        let count = apart.values.count { if case .recognition = $0.wait { true } else { false } }
        guard count < Self.unrecognizedMax else { return directives.append(.closeLink(link)) }
        apart[link] = LinkApart(id: peer, since: now.uptime, wait: .recognition(said: [], renewed: renewed))
    }

    /// Takes a link out of use.
    private mutating func setApart(_ link: LinkID, _ wait: LinkApart.Wait) {
        guard let name = linkNames[link], let peer = peers[name]?.id else { return }
        forget(link, of: name)
        apart[link] = LinkApart(id: peer, since: now.uptime, wait: wait)
    }

    /// Links of lives that the view no longer has. A later life is most often the same process, and goes on over the same link.
    mutating func setFormerLivesApart() {
        for (name, peer) in peers.filter({ swim.member(named: $0.key)?.id != $0.value.id }).sorted(by: { $0.key < $1.key }) {
            let known = swim.member(named: name)
            let isFormer = known.map { $0.id.life > peer.id.life } ?? false
            for link in peer.links {
                if isFormer {
                    setApart(link, .renewal)
                } else {
                    forget(link, of: name)
                    keepForRecognition(link, of: peer.id)
                }
            }
        }
    }

    /// A link introduced our former life. To close them all and dial anew would cost a large mesh more than what caused it.
    mutating func renewLinks() {
        renewedAt = now.uptime
        let renewed = PeerMessage.renewed(id.life).encoded
        for link in linkNames.keys.sorted() {
            directives.append(.linkMessage(link, renewed))
            setApart(link, .welcome)
        }
        for (link, other) in apart.sorted(by: { $0.key < $1.key }) {
            switch other.wait {
            case .welcome: directives.append(.linkMessage(link, renewed))
            case .recognition, .renewal: closeApart(link)
            }
        }
    }

    /// A link that came up soon after this life began was perhaps introduced in the former one. Whoever took it for that of the former life
    /// would pass over what is said on it.
    private mutating func renew(_ link: LinkID, of peer: MemberID) {
        directives.append(.linkMessage(link, PeerMessage.renewed(id.life).encoded))
        apart[link] = LinkApart(id: peer, since: now.uptime, wait: .welcome)
    }

    /// The peer of a link goes on in another life.
    private mutating func receiveRenewal(_ life: Life, of former: MemberID, over link: LinkID) {
        guard life >= former.life else {
            linkMessagesDropped["link-renewedBackwards", default: 0] += 1
            return directives.append(.closeLink(link))
        }
        // It is the same process, so it is where it was.
        let endpoint = swim.member(named: former.name).flatMap { $0.id == former ? $0.endpoint : nil }
        let wasInUse = peers[former.name]?.links.first == link
        if linkNames[link] != nil { forget(link, of: former.name) } else { apart[link] = nil }
        place(link, of: MemberID(name: former.name, life: life), at: endpoint, renewed: true)
        if wasInUse, let inUse = peers[former.name]?.links.first, inUse != link {
            linkLost(former.name)
            linkInUse(former.name)
        }
    }

    private mutating func receiveWelcome(_ life: Life, over link: LinkID) {
        guard life == id.life, let other = apart[link], case .welcome = other.wait else { return }
        apart[link] = nil
        place(link, of: other.id, at: nil)
    }

    /// The view has that life now.
    mutating func welcome(_ member: MemberID) {
        for (link, other) in apart.sorted(by: { $0.key < $1.key }) where other.id == member {
            guard case .recognition(let said, let renewed) = other.wait else { continue }
            apart[link] = nil
            place(link, of: member, at: nil, renewed: renewed)
            for bytes in said where linkNames[link] != nil { receive(bytes, over: link) }
        }
    }

    private mutating func receive(_ message: PeerMessage, _ bytes: [UInt8], over link: LinkID, apart other: LinkApart) {
        switch (message, other.wait) {
        case (.membership(let state), _): receiveState(state, from: other.id)
        case (.message(let message), _): deliver(message)
        case (.renewed(let life), _): receiveRenewal(life, of: other.id, over: link)
        case (.welcomed(let life), _): receiveWelcome(life, over: link)
        case (_, .recognition(var said, let renewed)):
            guard said.count < Self.unrecognizedMessagesMax else { return closeApart(link) }
            said.append(bytes)
            apart[link]?.wait = .recognition(said: said, renewed: renewed)
        case (_, .renewal), (_, .welcome): break
        }
    }

    /// Says what is meant for a node in whichever life to those whose links are all apart.
    mutating func sendApart(_ message: PeerMessage) {
        guard !apart.isEmpty else { return }
        let bytes = message.encoded
        var told: Set<NodeName> = []
        for (link, other) in apart.sorted(by: { $0.key < $1.key }) where !hasLink(to: other.id.name) && told.insert(other.id.name).inserted
        {
            directives.append(.linkMessage(link, bytes))
        }
    }

    /// What has not come into use by now won't.
    mutating func closeOldApart() {
        for (link, other) in apart.sorted(by: { $0.key < $1.key }) where now.uptime - other.since >= Self.apartPatience.nanoseconds {
            closeApart(link)
        }
    }

    private mutating func closeApart(_ link: LinkID) {
        endApart(link)
        directives.append(.closeLink(link))
    }

    /// It won't come into use any more. Of a peer that had yet to be heard to know our present life it may be the one that it has been using.
    @discardableResult
    private mutating func endApart(_ link: LinkID) -> LinkApart? {
        guard let other = apart.removeValue(forKey: link) else { return nil }
        if case .welcome = other.wait {
            if peers[other.id.name] == nil { missedLinks = missedLinks.filter(isKnown).union([other.id.name]) }
            peers[other.id.name]?.mayMissAnswers = true
        }
        return other
    }

    func link(to member: MemberID) -> LinkID? {
        if let peer = peers[member.name], peer.id == member { return peer.links.first }
        return apart.filter { $0.value.id == member }.keys.min()
    }

    // MARK: Links in use

    /// There is another link to be used than before.
    private mutating func linkInUse(_ name: NodeName) {
        peers[name]?.askedAt = now.uptime
        send(.clock(now.wall), to: name)
        askAgain(name)
        guard configuration.role == .node else { return }
        pull(from: name)
        eventsLinkInUse(name)
        planSlots(touching: name)
        retryParked()
    }

    /// The peer has begun to use another link, or goes on with the one it uses.
    private mutating func heardClock(of name: NodeName) {
        guard peers[name]?.mayMissAnswers ?? false else { return }
        peers[name]?.mayMissAnswers = false
        linkLost(name)
        linkInUse(name)
    }

    mutating func linkDown(_ link: LinkID) {
        if let other = endApart(link) { return gossip(.linkDown(other.id, refused: false)) }
        guard let name = linkNames[link], let peer = peers[name] else { return }
        let wasInUse = peer.links.first == link
        forget(link, of: name)
        peers[name]?.mayMissAnswers = true
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

    /// How long an answer may take that a peer owes over a link that stands: longer than a link may stand that takes nothing.
    private static let answerPatience: Duration = .seconds(5)

    /// Begins anew what a peer has not answered for so long. It may have answered when this agent didn't listen: in a former life, or over a link that
    /// was apart.
    mutating func lookAfterAnswers() {
        let latest = now.uptime - Self.answerPatience.nanoseconds
        let late = Set(commits.values.lazy.filter { $0.sentAt <= latest }.flatMap(\.waiting).map(\.name))
        for (name, peer) in peers.sorted(by: { $0.key < $1.key }) where peer.askedAt <= latest && !peer.links.isEmpty {
            guard late.contains(name) || !peer.syncStream.finishing.isEmpty || events.recipients[name]?.underWay != nil else { continue }
            linkLost(name)
            linkInUse(name)
        }
        if let (round, names) = inquiries.afterPause { ask(names, afterPause: round) }
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
        eventsLinkLost(name)
        handIns = handIns.filter { $0.key.giver != name }
        for slot in leftoverSlots where slots[Int(slot.rawValue)].tenure.owner?.name == name { recallLeftover(of: slot) }
        for (id, operation) in operations.sorted(by: { $0.key < $1.key }) where operation.sentTo == name { park(id) }
    }

    mutating func connectFailed(_ endpoint: Endpoint, _ failure: ConnectFailure) {
        dials.started[endpoint] = nil
        if dials.forSync.remove(endpoint) != nil { gossip(.syncFailed(endpoint, refused: failure == .refused)) }
        guard failure == .refused else { return }
        // Nobody listens where a member should: its process is gone. Nobody need wait for gossip to agree.
        for member in swim.view.members where member.endpoint == endpoint && member.id != id && member.status != .left {
            gone.insert(member.id)
            if member.status.isReachable { gossip(.linkDown(member.id, refused: true)) }
        }
        silent.removeAll { $0.member.endpoint == endpoint }
        reachChanged()
    }

    func hasLink(to name: NodeName) -> Bool { !(peers[name]?.links.isEmpty ?? true) }

    /// Whether there is a link to that very life.
    func hasLink(to member: MemberID) -> Bool { linkInUse(to: member) != nil }

    private func linkInUse(to member: MemberID) -> LinkID? { peers[member.name].flatMap { $0.id == member ? $0.links.first : nil } }

    /// Sends to that very life; false when there is no link to it.
    mutating func send(_ message: @autoclosure () -> PeerMessage, to member: MemberID) -> Bool {
        guard let link = linkInUse(to: member) else { return false }
        sendSlotNews(to: member.name)
        directives.append(.linkMessage(link, message().encoded))
        return true
    }

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
        let other = apart[link]
        guard let peer = other?.id ?? linkNames[link].flatMap({ peers[$0]?.id }) else { return }
        let message: PeerMessage
        do { message = try PeerMessage(decoding: bytes) } catch {
            // The frame was sealed by a member, so this is another version of us, not noise. Skipping would lose order.
            linkMessagesDropped["link-\(error)", default: 0] += 1
            directives.append(.closeLink(link))
            return
        }
        if let other { return receive(message, bytes, over: link, apart: other) }
        let name = peer.name
        switch message {
        case .membership(let state): receiveState(state, from: peer)
        case .renewed(let life): receiveRenewal(life, of: peer, over: link)
        case .welcomed: break
        case .clock(let wall):
            clock.heard(name, saying: wall, at: now)
            heardClock(of: name)
        // A balancer has no slots, and whoever speaks to it of some is mistaken.
        case _ where configuration.role == .balancer: linkMessagesDropped["link-notForABalancer", default: 0] += 1
        case .forward(let id, let operation): accept(operation, from: link, id: id)
        case .answer(let id, let result): answered(id, result, by: peer)
        case .delta(let slot, let ticket, let key, let state, let whole):
            receiveDelta(slot, ticket: ticket, key, state, whole: whole, from: peer)
        case .sync(let ticket, let chunks): receiveSync(ticket: ticket, chunks, from: peer)
        case .ack(let ticket): acknowledged(ticket, by: peer)
        case .refuse(let slot, let ticket, _): refused(slot, ticket, by: peer)
        case .superseded(let slots): for slot in slots { heard(slot) }
        case .grant(let slots): receiveGrants(slots, from: peer)
        case .lead(let slots): receiveLead(slots, from: peer)
        case .release(let slots): for slot in slots { released(slot) }
        case .spare(let slots): answerSpares(slots, from: name)
        case .push(let ticket, let sessions): receivePush(ticket: ticket, sessions, from: name)
        case .claim(let slots): answerClaim(slots, from: peer)
        case .claimAnswer(let nothing, let held): receiveClaimAnswer(nothing: nothing, held: held, from: peer)
        case .pull(let slots): receivePull(slots, from: peer)
        case .inquire(let round, let isTakeover, let slots): answerInquiry(round, isTakeover: isTakeover, slots, from: name)
        case .inquired(let round): inquired(round, by: name)
        case .whole(let slots): receiveWhole(slots, from: name)
        case .doubt(let doubts): receiveDoubts(doubts, from: peer)
        case .drop(let drops): receiveDrops(drops, from: peer)
        case .compare(let range, let sum): receiveSum(sum, of: range, from: peer)
        case .differs(let range): sendDigests(of: range, to: name)
        case .digests(let digests): receiveDigests(digests, from: peer)
        case .stale(let stale): receiveStale(stale, from: peer)
        case .mirrored(let sessions): receiveMirrored(sessions)
        case .message(let message): deliver(message)
        case .following(let following): receive(following, from: peer)
        case .events(let ticket, let isGapped, let told): receiveEvents(ticket, isGapped: isGapped, told, from: name)
        case .walk(let id, let purpose, let slots): begin(Walks.Given(asker: .peer(link, id: id), purpose: purpose, wanted: slots))
        case .walked(let id, let slots, let found, let count): walked(id, covering: slots, found, count: count, by: name)
        }
    }
}
