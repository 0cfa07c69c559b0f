/// A set that many may add to and remove from at once: each element merges by itself, the later word counts.
public struct ElementSet: Hashable, Sendable {
    /// The version of what this set replaced; zero when there was nothing. Two sets of different origin are strangers.
    public internal(set) var origin: Version
    /// In the order of their bytes, those that were removed lately among them.
    public internal(set) var elements: [Element] = []

    public struct Element: Hashable, Sendable {
        public var bytes: [UInt8]
        /// Of the last word on it.
        public var version: Version
        public var isRemoved: Bool

        /// What decides between two words on one element.
        fileprivate var precedence: (Version, Int) { (version, isRemoved ? 0 : 1) }
    }

    /// Removals that are remembered, so that a late copy doesn't bring an element back. Each costs a mirror one entry.
    static let removalsMax = 16
    /// Two copies may bring together more than either may be given. Of more present ones a merge keeps the newest.
    static let presentMax = 2 * SessionLimits.elementsMax
    static let elementsWireMax = presentMax + removalsMax

    public init(origin: Version = .zero) {
        self.origin = origin
    }

    /// In the order of their bytes.
    public var present: [[UInt8]] { elements.filter { !$0.isRemoved }.map(\.bytes) }

    public func contains(_ bytes: [UInt8]) -> Bool {
        let index = position(of: bytes)
        return index < elements.endIndex && elements[index].bytes == bytes && !elements[index].isRemoved
    }

    /// Adds or removes in a write of that version, whose last word on an element counts.
    mutating func set(_ bytes: [UInt8], isRemoved: Bool, version: Version) {
        place(Element(bytes: bytes, version: version, isRemoved: isRemoved)) { _ in true }
        forget()
    }

    mutating func merge(_ other: ElementSet) {
        for element in other.elements { place(element) { $0.precedence < element.precedence } }
        forget()
    }

    /// Puts an element where it belongs, in place of an earlier word on it that it replaces.
    private mutating func place(_ element: Element, replacing isReplaced: (Element) -> Bool) {
        let index = position(of: element.bytes)
        if index == elements.endIndex || elements[index].bytes != element.bytes {
            elements.insert(element, at: index)
        } else if isReplaced(elements[index]) {
            elements[index] = element
        }
    }

    /// The oldest first. A copy that still has such an element could bring it back, but of sixteen removals ago nobody has one but a peer
    /// long lost.
    private mutating func forget() {
        guard elements.count > Self.removalsMax else { return }
        forget(beyond: Self.removalsMax) { $0.isRemoved }
        if elements.count > Self.presentMax { forget(beyond: Self.presentMax) { !$0.isRemoved } }
    }

    private mutating func forget(beyond count: Int, of kind: (Element) -> Bool) {
        let versions = elements.filter(kind).map { ($0.version, $0.bytes) }
        guard versions.count > count else { return }
        let oldest = versions.sorted { $0.0 == $1.0 ? $0.1.lexicographicallyPrecedes($1.1) : $0.0 < $1.0 }
        let forgotten = Set(oldest.prefix(versions.count - count).map(\.1))
        elements.removeAll { kind($0) && forgotten.contains($0.bytes) }
    }

    /// Where it is, or would be.
    private func position(of bytes: [UInt8]) -> Int {
        elements.partitioningIndex { !$0.bytes.lexicographicallyPrecedes(bytes) }
    }
}

/// A number that only rises: of two the greater counts.
public struct Maximum: Hashable, Sendable {
    /// The version of what this replaced; zero when there was nothing. Two of different origin are strangers.
    public internal(set) var origin: Version
    public internal(set) var value: Int64
}
