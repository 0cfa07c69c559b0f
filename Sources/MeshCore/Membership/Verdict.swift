extension SWIM {
    /// How a suspicion ended, and on whose word: what an operator wants to know of a death at three in the morning.
    public struct Verdict: Hashable, Sendable {
        public enum Outcome: String, Hashable, Sendable, CaseIterable {
            case dead
            /// The member answered for itself: the suspicion was false.
            case refuted
        }

        /// What decided it.
        public enum Ground: String, Hashable, Sendable, CaseIterable {
            /// Enough watchers found its port to refuse.
            case refused
            /// Enough watchers found it silent, and nobody heard of it.
            case silent
            /// There was nobody else to ask.
            case alone
            /// Too few confirmed it, or somebody objected, but it did not refute in all that time.
            case timeout
            /// Somebody else had decided.
            case told
            /// Its own word.
            case answer
        }

        public var subject: MemberID
        public var incarnation: UInt32
        public var outcome: Outcome
        public var ground: Ground
        /// Who said so first to this observer; this observer itself if it decided.
        public var decidedBy: NodeName
        /// When, by this observer's wall clock, in milliseconds since 1970.
        public var at: Int64
        /// How long after this observer first heard of the suspicion; zero when it had not.
        public var took: Duration
        /// How many words were needed; 0 when there was no suspicion here.
        public var quorum: Int
        /// What was held here then, the first accuser's word first. One that was withdrawn stands as a veto.
        public var testimonies: [Testimony]
        /// Who raised the suspicion, even if it has withdrawn it since.
        public var suspectedBy: NodeName?

        /// The accusers but the first, in the order in which they were heard.
        public var confirmedBy: [NodeName] { testimonies.filter { $0.accuses && $0.witness != suspectedBy }.map(\.witness) }
        public var vetoedBy: [NodeName] { testimonies.filter { !$0.accuses }.map(\.witness) }
        /// Whether all who accused it found its port to refuse.
        public var isRefusal: Bool {
            let accusers = testimonies.filter(\.accuses)
            return !accusers.isEmpty && accusers.allSatisfy { $0.finding == .refused }
        }
    }

    /// Verdicts remembered; the oldest goes first. Enough for a mass failure of half a large rack, and small.
    public static let verdictsMax = 64

    /// The latest on that life.
    public func verdict(on member: MemberID) -> Verdict? {
        verdicts.last { $0.subject == member }
    }

    /// All that are remembered on any life of that name, the oldest first.
    public func verdicts(on name: NodeName) -> [Verdict] {
        verdicts.filter { $0.subject.name == name }
    }
}
