/// Facts on their way through the mesh. Each is put into a bounded number of packets, the least told first.
struct RumourQueue: Sendable {
    /// What a rumour is about. A newer one about the same replaces it.
    enum Subject: Hashable, Sendable {
        case member(NodeName)
        case instance(NodeName, UInt32)
        case testimony(of: NodeName, on: NodeName)
        case survival(NodeName)
    }

    private struct Rumour: Sendable {
        var subject: Subject
        var fact: Fact
        var byteCount: Int
        var isUrgent: Bool
        var sends = 0
        /// Rising; the newest goes first among equals.
        var order: UInt64
    }

    /// More than a burst of joins of a large mesh. When full the rumour told most often goes; the digests repair what it leaves unsaid.
    static let rumoursMax = 1024
    /// No fact is shorter: tag, length, and an id with a name of one character.
    private static let factBytesMin = 3 + 10

    private var rumours: [Rumour] = []
    /// Looked up, never walked.
    private var index: [Subject: Int] = [:]
    private var order: UInt64 = 0
    private(set) var urgentCount = 0

    var isEmpty: Bool { rumours.isEmpty }
    var count: Int { rumours.count }

    mutating func add(_ fact: Fact, about subject: Subject, isUrgent: Bool) {
        order += 1
        if let known = index[subject] { remove(at: known) }
        if rumours.count >= Self.rumoursMax,
            let most = rumours.indices.max(by: { (rumours[$0].sends, rumours[$1].order) < (rumours[$1].sends, rumours[$0].order) })
        {
            remove(at: most)
        }
        index[subject] = rumours.count
        rumours.append(Rumour(subject: subject, fact: fact, byteCount: fact.encodedBytes, isUrgent: isUrgent, order: order))
        if isUrgent { urgentCount += 1 }
    }

    /// What it says has been overtaken.
    mutating func remove(_ subject: Subject) {
        if let known = index[subject] { remove(at: known) }
    }

    mutating func removeAll() {
        rumours = []
        index = [:]
        urgentCount = 0
    }

    /// Facts for one packet, counted as sent. Those that have been sent `sendsMax` times are spent.
    mutating func take(bytes budget: Int, sendsMax: Int) -> [Fact] {
        guard !rumours.isEmpty else { return [] }
        let order = rumours.indices.sorted {
            (rumours[$0].sends, rumours[$1].order) < (rumours[$1].sends, rumours[$0].order)
        }
        var left = budget
        var facts: [Fact] = []
        var spent: [Int] = []
        for index in order where rumours[index].byteCount <= left {
            left -= rumours[index].byteCount
            facts.append(rumours[index].fact)
            rumours[index].sends += 1
            if rumours[index].sends >= sendsMax { spent.append(index) }
            if left < Self.factBytesMin { break }
        }
        // From the back, so that the last rumour, which takes the free place, is never one still to be removed.
        for index in spent.sorted(by: >) { remove(at: index) }
        return facts
    }

    private mutating func remove(at place: Int) {
        index[rumours[place].subject] = nil
        if rumours[place].isUrgent { urgentCount -= 1 }
        let last = rumours.removeLast()
        guard place < rumours.count else { return }
        rumours[place] = last
        index[last.subject] = place
    }
}
