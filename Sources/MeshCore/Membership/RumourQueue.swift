/// Facts on their way through the mesh. Each is put into a bounded number of packets, the least told first.
struct RumourQueue: Sendable {
    /// What a rumour is about. A newer one about the same replaces it.
    enum Subject: Hashable, Sendable {
        case member(NodeName)
        case instance(NodeName, UInt32)
        case testimony(of: NodeName, on: NodeName)
        case survival(NodeName)

        /// Whether two views that differ in it have different digests.
        var isInDigest: Bool {
            switch self {
            case .member, .instance: true
            case .testimony, .survival: false
            }
        }
    }

    private struct Rumour: Sendable {
        var subject: Subject
        var fact: Fact
        var isUrgent: Bool
        var turn: Turn
    }

    /// When a rumour goes out: what has been sent less often goes first, and the newest first among equals.
    private struct Turn: Comparable, Sendable {
        var sends = 0
        /// Rising.
        let order: UInt64
        /// Beside the order, so that a packet is filled without looking at rumours that don't go into it.
        let byteCount: Int
        let place: Int

        static func < (lhs: Turn, rhs: Turn) -> Bool { (lhs.sends, rhs.order) < (rhs.sends, lhs.order) }
    }

    /// More than a burst of joins of a large mesh. When full the rumour told most often goes; the digests repair what it leaves unsaid.
    static let rumoursMax = 1024
    /// No fact is shorter: tag, length, and an id with a name of one character.
    private static let factBytesMin = 3 + 10

    /// Each at a place of its own; nil at one that is free.
    private var rumours: [Rumour?] = []
    private var free: [Int] = []
    /// The last goes out first, so that those of a packet are taken from the end. Kept in order rather than sorted for each packet: while a
    /// large mesh starts the queue is full, and each packet changes the turns of a dozen.
    private var turns: [Turn] = []
    /// Looked up, never walked.
    private var places: [Subject: Int] = [:]
    private var order: UInt64 = 0
    private(set) var urgentCount = 0

    var isEmpty: Bool { turns.isEmpty }
    var count: Int { turns.count }

    mutating func add(_ fact: Fact, about subject: Subject, isUrgent: Bool) {
        order += 1
        remove(subject)
        if turns.count >= Self.rumoursMax, let last = turns.first { remove(at: last.place) }
        let place = free.popLast() ?? rumours.endIndex
        let turn = Turn(order: order, byteCount: fact.encodedBytes, place: place)
        let rumour = Rumour(subject: subject, fact: fact, isUrgent: isUrgent, turn: turn)
        if place < rumours.endIndex { rumours[place] = rumour } else { rumours.append(rumour) }
        places[subject] = place
        turns.insert(turn, at: position(of: turn))
        if isUrgent { urgentCount += 1 }
    }

    /// What it says has been overtaken.
    mutating func remove(_ subject: Subject) {
        if let known = places[subject] { remove(at: known) }
    }

    mutating func removeAll() {
        rumours = []
        free = []
        turns = []
        places = [:]
        urgentCount = 0
    }

    /// Facts for one packet, counted as sent. Those that have been sent `sendsMax` times are spent.
    mutating func take(bytes budget: Int, sendsMax: Int) -> [Fact] {
        var left = budget
        var facts: [Fact] = []
        var taken: [Turn] = []
        for index in turns.indices.reversed() where turns[index].byteCount <= left {
            let turn = turns[index]
            guard let fact = rumours[turn.place]?.fact else { continue }
            left -= turn.byteCount
            facts.append(fact)
            taken.append(turn)
            if left < Self.factBytesMin { break }
        }
        for turn in taken {
            if turn.sends + 1 >= sendsMax { remove(at: turn.place) } else { sent(turn) }
        }
        return facts
    }

    /// Somebody's digest says that it knows all that a digest covers: each of these rumours counts as sent to it.
    mutating func countAsSent(sendsMax: Int) {
        var spent: [Int] = []
        for index in turns.indices {
            let place = turns[index].place
            guard rumours[place]?.subject.isInDigest ?? false else { continue }
            turns[index].sends += 1
            rumours[place]?.turn.sends += 1
            if turns[index].sends >= sendsMax { spent.append(place) }
        }
        // Those that are not in digests have been overtaken; as a rule there are none.
        turns.sort(by: >)
        for place in spent { remove(at: place) }
    }

    /// Puts the rumour among those that were sent once more.
    private mutating func sent(_ former: Turn) {
        var turn = former
        turn.sends += 1
        turns.remove(at: position(of: former))
        turns.insert(turn, at: position(of: turn))
        rumours[turn.place]?.turn = turn
    }

    private mutating func remove(at place: Int) {
        guard let rumour = rumours[place].take() else { return }
        free.append(place)
        places[rumour.subject] = nil
        turns.remove(at: position(of: rumour.turn))
        if rumour.isUrgent { urgentCount -= 1 }
    }

    /// Where the turn is, or would be.
    private func position(of turn: Turn) -> Int {
        turns.partitioningIndex { turn >= $0 }
    }
}
