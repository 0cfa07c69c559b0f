/// Follows one body to its end.
public struct BodyTracker: Sendable {
    private enum Rest: Sendable {
        case ended
        case length(Int)
        case chunked(ChunkScanner)
        case untilClose
    }

    private var rest: Rest

    public init(_ framing: BodyFraming) {
        rest =
            switch framing {
            case .none: .ended
            case .length(let count): count == 0 ? .ended : .length(count)
            case .chunked: .chunked(ChunkScanner())
            case .untilClose: .untilClose
            }
    }

    public var isEnded: Bool { if case .ended = rest { true } else { false } }
    public var endsWithConnection: Bool { if case .untilClose = rest { true } else { false } }

    /// How many of `bytes` belong to the body; nil when its framing is broken.
    /// - Parameter data: called with each range that is content and not framing.
    public mutating func consume(_ bytes: UnsafeRawBufferPointer, data: (Range<Int>) -> Void = { _ in }) -> Int? {
        switch rest {
        case .ended: return 0
        case .untilClose:
            data(0..<bytes.count)
            return bytes.count
        case .length(let remaining):
            let taken = min(remaining, bytes.count)
            rest = taken == remaining ? .ended : .length(remaining - taken)
            data(0..<taken)
            return taken
        case .chunked(var scanner):
            switch scanner.consume(bytes, data: data) {
            case .more:
                rest = .chunked(scanner)
                return bytes.count
            case .end(let count):
                rest = .ended
                return count
            case .fault: return nil
            }
        }
    }
}
