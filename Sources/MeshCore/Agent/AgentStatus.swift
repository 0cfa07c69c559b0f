/// Figures about an agent for `/metrics`, `/healthz` and the tests. Taken whenever somebody asks; costs a walk over the slots.
public struct AgentStatus: Hashable, Sendable {
    public var stage: Stage
    /// Whether this agent answers for the slots it ranks for.
    public var isReady: Bool
    /// Sessions held here, in either rank.
    public var sessions: Int
    /// Sessions that were let go of since the start, because this agent had been cut off from most of its mesh for longer than the horizon.
    public var sessionsDiscarded: UInt64
    /// About what they take of memory.
    public var memoryBytes: Int
    public var primarySlots: Int
    public var backupSlots: Int
    /// Slots this agent answers for whose second copy is not whole yet. 0 in quiet, and while nobody else is alive.
    public var underReplicatedSlots: Int
    /// Slots that this agent answered for until another did, and whose present owner is not yet known to have all that was acknowledged here.
    public var leftoverSlots: Int
    /// Slots this agent answers for though another ranks first: they are handed off as soon as that one is ready.
    public var handOffSlots: Int
    /// Slots this agent answers for whose sessions may live out of reach: who asks for one that isn't here is told to come back.
    public var doubtedSlots: Int
    /// Second copies of slots of ours that were found to differ, and were brought up anew, since the start. A fault of ours or of the host's memory.
    public var staleCopies: UInt64
    /// Whether slots are planned by the present view; after newcomers that may wait for a round of housekeeping.
    public var isPlanned: Bool
    /// Whether the second copy can't be had at all, because no other node is alive.
    public var isAlone: Bool
    /// Nil without a mirror.
    public var mirror: MirrorStatus?
    public var packetsDropped: [String: UInt64]
    /// Of probes and suspicions, since the start.
    public var membership: SWIM.Counters
    /// Of sessions and requests, since the start.
    public var counters = AgentCounters()
}
