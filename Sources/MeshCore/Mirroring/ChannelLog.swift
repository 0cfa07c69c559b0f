/// A place in the log of a channel slot.
public struct ChannelMark: Hashable, Sendable {
    /// Drawn when the log was begun. One that was emptied begins another.
    public var generation: UInt64
    /// Of the last item that stands before the place; the first of a generation is 1.
    public var offset: UInt64

    /// Before the first item of a log that was never begun.
    public static let beginning = ChannelMark(generation: 0, offset: 0)

    public init(generation: UInt64, offset: UInt64) {
        self.generation = generation
        self.offset = offset
    }
}

/// One item in the log of a channel slot.
public struct ChannelItem: Hashable, Sendable {
    public var mark: ChannelMark
    public var payload: [UInt8]

    /// As much as fits a Memcached item with room to spare.
    public static let payloadMax = 64 << 10

    public init(mark: ChannelMark, payload: [UInt8]) {
        self.mark = mark
        self.payload = payload
    }
}

/// What stands behind a place in the log of a channel slot.
public struct ChannelTail: Hashable, Sendable {
    /// In the order in which they were appended.
    public var items: [ChannelItem]
    /// Where to go on.
    public var mark: ChannelMark
    /// Something before ``mark`` is not among the items and was not before: the log was cut, emptied or has a hole.
    public var isGapped: Bool

    /// In one answer.
    public static let itemsMax = 256
    /// Of the payloads in one answer: sixteen of the largest.
    public static let bytesMax = 1 << 20
    /// That a mirror keeps of a slot at least, while nothing is lost. Older ones are cut off.
    public static let keptMin = 4096

    public init(items: [ChannelItem], mark: ChannelMark, isGapped: Bool) {
        self.items = items
        self.mark = mark
        self.isGapped = isGapped
    }
}
