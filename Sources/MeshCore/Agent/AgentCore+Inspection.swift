// What the simulator's checks and people are shown of an agent, beside its ``AgentStatus``. Nothing here decides anything.

extension AgentCore {
    /// What is held here of a session that counts: as owner, or as a whole copy for one.
    public struct HeldSession: Hashable, Sendable {
        public var isOwners: Bool
        /// Nil when there is no such session here.
        public var digest: UInt64?
    }

    /// Nil when this agent has no part in the session's slot, or its copy is not whole.
    public func held(_ key: SessionKey) -> HeldSession? {
        guard !slots.isEmpty else { return nil }
        let slot = slots[Int(key.slot.rawValue)]
        guard slot.isOwner || slot.isSyncedReplica else { return nil }
        return HeldSession(isOwners: slot.isOwner, digest: slot.sessions[key]?.state.digest)
    }
}

/// What an agent holds of one slot, for people and labs that look for copies that differ.
public struct SlotReport: Hashable, Sendable {
    public var slot: Slot
    public var part: Part
    public var term: UInt64
    public var owner: NodeName?
    /// Sessions, and ends of sessions that are remembered.
    public var sessions: Int
    /// Equal in two holders exactly when they hold the same. Nil when it has not been taken since the last change.
    public var digest: UInt64?

    public enum Part: String, Hashable, Sendable, CaseIterable {
        case owner
        /// A second copy that is whole.
        case synced
        /// One that is being brought up.
        case unsynced
        /// What a former part left here.
        case none
    }
}

/// That a session ended, as far as it is remembered.
public struct SessionEnd: Hashable, Sendable {
    /// Unix milliseconds.
    public var at: Int64
    /// It goes on under another id.
    public var isMoved: Bool
}

extension AgentCore {
    /// Nil when this agent knows of no end: it holds nothing of the session, or the session lives.
    public func end(of key: SessionKey) -> SessionEnd? {
        guard !slots.isEmpty, let state = slots[Int(key.slot.rawValue)].sessions[key]?.state, let destroyed = state.destroyed else {
            return nil
        }
        return SessionEnd(at: destroyed.milliseconds, isMoved: state.moved != nil)
    }

    /// All slots that this agent has a part in or holds something of. Of those that changed, the digests of some thousand sessions are taken,
    /// some milliseconds' worth; ask again for the rest.
    public mutating func slotReports() -> [SlotReport] {
        var taken = 0
        return slots.indices.compactMap { index in
            let part = slots[index].reportedPart
            guard part != .none || !slots[index].sessions.isEmpty else { return nil }
            if !slots[index].isDigestKnown, taken < AntiEntropy.sessionsMax {
                taken += slots[index].sessions.count
                _ = slots[index].digest(in: Slot.all[index])
            }
            return SlotReport(
                slot: Slot.all[index], part: part, term: slots[index].tenure.term, owner: slots[index].tenure.owner?.name,
                sessions: slots[index].sessions.count, digest: slots[index].keptDigest)
        }
    }
}

extension SlotState {
    fileprivate var reportedPart: SlotReport.Part {
        switch part {
        case .none: .none
        case .replica(let replica): replica.isSynced ? .synced : .unsynced
        case .owner: .owner
        }
    }
}
