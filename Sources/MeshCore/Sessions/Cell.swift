/// The value of one field, in a form that merges: in any order, any number of times, with the same result.
public enum Cell: Hashable, Sendable {
    /// Last writer wins. Nil bytes say that the field was removed.
    case register(Version, [UInt8]?)
    case counter(Counter)

    /// What decides between a register and a counter of one name. A counter carries the version of the register that it took the
    /// place of, and goes before that one.
    private var precedence: (Version, Int) {
        switch self {
        case .register(let version, _): (version, 0)
        case .counter(let counter): (counter.origin, 1)
        }
    }

    public mutating func merge(_ other: Cell) {
        switch (self, other) {
        case (.counter(var mine), .counter(let theirs)) where mine.origin == theirs.origin:
            mine.merge(theirs)
            self = .counter(mine)
        case (.register(let version, let mine), .register(let otherVersion, let theirs)) where version == otherVersion:
            // One version, one value; should they differ all the same, every copy must still choose alike.
            if (mine ?? []).lexicographicallyPrecedes(theirs ?? []) { self = .register(version, theirs) }
        default:
            if precedence < other.precedence { self = other }
        }
    }

    /// Bytes this cell counts for against the limits of a session.
    public var byteCount: Int {
        switch self {
        case .register(_, let bytes): bytes?.count ?? 0
        case .counter: 8
        }
    }

    public var isRemoved: Bool {
        if case .register(_, nil) = self { true } else { false }
    }
}

/// A number that many may add to at once. Each life of a node keeps its own sum, so no increment meets another.
public struct Counter: Hashable, Sendable {
    /// The version of what this counter replaced; zero when there was nothing. Two counters of different origin are strangers.
    public internal(set) var origin: Version
    /// What lives up to and including `foldedThrough` added up to.
    public internal(set) var base: Int64 = 0
    public internal(set) var foldedThrough = Life(rawValue: 0)
    /// In the order of their lives.
    public internal(set) var parts: [Part] = []

    /// The sum of one life. That life alone writes it, and its count of writes says which copy is newer.
    public struct Part: Hashable, Sendable {
        public var life: Life
        public var writes: UInt32
        public var sum: Int64
    }

    /// A session is written by one primary at a time, so parts gather only as primaries change. Older ones are folded into the
    /// base beyond this many.
    public static let partsMax = 16

    public init(origin: Version = .zero) {
        self.origin = origin
    }

    public var value: Int64 { parts.reduce(base) { $0 &+ $1.sum } }

    /// Adds on behalf of `life`. False, and nothing changed, when the value would not fit 64 bits.
    public mutating func add(_ amount: Int64, by life: Life) -> Bool {
        guard !value.addingReportingOverflow(amount).overflow else { return false }
        if let index = parts.firstIndex(where: { $0.life == life }) {
            guard !parts[index].sum.addingReportingOverflow(amount).overflow, parts[index].writes < .max else { return false }
            parts[index].sum += amount
            parts[index].writes += 1
        } else {
            insert(Part(life: life, writes: 1, sum: amount))
            fold()
        }
        return true
    }

    mutating func merge(_ other: Counter) {
        if (foldedThrough, base) < (other.foldedThrough, other.base) {
            foldedThrough = other.foldedThrough
            base = other.base
            parts.removeAll { $0.life <= foldedThrough }
        }
        for part in other.parts where part.life > foldedThrough {
            if let index = parts.firstIndex(where: { $0.life == part.life }) {
                if (parts[index].writes, parts[index].sum) < (part.writes, part.sum) { parts[index] = part }
            } else {
                insert(part)
            }
        }
    }

    private mutating func insert(_ part: Part) {
        parts.insert(part, at: parts.firstIndex { part.life < $0.life } ?? parts.endIndex)
    }

    private mutating func fold() {
        while parts.count > Self.partsMax {
            let oldest = parts.removeFirst()
            base &+= oldest.sum
            foldedThrough = oldest.life
        }
    }
}
