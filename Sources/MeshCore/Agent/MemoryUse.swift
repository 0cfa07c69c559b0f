/// About what the sessions of an agent take of its memory.
///
/// A slot is measured each time it is looked over, which is within a minute; in between, what comes is added. To keep the very sum would cost every
/// change of every field a subtraction and an addition, for a bound that is a round number.
struct MemoryUse: Sendable {
    private var slots = [Int](repeating: 0, count: Slot.count)
    private(set) var bytes = 0

    mutating func add(_ state: SessionState, in slot: Slot) {
        slots[Int(slot.rawValue)] += state.memoryBytes
        bytes += state.memoryBytes
    }

    mutating func measured(_ measure: Int, in index: Int) {
        bytes += measure - slots[index]
        slots[index] = measure
    }
}

extension SessionState {
    /// About what holding it takes: what is its own, and its place in a table with room to grow.
    var memoryBytes: Int { 300 + byteCount }
}
