/// How long an instance may stay silent before a safe request is given to the next rank: a frozen process sends no reset.
///
/// max(1 s, 4 x p99) of the time to the first byte of answer, so that an application that is slow as a rule is not asked twice. Latencies are kept in
/// buckets of a power of two of milliseconds; all are halved every 4096, so the past fades.
public struct SilenceLimit: Sendable {
    private var buckets: [UInt32] = Array(repeating: 0, count: 24)
    private var count: UInt32 = 0

    public let shortest: Duration

    /// - Parameter shortest: never less than this. Default 1 s.
    public init(shortest: Duration = .seconds(1)) {
        self.shortest = shortest
    }

    public mutating func record(milliseconds: Int) {
        let bits = Int.bitWidth - max(0, milliseconds).leadingZeroBitCount
        buckets[min(bits, buckets.count - 1)] += 1
        count += 1
        if count >= 4096 {
            count = 0
            for index in buckets.indices {
                buckets[index] /= 2
                count += buckets[index]
            }
        }
    }

    public var current: Duration {
        var rest = count / 100
        for index in buckets.indices.reversed() {
            if buckets[index] > rest { return max(shortest, .milliseconds(4 << index)) }
            rest -= buckets[index]
        }
        return shortest
    }
}
