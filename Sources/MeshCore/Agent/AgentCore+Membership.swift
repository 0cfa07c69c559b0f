// Gossip, and who can be reached.

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
        if gap > Self.pauseNanosecondsMin { verifyOwnership() }
    }

    /// The timers of probes, or of housekeeping, alone make several steps within this.
    static let pauseMin = Duration.nanoseconds(pauseNanosecondsMin)
    private static let pauseNanosecondsMin: Int64 = 500_000_000

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
            let (epoch, rings) = (swim.epoch, (membership.ringCount, membership.cookieRingCount))
            perform(membership.step(next, at: now))
            ringsChanged(since: rings)
            if swim.epoch != epoch { viewChanged() }
        }
    }

    /// Both rings follow as the members allow.
    mutating func reload(_ keys: KeyFile, force: Bool) {
        let (epoch, rings) = (swim.epoch, (membership.ringCount, membership.cookieRingCount))
        do { perform(try membership.load(keys.gossip, cookies: keys.cookie, force: force, at: now)) } catch {
            return directives.append(.keysReloaded(.refused(error)))
        }
        ringsChanged(since: rings)
        if swim.epoch != epoch { viewChanged() }
        directives.append(.keysReloaded(.done(membership.keyReport)))
    }

    /// - Parameter former: how many rings had been in force, of gossip keys and of cookie keys.
    private mutating func ringsChanged(since former: (gossip: UInt64, cookies: UInt64)) {
        guard former != (membership.ringCount, membership.cookieRingCount) else { return }
        if membership.ringCount != former.gossip { directives.append(.ring(membership.ring)) }
        cookies = membership.cookieRotation.flatMap { CookieCodec(ring: $0.file, signing: $0.signing) }
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
            if member.status.isReachable { meetAfterAbsence(member) }
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

    mutating func beginNewLife(after known: Life?) {
        let isBalancer = configuration.role == .balancer
        perform(membership.beginNewLife(at: now, stage: isBalancer ? .serving : .syncing, after: known))
        stage = .syncing
        pulled = nil
        renewLinks()
        for index in slots.indices {
            guard let ownership = slots[index].ownership else { continue }
            slots[index].tenure.owner = id
            // Copies are of another owner's tenure now.
            slots[index].ownership = .init(inquiry: ownership.inquiry)
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
        setFormerLivesApart()
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
        noteSilence()
        dialMissingPeers()
        // A silent peer's link may stand for long; what it was asked is asked elsewhere now.
        for (number, operation) in operations.sorted(by: { $0.key < $1.key }) {
            if let name = operation.sentTo, !otherNames.contains(name) { park(number) }
        }
        // Who is about to leave gives its slots to those who go on, if anybody does.
        let ranking = (nodes + [swim.local]).filter(\.ranks)
        let serving = ranking.filter { $0.stage == .serving }
        rank(serving.isEmpty ? ranking : serving)
        planIfChanged()
        inquiries.keep { otherNames.contains($0) }
        endInquiries()
        retryParked()
    }

    private mutating func rank(_ members: [Member]) {
        table.replaceCandidates(with: members.map(PlacementCandidate.init(of:)))
        rankedLives = members.sorted { $0.name < $1.name }.map { $0.id == id ? nil : $0.id }
    }

    mutating func receiveState(_ state: [UInt8], from peer: MemberID) {
        do { gossip(.state(try GossipMessage(decoding: state), from: peer)) } catch {
            linkMessagesDropped["state-\(error)", default: 0] += 1
        }
    }
}
