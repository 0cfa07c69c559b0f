// Who answers for a slot.
//
// At any moment a slot has one tenure that is greater than all others, and its owner answers. It changes hands in three ways: an owner that
// is no longer rank 0 grants it to rank 0, once that one holds a synced copy; a synced replica takes over when the owner can't be reached; and
// rank 0 without a copy claims it, asking everybody, and starts it anew only when nobody alive holds anything. An owner that hears of a greater tenure
// steps down and gives what it has to the other, who merges it: so two sides that could not hear each other lose nothing when they meet.

/// What one peer is to be told of single slots. A step that moves a thousand slots sends a few messages, not a thousand: this goes out before
/// anything else is said to that peer, and at the end of the step.
struct SlotNews: Sendable {
    var released: [SlotTenure] = []
    var granted: [SlotGrant] = []
    /// Copies that were synced under the last owner and are whole under this agent.
    var led: [SlotTenure] = []
    var doubted: [SlotDoubt] = []
    var dropped: [DroppedSession] = []

    /// So many go out at once: even with the longest names they fit a message of a link.
    private static let itemsMax = 256

    var isFull: Bool { released.count + granted.count + led.count + doubted.count + dropped.count >= Self.itemsMax }
}

/// Everything outside a slot that its plan depends on. A view changes far more often than this: with every suspicion, every instance.
struct PlanBasis: Equatable, Sendable {
    var id: MemberID
    var stage: Stage
    var candidates: [PlacementCandidate]
    var otherNodes: [MemberID]
}

extension AgentCore {
    /// How long rank 0 waits for a grant, or for words on a claim, before it asks (again).
    static let claimInterval: Duration = .seconds(1)
    /// At most, while there is no answer: a host that has no time for its agents gets none by being asked more.
    static let claimIntervalMax: Duration = .seconds(8)

    /// After ranks have changed owners release by themselves whom they know of. Who is left after this was dropped by one, or outlived it.
    static let sparesAfter: Duration = .seconds(2)

    // MARK: Planning

    /// Brings every slot in line with the placement table and with who can be reached, if either has changed.
    mutating func planIfChanged() {
        let basis = PlanBasis(id: id, stage: stage, candidates: table.candidates, otherNodes: otherNodes)
        guard basis != plannedOn else { return }
        plannedOn = basis
        housekeeping.sparesDueAt = now.uptime + Self.sparesAfter.nanoseconds
        forgetWhoIsBack()
        planAllSlots()
    }

    /// Brings every slot in line with the placement table and with who can be reached. Most are; passing those over is what it costs.
    mutating func planAllSlots() {
        for slot in Slot.all { plan(slot) }
        askForClaims()
        pumpSyncStreams()
    }

    /// There is a link to `name` again: brings those slots in line that have something to send over it.
    mutating func planSlots(touching name: NodeName) {
        for slot in Slot.all {
            guard case .owner(let ownership) = slots[Int(slot.rawValue)].part else { continue }
            let waits = ownership.replicas.contains { $0.progress == .unsynced && $0.member.name == name }
            if waits || table.primary(of: slot) == name { planAsOwner(slot) }
        }
        handOverLeftovers()
        pumpSyncStreams()
    }

    /// Brings one slot in line after something about it changed.
    mutating func plan(_ slot: Slot) {
        let index = Int(slot.rawValue)
        if slots[index].isOwner { planAsOwner(slot) }
        if slots[index].isOwner || !isPrimary(of: slot) {
            if slots[index].claim != nil { slots[index].claim = nil }
        } else if stage != .syncing {
            planAsHeir(slot)
        }
    }

    /// Whether the placement table gives this agent rank 0.
    private func isPrimary(of slot: Slot) -> Bool { table.primaryIndex(of: slot).map { rankedLives[$0] == nil } ?? false }

    private mutating func planAsOwner(_ slot: Slot) {
        let index = Int(slot.rawValue)
        // What others hold is merged first: a sync would put this copy in the place of theirs.
        guard let ownership = slots[index].ownership, ownership.inquiry == nil, !inquiresOfDoubted(slot), !isToBeAssented(slot)
        else { return }
        if !isInLine(ownership, of: slot) { chooseReplicas(of: slot, besides: ownership) }
        for ticket in slots[index].pending { settle(ticket) }
        grantIfDue(slot)
    }

    /// Whether the replicas are just those that rank, and each has its copy or is about to be sent it.
    private func isInLine(_ ownership: SlotState.Ownership, of slot: Slot) -> Bool {
        guard pullers.isEmpty || pullers[slot] == nil else { return false }
        let (first, second) = ranked(slot)
        let aside = ownership.replicas.first { $0.progress == .aside }?.member
        if let aside, slots[Int(slot.rawValue)].pending.isEmpty || aside == first || aside == second || !isReachable(aside) { return false }
        let wanted = (first == nil ? 0 : 1) + (second == nil ? 0 : 1) + (aside == nil ? 0 : 1)
        guard ownership.replicas.count == wanted else { return false }
        return ownership.replicas.allSatisfy {
            $0.progress != .unsynced && ($0.member == first || $0.member == second || $0.member == aside)
        }
    }

    private mutating func chooseReplicas(of slot: Slot, besides present: SlotState.Ownership) {
        let index = Int(slot.rawValue)
        var ownership = SlotState.Ownership(raisedWithout: present.raisedWithout)
        let isLate = !slots[index].pending.isEmpty
        let ranking = replicasWanted(of: slot)
        let aside = present.replicas.filter { $0.progress == .aside && isLate && !ranking.contains($0.member) }.map(\.member)
        let wanted = ranking + aside
        for var replica in present.replicas {
            guard isReachable(replica.member) else {
                peers[replica.member.name]?.syncStream.cancel(slot)
                continue
            }
            if replica.progress == .aside, ranking.contains(replica.member) { replica.progress = .unsynced }
            ownership.replicas.append(replica)
        }
        for member in wanted where !ownership.replicas.contains(where: { $0.member == member }) {
            ownership.replicas.append(.init(member: member, progress: .unsynced))
        }
        // A copy that is no longer wanted is kept until a wanted one is whole.
        if wanted.isEmpty || ownership.replicas.contains(where: { $0.progress == .synced && wanted.contains($0.member) }) {
            for replica in ownership.replicas where !wanted.contains(replica.member) {
                tell(replica.member.name, SlotTenure(slot: slot, tenure: slots[index].tenure), in: \.released)
                if replica.progress == .queued { peers[replica.member.name]?.syncStream.cancel(slot) }
            }
            ownership.replicas.removeAll { !wanted.contains($0.member) }
        }
        for position in ownership.replicas.indices where ownership.replicas[position].progress == .unsynced {
            let member = ownership.replicas[position].member
            if hasLink(to: member) {
                peers[member.name]?.syncStream.enqueue(slot)
                ownership.replicas[position].progress = .queued
            }
        }
        slots[index].ownership = ownership
    }

    /// Rank 0 and rank 1 but for this agent.
    private func ranked(_ slot: Slot) -> (MemberID?, MemberID?) {
        (table.primaryIndex(of: slot).flatMap { rankedLives[$0] }, table.backupIndex(of: slot).flatMap { rankedLives[$0] })
    }

    /// Who ranks, and nodes that pull the slot because they are about to.
    private func replicasWanted(of slot: Slot) -> [MemberID] {
        let (first, second) = ranked(slot)
        let wanted = [first, second].compactMap(\.self)
        let pulling = pullers[slot, default: []].filter { isReachable($0) && !wanted.contains($0) }
        return wanted + pulling.sorted()
    }

    private mutating func grantIfDue(_ slot: Slot) {
        let index = Int(slot.rawValue)
        guard let heir = ranked(slot).0, mayAnswer(for: slot), slots[index].pending.isEmpty, let ownership = slots[index].ownership,
            let replica = ownership.replicas.first(where: { $0.member == heir && $0.progress == .synced }), hasLink(to: heir)
        else { return }
        abandonMoves(in: slot)
        abandonAssents(in: slot)
        let tenure = Tenure(term: slots[index].tenure.term + 1, owner: replica.member)
        slots[index].tenure = tenure
        slots[index].part = .replica(.init(isSynced: true))
        let synced = [id] + ownership.synced.filter { $0 != heir }.prefix(SlotGrant.syncedMax - 1)
        tell(heir.name, SlotGrant(slot: SlotTenure(slot: slot, tenure: tenure), synced: synced), in: \.granted)
        forgetDirty(slot)
    }

    /// This agent has rank 0 and is not owner.
    private mutating func planAsHeir(_ slot: Slot) {
        let index = Int(slot.rawValue)
        let owner = slots[index].tenure.owner
        let ownerAnswers = owner.map { $0 != id && isReachable($0) } ?? false
        if !ownerAnswers, slots[index].isSyncedReplica { return takeOver(slot, inquiring: true) }
        // A grant comes by itself; ask only when it doesn't.
        var claim = slots[index].claim ?? newClaim(waitsForGrant: ownerAnswers)
        if claim.waitsForGrant, !ownerAnswers { claim = newClaim(waitsForGrant: false) }
        claim.outstanding.formIntersection(otherNames)
        // Who held it does no longer: others may have come by it since they were asked.
        if claim.waitsForGrant, claim.outstanding.isEmpty { claim = newClaim(waitsForGrant: false) }
        slots[index].claim = claim
        guard claim.outstanding.isEmpty else { return }
        // Nobody has it, not even who is said to be owner. Everybody was asked, and has given what they hold.
        guard reachIsStale else { return takeOver(slot, inquiring: false) }
        // Somebody is back who was not asked yet.
        plannedOn = nil
    }

    private mutating func newClaim(waitsForGrant: Bool) -> SlotState.Claim {
        let askAt = now.uptime + (waitsForGrant ? Self.claimInterval.nanoseconds : 0)
        claimsDueAt = min(claimsDueAt, askAt)
        return .init(outstanding: otherNames, askAgainAt: askAt, waitsForGrant: waitsForGrant)
    }

    // MARK: Becoming owner

    /// Is owner of the slot from now on, with what is held here.
    /// - Parameter inquiring: whether to ask first what others hold. This copy may miss what was acknowledged: its owner may have gone on
    ///   without it, when a link broke or this process stood still.
    mutating func takeOver(_ slot: Slot, inquiring: Bool) {
        doubt(slot)
        let tenure = Tenure(term: slots[Int(slot.rawValue)].tenure.term + 1, owner: id)
        own(slot, tenure, synced: [], inquiry: inquiring && !isAlone ? inquiries.next(numbering: &lastNumber, slot) : nil)
    }

    /// - Parameter synced: who is said to hold a synced copy. Whoever restarted since is not that member, and whoever can't be told by *lead*
    ///   that its copy goes on being whole would refuse its first change: they are brought up anew.
    private mutating func own(_ slot: Slot, _ tenure: Tenure, synced: [MemberID], inquiry: UInt64? = nil) {
        let index = Int(slot.rawValue)
        slots[index].tenure = tenure
        slots[index].claim = nil
        let led = otherNodes.filter { synced.contains($0) && hasLink(to: $0) }
        slots[index].ownership = .init(replicas: led.map { .init(member: $0, progress: .synced) }, inquiry: inquiry)
        for member in led { lead(member, in: SlotTenure(slot: slot, tenure: tenure)) }
        if slots[index].doubt == nil { takeBackLeftover(of: slot) }
        markDirty(slot)
        tellAgain(of: slot)
        planAsOwner(slot)
    }

    /// Tells the holder of a whole copy that it goes on being whole in this tenure.
    mutating func lead(_ member: MemberID, in slot: SlotTenure) {
        if slots[Int(slot.slot.rawValue)].doubt != nil { tellDoubt(of: slot.slot, to: member.name) }
        tell(member.name, slot, in: \.led)
    }

    mutating func tell<Item>(_ name: NodeName, _ item: Item, in list: WritableKeyPath<SlotNews, [Item]>) {
        slotNews[name, default: SlotNews()][keyPath: list].append(item)
        if slotNews[name]?.isFull ?? false { sendSlotNews(to: name) }
    }

    mutating func sendSlotNews(to name: NodeName) {
        guard !slotNews.isEmpty, let news = slotNews.removeValue(forKey: name) else { return }
        if !news.released.isEmpty { send(.release(news.released), to: name) }
        // Who is granted a slot must have heard before what is doubted of it.
        if !news.doubted.isEmpty { send(.doubt(news.doubted), to: name) }
        if !news.granted.isEmpty { send(.grant(news.granted), to: name) }
        if !news.led.isEmpty { send(.lead(news.led), to: name) }
        if !news.dropped.isEmpty { send(.drop(news.dropped), to: name) }
    }

    /// The owner's word that this agent's copy is whole, in the owner's tenure.
    mutating func receiveLead(_ led: [SlotTenure], from peer: MemberID) {
        for slot in led where slot.tenure.owner == peer && heard(slot, isLed: true) {
            if case .replica = slots[Int(slot.slot.rawValue)].part {
                slots[Int(slot.slot.rawValue)].part = .replica(.init(isSynced: true))
            }
        }
    }

    mutating func receiveGrants(_ grants: [SlotGrant], from peer: MemberID) {
        var declined: [Slot] = []
        for grant in grants {
            let (slot, tenure) = (grant.slot.slot, grant.slot.tenure)
            let state = slots[Int(slot.rawValue)]
            guard tenure.owner == id, state.tenure < tenure else { continue }
            let isTheirs = state.tenure.owner == peer && state.tenure.term &+ 1 == tenure.term
            if state.isSyncedReplica, isTheirs { own(slot, tenure, synced: grant.synced) } else { declined.append(slot) }
        }
        // Our copies are not what the granter took them for, but another's by now: it answers for the slots again.
        if !declined.isEmpty { send(.claim(declined), to: peer.name) }
        pumpSyncStreams()
        retryParked()
    }

    // MARK: Claiming

    /// Asks those who are back for what was claimed while they were away: they may hold it.
    mutating func claimAlso(from names: Set<NodeName>) {
        guard !names.isEmpty else { return }
        for index in slots.indices where slots[index].claim?.waitsForGrant == false {
            slots[index].claim?.outstanding.formUnion(names)
            slots[index].claim?.askAgainAt = now.uptime
            claimsDueAt = now.uptime
        }
    }

    /// There is another link to `name`, who was asked over the last one or over none.
    mutating func claimAgain(from name: NodeName) {
        guard claimsDueAt < .max else { return }
        let claimed = Slot.all.filter { slot in
            slots[Int(slot.rawValue)].claim.map { !$0.waitsForGrant && $0.outstanding.contains(name) } ?? false
        }
        if !claimed.isEmpty { send(.claim(claimed), to: name) }
    }

    /// Sends each claim that is due, one message a member.
    mutating func askForClaims() {
        guard claimsDueAt <= now.uptime else { return }
        claimsDueAt = .max
        var questions: [NodeName: [Slot]] = [:]
        for slot in Slot.all {
            guard let claim = slots[Int(slot.rawValue)].claim else { continue }
            guard claim.askAgainAt <= now.uptime else {
                claimsDueAt = min(claimsDueAt, claim.askAgainAt)
                continue
            }
            let again = now.uptime + claim.patience.nanoseconds
            slots[Int(slot.rawValue)].claim?.askAgainAt = again
            slots[Int(slot.rawValue)].claim?.patience = min(claim.patience * 2, Self.claimIntervalMax)
            claimsDueAt = min(claimsDueAt, again)
            for name in claim.outstanding { questions[name, default: []].append(slot) }
        }
        for (name, slots) in questions.sorted(by: { $0.key < $1.key }) { send(.claim(slots), to: name) }
    }

    mutating func answerClaim(_ claimed: [Slot], from peer: MemberID) {
        var nothing: [Slot] = []
        var held: [SlotTenure] = []
        var doubtful: [NodeName: [Slot]] = [:]
        for slot in claimed where configuration.role == .node {
            let index = Int(slot.rawValue)
            if holdsForNobody(slot, claimedBy: peer) { takeOver(slot, inquiring: true) }
            if slots[index].isOwner || slots[index].isSyncedReplica {
                held.append(SlotTenure(slot: slot, tenure: slots[index].tenure))
                // Rank 0 waits for a grant that doesn't come. Does our owner know that it is owner? Its grant may have been lost.
                if let owner = slots[index].tenure.owner, owner != id, owner != peer { doubtful[owner.name, default: []].append(slot) }
            } else {
                push(slots[index].sessions, to: peer.name)
                push(slots[index].leftover?.sessions ?? [:], to: peer.name)
                nothing.append(slot)
            }
        }
        send(.claimAnswer(nothing: nothing, held: held), to: peer.name)
        for (owner, slots) in doubtful.sorted(by: { $0.key < $1.key }) { send(.claim(slots), to: owner) }
        pumpSyncStreams()
    }

    /// Whether what is held here is worth keeping and the owner it is held for is no more. An owner that claims is owner no more either.
    private func holdsForNobody(_ slot: Slot, claimedBy peer: MemberID) -> Bool {
        let state = slots[Int(slot.rawValue)]
        guard let owner = state.tenure.owner, owner == peer || !isReachable(owner) else { return false }
        if state.leftover != nil, !state.isSyncedReplica { return owner != peer }
        return state.isSyncedReplica
    }

    mutating func receiveClaimAnswer(nothing: [Slot], held: [SlotTenure], from peer: MemberID) {
        for slot in nothing {
            let index = Int(slot.rawValue)
            if slots[index].isSyncedReplica, slots[index].tenure.owner == peer {
                // The owner we hold a copy for is none: the copy is all there is.
                takeOver(slot, inquiring: true)
                continue
            }
            guard slots[index].claim?.outstanding.remove(peer.name) != nil else { continue }
            if slots[index].claim?.outstanding.isEmpty ?? false { plan(slot) }
        }
        for answer in held {
            let index = Int(answer.slot.rawValue)
            guard slots[index].claim != nil else { continue }
            heard(answer)
            if slots[index].claim?.waitsForGrant == false { slots[index].claim = newClaim(waitsForGrant: true) }
        }
        pumpSyncStreams()
        retryParked()
    }

    // MARK: Stepping down

    /// Takes note of a tenure. False when it is less than what is known, and so means nothing.
    ///
    /// - Parameter isLed: whether its owner says that the copy held here is whole.
    @discardableResult
    mutating func heard(_ other: SlotTenure, isLed: Bool = false) -> Bool {
        let index = Int(other.slot.rawValue)
        guard configuration.role == .node else { return false }
        let known = slots[index].tenure
        guard known < other.tenure else { return known == other.tenure }
        let wasOwner = slots[index].isOwner
        if slots[index].isOwner || slots[index].isSyncedReplica { slots[index].wasWhole = isWhole(other.slot) }
        setDoubt(other.slot, nil)
        switch slots[index].part {
        case .owner: stepDown(other.slot)
        // Whole in the last tenure says nothing of this one, until its owner says so.
        case .replica(let replica):
            // Of an owner that is out of reach this may be all there is, and the next one may not have asked for it.
            if replica.isSynced, !isLed, let owner = known.owner, !isReachable(owner) { leaveOver(slots[index].sessions, of: other.slot) }
            slots[index].part = .replica(.init(isSynced: false))
        case .none: break
        }
        slots[index].tenure = other.tenure
        recallLeftover(of: other.slot)
        handOver(other.slot)
        // As rank 0 we are to have it back; if the grant gets lost, somebody must ask.
        if wasOwner { plan(other.slot) }
        // Where its owner is held to be out of reach that was a takeover.
        return slots[index].tenure == other.tenure
    }

    mutating func stepDown(_ slot: Slot) {
        let index = Int(slot.rawValue)
        // What has no second copy was never acknowledged. It is asked of the new owner again, under the same commit id, and
        // must not come back by another way as well: what is handed over is the session as it was before.
        let abandoned = slots[index].pending
        slots[index].pending = []
        var kept: Set<SessionKey> = []
        for ticket in abandoned.reversed() {
            guard let commit = commits.removeValue(forKey: ticket) else { continue }
            for handIn in commit.handIns { handIns[handIn] = nil }
            for number in commit.operations { park(number) }
            guard let entry = slots[index].sessions[commit.key] else { continue }
            for reader in entry.readers { park(reader) }
            // What was told to somebody stays, and with it what it rests on.
            if commit.isHeld || commit.isPromised { kept.insert(commit.key) }
            if kept.contains(commit.key) {
                slots[index].sessions[commit.key] = SessionEntry(state: entry.state, mirrored: entry.mirrored)
            } else if let undone = commit.undone(in: entry.state) {
                slots[index].sessions[commit.key] = SessionEntry(state: undone, mirrored: entry.mirrored)
            } else {
                slots[index].sessions[commit.key] = nil
            }
        }
        abandonMoves(in: slot)
        abandonAssents(in: slot)
        forgetDirty(slot)
        slots[index].part = .none
        let sessions = slots[index].sessions
        slots[index].sessions = [:]
        leaveOver(sessions, of: slot)
    }

    // MARK: Handing over

    /// Sends what is left of former ownerships to the present owners, and again where one did not say that it has it.
    mutating func handOverLeftovers() {
        for slot in leftoverSlots.sorted() { handOver(slot) }
    }

    mutating func handOver(_ slot: Slot) {
        let index = Int(slot.rawValue)
        // Where nobody is linked who is known as owner, rank 0 knows a later one, if it isn't that itself.
        let owner = slots[index].tenure.owner.flatMap { $0 == id || hasLink(to: $0.name) ? $0.name : nil } ?? table.primary(of: slot)
        guard let leftover = slots[index].leftover, let owner, owner != id.name, hasLink(to: owner),
            leftover.tickets.isEmpty || leftover.sentTo != owner || now.uptime - leftover.sentAt >= Self.claimInterval.nanoseconds
        else { return }
        recallLeftover(of: slot)
        slots[index].leftover?.sentAt = now.uptime
        slots[index].leftover?.sentTo = owner
        for batch in Self.batches(of: leftover.sessions) {
            let ticket = nextNumber()
            slots[index].leftover?.tickets.insert(ticket)
            leftoverTickets[ticket] = slot
            send(.push(ticket: ticket, batch), to: owner)
        }
    }

    /// Gives what is held here and goes on being held.
    mutating func push(_ sessions: [SessionKey: SessionEntry], to name: NodeName) {
        for batch in Self.batches(of: sessions) { send(.push(ticket: 0, batch), to: name) }
    }

    /// What was sent is not on its way any more: there is another owner, or no link.
    mutating func recallLeftover(of slot: Slot) {
        for ticket in slots[Int(slot.rawValue)].leftover?.tickets ?? [] { leftoverTickets[ticket] = nil }
        slots[Int(slot.rawValue)].leftover?.tickets = []
    }

    /// The owner has one message of it. False when the ticket is of something else.
    mutating func leftoverTaken(_ ticket: UInt64) -> Bool {
        guard let slot = leftoverTickets.removeValue(forKey: ticket) else { return false }
        let index = Int(slot.rawValue)
        slots[index].leftover?.tickets.remove(ticket)
        if let leftover = slots[index].leftover, leftover.tickets.isEmpty {
            slots[index].leftover = nil
            leftoverSlots.remove(slot)
        }
        return true
    }

    /// This agent is owner again, and what it held as such is part of the slot again.
    mutating func takeBackLeftover(of slot: Slot) {
        recallLeftover(of: slot)
        let index = Int(slot.rawValue)
        guard let leftover = slots[index].leftover else { return }
        slots[index].leftover = nil
        leftoverSlots.remove(slot)
        for (key, entry) in leftover.sessions.sorted(by: { $0.key < $1.key }) {
            let before = meet(SyncedSession(key: key, mirrored: entry.mirrored, state: entry.state))
            if let before { tellReplicas(of: key, before: before) }
        }
    }

    private static func batches(of sessions: [SessionKey: SessionEntry]) -> [[SyncedSession]] {
        var batches: [[SyncedSession]] = []
        var batch: [SyncedSession] = []
        var bytes = 0
        for (key, entry) in sessions.sorted(by: { $0.key < $1.key }) {
            batch.append(SyncedSession(key: key, mirrored: entry.mirrored, state: entry.state))
            bytes += entry.state.byteCount
            if bytes >= SyncStream.messageBytes {
                batches.append(batch)
                batch = []
                bytes = 0
            }
        }
        return batch.isEmpty ? batches : batches + [batch]
    }

    /// - Parameter ticket: acknowledged by the owner alone, once all is held twice; 0 when the sender asks for no word.
    mutating func receivePush(ticket: UInt64, _ sessions: [SyncedSession], from peer: NodeName) {
        guard configuration.role == .node else { return }
        inquiries.heard(from: peer)
        let handIn = HandIn(giver: peer, ticket: ticket)
        var elsewhere: [SlotTenure] = []
        var isEarly = false
        for session in sessions {
            let slot = session.key.slot
            let state = slots[Int(slot.rawValue)]
            guard state.isOwner || ticket == 0 else {
                if elsewhere.last?.slot != slot { elsewhere.append(SlotTenure(slot: slot, tenure: state.tenure)) }
                continue
            }
            // Held for an owner alive, the owner's own sync is what counts.
            if case .replica = state.part, let owner = state.tenure.owner, isReachable(owner) { continue }
            if state.isOwner, state.doubt != nil {
                leaveOver([session.key: SessionEntry(state: session.state, mirrored: session.mirrored)], of: slot)
                isEarly = true
                continue
            }
            let before = meet(session)
            guard state.isOwner else { continue }
            if let before { tellReplicas(of: session.key, before: before, isPromised: ticket == 0) }
            if ticket != 0, !awaitsCopy(of: session.key, handIn) { isEarly = true }
        }
        if isEarly || !elsewhere.isEmpty { handIns[handIn] = nil }
        if !elsewhere.isEmpty {
            send(.superseded(elsewhere), to: peer)
        } else if ticket != 0, !isEarly, handIns[handIn] == nil {
            send(.ack(ticket: ticket), to: peer)
        }
    }

    mutating func clear(_ slot: Slot) {
        slots[Int(slot.rawValue)].sessions = [:]
    }

    mutating func released(_ released: SlotTenure) {
        let index = Int(released.slot.rawValue)
        guard slots[index].tenure <= released.tenure, case .replica = slots[index].part else { return }
        slots[index].tenure = released.tenure
        slots[index].part = .none
        setDoubt(released.slot, nil)
        discard(slots[index].sessions)
        clear(released.slot)
    }

    /// A copy of a slot that this agent does not rank for is left over when its owner died before releasing it. Rank 0 is told, and says who is
    /// owner now, or that the copy is not needed.
    /// - Returns: whether there are any.
    @discardableResult
    mutating func offerSpares(_ indices: Range<Int>) -> Bool {
        guard stage == .serving else { return false }
        var spares: [NodeName: [SlotTenure]] = [:]
        for index in indices {
            guard case .replica = slots[index].part, let slot = Slot(rawValue: UInt16(index)), let heir = table.primary(of: slot),
                heir != id.name, table.backup(of: slot) != id.name
            else { continue }
            spares[heir, default: []].append(SlotTenure(slot: slot, tenure: slots[index].tenure))
        }
        for (name, spares) in spares.sorted(by: { $0.key < $1.key }) { send(.spare(spares), to: name) }
        return !spares.isEmpty
    }

    mutating func answerSpares(_ spares: [SlotTenure], from name: NodeName) {
        guard configuration.role == .node else { return }
        var greater: [SlotTenure] = []
        var released: [SlotTenure] = []
        for spare in spares {
            let isPresent = heard(spare)
            let state = slots[Int(spare.slot.rawValue)]
            let tenure = SlotTenure(slot: spare.slot, tenure: state.tenure)
            if !isPresent { greater.append(tenure) }
            // Another's copy is safe to lose once there are two without it. While one of those is late, what was acknowledged may be here and there.
            if let ownership = state.ownership, state.doubt == nil, state.pending.isEmpty, !ownership.synced.isEmpty,
                !ownership.replicas.contains(where: { $0.member.name == name })
            {
                released.append(tenure)
            }
        }
        if !greater.isEmpty { send(.superseded(greater), to: name) }
        if !released.isEmpty { send(.release(released), to: name) }
    }

    // MARK: Discarding

    /// How many sessions' memory is given back at once: a fraction of a millisecond's work. To free those of a thousand slots would take as long as
    /// thousands of requests.
    private static let discardedAtOnce = 512
    private static let discardPause: Duration = .milliseconds(2)

    /// Has the memory of sessions that are not held here any more given back little by little; at once where too many wait for that.
    private mutating func discard(_ sessions: [SessionKey: SessionEntry]) {
        guard !sessions.isEmpty, discarded.count < Slot.count else { return }
        if discarded.isEmpty { directives.append(.timer(.discard, after: Self.discardPause)) }
        discarded.append(sessions)
    }

    mutating func goOnDiscarding() {
        var count = 0
        while count < Self.discardedAtOnce, let sessions = discarded.popLast() { count += sessions.count }
        if !discarded.isEmpty { directives.append(.timer(.discard, after: Self.discardPause)) }
    }

    // MARK: Joining

    /// While syncing: asks the owners for what this agent will rank for, and begins to serve once it has all of it.
    mutating func join() {
        guard stage == .syncing, departure == nil else { return }
        guard swim.others.contains(where: { $0.ranks && isReachable($0.id) }) else {
            // Nobody serves. Once the seeds have spoken, those who are here form the mesh.
            if swim.seedsSettled, inquiries.afterPause == nil { serve() }
            return
        }
        guard !isCrowded else { return }
        let share = slotsToRankFor()
        let isWhole = share.allSatisfy { slot in
            let state = slots[Int(slot.rawValue)]
            return state.isOwner || state.isSyncedReplica
        }
        if isWhole {
            serve()
        } else if now.uptime >= pulled?.againAt ?? .min {
            let patience = min(pulled.map { $0.patience * 2 } ?? Self.claimInterval, Self.claimIntervalMax)
            pulled = (now.uptime + patience.nanoseconds, patience)
            // Of those, too, who sync themselves: one that becomes owner must know for whom its predecessor kept a copy.
            send(.pull(share), to: otherNodes.map(\.name))
        }
    }

    /// A link to somebody who was not asked yet.
    mutating func pull(from name: NodeName) {
        if stage == .syncing, pulled != nil { send(.pull(slotsToRankFor()), to: name) }
    }

    /// What this agent will hold once it serves and all who sync with it do: of many that start together each pulls its own share, not the
    /// share that it would have alone.
    private mutating func slotsToRankFor() -> [Slot] {
        let nodes = swim.others.filter { $0.role == .node && $0.stage != .draining && isReachable($0.id) }
        future.replaceCandidates(with: (nodes + [swim.local]).map(PlacementCandidate.init(of:)))
        guard let own = future.candidates.firstIndex(where: { $0.name == id.name }) else { return [] }
        return Slot.all.filter { future.primaryIndex(of: $0) == own || future.backupIndex(of: $0) == own }
    }

    private mutating func serve() {
        future = PlacementTable()
        stage = .serving
        gossip(.setStage(.serving))
        reachChanged()
        directives.append(.event(.serving))
    }

    mutating func receivePull(_ wanted: [Slot], from peer: MemberID) {
        guard configuration.role == .node else { return }
        for slot in wanted where !pullers[slot, default: []].contains(peer) {
            pullers[slot, default: []].append(peer)
            if slots[Int(slot.rawValue)].isOwner { planAsOwner(slot) }
        }
        pumpSyncStreams()
    }
}
