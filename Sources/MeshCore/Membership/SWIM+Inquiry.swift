// Finding out at once, because somebody asks or a link broke; and staying at it.

extension SWIM {
    /// One member under question, by this member.
    struct Inquiry: Sendable {
        /// Sent so far.
        var pings = 0
        /// Of the first of them; an answer to an earlier ping says nothing.
        var firstNumber: UInt32
        /// Names the timer that counts.
        var generation: UInt64
        var sentAt: Int64
    }

    /// Pings it a few times, quickly, with the accusation aboard. Three without an answer confirm the suspicion, or raise one.
    mutating func inquire(_ index: Int) {
        guard records[index].isReachable, records[index].inquiry == nil else { return }
        checkPort(index)
        begin(index)
        ask(index)
    }

    /// From now on it is pinged each period until the matter is settled.
    mutating func pursue(_ index: Int) {
        guard records[index].inquiry == nil else { return }
        begin(index)
        scheduleInquiry(index, after: configuration.pursuitInterval)
    }

    private mutating func begin(_ index: Int) {
        generation += 1
        records[index].inquiry = Inquiry(firstNumber: lastNumber &+ 1, generation: generation, sentAt: now.uptime)
    }

    private mutating func ask(_ index: Int) {
        records[index].inquiry?.pings += 1
        records[index].inquiry?.sentAt = now.uptime
        sendPing(to: index)
        // Whose own timers come late must wait longer for others.
        scheduleInquiry(index, after: .nanoseconds(configuration.inquiryInterval.nanoseconds * Int64(1 + slowness)))
    }

    private mutating func scheduleInquiry(_ index: Int, after wait: Duration) {
        generation += 1
        records[index].inquiry?.generation = generation
        directives.append(.startTimer(.inquiry(records[index].id, generation: generation), after: wait))
    }

    mutating func inquiryTick(_ id: MemberID, generation: UInt64) {
        guard let index = find(id), records[index].isReachable, let inquiry = records[index].inquiry, inquiry.generation == generation
        else {
            return
        }
        let own = records[index].suspicion?.word(of: local.name)
        if let own, own.accuses {
            remind(of: own, on: index)
            sendPing(to: index)
            scheduleInquiry(index, after: configuration.pursuitInterval)
        } else if now.uptime < lenientUntil {
            // What was asked before a pause of ours is void.
            records[index].inquiry?.pings = 0
            ask(index)
        } else if inquiry.pings < configuration.inquiryPings {
            ask(index)
        } else if local.role == .node || records[index].suspicion == nil {
            accuse(index, finding: .silent, pings: inquiry.pings)
            scheduleInquiry(index, after: configuration.pursuitInterval)
        } else {
            records[index].inquiry = nil
        }
    }

    /// Asks those again who have not confirmed it. They may not have heard, or may have had an answer since.
    private mutating func remind(of word: Testimony, on index: Int) {
        for watcher in council(on: index).prefix(Watchers.count) {
            let name = records[watcher].member.name
            guard name != local.name, !(records[index].suspicion?.word(of: name)?.accuses ?? false) else { continue }
            send(.gossip, to: records[watcher].member.endpoint, leading: [.testimony(word)])
        }
    }

    mutating func checkPort(_ index: Int) {
        directives.append(.checkPort(of: records[index].id, at: records[index].member.endpoint))
    }

    // MARK: Helping others

    /// Pings on another's behalf, and says so if nothing comes back: silence of a helper would look like trouble of the asker's own.
    mutating func help(_ asker: Endpoint, askedUnder number: UInt32, to target: MemberID, at endpoint: Endpoint) {
        lastNumber &+= 1
        if relays.count >= Self.relaysMax { relays.removeFirst() }
        relays.append(Relay(number: lastNumber, subject: target, askedUnder: number, asker: asker))
        let suspicion = find(target).flatMap { claim(about: records[$0]) }
        send(.ping(number: lastNumber, target: target), to: endpoint, leading: suspicion.map { [$0] } ?? [])
        directives.append(.startTimer(.helpTimeout(number: lastNumber), after: ackTimeout))
    }

    mutating func helpTimedOut(_ number: UInt32) {
        // It stays on the list: an answer that comes late is passed on all the same.
        guard let relay = relays.first(where: { $0.number == number }) else { return }
        send(.nack(number: relay.askedUnder, subject: relay.subject), to: relay.asker)
    }

    /// A helper had no answer either. When none had, there is nothing to wait for.
    mutating func hearNack(from helper: NodeName, number: UInt32, subject: MemberID) {
        guard let waiting = probe, waiting.number == number, waiting.target == subject, let place = waiting.helpers.firstIndex(of: helper)
        else { return }
        counters.nacks += 1
        probe?.helpers.remove(at: place)
        guard waiting.helpers.count == 1, let index = find(subject) else { return }
        probe = nil
        counters.unanswered += 1
        accuse(index, finding: .silent, pings: 2)
    }

    var ackTimeout: Duration { roundTrip.timeout(min: configuration.ackTimeoutMin, max: configuration.ackTimeoutMax) }
}
