/// Some of the 4096 slots, a bit each.
public struct SlotSet: Hashable, Sendable {
    private var words: [UInt64]

    static let wireBytes = Slot.count / 8

    public init() { words = Array(repeating: 0, count: Slot.count / 64) }

    public static let all: SlotSet = {
        var set = SlotSet()
        set.words = Array(repeating: .max, count: Slot.count / 64)
        return set
    }()

    public var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

    public func contains(_ slot: Slot) -> Bool { words[Int(slot.rawValue) / 64] & Self.bit(slot) != 0 }
    public mutating func insert(_ slot: Slot) { words[Int(slot.rawValue) / 64] |= Self.bit(slot) }
    public mutating func remove(_ slot: Slot) { words[Int(slot.rawValue) / 64] &= ~Self.bit(slot) }

    public mutating func subtract(_ other: SlotSet) {
        for index in words.indices { words[index] &= ~other.words[index] }
    }

    private static func bit(_ slot: Slot) -> UInt64 { 1 << (63 - UInt64(slot.rawValue) % 64) }

    fileprivate func write(to writer: inout ByteWriter) {
        for word in words { writer.write(word) }
    }

    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.init()
        for index in words.indices { words[index] = try reader.read() }
    }
}

extension ByteWriter {
    mutating func write(_ slots: SlotSet) { slots.write(to: &self) }
}

extension ByteReader {
    mutating func readSlotSet() throws(WireError) -> SlotSet { try SlotSet(from: &self) }
}
