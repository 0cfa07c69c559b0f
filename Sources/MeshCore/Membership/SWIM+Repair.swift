// Making two views one again, when facts were lost on their way.
//
// Every ping and ack carries a digest of its sender's view. Two members whose digests keep differing find out in which buckets of names, and
// tell each other what they hold of those:
//
//   ann → bob   digests of ann's buckets
//   bob → ann   deltas: bob's facts of the buckets that differ, in at most four packets, and with the last the digests of bob's buckets
//   ann → bob   deltas: ann's facts of the buckets that differ still, if there are any
//
// So equal views cost eight bytes a packet, and a lost fact some hundred. What does not fit into four packets, and what two such repairs in
// a row did not mend, takes a peer link, over which both sides say all they know: lost packets, a collision of digests, or facts that don't
// make a bucket whole could otherwise have two members go on for ever.
//
// A delta may be larger than what asked for it. So it goes to the address that the view has for that member, not to where a packet claims to
// come from; a member is answered about twice a second at most, and four at a time.

extension SWIM {
    /// Begun within one ``Configuration/syncInterval``, of all kinds. When full a difference waits for the next ack. A few say nearly all there
    /// is to know: with sixteen a thousand members that start at once exchanged 300 MB in a second.
    static let repairsMax = 4
    /// Packets with facts that one side of a repair sends.
    static let deltasMax = 4
    /// Repairs by packets in a row that may fail.
    static let packetRepairsMax = 2

    // MARK: Noticing

    /// Different twice, a while apart, from the same peer: facts on their way have arrived by then.
    mutating func compareDigests(_ message: GossipMessage) {
        guard let index = find(message.sender), records[index].isReachable else { return }
        guard message.digest != digest else { return agree(index) }
        let since = records[index].digestDiffersSince ?? now.uptime
        records[index].digestDiffersSince = since
        guard now.uptime - since >= 4 * configuration.gossipInterval.nanoseconds, repair(index) else {
            // In a large mesh its turn may be far off.
            return hurry(records[index].member.name)
        }
        records[index].digestDiffersSince = nil
    }

    private mutating func agree(_ index: Int) {
        records[index].digestDiffersSince = nil
        records[index].packetRepairs = 0
    }

    // MARK: By packets

    /// Sets out to make both views one, unless that was begun a moment ago.
    private mutating func repair(_ index: Int) -> Bool {
        let endpoint = records[index].member.endpoint
        guard beginRepair(with: endpoint) else { return false }
        guard records[index].packetRepairs < Self.packetRepairsMax else {
            records[index].packetRepairs = 0
            exchangeStates(with: endpoint)
            return true
        }
        records[index].packetRepairs += 1
        records[index].awaitsDeltas = true
        counters.repairsByPackets += 1
        send(.digests(buckets), to: endpoint)
        // The next ack shows whether it helped.
        hurry(records[index].member.name)
        return true
    }

    /// Who asks is told what we hold of the buckets that differ, and asked in return.
    mutating func hearDigests(_ theirs: ViewBuckets, from sender: MemberID) {
        guard let index = find(sender) else { return }
        let differing = buckets.differing(from: theirs)
        guard !differing.isEmpty, mayAnswer(index) else { return }
        sendDeltas(of: differing, to: index, asking: true)
    }

    /// The facts of a delta are merged by now.
    mutating func hearDelta(asking theirs: ViewBuckets?, _ message: GossipMessage) {
        guard let index = find(message.sender) else { return }
        guard message.digest != digest else { return agree(index) }
        // One answer to a question of ours, however often it comes.
        guard let theirs, records[index].awaitsDeltas else { return }
        records[index].awaitsDeltas = false
        let differing = buckets.differing(from: theirs)
        if !differing.isEmpty { sendDeltas(of: differing, to: index, asking: false) }
    }

    private mutating func sendDeltas(of chosen: [Int], to index: Int, asking: Bool) {
        let endpoint = records[index].member.endpoint
        let facts = facts(about: records.indices.filter { chosen.contains(ViewBuckets.bucket(of: nameSeeds[$0])) })
        let asked = asking ? buckets : nil
        let pages = pages(of: facts) { isLast in .delta(asking: isLast ? asked : nil) }
        guard pages.count <= Self.deltasMax else { return exchangeStates(with: endpoint) }
        for page in pages { directives.append(.send(page, to: endpoint)) }
    }

    /// Summed up when asked for: a walk over all members costs less than sealing the packets, and what is not kept can't go wrong.
    var buckets: ViewBuckets {
        var buckets = ViewBuckets()
        for (record, seed) in zip(records, nameSeeds) { buckets.add(record.hash &+ record.instances.digest, of: seed) }
        return buckets
    }

    // MARK: Over a peer link

    /// Asks for an exchange of all that is known, unless a repair there was begun a moment ago.
    mutating func sync(with endpoint: Endpoint) {
        if beginRepair(with: endpoint) { exchangeStates(with: endpoint) }
    }

    private mutating func exchangeStates(with endpoint: Endpoint) {
        counters.repairsByLink += 1
        directives.append(.syncWith(endpoint))
    }

    /// Everything believed here, in pages for a peer link, each within a packet's payload.
    public func statePages(asking: Bool) -> [GossipMessage] {
        pages(of: facts(about: records.indices)) { isLast in .state(isLast: isLast, asking: isLast && asking) }
    }

    // MARK: Pace

    /// False while another there is under way, or too many elsewhere.
    private mutating func beginRepair(with endpoint: Endpoint, isAnswer: Bool = false) -> Bool {
        repairs.removeAll { $0.until <= now.uptime }
        guard repairs.count < Self.repairsMax, !isRepairing(with: endpoint) else { return false }
        // Who asks keeps the pace. Half of it for an answer, so that its next question is not missed for a slow way and two draws.
        let wait = random.jittered(isAnswer ? configuration.syncInterval / 2 : configuration.syncInterval, share: 0.25)
        repairs.append((endpoint, now.uptime + wait.nanoseconds))
        return true
    }

    private func isRepairing(with endpoint: Endpoint) -> Bool {
        repairs.contains { $0.endpoint == endpoint && $0.until > now.uptime }
    }

    private mutating func mayAnswer(_ index: Int) -> Bool {
        let endpoint = records[index].member.endpoint
        guard isRepairing(with: endpoint) else { return beginRepair(with: endpoint, isAnswer: true) }
        // Both have asked at one moment: the one whose name comes first is answered.
        guard records[index].awaitsDeltas, records[index].member.name < local.name else { return false }
        records[index].awaitsDeltas = false
        return true
    }

    // MARK: What to say

    /// What makes another's record of the chosen members as good as ours, in an order in which it can be taken up: an instance counts only when
    /// its node is known, a testimony when its witness is.
    private func facts(about chosen: some Collection<Int>) -> [Fact] {
        let chosen = chosen.map { records[$0] }
        var facts = chosen.filter { $0.hash != 0 }.map { fact(about: $0) }
        for record in chosen { facts += record.suspicion?.words.map { .testimony($0.testimony) } ?? [] }
        for record in chosen {
            facts += record.instances.facts
            facts += record.instances.removalFacts(of: record.id)
        }
        if let own = chosen.first(where: { $0.id == local.id }) {
            facts += own.instances.rosterFacts(of: local.id, version: instanceVersion)
        }
        return facts
    }

    /// Messages of that kind, each within a packet's payload, that hold the facts in their order; one even if there are none.
    private func pages(of facts: [Fact], as kind: (_ isLast: Bool) -> GossipMessage.Kind) -> [GossipMessage] {
        func page(_ facts: [Fact], isLast: Bool) -> GossipMessage {
            GossipMessage(sender: local.id, digest: digest, kind: kind(isLast), facts: facts)
        }
        // The last one's head is the longest.
        let budget = PacketSealer.payloadBytesMax - page([], isLast: true).encoded.count
        var pages: [GossipMessage] = []
        var current: [Fact] = []
        var left = budget
        for fact in facts {
            let bytes = fact.encodedBytes
            if bytes > left {
                pages.append(page(current, isLast: false))
                current = []
                left = budget
            }
            current.append(fact)
            left -= bytes
        }
        return pages + [page(current, isLast: true)]
    }
}
