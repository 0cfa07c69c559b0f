/// The instances of one node's life, with what is needed to merge what is said of them.
///
/// Only the node itself changes them, and it numbers its changes. So of two facts about one instance the greater version stays, and a
/// removal is remembered, because an older "it is there" may still be on its way.
struct InstanceRoll: Sendable {
    struct Entry: Sendable {
        var instance: Instance
        var version: UInt32
        var hash: UInt64
    }

    /// In the order of their numbers.
    private(set) var entries: [Entry] = []
    private var removals: [(number: UInt32, version: UInt32)] = []
    /// What these instances add to the view's digest.
    private(set) var digest: UInt64 = 0

    /// When full the oldest removal is forgotten. A late fact could then bring that instance back until the node's next roster.
    static let removalsMax = 256
    /// Rosters are split so that each fits a packet.
    static let rosterNumbersMax = 128

    /// - Returns: whether anything changed.
    mutating func put(_ instance: Instance, version: UInt32) -> Bool {
        if let removed = removals.first(where: { $0.number == instance.number }), removed.version >= version { return false }
        let entry = Entry(instance: instance, version: version, hash: Self.hash(instance, version))
        let index = position(of: instance.number)
        if index < entries.count, entries[index].instance.number == instance.number {
            guard entries[index].version < version else { return false }
            digest &-= entries[index].hash
            entries[index] = entry
        } else {
            guard entries.count < SWIM.instancesMax else { return false }
            entries.insert(entry, at: index)
        }
        digest &+= entry.hash
        return true
    }

    /// - Returns: whether an instance went.
    mutating func remove(_ number: UInt32, version: UInt32) -> Bool {
        if let known = removals.firstIndex(where: { $0.number == number }) {
            removals[known].version = max(removals[known].version, version)
        } else {
            if removals.count >= Self.removalsMax, let oldest = removals.indices.min(by: { removals[$0].version < removals[$1].version }) {
                removals.remove(at: oldest)
            }
            removals.append((number, version))
        }
        let index = position(of: number)
        guard index < entries.count, entries[index].instance.number == number, entries[index].version <= version else { return false }
        digest &-= entries[index].hash
        entries.remove(at: index)
        return true
    }

    /// Removes what the node's own roster leaves out.
    mutating func keep(only numbers: [UInt32], in span: ClosedRange<UInt32>, version: UInt32) -> Bool {
        let gone = entries.map(\.instance.number).filter { span.contains($0) && !numbers.contains($0) }
        var changed = false
        for number in gone { changed = remove(number, version: version) || changed }
        return changed
    }

    func contains(_ number: UInt32) -> Bool {
        let index = position(of: number)
        return index < entries.count && entries[index].instance.number == number
    }

    var facts: [Fact] {
        entries.map { .instance($0.instance, version: $0.version) }
    }

    func removalFacts(of node: MemberID) -> [Fact] {
        removals.map { .instanceRemoved(node: node, number: $0.number, version: $0.version) }
    }

    func rosterFacts(of node: MemberID, version: UInt32) -> [Fact] {
        let numbers = entries.map(\.instance.number)
        var facts: [Fact] = []
        var start: UInt32 = 0
        var index = 0
        while true {
            let chunk = Array(numbers[index...].prefix(Self.rosterNumbersMax))
            index += chunk.count
            guard index < numbers.count, let last = chunk.last else {
                facts.append(.roster(node: node, version: version, span: start...UInt32.max, numbers: chunk))
                return facts
            }
            facts.append(.roster(node: node, version: version, span: start...last, numbers: chunk))
            start = last + 1
        }
    }

    private func position(of number: UInt32) -> Int {
        entries.partitioningIndex { $0.instance.number >= number }
    }

    private static func hash(_ instance: Instance, _ version: UInt32) -> UInt64 {
        var writer = ByteWriter(reserving: 128)
        Fact.instance(instance, version: version).write(to: &writer)
        return Mix.hash(writer.bytes)
    }
}
