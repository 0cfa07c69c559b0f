/// Which node is primary and which is backup for each slot.
///
/// Rendezvous hashing: every candidate gets a score for every slot from a fixed 64-bit mix of its name and the slot, and the
/// highest score has rank 0. A candidate that leaves moves only the slots it held, and rank 1 of a slot is who becomes rank 0
/// when the primary goes. Agents, balancers and clients use this one type, so with equal views they agree; golden vectors in
/// the tests hold it still. Integers only, because two builds must agree to the bit. Source: Thaler and Ravishankar, "Using
/// name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998.
public struct PlacementTable: Sendable, Equatable {
    /// The candidates in the order of their names.
    public private(set) var candidates: [PlacementCandidate] = []
    private var holders: [Holders]

    public init(_ candidates: some Sequence<PlacementCandidate> = []) {
        holders = Array(repeating: Holders(), count: Slot.count)
        for candidate in candidates { insert(candidate) }
    }

    /// Rank 0 of `slot`; nil in an empty table.
    public func primary(of slot: Slot) -> NodeName? { primaryIndex(of: slot).map { candidates[$0].name } }

    /// Rank 1 of `slot`; nil with fewer than two candidates.
    public func backup(of slot: Slot) -> NodeName? { backupIndex(of: slot).map { candidates[$0].name } }

    /// Where rank 0 stands among ``candidates``: for whoever goes through all slots and keeps something of each candidate.
    func primaryIndex(of slot: Slot) -> Int? { holders[Int(slot.rawValue)].primary?.index }

    /// Where rank 1 stands among ``candidates``.
    func backupIndex(of slot: Slot) -> Int? { holders[Int(slot.rawValue)].backup?.index }

    /// Every candidate from rank 0 down. O(candidates): for the rare walk past the backup.
    public func ranking(of slot: Slot) -> [NodeName] {
        candidates.enumerated().map { Holder(index: $0, score: $1.score(for: slot)) }
            .sorted { $0.beats($1) }
            .map { candidates[$0.index].name }
    }

    /// Who of `candidates` would have rank 0 or 1. O(candidates): for the rare slot that is looked at under other candidates than a table's.
    static func holders(of slot: Slot, among candidates: [PlacementCandidate]) -> [NodeName] {
        let sorted = candidates.sorted { $0.name < $1.name }
        var holders = Holders()
        for (index, candidate) in sorted.enumerated() { holders.admit(Holder(index: index, score: candidate.score(for: slot))) }
        return [holders.primary, holders.backup].compactMap { $0.map { sorted[$0.index].name } }
    }

    /// Makes those the candidates. One that comes or goes touches its own slots alone. O(slots) for each of them.
    public mutating func replaceCandidates(with others: some Sequence<PlacementCandidate>) {
        let others = Set(others)
        for former in candidates where !others.contains(former) { remove(former.name) }
        for newcomer in others.subtracting(candidates) { insert(newcomer) }
    }

    /// Adds a candidate, or replaces the one of that name. O(slots).
    public mutating func insert(_ candidate: PlacementCandidate) {
        if candidates.contains(candidate) { return }
        remove(candidate.name)
        let place = candidates.firstIndex { candidate.name < $0.name } ?? candidates.endIndex
        candidates.insert(candidate, at: place)
        for slot in Slot.all {
            holders[Int(slot.rawValue)].makeRoom(at: place)
            holders[Int(slot.rawValue)].admit(Holder(index: place, score: candidate.score(for: slot)))
        }
    }

    /// Removes a candidate and ranks its slots anew. O(slots held x candidates).
    public mutating func remove(_ name: NodeName) {
        guard let index = candidates.firstIndex(where: { $0.name == name }) else { return }
        candidates.remove(at: index)
        for slot in Slot.all {
            guard holders[Int(slot.rawValue)].contains(index) else {
                holders[Int(slot.rawValue)].closeGap(at: index)
                continue
            }
            var anew = Holders()
            for (place, candidate) in candidates.enumerated() {
                anew.admit(Holder(index: place, score: candidate.score(for: slot)))
            }
            holders[Int(slot.rawValue)] = anew
        }
    }

    private struct Holder: Sendable, Equatable {
        /// Among the candidates. They are in the order of their names, which is what breaks a tie.
        var index: Int
        let score: UInt64

        func beats(_ other: Holder) -> Bool {
            score == other.score ? index < other.index : score > other.score
        }
    }

    /// The two best of a slot with their scores, so that a newcomer is compared without asking anybody else.
    private struct Holders: Sendable, Equatable {
        var primary: Holder?
        var backup: Holder?

        func contains(_ index: Int) -> Bool { primary?.index == index || backup?.index == index }

        mutating func makeRoom(at place: Int) {
            if let index = primary?.index, index >= place { primary?.index += 1 }
            if let index = backup?.index, index >= place { backup?.index += 1 }
        }

        mutating func closeGap(at place: Int) {
            if let index = primary?.index, index > place { primary?.index -= 1 }
            if let index = backup?.index, index > place { backup?.index -= 1 }
        }

        mutating func admit(_ newcomer: Holder) {
            guard let first = primary else {
                primary = newcomer
                return
            }
            if newcomer.beats(first) {
                primary = newcomer
                backup = first
            } else if backup.map({ newcomer.beats($0) }) ?? true {
                backup = newcomer
            }
        }
    }
}

/// Somebody who may hold slots.
public struct PlacementCandidate: Hashable, Sendable {
    public let name: NodeName
    /// That many virtual names take part, so a node of weight 2 holds about twice the slots of a node of weight 1.
    public let weight: Int
    private let seed: UInt64

    public static let weights = 1...16

    /// - Parameter weight: 1 to 16, default 1; what is outside is brought to the nearer end.
    public init(name: NodeName, weight: Int = 1) {
        self.name = name
        self.weight = min(max(weight, Self.weights.lowerBound), Self.weights.upperBound)
        seed = Mix.hash(name.description.utf8)
    }

    init(of member: Member) { self.init(name: member.name, weight: Int(member.weight)) }

    /// The best score among this candidate's virtual names.
    func score(for slot: Slot) -> UInt64 {
        let slotMix = Mix.finish(UInt64(slot.rawValue) &+ 1)
        var best: UInt64 = 0
        for virtual in 0..<UInt64(weight) {
            best = max(best, Mix.finish((seed &+ virtual &* 0x9E37_79B9_7F4A_7C15) ^ slotMix))
        }
        return best
    }
}
