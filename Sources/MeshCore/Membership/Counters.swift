extension SWIM {
    /// What this member has counted since it started. Sums only, so that any two moments can be compared.
    public struct Counters: Hashable, Sendable {
        /// Probes begun: one a period.
        public var probes: UInt64 = 0
        /// Answered to us, and answered by way of a helper only.
        public var acksDirect: UInt64 = 0
        public var acksHelped: UInt64 = 0
        /// Given up.
        public var unanswered: UInt64 = 0
        /// Helpers that told us that they got no answer either.
        public var nacks: UInt64 = 0
        /// Raised by this member; and by others, heard here.
        public var suspicionsRaised: UInt64 = 0
        public var suspicionsHeard: UInt64 = 0
        /// Of both: those that a second one confirmed, those that somebody objected to, those that the suspect refuted, so they were false.
        public var suspicionsConfirmed: UInt64 = 0
        public var suspicionsVetoed: UInt64 = 0
        public var suspicionsRefuted: UInt64 = 0
        /// Members that died, by this observer's word or another's.
        public var deaths: UInt64 = 0
        /// Members that turned out to have lived through their death: it was false, or a long pause.
        public var deathsLivedThrough: UInt64 = 0
        /// How often this member itself was held for dead while it ran.
        public var ownDeaths: UInt64 = 0
        /// Lasting differences between two views that this member set out to mend: by packets, and over a peer link.
        public var repairsByPackets: UInt64 = 0
        public var repairsByLink: UInt64 = 0
        /// Times when this process stood still.
        public var pauses: UInt64 = 0
        /// Pings to their direct answers.
        public var roundTrips = DurationHistogram()
    }
}
