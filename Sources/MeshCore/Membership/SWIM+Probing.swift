// Asking for signs of life.

extension SWIM {
    /// The one probe under way.
    struct Probe: Sendable {
        var number: UInt32
        var target: MemberID
        var sentAt: Int64
        /// Its helpers have been asked, and had their time, by then: where round trips take as long as a period, that is not by the next tick.
        var dueAt: Int64
        /// Periods it has waited for.
        var ticks = 0
        /// A second ping went out, so an ack doesn't say how long the way is (Karn and Partridge, SIGCOMM 1987).
        var wasResent = false
        /// Those asked to try as well who have said nothing yet.
        var helpers: [NodeName] = []
    }

    /// A ping on another's behalf.
    struct Relay: Sendable {
        var number: UInt32
        var subject: MemberID
        var askedUnder: UInt32
        var asker: Endpoint
    }

    /// The time between ping and ack, smoothed over all members as RFC 6298 does it.
    struct RoundTrip: Sendable {
        private var smoothed: Int64 = 0
        private var variation: Int64 = 0

        mutating func record(_ sample: Int64) {
            guard smoothed > 0 else {
                smoothed = max(1, sample)
                variation = sample / 2
                return
            }
            variation += (abs(sample - smoothed) - variation) / 4
            smoothed = max(1, smoothed + (sample - smoothed) / 8)
        }

        func timeout(min: Duration, max: Duration) -> Duration {
            Swift.min(max, Swift.max(min, .nanoseconds(smoothed + 4 * variation)))
        }
    }

    /// Whether our own timers come late, so that verdicts on others wait.
    var isLate: Bool { slowness > 0 }

    mutating func scheduleProbe() {
        probeRound += 1
        let wait = random.jittered(configuration.probePeriod, share: 0.1)
        probeDue = now.uptime + wait.nanoseconds
        directives.append(.startTimer(.probe(round: probeRound), after: wait))
    }

    mutating func probeTick(round: UInt64) {
        guard round == probeRound else { return }
        // A tick that is late by an ack's whole time says that acks may be waiting unread as well.
        let isLate = now.uptime - probeDue > configuration.ackTimeoutMin.nanoseconds
        slowness = isLate ? min(4, slowness + 1) : max(0, slowness - 1)
        scheduleProbe()
        releaseDegraded()
        if let unanswered = probe {
            // Helpers that answer neither way are silent too. Rather than all of them, it is ourselves (Lifeguard, section IV-A).
            if unanswered.ticks == 0 { slowness = min(4, slowness + unanswered.helpers.count) }
            guard unanswered.ticks >= slowness, now.uptime >= unanswered.dueAt else {
                probe?.ticks += 1
                return
            }
            probe = nil
            counters.unanswered += 1
            if let index = find(unanswered.target) { accuse(index, finding: .silent, pings: unanswered.wasResent ? 2 : 1) }
        }
        guard let target = nextTarget() else { return }
        let number = sendPing(to: target)
        let dueAt = now.uptime + (ackTimeout + configuration.ackTimeoutMin).nanoseconds
        probe = Probe(number: number, target: records[target].id, sentAt: now.uptime, dueAt: dueAt)
        counters.probes += 1
        directives.append(.startTimer(.ackTimeout(number: number), after: ackTimeout))
    }

    /// Each in a shuffled turn, so that nobody waits longer than two rounds; every second probe may go to one that should not wait.
    private mutating func nextTarget() -> Int? {
        if lastWasHurried {
            lastWasHurried = false
        } else {
            while !hurried.isEmpty {
                guard let index = find(hurried.removeFirst()), records[index].isReachable else { continue }
                lastWasHurried = true
                return index
            }
        }
        for _ in 0..<2 {
            while let name = turn.popLast() {
                if let index = find(name), records[index].isReachable, name != local.name { return index }
            }
            turn = reachableOthers.map { records[$0].member.name }.shuffled(using: &random)
        }
        return nil
    }

    mutating func hurry(_ name: NodeName) {
        guard hurried.count < Self.hurriedMax, !hurried.contains(name) else { return }
        hurried.append(name)
    }

    /// Pings with the suspicion or death that the target should hear of, and returns the ping's number.
    @discardableResult
    mutating func sendPing(to index: Int) -> UInt32 {
        lastNumber &+= 1
        sendPing(to: index, number: lastNumber)
        return lastNumber
    }

    private mutating func sendPing(to index: Int, number: UInt32) {
        let claim = claim(about: records[index])
        send(.ping(number: number, target: records[index].id), to: records[index].member.endpoint, leading: claim.map { [$0] } ?? [])
    }

    mutating func ackTimedOut(_ number: UInt32) {
        guard let waiting = probe, waiting.number == number, let index = find(waiting.target), records[index].isReachable else { return }
        probe?.wasResent = true
        sendPing(to: index, number: number)
        let helpers = reachableOthers.filter { $0 != index }.shuffled(using: &random).prefix(configuration.helperCount)
        let target = records[index].member
        for helper in helpers {
            send(.pingRequest(number: number, target: target.id, at: target.endpoint), to: records[helper].member.endpoint)
        }
        probe?.helpers = helpers.map { records[$0].member.name }
        checkPort(index)
    }

    // MARK: Messages

    mutating func receive(_ message: GossipMessage, from endpoint: Endpoint) {
        if case .taken(let id) = message.kind { return hearTaken(by: id, message, from: endpoint) }
        guard message.sender.name != local.name else { return receiveFromRival(message, from: endpoint) }
        guard admit(message, from: endpoint) else { return }
        var outdated: [MemberID] = []
        // A delta is one side of an exchange: what its sender lacks it is told, or has been.
        let isExchange = if case .delta = message.kind { true } else { false }
        for fact in message.facts where phase == .running {
            merge(fact, from: message.sender, at: isExchange ? nil : endpoint, outdated: &outdated)
        }
        guard phase == .running else { return }
        if message.digest == digest { noteAgreement() }
        if !isExchange, let first = outdated.first {
            let known = outdated.prefix(4).compactMap { find($0.name).map { fact(about: records[$0]) } }
            send(.stale(first), to: endpoint, leading: known)
        }
        switch message.kind {
        case .ping(let number, let target):
            // First, so that a question of ours is there before the other side compares.
            compareDigests(message)
            if target == local.id {
                hasVouched = true
                // Who has not heard of our refutation hears it now.
                let accused = message.facts.contains { $0.accusation(of: local.id).map { $0 < local.incarnation } ?? false }
                send(.ack(number: number), to: endpoint, leading: accused ? [.member(local)] : [])
            } else if target.name == local.name, target.life < local.id.life {
                send(.stale(local.id), to: endpoint, leading: [.member(local)])
            } else if target.name == local.name {
                hearOfLaterLife(target.life)
            }
        case .ack(let number):
            if let index = relays.firstIndex(where: { $0.number == number && $0.subject == message.sender }) {
                let relay = relays.remove(at: index)
                send(.relayedAck(number: relay.askedUnder, subject: relay.subject), to: relay.asker)
            }
            answered(by: message.sender, number: number, isDirect: true)
            compareDigests(message)
        case .pingRequest(let number, let target, let targetEndpoint): help(endpoint, askedUnder: number, to: target, at: targetEndpoint)
        case .relayedAck(let number, let subject): answered(by: subject, number: number, isDirect: false)
        case .nack(let number, let subject): hearNack(from: message.sender.name, number: number, subject: subject)
        case .stale(let known):
            if known.name == local.name { hearOfLaterLife(known.life) }
        case .digests(let buckets): hearDigests(buckets, from: message.sender)
        case .delta(let buckets): hearDelta(asking: buckets, message)
        case .gossip, .state, .taken: break
        }
    }

    /// Whether the sender may be listened to: not a life that is over, nor one whose name is contested.
    private mutating func admit(_ message: GossipMessage, from endpoint: Endpoint) -> Bool {
        let sender = message.sender
        guard let index = find(sender.name), records[index].id.life >= sender.life else {
            let said = Self.word(about: sender, in: message.facts)
            if let index = find(sender.name), !yields(index, to: sender, said: said, at: endpoint) { return false }
            // Somebody new: all it knows is worth having.
            sync(with: endpoint)
            return true
        }
        guard records[index].id == sender else {
            send(.stale(records[index].id), to: endpoint, leading: [fact(about: records[index])])
            return false
        }
        guard records[index].isReachable else {
            // Two that hold each other for dead would tell each other so for ever; the first to hear of it gives in.
            if message.facts.contains(where: { $0.isDeath(of: local.id) }) {
                hearOfMyself(incarnation: 0, status: .dead, from: sender, at: endpoint)
            } else {
                send(.gossip, to: endpoint, leading: [fact(about: records[index])])
            }
            return false
        }
        records[index].heardAt = now.uptime
        return true
    }

    private mutating func answered(by id: MemberID, number: UInt32, isDirect: Bool) {
        contestAnswered(by: id, number: number)
        guard let index = find(id) else { return }
        if let waiting = probe, waiting.number == number, waiting.target == id {
            if isDirect { counters.acksDirect += 1 } else { counters.acksHelped += 1 }
            if isDirect, !waiting.wasResent { measured(index, since: waiting.sentAt) }
            if !waiting.wasResent { directives.append(.cancelTimer(.ackTimeout(number: number))) }
            probe = nil
        } else if isDirect, let inquiry = records[index].inquiry, inquiry.pings == 1, inquiry.firstNumber == number {
            measured(index, since: inquiry.sentAt)
        }
        foundAlive(index, answering: number)
    }

    private mutating func measured(_ index: Int, since sentAt: Int64) {
        let sample = now.uptime - sentAt
        roundTrip.record(sample)
        records[index].roundTrip = sample
        counters.roundTrips.record(.nanoseconds(sample))
    }

    // MARK: Local health

    /// Time that passed while this process stood still is nobody else's silence: what waited for an answer is void, suspicions get the time
    /// back, and nobody is suspected until two periods of listening have passed.
    mutating func noticePause() {
        let late = now.uptime - probeDue
        guard late > configuration.pauseMin.nanoseconds else { return }
        counters.pauses += 1
        probe = nil
        relays = []
        restartContests()
        lenientUntil = now.uptime + 2 * configuration.probePeriod.nanoseconds
        for index in records.indices {
            records[index].inquiry?.pings = 0
            guard records[index].suspicion != nil else { continue }
            records[index].suspicion?.postpone(by: late)
            judge(index, anew: true)
        }
        directives.append(.paused(for: .nanoseconds(late)))
        scheduleProbe()
    }
}
