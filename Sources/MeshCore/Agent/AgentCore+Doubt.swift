// Slots whose sessions may live where nobody can look.
//
// A slot that is begun anew, since nobody within reach holds a whole copy, may have had sessions: nodes that rank for it fell silent, and are perhaps
// only cut off. Until one of them has given what it holds, or they are known to be gone, a session that isn't here is not known not to be: who asks
// for it is told to come back, and keeps its cookie. So is who asks for one of which a copy is here that wasn't whole: there may be a later one. Such
// copies are left over until the doubt ends. New sessions are made and answered. The second copies are told, for one of them may be owner next.

/// Why an owner doesn't know that a session of the slot is not.
struct Doubt: Hashable, Sendable {
    /// Those who may hold it, in the order of their names.
    var members: [NodeName]
    /// In uptime nanoseconds. Of whom nobody heard here for as long as a session may idle, nothing is left to wait for.
    let endsAt: Int64
}

/// A node out of reach that may live.
struct SilentNode: Sendable {
    let member: Member
    /// In uptime nanoseconds.
    let since: Int64
}

extension AgentCore {
    /// Nodes that served, fell silent, and may live and hold what they held.
    var silentNodes: [Member] { silent.map(\.member).filter { $0.stage != .syncing && !gone.contains($0.id) } }

    /// Reach has changed. Of members that this agent alone held for dead its view knows nothing any more once it turns out to have been cut off itself:
    /// until they are back they are silent all the same.
    mutating func noteSilence() {
        let former = silent
        let dead = swim.others.filter { $0.role == .node && $0.status == .dead && !gone.contains($0.id) }
        let forgotten = former.filter {
            swim.member(named: $0.member.name) == nil && now.uptime - $0.since < configuration.swim.memory.nanoseconds
        }
        silent = forgotten + dead.map { SilentNode(member: $0, since: now.uptime - swim.silence(of: $0.name, at: now).nanoseconds) }
        silent.sort { $0.member.name < $1.member.name }
        claimAlso(from: otherNames.intersection(former.map(\.member.name)))
    }

    /// Whether a name is a member's, or was one's that is silent.
    func isKnown(_ name: NodeName) -> Bool { swim.member(named: name) != nil || silent.contains { $0.member.name == name } }

    // MARK: Beginning

    /// Notes who may hold more of a slot than this agent, which is about to be its owner, and leaves over what is here. A synced copy is whole, but for
    /// one that is only left over: whoever holds one without ranking, were the silent ones here, may have been released and not know it.
    mutating func doubt(_ slot: Slot) {
        let silent = silentNodes
        guard !silent.isEmpty else { return }
        var candidates = table.candidates
        for member in silent where !candidates.contains(where: { $0.name == member.name }) { candidates.append(.init(of: member)) }
        let holders = PlacementTable.holders(of: slot, among: candidates)
        if slots[Int(slot.rawValue)].isSyncedReplica, holders.contains(id.name) { return }
        let owner = slots[Int(slot.rawValue)].tenure.owner?.name
        let members = silent.map(\.name).filter { $0 == owner || holders.contains($0) }
        guard !members.isEmpty else { return }
        let isKnown = slots[Int(slot.rawValue)].isSyncedReplica && slots[Int(slot.rawValue)].doubt != nil
        setDoubt(slot, Doubt(members: members.sorted(), endsAt: now.uptime + configuration.expiry.idle.nanoseconds))
        guard !isKnown else { return }
        let sessions = slots[Int(slot.rawValue)].sessions
        clear(slot)
        leaveOver(sessions, of: slot)
    }

    /// Whether what is held of a slot is all that was acknowledged. Of synced copies only those are sure to be that which rank, whoever else lives:
    /// any other may have been released and not know it.
    func isWhole(_ slot: Slot) -> Bool {
        let state = slots[Int(slot.rawValue)]
        guard state.doubt == nil, state.isSyncedReplica else { return state.isOwner && state.doubt == nil }
        let near = swim.others.filter { $0.role == .node && isReachable($0.id) } + [swim.local]
        let nodes = near + silent.lazy.map(\.member).filter { member in !near.contains { $0.name == member.name } }
        return PlacementTable.holders(of: slot, among: nodes.map(PlacementCandidate.init(of:))).contains(id.name)
    }

    /// The owner's word to a second copy.
    mutating func receiveDoubts(_ doubts: [SlotDoubt], from peer: MemberID) {
        for doubt in doubts where doubt.slot.tenure.owner == peer && heard(doubt.slot) {
            guard case .replica = slots[Int(doubt.slot.slot.rawValue)].part else { continue }
            let endsAt = now.uptime + configuration.expiry.idle.nanoseconds
            setDoubt(doubt.slot.slot, doubt.members.isEmpty ? nil : Doubt(members: doubt.members, endsAt: endsAt))
        }
    }

    mutating func setDoubt(_ slot: Slot, _ doubt: Doubt?) {
        slots[Int(slot.rawValue)].doubt = doubt
        if doubt == nil { doubtedSlots.remove(slot) } else { doubtedSlots.insert(slot) }
    }

    /// Whoever has a whole copy from this owner must doubt what the owner does.
    mutating func tellDoubt(of slot: Slot, to name: NodeName) {
        let state = slots[Int(slot.rawValue)]
        let item = SlotDoubt(slot: SlotTenure(slot: slot, tenure: state.tenure), members: state.doubt?.members ?? [])
        tell(name, item, in: \.doubted)
    }

    // MARK: Ending

    /// Gives up on those who won't come back, and asks whether they will.
    mutating func lookAfterDoubts() {
        guard !doubtedSlots.isEmpty else { return }
        var missing: Set<NodeName> = []
        for slot in doubtedSlots.sorted() {
            guard let doubt = slots[Int(slot.rawValue)].doubt else { continue }
            let members = doubt.members.filter(mayHold)
            guard now.uptime < doubt.endsAt, !members.isEmpty else {
                endDoubt(of: slot)
                continue
            }
            slots[Int(slot.rawValue)].doubt?.members = members
            guard slots[Int(slot.rawValue)].isOwner else { continue }
            missing.formUnion(members.filter { !otherNames.contains($0) })
            plan(slot)
        }
        // Whether a silent one's process is gone is for its host to say.
        for name in missing.sorted() {
            let member = swim.member(named: name) ?? silent.first { $0.member.name == name }?.member
            guard let endpoint = member?.endpoint, dials.started[endpoint] == nil, dials.takeAllowance(at: now) else { continue }
            dial(endpoint)
        }
    }

    /// Asks a doubted node that is back what it holds, before anything is sent to it: a sync would put this copy in the place of its own. False
    /// when there is none.
    mutating func inquiresOfDoubted(_ slot: Slot) -> Bool {
        guard let doubt = slots[Int(slot.rawValue)].doubt, doubt.members.contains(where: { otherNames.contains($0) && hasLink(to: $0) })
        else { return false }
        slots[Int(slot.rawValue)].ownership?.inquiry = inquiries.next(numbering: &lastNumber, slot)
        return true
    }

    /// Whether a node may still give what it held: it is silent, or back and not asked.
    private func mayHold(_ name: NodeName) -> Bool {
        // This agent is asked by an owner before it is given a copy of its own.
        guard name != id.name, isKnown(name) else { return false }
        return swim.member(named: name).map { $0.status != .left && !gone.contains($0.id) } ?? true
    }

    /// A node has given what it holds of slots that were asked about in one round.
    mutating func endDoubts(_ asked: [Slot], answeredBy name: NodeName) {
        guard !doubtedSlots.isEmpty else { return }
        for slot in asked where slots[Int(slot.rawValue)].doubt?.members.contains(name) ?? false {
            slots[Int(slot.rawValue)].doubt?.members.removeAll { $0 == name }
            if slots[Int(slot.rawValue)].doubt?.members.isEmpty ?? true { endDoubt(of: slot) }
        }
    }

    /// What a node gave of these slots is all that was acknowledged there.
    mutating func receiveWhole(_ whole: [Slot], from name: NodeName) {
        for slot in whole where slots[Int(slot.rawValue)].doubt?.members.contains(name) ?? false { endDoubt(of: slot) }
    }

    private mutating func endDoubt(of slot: Slot) {
        setDoubt(slot, nil)
        if slots[Int(slot.rawValue)].isOwner { takeBackLeftover(of: slot) }
        for member in slots[Int(slot.rawValue)].ownership?.synced ?? [] { tellDoubt(of: slot, to: member.name) }
    }
}
