import HeapModule

/// What is to come: in the order of time and, at one time, in the order in which it was put there.
struct Timeline<Happening: Sendable>: Sendable {
    /// Small, because a heap moves its elements about; what happens waits in ``places``.
    private struct Key: Comparable, Sendable {
        let at: Int64
        let order: UInt64
        let place: Int

        static func < (lhs: Key, rhs: Key) -> Bool { lhs.at == rhs.at ? lhs.order < rhs.order : lhs.at < rhs.at }
        static func == (lhs: Key, rhs: Key) -> Bool { lhs.order == rhs.order }
    }

    private var keys = Heap<Key>()
    private var places: [Happening?] = []
    private var free: [Int] = []
    private var count: UInt64 = 0

    mutating func insert(_ happening: Happening, at time: Int64) {
        count += 1
        let place: Int
        if let empty = free.popLast() {
            place = empty
            places[place] = happening
        } else {
            place = places.count
            places.append(happening)
        }
        keys.insert(Key(at: time, order: count, place: place))
    }

    /// The next one, unless it is due after `end`.
    mutating func next(until end: Int64) -> (at: Int64, Happening)? {
        guard let first = keys.min, first.at <= end, let happening = places[first.place].take() else { return nil }
        keys.removeMin()
        free.append(first.place)
        return (first.at, happening)
    }
}
