// Who answers for a slot.
//
// At any moment a slot has one tenure that is greater than all others, and its owner answers. It changes hands in three ways: an owner that
// is no longer rank 0 grants it to rank 0, once that one holds a synced copy; a synced replica takes over when the owner can't be reached; and
// rank 0 without a copy claims it, asking everybody, and starts it anew only when nobody alive holds anything. An owner that hears of a greater tenure
// steps down and gives what it has to the other, who merges it: so two sides that could not hear each other lose nothing when they meet.

/// A syncing node's wish to hold slots it does not rank for yet.
struct Puller: Sendable {
    let member: MemberID
    var slots: Set<Slot>
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

    // MARK: Planning

    /// Brings every slot in line with the placement table and with who can be reached, if either has changed.
    mutating func planIfChanged() {
        let basis = PlanBasis(id: id, stage: stage, candidates: table.candidates, otherNodes: otherNodes)
        guard basis != plannedOn else { return }
        plannedOn = basis
        planAllSlots()
    }

    /// Brings every slot in line with the placement table and with who can be reached.
    mutating func planAllSlots() {
        for slot in Slot.all { plan(slot) }
        askForClaims()
        pumpSyncStreams()
    }

    /// There is a link to `name` again: brings those slots in line that have something to send over it.
    mutating func planSlots(touching name: NodeName) {
        for slot in Slot.all {
            let state = slots[Int(slot.rawValue)]
            switch state.part {
            case .owner(let ownership):
                let waits = ownership.replicas.contains { $0.member.name == name && $0.progress == .unsynced }
                if waits || table.primary(of: slot) == name { planAsOwner(slot) }
            case .none, .replica: break
            }
        }
        handOverLeftovers()
        pumpSyncStreams()
    }

    /// Brings one slot in line after something about it changed.
    mutating func plan(_ slot: Slot) {
        let index = Int(slot.rawValue)
        switch slots[index].part {
        case .owner: planAsOwner(slot)
        case .none, .replica: break
        }
        if slots[index].isOwner || table.primary(of: slot) != id.name {
            slots[index].claim = nil
        } else if stage != .syncing {
            planAsHeir(slot)
        }
    }

    private mutating func planAsOwner(_ slot: Slot) {
        let index = Int(slot.rawValue)
        guard var ownership = slots[index].ownership else { return }
        let wanted = replicasWanted(of: slot)
        for replica in ownership.replicas where !isReachable(replica.member) { peers[replica.member.name]?.syncStream.cancel(slot) }
        ownership.replicas.removeAll { !isReachable($0.member) }
        for member in wanted where !ownership.replicas.contains(where: { $0.member == member }) {
            ownership.replicas.append(.init(member: member, progress: .unsynced))
        }
        // A copy that is no longer wanted is kept until a wanted one is whole.
        if wanted.isEmpty || ownership.replicas.contains(where: { $0.progress == .synced && wanted.contains($0.member) }) {
            for replica in ownership.replicas where !wanted.contains(replica.member) {
                send(.release([SlotTenure(slot: slot, tenure: slots[index].tenure)]), to: replica.member.name)
                peers[replica.member.name]?.syncStream.cancel(slot)
            }
            ownership.replicas.removeAll { !wanted.contains($0.member) }
        }
        for position in ownership.replicas.indices where ownership.replicas[position].progress == .unsynced {
            let name = ownership.replicas[position].member.name
            if hasLink(to: name) {
                peers[name]?.syncStream.enqueue(slot)
                ownership.replicas[position].progress = .queued
            }
        }
        slots[index].ownership = ownership
        for ticket in slots[index].pending { settle(ticket) }
        grantIfDue(slot)
    }

    /// Rank 0 and rank 1 but for this agent, and nodes that pull the slot because they are about to rank for it.
    private func replicasWanted(of slot: Slot) -> [MemberID] {
        var wanted: [MemberID] = []
        for name in [table.primary(of: slot), table.backup(of: slot)] {
            if let name, name != id.name, let member = swim.member(named: name) { wanted.append(member.id) }
        }
        let pulling = pullers.values.filter { $0.slots.contains(slot) && isReachable($0.member) && !wanted.contains($0.member) }
        return wanted + pulling.map(\.member).sorted()
    }

    private mutating func grantIfDue(_ slot: Slot) {
        let index = Int(slot.rawValue)
        guard let heir = table.primary(of: slot), heir != id.name, verifying.isEmpty, slots[index].pending.isEmpty,
            let ownership = slots[index].ownership,
            let replica = ownership.replicas.first(where: { $0.member.name == heir && $0.progress == .synced }), hasLink(to: heir)
        else { return }
        let tenure = Tenure(term: slots[index].tenure.term + 1, owner: replica.member)
        slots[index].tenure = tenure
        slots[index].part = .replica(.init(isSynced: true))
        send(.grant(SlotTenure(slot: slot, tenure: tenure), synced: [id.name] + ownership.synced), to: heir)
        forgetDirty(slot)
    }

    /// This agent has rank 0 and is not owner.
    private mutating func planAsHeir(_ slot: Slot) {
        let index = Int(slot.rawValue)
        let owner = slots[index].tenure.owner
        let ownerAnswers = owner.map { $0 != id && isReachable($0) } ?? false
        if !ownerAnswers, slots[index].isSyncedReplica { return takeOver(slot) }
        // A grant comes by itself; ask only when it doesn't.
        var claim = slots[index].claim ?? newClaim(waitsForGrant: ownerAnswers)
        if claim.waitsForGrant, !ownerAnswers { claim = newClaim(waitsForGrant: false) }
        claim.outstanding.removeAll { !otherNames.contains($0) }
        slots[index].claim = claim
        // Nobody has it, not even who is said to be owner.
        if claim.outstanding.isEmpty { takeOver(slot) }
    }

    private mutating func newClaim(waitsForGrant: Bool) -> SlotState.Claim {
        let askAt = now.uptime + (waitsForGrant ? Self.claimInterval.nanoseconds : 0)
        claimsDueAt = min(claimsDueAt, askAt)
        return .init(outstanding: otherNodes.map(\.name), askAgainAt: askAt, waitsForGrant: waitsForGrant)
    }

    // MARK: Becoming owner

    /// Answers for the slot from now on, with what is held here.
    mutating func takeOver(_ slot: Slot) {
        own(slot, Tenure(term: slots[Int(slot.rawValue)].tenure.term + 1, owner: id), synced: [])
    }

    private mutating func own(_ slot: Slot, _ tenure: Tenure, synced: [NodeName]) {
        let index = Int(slot.rawValue)
        slots[index].tenure = tenure
        slots[index].claim = nil
        takeBackLeftover(of: slot)
        let replicas = otherNodes.filter { synced.contains($0.name) }.map { SlotState.ReplicaProgress(member: $0, progress: .synced) }
        slots[index].ownership = .init(replicas: replicas)
        for name in synced { leads[name, default: []].append(SlotTenure(slot: slot, tenure: tenure)) }
        markDirty(slot)
        planAsOwner(slot)
    }

    /// Tells replicas that were synced under the last owner who is owner now.
    mutating func announceLeads() {
        for (name, slots) in leads.sorted(by: { $0.key < $1.key }) { send(.lead(slots), to: name) }
        leads = [:]
    }

    /// The owner's word that this agent's copy is whole, in the owner's tenure.
    mutating func receiveLead(_ led: [SlotTenure], from peer: MemberID) {
        for slot in led where slot.tenure.owner == peer && heard(slot) {
            if case .replica = slots[Int(slot.slot.rawValue)].part {
                slots[Int(slot.slot.rawValue)].part = .replica(.init(isSynced: true))
            }
        }
    }

    mutating func receiveGrant(_ granted: SlotTenure, synced: [NodeName], from peer: NodeName) {
        let state = slots[Int(granted.slot.rawValue)]
        guard granted.tenure.owner == id, state.tenure < granted.tenure else { return }
        guard state.isSyncedReplica else {
            // Our copy is not what the granter took it for: it answers for the slot again.
            send(.claim([granted.slot]), to: peer)
            return
        }
        own(granted.slot, granted.tenure, synced: synced)
        pumpSyncStreams()
        retryParked()
    }

    // MARK: Claiming

    /// Sends each claim that is due, one message a member.
    mutating func askForClaims() {
        guard claimsDueAt <= now.uptime else { return }
        let again = now.uptime + Self.claimInterval.nanoseconds
        claimsDueAt = .max
        var questions: [NodeName: [Slot]] = [:]
        for slot in Slot.all {
            guard let claim = slots[Int(slot.rawValue)].claim else { continue }
            guard claim.askAgainAt <= now.uptime else {
                claimsDueAt = min(claimsDueAt, claim.askAgainAt)
                continue
            }
            slots[Int(slot.rawValue)].claim?.askAgainAt = again
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
            if holdsForNobody(slot, claimedBy: peer) { takeOver(slot) }
            if slots[index].isOwner || slots[index].isSyncedReplica {
                held.append(SlotTenure(slot: slot, tenure: slots[index].tenure))
                // Rank 0 waits for a grant that doesn't come. Does our owner know that it is owner? Its grant may have been lost.
                if let owner = slots[index].tenure.owner, owner != id, owner != peer { doubtful[owner.name, default: []].append(slot) }
            } else {
                for sessions in [slots[index].sessions, slots[index].leftover?.sessions ?? [:]] {
                    for batch in Self.batches(of: sessions) { send(.push(ticket: 0, batch), to: peer.name) }
                }
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
                takeOver(slot)
                continue
            }
            guard slots[index].claim != nil else { continue }
            slots[index].claim?.outstanding.removeAll { $0 == peer.name }
            plan(slot)
        }
        for answer in held {
            let index = Int(answer.slot.rawValue)
            guard slots[index].claim != nil else { continue }
            heard(answer)
            slots[index].claim = newClaim(waitsForGrant: true)
        }
        pumpSyncStreams()
        retryParked()
    }

    // MARK: Stepping down

    /// Takes note of a tenure. False when it is less than what is known, and so means nothing.
    @discardableResult
    mutating func heard(_ other: SlotTenure) -> Bool {
        let index = Int(other.slot.rawValue)
        guard configuration.role == .node else { return false }
        let known = slots[index].tenure
        guard known < other.tenure else { return known == other.tenure }
        let wasOwner = slots[index].isOwner
        switch slots[index].part {
        case .owner: stepDown(other.slot)
        // Whole in the last tenure says nothing of this one, until its owner says so.
        case .replica(var replica):
            replica.isSynced = false
            slots[index].part = .replica(replica)
        case .none: break
        }
        slots[index].tenure = other.tenure
        recallLeftover(of: other.slot)
        handOver(other.slot)
        // As rank 0 we are to have it back; if the grant gets lost, somebody must ask.
        if wasOwner { plan(other.slot) }
        return true
    }

    private mutating func stepDown(_ slot: Slot) {
        let index = Int(slot.rawValue)
        // What has no second copy was never acknowledged. It is asked of the new owner again, under the same commit id, and
        // must not come back by another way as well: what is handed over is the session as it was before.
        let abandoned = slots[index].pending
        slots[index].pending = []
        for ticket in abandoned.reversed() {
            guard let commit = commits.removeValue(forKey: ticket) else { continue }
            for number in commit.operations { park(number) }
            guard let entry = slots[index].sessions[commit.key] else { continue }
            for reader in entry.readers { park(reader) }
            if commit.before.commits.isEmpty {
                // It was to be made by this very commit.
                slots[index].sessions[commit.key] = nil
                sessionCount -= 1
            } else {
                slots[index].sessions[commit.key] = SessionEntry(state: commit.before, mirrored: entry.mirrored)
            }
        }
        forgetDirty(slot)
        slots[index].part = .none
        guard !slots[index].sessions.isEmpty else { return }
        slots[index].leftover = .init(sessions: slots[index].sessions)
        slots[index].sessions = [:]
        leftoverSlots.insert(slot)
    }

    // MARK: Handing over

    /// Sends what is left of former ownerships to the present owners, and again where one did not say that it has it.
    mutating func handOverLeftovers() {
        for slot in leftoverSlots.sorted() { handOver(slot) }
    }

    private mutating func handOver(_ slot: Slot) {
        let index = Int(slot.rawValue)
        guard let leftover = slots[index].leftover, let owner = slots[index].tenure.owner, owner != id, hasLink(to: owner.name),
            leftover.tickets.isEmpty || now.uptime - leftover.sentAt >= Self.claimInterval.nanoseconds
        else { return }
        recallLeftover(of: slot)
        slots[index].leftover?.sentAt = now.uptime
        for batch in Self.batches(of: leftover.sessions) {
            let ticket = nextNumber()
            slots[index].leftover?.tickets.insert(ticket)
            leftoverTickets[ticket] = slot
            send(.push(ticket: ticket, batch), to: owner.name)
        }
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
            sessionCount -= leftover.sessions.count
            slots[index].leftover = nil
            leftoverSlots.remove(slot)
        }
        return true
    }

    /// This agent is owner again, and what it held as such is part of the slot again.
    private mutating func takeBackLeftover(of slot: Slot) {
        recallLeftover(of: slot)
        let index = Int(slot.rawValue)
        guard let leftover = slots[index].leftover else { return }
        slots[index].leftover = nil
        leftoverSlots.remove(slot)
        sessionCount -= leftover.sessions.count
        for (key, entry) in leftover.sessions.sorted(by: { $0.key < $1.key }) {
            merge(SyncedSession(key: key, mirrored: entry.mirrored, state: entry.state))
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

    /// - Parameter ticket: acknowledged by the owner alone; 0 when the sender keeps nothing and asks for no word.
    mutating func receivePush(ticket: UInt64, _ sessions: [SyncedSession], from peer: NodeName) {
        guard configuration.role == .node else { return }
        var elsewhere: [SlotTenure] = []
        for session in sessions {
            let slot = session.key.slot
            let state = slots[Int(slot.rawValue)]
            guard state.isOwner || ticket == 0 else {
                if elsewhere.last?.slot != slot { elsewhere.append(SlotTenure(slot: slot, tenure: state.tenure)) }
                continue
            }
            // Held for an owner alive, the owner's own sync is what counts.
            if case .replica = state.part, let owner = state.tenure.owner, isReachable(owner) { continue }
            merge(session)
            if state.isOwner { tellReplicas(of: session.key, before: state.sessions[session.key]?.state ?? session.state) }
        }
        if !elsewhere.isEmpty { send(.superseded(elsewhere), to: peer) } else if ticket != 0 { send(.ack(ticket: ticket), to: peer) }
    }

    mutating func clear(_ slot: Slot) {
        let index = Int(slot.rawValue)
        sessionCount -= slots[index].sessions.count
        slots[index].sessions = [:]
    }

    mutating func released(_ released: SlotTenure) {
        let index = Int(released.slot.rawValue)
        guard slots[index].tenure <= released.tenure, case .replica = slots[index].part else { return }
        slots[index].tenure = released.tenure
        slots[index].part = .none
        clear(released.slot)
    }

    /// A copy of a slot that this agent does not rank for is left over when its owner died before releasing it. Rank 0 is told, and says who is
    /// owner now, or that the copy is not needed.
    mutating func offerSpares(_ indices: Range<Int>) {
        guard stage == .serving else { return }
        var spares: [NodeName: [SlotTenure]] = [:]
        for index in indices {
            guard case .replica = slots[index].part, let slot = Slot(rawValue: UInt16(index)), let heir = table.primary(of: slot),
                heir != id.name, table.backup(of: slot) != id.name
            else { continue }
            spares[heir, default: []].append(SlotTenure(slot: slot, tenure: slots[index].tenure))
        }
        for (name, spares) in spares.sorted(by: { $0.key < $1.key }) { send(.spare(spares), to: name) }
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
            // Another's copy is safe to lose once there are two without it.
            if let ownership = state.ownership, !ownership.synced.isEmpty, !ownership.replicas.contains(where: { $0.member.name == name }) {
                released.append(tenure)
            }
        }
        if !greater.isEmpty { send(.superseded(greater), to: name) }
        if !released.isEmpty { send(.release(released), to: name) }
    }

    // MARK: After a pause

    /// Answers nothing as owner until everybody who could have taken over has been asked.
    mutating func verifyOwnership() {
        guard configuration.role == .node, slots.contains(where: \.isOwner) else { return }
        verifying = otherNodes.map(\.name)
        inquire(of: verifying)
    }

    mutating func inquire(of names: [NodeName]) {
        let owned = zip(Slot.all, slots).filter { $1.isOwner }.map { SlotTenure(slot: $0, tenure: $1.tenure) }
        send(.inquire(owned), to: names)
    }

    mutating func answerInquiry(_ asked: [SlotTenure], from name: NodeName) {
        guard configuration.role == .node else { return }
        var greater: [SlotTenure] = []
        for question in asked where !heard(question) {
            greater.append(SlotTenure(slot: question.slot, tenure: slots[Int(question.slot.rawValue)].tenure))
        }
        if !greater.isEmpty { send(.superseded(greater), to: name) }
        send(.inquired, to: name)
    }

    mutating func inquired(by name: NodeName) {
        verifying.removeAll { $0 == name }
        if verifying.isEmpty {
            planAllSlots()
            retryParked()
        }
    }

    // MARK: Joining

    /// While syncing: asks the owners for what this agent will rank for, and begins to serve once it has all of it.
    mutating func join() {
        guard stage == .syncing, departure == nil else { return }
        let serving = swim.others.filter { $0.ranks && isReachable($0.id) }
        if serving.isEmpty {
            // Nobody serves. Once the seeds have spoken, those who are here form the mesh.
            if swim.seedsSettled, verifying.isEmpty { serve() }
            return
        }
        let missing = slotsToRankFor().filter { slot in
            let state = slots[Int(slot.rawValue)]
            return !state.isOwner && !state.isSyncedReplica
        }
        if missing.isEmpty {
            serve()
        } else if pulledAt.map({ now.uptime - $0 >= Self.claimInterval.nanoseconds }) ?? true {
            pulledAt = now.uptime
            for member in serving { send(.pull(Array(missing)), to: member.name) }
        }
    }

    /// What this agent would hold if it served. Worked out anew only when those who serve have changed: it is asked for in every round.
    private mutating func slotsToRankFor() -> [Slot] {
        if let pulled, pulled.candidates == table.candidates { return pulled.slots }
        var future = table
        future.insert(PlacementCandidate(name: id.name, weight: Int(configuration.weight)))
        let slots = Slot.all.filter { future.primary(of: $0) == id.name || future.backup(of: $0) == id.name }
        pulled = (table.candidates, slots)
        return slots
    }

    private mutating func serve() {
        pulled = nil
        stage = .serving
        gossip(.setStage(.serving))
        reachChanged()
        directives.append(.event(.serving))
    }

    mutating func receivePull(_ wanted: [Slot], from peer: MemberID) {
        guard configuration.role == .node else { return }
        pullers[peer.name] = Puller(member: peer, slots: Set(wanted).union(pullers[peer.name]?.slots ?? []))
        for slot in wanted where slots[Int(slot.rawValue)].isOwner { planAsOwner(slot) }
        pumpSyncStreams()
    }
}
