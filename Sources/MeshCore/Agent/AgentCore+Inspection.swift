// What the simulator's checks are shown of an agent, beside its ``AgentStatus``. Nothing here decides anything.

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
