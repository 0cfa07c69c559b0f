/// Who is asked about a member's death: the nodes that score highest for its name.
///
/// A few who are asked at once know within a fraction of a second what a whole mesh would take many periods to find out, and their number
/// does not grow with the mesh. Rendezvous hashing over names makes all members name the same ones without speaking about it, and one who
/// comes or goes changes at most one of them. Integers only, because two builds must agree to the bit; a golden vector holds it still.
/// Source of the idea: Suresh et al., "Stable and Consistent Membership at Scale with Rapid", USENIX ATC 2018, section 4.
public enum Watchers {
    /// Asked about one member. One that errs, or two, is outvoted; more would only cost packets.
    public static let count = 6
    /// Listened to. Observers whose views differ for a moment don't name quite the same ones.
    public static let heardCount = 8
    /// Most confirmations ever needed.
    static let quorumMax = 4

    /// How many of those who can be asked must agree.
    static func quorum(of reachable: Int) -> Int { min(quorumMax, min(reachable, count) / 2 + 1) }

    /// The best of `names` for `subject`, best first. The subject is never its own.
    public static func ranked(for subject: NodeName, among names: some Sequence<NodeName>, atMost limit: Int = count) -> [NodeName] {
        let salt = salt(of: seed(of: subject))
        var scored: [(name: NodeName, score: UInt64)] = []
        for name in names where name != subject { scored.append((name, score(of: seed(of: name), salt: salt))) }
        scored.sort { $0.score == $1.score ? $0.name < $1.name : $0.score > $1.score }
        return scored.prefix(limit).map(\.name)
    }

    static func seed(of name: NodeName) -> UInt64 { Mix.hash(name.description.utf8) }

    /// Without it, who watches whom would be mutual.
    static func salt(of subject: UInt64) -> UInt64 { Mix.finish(subject &+ 1) }

    static func score(of watcher: UInt64, salt: UInt64) -> UInt64 { Mix.finish(watcher ^ salt) }
}

extension SWIM {
    /// The best for one member among all whose names are known, living or not: what a council is chosen from, without asking a thousand.
    struct Candidates: Sendable {
        /// Records, the best first.
        var places: [Int]
        /// The ``SWIM/nameChanges`` that it holds for.
        var since: UInt64

        /// Three times as many as are listened to: unless most of a mesh is gone, enough of them are left.
        static let max = 3 * Watchers.heardCount
    }

    /// Records of those whose word on a member counts here, the best first. Who is known to be gone as well can't speak and isn't waited for;
    /// so of many that die in one moment each is judged by the living.
    mutating func council(on index: Int) -> [Int] {
        let candidates = candidates(for: index)
        var council: [Int] = []
        council.reserveCapacity(Watchers.heardCount)
        for candidate in candidates where canJudge(candidate) {
            council.append(candidate)
            if council.count == Watchers.heardCount { return council }
        }
        return candidates.count < Candidates.max ? council : best(Watchers.heardCount, for: index) { canJudge($0) }
    }

    /// Found once for each that is suspected, and again when names have come or gone.
    private mutating func candidates(for index: Int) -> [Int] {
        if let known = records[index].candidates, known.since == nameChanges { return known.places }
        let places = best(Candidates.max, for: index) { _ in true }
        records[index].candidates = Candidates(places: places, since: nameChanges)
        return places
    }

    /// So many records of the highest scores for one member.
    private func best(_ count: Int, for index: Int, where isEligible: (Int) -> Bool) -> [Int] {
        let salt = Watchers.salt(of: nameSeeds[index])
        var best: [(index: Int, score: UInt64)] = []
        best.reserveCapacity(count + 1)
        for candidate in nameSeeds.indices where candidate != index {
            let score = Watchers.score(of: nameSeeds[candidate], salt: salt)
            if best.count == count, let last = best.last, last.score >= score { continue }
            guard isEligible(candidate) else { continue }
            let place = best.firstIndex { $0.score < score } ?? best.endIndex
            best.insert((candidate, score), at: place)
            if best.count > count { best.removeLast() }
        }
        return best.map(\.index)
    }

    private func canJudge(_ index: Int) -> Bool {
        guard records[index].member.role == .node, records[index].isReachable else { return false }
        return records[index].suspicion?.word(of: local.name)?.finding != .refused
    }
}
