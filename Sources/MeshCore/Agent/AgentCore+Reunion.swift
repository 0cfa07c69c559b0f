// Two sides that could not hear each other, when they meet.
//
// Each went on with what it could reach, and so a slot may have had two owners. The lesser tenure ends, and what was held under it is left over: it
// is given to the owner, who merges it, sees to it that a second node has it, and only then says so; until then whoever gave it keeps it. A session
// that one side moved may have been changed on the other: that goes on to where it is now. One that was destroyed on either is destroyed.

/// A message of sessions that another agent gave, and keeps until it is told that they are held.
struct HandIn: Hashable, Sendable {
    let giver: NodeName
    let ticket: UInt64
}

extension AgentCore {
    // MARK: Giving

    /// Keeps sessions until the slot's owner has them.
    mutating func leaveOver(_ sessions: [SessionKey: SessionEntry], of slot: Slot) {
        guard !sessions.isEmpty else { return }
        // What is on its way is less than all.
        recallLeftover(of: slot)
        leftoverSlots.insert(slot)
        let former = slots[Int(slot.rawValue)].leftover?.sessions ?? [:]
        guard !former.isEmpty else { return slots[Int(slot.rawValue)].leftover = .init(sessions: sessions) }
        var all = former
        for (key, entry) in sessions {
            if all[key] == nil { all[key] = entry } else { all[key]?.state.merge(entry.state) }
        }
        slots[Int(slot.rawValue)].leftover?.sessions = all
        for (key, entry) in sessions.sorted(by: { $0.key < $1.key }) { if let one = former[key] { carry(one.state, entry.state) } }
    }

    // MARK: Taking

    /// Merges what another side has of a session. Gives what was here before, or what came if there was nothing; nil when nothing of it is news.
    mutating func meet(_ session: SyncedSession) -> SessionState? {
        let index = Int(session.key.slot.rawValue)
        let before = slots[index].sessions[session.key]?.state
        merge(session)
        if let before { carry(before, session.state) }
        return before == slots[index].sessions[session.key]?.state ? nil : before ?? session.state
    }

    /// What two copies have that belongs where the session was moved.
    mutating func carry(_ one: SessionState, _ other: SessionState) {
        for (key, state) in SessionState.carried(one, other) {
            if slots[Int(key.slot.rawValue)].isOwner {
                if let before = meet(SyncedSession(key: key, mirrored: .zero, state: state)) { tellReplicas(of: key, before: before) }
            } else {
                leaveOver([key: SessionEntry(state: state)], of: key.slot)
                handOver(key.slot)
            }
        }
    }

    /// Has the word to a giver wait for the second copy of a session. False when none is under way: the giver comes again.
    mutating func awaitsCopy(of key: SessionKey, _ handIn: HandIn) -> Bool {
        let state = slots[Int(key.slot.rawValue)]
        guard let ownership = state.ownership, ownership.inquiry == nil else { return false }
        guard let last = unheld(of: key).last else { return !ownership.synced.isEmpty || isAlone }
        commits[last]?.handIns.append(handIn)
        handIns[handIn, default: 0] += 1
        return true
    }

    /// One of the changes that came with it has its second copy.
    mutating func isHeld(_ handIn: HandIn) {
        guard let count = handIns[handIn] else { return }
        handIns[handIn] = count > 1 ? count - 1 : nil
        if count == 1 { send(.ack(ticket: handIn.ticket), to: handIn.giver) }
    }
}
