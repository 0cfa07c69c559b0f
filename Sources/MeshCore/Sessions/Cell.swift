/// The value of one field, in a form that merges: in any order, any number of times, with the same result.
public enum Cell: Hashable, Sendable {
    /// Last writer wins. Nil bytes say that the field was removed.
    case register(Version, [UInt8]?)
    case counter(Counter)
    case set(ElementSet)
    case maximum(Maximum)

    /// What decides between cells of different kind or origin. One that is no register carries the version of the register that it took the
    /// place of, and goes before that one; of two such the later kind here.
    private var precedence: (Version, Int) {
        switch self {
        case .register(let version, _): (version, 0)
        case .counter(let counter): (counter.origin, 1)
        case .set(let set): (set.origin, 2)
        case .maximum(let maximum): (maximum.origin, 3)
        }
    }

    /// The origin of a cell of another kind that takes the place of this one in a write of that version.
    func origin(replacedAt version: Version) -> Version {
        // Two sides of a cut that both replace one register make one cell of it when they meet.
        if case .register(let replaced, _) = self { replaced } else { version }
    }

    public mutating func merge(_ other: Cell) {
        switch (self, other) {
        case (.counter(var mine), .counter(let theirs)) where mine.origin == theirs.origin:
            mine.merge(theirs)
            self = .counter(mine)
        case (.set(var mine), .set(let theirs)) where mine.origin == theirs.origin:
            mine.merge(theirs)
            self = .set(mine)
        case (.maximum(let mine), .maximum(let theirs)) where mine.origin == theirs.origin:
            if mine.value < theirs.value { self = other }
        case (.register(let version, let mine), .register(let otherVersion, let theirs)) where version == otherVersion:
            // One version, one value; should they differ all the same, every copy must still choose alike.
            if Self.precedes(mine, theirs) { self = .register(version, theirs) }
        default:
            if precedence < other.precedence { self = other }
        }
    }

    private static func precedes(_ bytes: [UInt8]?, _ other: [UInt8]?) -> Bool {
        guard let other else { return false }
        return bytes?.lexicographicallyPrecedes(other) ?? true
    }

    /// Bytes this cell counts for against the limits of a session.
    public var byteCount: Int {
        switch self {
        case .register(_, let bytes): bytes?.count ?? 0
        case .counter, .maximum: 8
        case .set(let set): set.elements.reduce(0) { $0 + ($1.isRemoved ? 0 : $1.bytes.count) }
        }
    }

    public var isRemoved: Bool {
        if case .register(_, nil) = self { true } else { false }
    }
}

/// A number that many may add to at once. Each writer keeps a sum of its own, so no increment meets another.
///
/// A session has one primary at a time, and it adds to the last part, if that is its own, or begins a new one. So a part that is not the
/// last any more is never written again, and the oldest can be folded into the base. (Two sides of a cut may each add to a last part;
/// nothing is lost as long as neither folds what the other still adds to, sixteen takeovers later.)
public struct Counter: Hashable, Sendable {
    /// The version of what this counter replaced; zero when there was nothing. Two counters of different origin are strangers.
    public internal(set) var origin: Version
    /// What parts up to and including the one begun at `foldedThrough` added up to.
    public internal(set) var base: Int64 = 0
    public internal(set) var foldedThrough = Version.zero
    /// In the order of their beginnings.
    public internal(set) var parts: [Part] = []

    /// What one life added while it was primary. It alone writes it, and the count of writes says which copy is newer.
    public struct Part: Hashable, Sendable {
        /// The version of the first write. No other part has it.
        public var start: Version
        public var writes: UInt32
        public var sum: Int64
    }

    /// Parts gather only as primaries change. A writer folds older ones into the base beyond this many.
    public static let partsMax = 16
    /// Two copies may bring together more than either had. Beyond this many a merge folds too, as a safety valve.
    static let partsWireMax = 64

    public init(origin: Version = .zero) {
        self.origin = origin
    }

    public var value: Int64 { parts.reduce(base) { $0 &+ $1.sum } }

    /// Adds in a write of that version. False, and nothing changed, when the value would not fit 64 bits.
    public mutating func add(_ amount: Int64, version: Version) -> Bool {
        guard !value.addingReportingOverflow(amount).overflow else { return false }
        if let last = parts.last, last.start.life == version.life, last.writes < .max {
            let (sum, overflow) = last.sum.addingReportingOverflow(amount)
            guard !overflow else { return false }
            parts[parts.count - 1] = Part(start: last.start, writes: last.writes + 1, sum: sum)
        } else {
            insert(Part(start: version, writes: 1, sum: amount))
            fold(beyond: Self.partsMax)
        }
        return true
    }

    mutating func merge(_ other: Counter) {
        if (foldedThrough, base) < (other.foldedThrough, other.base) {
            foldedThrough = other.foldedThrough
            base = other.base
            parts.removeAll { $0.start <= foldedThrough }
        }
        for part in other.parts where part.start > foldedThrough {
            if let index = parts.firstIndex(where: { $0.start == part.start }) {
                if (parts[index].writes, parts[index].sum) < (part.writes, part.sum) { parts[index] = part }
            } else {
                insert(part)
            }
        }
        fold(beyond: Self.partsWireMax)
    }

    private mutating func insert(_ part: Part) {
        parts.insert(part, at: parts.firstIndex { part.start < $0.start } ?? parts.endIndex)
    }

    private mutating func fold(beyond count: Int) {
        while parts.count > count {
            let oldest = parts.removeFirst()
            base &+= oldest.sum
            foldedThrough = oldest.start
        }
    }
}
