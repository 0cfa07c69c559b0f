// A side of the mesh that was away for too long.
//
// Two sides that could not hear each other merge what they hold when they meet. That what was destroyed on one doesn't come back from the other, ends of
// sessions are remembered while a node is missing, but not for ever. So who was on the smaller side for longer than the horizon brings nothing back:
// when it meets the others again it discards all it holds, and joins like one that has just started. Of two halves the one with the first
// name is the greater, so that never both discard.

/// For how long this agent has been on the smaller side of its mesh, and of whom the other one is.
struct Absence: Sendable {
    let since: Int64
    /// Whoever was silent at the beginning or fell silent since.
    var from: Set<NodeName>

    /// Half as long as the dead are remembered, and ends of sessions for their sake.
    static func horizon(under swim: SWIM.Configuration) -> Int64 { swim.memory.nanoseconds / 2 }
}

extension AgentCore {
    /// Once a second: whether this side of the mesh is the smaller one.
    mutating func lookForAbsence() {
        let silent = silentNodes.map(\.name)
        // Whoever was away for longer than the horizon is that until it meets the others, though it forgets them meanwhile.
        if isPastHorizon { return }
        let near = 1 + otherNodes.count
        let isGreater = near > silent.count || near == silent.count && min(id.name, otherNames.min() ?? id.name) < (silent.min() ?? id.name)
        if isGreater {
            absence = nil
        } else {
            absence = Absence(since: absence?.since ?? now.uptime, from: (absence?.from ?? []).union(silent))
        }
    }

    private var isPastHorizon: Bool {
        absence.map { now.uptime - $0.since >= Absence.horizon(under: configuration.swim) } ?? false
    }

    /// A member of the other side is back: before anything of what is held here is said to it.
    mutating func meetAfterAbsence(_ member: Member) {
        guard isPastHorizon, absence?.from.contains(member.name) ?? false, member.role == .node else { return }
        guard member.stage == .serving else {
            // It was restarted, and comes for what is here.
            absence?.from.remove(member.name)
            if absence?.from.isEmpty ?? false { absence = nil }
            return
        }
        absence = nil
        let sessions = status.sessions
        for slot in Slot.all {
            if slots[Int(slot.rawValue)].isOwner { stepDown(slot) }
            recallLeftover(of: slot)
            slots[Int(slot.rawValue)] = SlotState()
        }
        (leftoverSlots, doubtedSlots, memory) = ([], [], MemoryUse())
        sessionsDiscarded += UInt64(sessions)
        loseEvents()
        directives.append(.event(.discarded(sessions: sessions)))
        beginNewLife(after: nil)
    }
}
