import DequeModule

// Events of sessions: created, expired, destroyed, moved, told at least once to every application that follows.
//
// An agent with a client that follows says so on its links, first to all who are there, later to each who comes. Whoever owns a session tells
// those agents what became of it, one message at a time to each, the next when that is acknowledged. What is needed to tell it again lives with
// the session: who becomes owner of a slot tells again what began or ended there within half a minute, and a session that expired is kept, though
// nobody is shown it, until every recipient has acknowledged its end. What could not be told, because a link was down for too long or a queue was
// full, is told as a gap.

struct SessionEvents: Sendable {
    // Whom this agent tells of what it owns.

    var recipients: [NodeName: Recipient] = [:]
    /// Sessions that expired, with how many recipients don't know yet.
    var expiring: [SessionKey: Int] = [:]
    /// Slots that became ours, of which is to be told again what happened shortly before.
    var again: Set<Slot> = []

    // What this agent's own clients follow.

    /// In the order in which they came.
    var clients: [ClientID] = []
    /// Every node that was ever told, by this process, that events are followed here.
    var followed: [NodeName: Followed] = [:]
    /// Clients that are answered once every node knows.
    var requests: [(request: RequestID, until: Int64)] = []

    /// Another agent with clients that follow.
    struct Recipient: Sendable {
        var id: MemberID
        var queue: Deque<SessionEvent> = []
        /// The message on its way, and how many of the queue's first are in it.
        var underWay: (ticket: UInt64, count: Int)?
        /// It is owed a message, though there may be nothing to tell: it waits to hear that it is known here.
        var isOwedAnswer = true
        /// Something was not told.
        var isGapped = false
        /// Since when there is no link to it, in uptime nanoseconds.
        var lostAt: Int64?
    }

    struct Followed: Sendable {
        /// Whether it was heard to know.
        var isSure = false
        /// Since when there is no link to it, in uptime nanoseconds. Nil again once that was told as a gap.
        var lostAt: Int64?
    }

    /// Of one recipient; 80 bytes each. Beyond it all are dropped, which it is told as a gap.
    static let queueMax = 65_536
    /// In one message, of some 100 KB at most.
    static let messageMax = 1024
    /// As many as the clients of an agent.
    static let requestsMax = 1024
    /// How long a link may be down before what is not told is a gap. With the time until a death is known it stays below ``ageMilliseconds``.
    static let linkPatience: Duration = .seconds(15)
    /// How long a client waits for all nodes to know that it follows; then it begins with a gap.
    static let beginPatience: Duration = .seconds(2)
    /// What is older is not told again. A session that was moved knows where to for as long.
    static let ageMilliseconds = SessionState.commitAgeMilliseconds
    /// Slots gone over in a round of housekeeping, as in a stretch of a walk.
    static let slotsPerRound = Walks.slotsPerStretch

    /// Whether anybody follows, here or elsewhere.
    var areFollowed: Bool { !clients.isEmpty || !recipients.isEmpty }

    /// Whether something waits that a round of housekeeping moves on.
    var isBusy: Bool { !again.isEmpty || !requests.isEmpty }
}

/// What an agent says of its clients that follow events.
enum Following: UInt8, Hashable, Sendable {
    /// There is none any more.
    case ended
    /// There is one, and the sender has not told this node so before.
    case begins
    /// The sender told this node before.
    case continues
}

extension AgentCore {
    // MARK: At the owner

    /// Tells all who follow what became of a session that is held, and shown to readers.
    mutating func tellWhoFollows(_ kind: SessionEvent.Kind, of key: SessionKey) {
        guard events.areFollowed, let state = slots[Int(key.slot.rawValue)].sessions[key]?.state else { return }
        tellWhoFollows(event(kind, of: key, state))
    }

    private func event(_ kind: SessionEvent.Kind, of key: SessionKey, _ state: SessionState) -> SessionEvent {
        let at =
            switch kind {
            case .created: state.created.milliseconds
            case .expired: state.expiresAt(configuration.expiry)
            case .destroyed, .moved: state.destroyed?.milliseconds ?? 0
            }
        return SessionEvent(key: key, kind: kind, at: at)
    }

    private mutating func tellWhoFollows(_ event: SessionEvent) {
        pushToClients(.event(event))
        for name in events.recipients.keys.sorted() {
            guard let count = events.recipients[name]?.queue.count else { continue }
            if count >= SessionEvents.queueMax { loseEvents(for: name) }
            events.recipients[name]?.queue.append(event)
            if event.kind == .expired { events.expiring[event.key, default: 0] += 1 }
            sendEvents(to: name)
        }
    }

    /// Lets go of a session of ours that expired, once every recipient knows that.
    mutating func expire(_ key: SessionKey) {
        let held = slots[Int(key.slot.rawValue)].sessions[key]?.state
        guard events.areFollowed, let state = held, !state.isDestroyed else { return drop(key) }
        guard events.expiring[key] == nil else { return }
        tellWhoFollows(event(.expired, of: key, state))
        if events.expiring[key] == nil { drop(key) }
    }

    private mutating func sendEvents(to name: NodeName) {
        guard let recipient = events.recipients[name], recipient.underWay == nil, recipient.lostAt == nil,
            recipient.isOwedAnswer || recipient.isGapped || !recipient.queue.isEmpty
        else { return }
        let ticket = nextNumber()
        let told = recipient.queue.prefix(SessionEvents.messageMax)
        guard send(.events(ticket: ticket, isGapped: recipient.isGapped, Array(told)), to: name) else { return }
        events.recipients[name]?.underWay = (ticket, told.count)
        peers[name]?.askedAt = now.uptime
    }

    /// False when the ticket is of something else.
    mutating func eventsTaken(_ ticket: UInt64, by name: NodeName) -> Bool {
        guard let underWay = events.recipients[name]?.underWay, underWay.ticket == ticket else { return false }
        let taken = events.recipients[name]?.queue.prefix(underWay.count).map(\.self) ?? []
        events.recipients[name]?.queue.removeFirst(underWay.count)
        events.recipients[name]?.underWay = nil
        events.recipients[name]?.isOwedAnswer = false
        events.recipients[name]?.isGapped = false
        know(taken)
        sendEvents(to: name)
        return true
    }

    /// One recipient more knows of these, or won't be told.
    private mutating func know(_ told: some Sequence<SessionEvent>) {
        for event in told where event.kind == .expired {
            guard let left = events.expiring[event.key] else { continue }
            events.expiring[event.key] = left > 1 ? left - 1 : nil
            let state = slots[Int(event.key.slot.rawValue)]
            if left == 1, state.isOwner, let entry = state.sessions[event.key], mayForget(entry.state, wall: wall) { drop(event.key) }
        }
    }

    private mutating func loseEvents(for name: NodeName) {
        guard let lost = events.recipients[name]?.queue else { return }
        if !(events.recipients[name]?.isGapped ?? true) { counters.eventGaps += 1 }
        events.recipients[name]?.queue = []
        events.recipients[name]?.underWay = nil
        events.recipients[name]?.isGapped = true
        know(lost)
    }

    /// Sessions are gone that nobody can tell of any more.
    mutating func loseEvents() {
        pushToClients(.gap)
        for name in events.recipients.keys.sorted() {
            loseEvents(for: name)
            sendEvents(to: name)
        }
    }

    /// What began or ended shortly before a slot became ours may not have been told by whoever had it.
    mutating func tellAgain(of slot: Slot) {
        if events.areFollowed { events.again.insert(slot) }
    }

    private mutating func tellAgain() {
        guard !events.again.isEmpty else { return }
        let since = wall - SessionEvents.ageMilliseconds
        for slot in events.again.sorted().prefix(SessionEvents.slotsPerRound) {
            let index = Int(slot.rawValue)
            guard slots[index].isOwner else {
                events.again.remove(slot)
                continue
            }
            // Its sessions are not all here yet, or one is changed by a commit that may be taken back.
            guard mayAnswer(for: slot), slots[index].pending.isEmpty else { continue }
            events.again.remove(slot)
            let recent = slots[index].sessions.filter { $0.value.state.latest.milliseconds >= since }
            for (key, entry) in recent.sorted(by: { $0.key < $1.key }) {
                let state = entry.state
                if state.created.milliseconds >= since, state.hasBegunHere { tellWhoFollows(event(.created, of: key, state)) }
                guard let destroyed = state.destroyed, destroyed.milliseconds >= since else { continue }
                tellWhoFollows(event(state.moved.map { .moved(to: $0.to) } ?? .destroyed, of: key, state))
            }
        }
    }

    // MARK: Who is told

    mutating func receive(_ following: Following, from peer: MemberID) {
        let name = peer.name
        switch following {
        case .ended: forgetRecipient(name)
        case .begins:
            forgetRecipient(name)
            events.recipients[name] = .init(id: peer)
        case .continues:
            // Who doesn't know it began anew; its successors tell what it had not told.
            events.recipients[name, default: .init(id: peer)].id = peer
            events.recipients[name]?.isOwedAnswer = true
            events.recipients[name]?.underWay = nil
            events.recipients[name]?.lostAt = nil
        }
        sendEvents(to: name)
    }

    private mutating func forgetRecipient(_ name: NodeName) {
        know(events.recipients.removeValue(forKey: name)?.queue ?? [])
    }

    // MARK: At who follows

    mutating func follow(_ request: RequestID) {
        guard configuration.role == .node else {
            return reply(request, .failure(ClientFailure(.invalid, "a balancer holds no sessions; ask an agent with --role node")))
        }
        guard events.requests.count < SessionEvents.requestsMax else {
            return reply(request, .failure(ClientFailure(.full, "too many clients begin to follow at once; try again shortly")))
        }
        if events.clients.isEmpty { for node in otherNodes { sayFollowing(to: node.name) } }
        if !events.clients.contains(request.client) { events.clients.append(request.client) }
        events.requests.append((request, now.uptime + SessionEvents.beginPatience.nanoseconds))
        answerFollowRequests()
    }

    mutating func unfollow(_ client: ClientID) {
        guard let index = events.clients.firstIndex(of: client) else { return }
        events.clients.remove(at: index)
        events.requests.removeAll { $0.request.client == client }
        guard events.clients.isEmpty else { return }
        for name in events.followed.keys.sorted() { send(.following(.ended), to: name) }
        events.followed = [:]
    }

    private mutating func sayFollowing(to name: NodeName) {
        guard send(.following(events.followed[name] == nil ? .begins : .continues), to: name) else { return }
        events.followed[name] = .init()
    }

    mutating func receiveEvents(_ ticket: UInt64, isGapped: Bool, _ told: [SessionEvent], from name: NodeName) {
        guard !events.clients.isEmpty else {
            send(.following(.ended), to: name)
            return
        }
        if isGapped { pushToClients(.gap) }
        for event in told { pushToClients(.event(event)) }
        events.followed[name]?.isSure = true
        send(.ack(ticket: ticket), to: name)
        answerFollowRequests()
    }

    private mutating func pushToClients(_ push: ClientPush) {
        if !events.clients.isEmpty { directives.append(.push(events.clients, push)) }
    }

    /// Answers the clients that follow once every node knows of them.
    private mutating func answerFollowRequests() {
        guard !events.requests.isEmpty else { return }
        // Who is still joining doesn't know of every node.
        let isSure = stage != .syncing && otherNodes.allSatisfy { events.followed[$0.name]?.isSure ?? false }
        let answered = events.requests.filter { isSure || $0.until <= now.uptime }
        events.requests.removeAll { isSure || $0.until <= now.uptime }
        for (request, _) in answered {
            reply(request, .done)
            if !isSure { directives.append(.push([request.client], .gap)) }
        }
    }

    // MARK: Links and time

    mutating func eventsLinkInUse(_ name: NodeName) {
        if !events.clients.isEmpty { sayFollowing(to: name) }
        // The same life goes on being told, whether or not it noticed that the link is another.
        guard let recipient = events.recipients[name], hasLink(to: recipient.id) else { return }
        events.recipients[name]?.lostAt = nil
        sendEvents(to: name)
    }

    mutating func eventsLinkLost(_ name: NodeName) {
        events.recipients[name]?.underWay = nil
        if events.recipients[name]?.lostAt == nil { events.recipients[name]?.lostAt = now.uptime }
        guard let followed = events.followed[name] else { return }
        events.followed[name] = .init(lostAt: followed.lostAt ?? now.uptime)
    }

    /// In each round of housekeeping.
    mutating func lookAfterEvents() {
        tellAgain()
        answerFollowRequests()
    }

    mutating func lookAfterLostRecipients() {
        let latest = now.uptime - SessionEvents.linkPatience.nanoseconds
        for (name, recipient) in events.recipients.sorted(by: { $0.key < $1.key }) {
            guard let lostAt = recipient.lostAt, lostAt <= latest else { continue }
            loseEvents(for: name)
            if !isKnown(name) { events.recipients[name] = nil }
        }
        var isGapped = false
        for (name, followed) in events.followed {
            guard let lostAt = followed.lostAt else { continue }
            // Of one that is gone its successors tell again.
            let isOver = !otherNames.contains(name)
            guard isOver || lostAt <= latest else { continue }
            if !isOver { isGapped = true }
            events.followed[name]?.lostAt = nil
            if !isKnown(name) { events.followed[name] = nil }
        }
        if isGapped { pushToClients(.gap) }
    }
}
