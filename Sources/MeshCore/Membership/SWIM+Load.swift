// How full the bounded parts are, for checkers and metrics.

extension SWIM {
    /// One bounded part of the state.
    public struct Load: Hashable, Sendable {
        public let part: String
        public let count: Int
        public let bound: Int
    }

    public var loads: [Load] {
        [
            Load(part: "members", count: records.count, bound: Self.membersMax),
            Load(part: "hurried", count: hurried.count, bound: Self.hurriedMax),
            Load(part: "relays", count: relays.count, bound: Self.relaysMax),
            Load(part: "rumours", count: rumours.count, bound: RumourQueue.rumoursMax),
            Load(part: "repairs", count: repairs.count, bound: Self.repairsMax),
            // A name waits for its turn once, also while its member goes and comes.
            Load(part: "turn", count: turn.count, bound: Self.membersMax),
        ]
    }
}
