/// How long something took, with fixed bounds, so that what many members measured can be added up.
public struct DurationHistogram: Hashable, Sendable {
    /// Upper bounds of all buckets but the last, which has none.
    public static let bounds: [Duration] = [
        .microseconds(60), .microseconds(125), .microseconds(250), .microseconds(500), .milliseconds(1), .milliseconds(2),
        .milliseconds(4), .milliseconds(8), .milliseconds(16), .milliseconds(32), .milliseconds(64), .milliseconds(128),
        .milliseconds(256), .milliseconds(512),
    ]

    /// Samples a bucket, one more than ``bounds``. Each sample is in one bucket.
    public private(set) var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    public private(set) var sum = Duration.zero
    public var count: UInt64 { counts.reduce(0, +) }

    public init() {}

    public mutating func record(_ sample: Duration) {
        counts[Self.bounds.firstIndex { sample <= $0 } ?? Self.bounds.count] += 1
        sum += sample
    }
}
