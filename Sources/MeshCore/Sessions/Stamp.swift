/// A date that never repeats within a session: milliseconds in the upper 48 bits, a counter in the lower 16.
///
/// A hybrid logical clock: stamps of one session only rise, whatever the wall clock does, and stay near it when it is right.
/// Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.
public struct Stamp: RawRepresentable, Hashable, Comparable, Sendable {
    public let rawValue: UInt64

    public static let zero = Stamp(rawValue: 0)

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    public init(wall milliseconds: Int64) {
        rawValue = UInt64(max(0, milliseconds)) << 16
    }

    /// The stamp of a write: after `latest`, and not before the wall clock.
    public init(after latest: Stamp, wall milliseconds: Int64) {
        let (next, overflow) = latest.rawValue.addingReportingOverflow(1)
        rawValue = max(overflow ? .max : next, Stamp(wall: milliseconds).rawValue)
    }

    public var milliseconds: Int64 { Int64(rawValue >> 16) }

    public static func < (lhs: Stamp, rhs: Stamp) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// What decides between two values of one cell: the later stamp, then the greater life.
public struct Version: Hashable, Comparable, Sendable {
    public var stamp: Stamp
    /// The life of the node that wrote.
    public var life: Life

    static let byteCount = 16

    public static let zero = Version(stamp: .zero, life: Life(rawValue: 0))

    public init(stamp: Stamp, life: Life) {
        self.stamp = stamp
        self.life = life
    }

    public static func < (lhs: Version, rhs: Version) -> Bool { (lhs.stamp, lhs.life) < (rhs.stamp, rhs.life) }
}
