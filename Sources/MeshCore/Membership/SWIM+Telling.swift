// Sending, and what rides along.

extension SWIM {
    /// - Parameters:
    ///   - isUrgent: goes out in rounds of its own until it is spent; otherwise it waits for pings and acks.
    ///   - isOwn: this member is the first to know, so a round begins at once even while others are under way.
    mutating func tell(_ fact: Fact, about subject: RumourQueue.Subject, isUrgent: Bool = true, isOwn: Bool = false) {
        rumours.add(fact, about: subject, isUrgent: isUrgent)
        if isUrgent, isOwn || !gossipIsScheduled { gossipsNow = true }
    }

    /// Sends a message, filled up with rumours.
    mutating func send(_ kind: GossipMessage.Kind, to endpoint: Endpoint, leading: [Fact] = []) {
        var left = PacketSealer.payloadBytesMax - GossipMessage.headBytesMax
        var facts: [Fact] = []
        for fact in leading {
            let bytes = fact.encodedBytes
            guard bytes <= left else { continue }
            left -= bytes
            facts.append(fact)
        }
        for rumour in rumours.take(bytes: left, sendsMax: sendsMax()) where !leading.contains(rumour) { facts.append(rumour) }
        directives.append(.send(GossipMessage(sender: local.id, digest: digest, kind: kind, facts: facts), to: endpoint))
    }

    /// A peer with our digest knows all that we could tell it of members and instances; to have told it would have been one of the sends. So
    /// what all have heard is not told on: when a thousand start at once they would go on for many seconds after the last has heard of all.
    mutating func noteAgreement() {
        guard !rumours.isEmpty else { return }
        rumours.countAsSent(sendsMax: sendsMax())
    }

    /// How often a rumour is sent by each who hears it: enough for all to have heard it but for a chance of about one in N² (SWIM, section 4.1).
    private mutating func sendsMax() -> Int {
        if reachable.epoch != epoch { reachable = (epoch, records.count { $0.isReachable }) }
        var digits = 1
        var reach = 10
        let members = reachable.count + 1
        while reach < members {
            reach *= 10
            digits += 1
        }
        return 4 * digits
    }

    mutating func gossipTick(round: UInt64) {
        guard round == gossipRound else { return }
        gossipIsScheduled = false
        gossip()
    }

    /// One round to a few random members, and the next one after a while if there is more to tell.
    mutating func gossip() {
        let peers = anyReachable(configuration.gossipFanout)
        guard !peers.isEmpty else {
            // Whoever comes will get the whole state.
            rumours.removeAll()
            return
        }
        for peer in peers where !rumours.isEmpty { send(.gossip, to: records[peer].member.endpoint) }
        guard rumours.urgentCount > 0 else { return }
        gossipRound += 1
        gossipIsScheduled = true
        directives.append(.startTimer(.gossip(round: gossipRound), after: configuration.gossipInterval))
    }

    /// So many others, at random, or all there are.
    private mutating func anyReachable(_ count: Int) -> [Int] {
        var chosen: [Int] = []
        // Most are reachable as a rule, so a few draws find them; walking a thousand at each round would cost more than the round.
        for _ in 0..<4 * count where chosen.count < count {
            let index = Int.random(in: records.indices, using: &random)
            if records[index].isReachable, records[index].member.name != local.name, !chosen.contains(index) { chosen.append(index) }
        }
        return chosen.count == count ? chosen : Array(reachableOthers.shuffled(using: &random).prefix(count))
    }

    // MARK: Goodbye

    mutating func leave() {
        local.status = .left
        if let index = find(local.name) { settle(index, as: local, goneFor: 0) }
        phase = .leaving
        departureRound += 1
        goodbye(round: departureRound)
    }

    /// Told to everybody three times within 0.1 s; who misses all three hears it from the others.
    mutating func goodbye(round: UInt64) {
        guard round == departureRound else { return }
        guard round <= 3 else {
            phase = .departed
            directives.append(.departed)
            return
        }
        let fact = Fact.claim(local.id, incarnation: local.incarnation, .left, accuser: local.name)
        for index in reachableOthers {
            let message = GossipMessage(sender: local.id, digest: digest, kind: .gossip, facts: [fact])
            directives.append(.send(message, to: records[index].member.endpoint))
        }
        departureRound += 1
        directives.append(.startTimer(.departure(round: departureRound), after: configuration.gossipInterval))
    }
}
