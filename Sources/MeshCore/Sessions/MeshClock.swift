/// The wall clock that stamps and expiry use: this machine's, held within five seconds of what the mesh's middle clock says.
///
/// One machine an hour ahead would expire everybody's sessions when it takes over a slot. Peers tell each other their time
/// over the peer links; the median of what they say is safe as long as most clocks are right. With two machines nobody can tell which is
/// wrong, and the earlier is taken: to expire late is the lesser harm.
public struct MeshClock: Sendable {
    /// What each peer's wall clock shows where our monotonic clock shows zero, in milliseconds. Held against the monotonic clock,
    /// because our own wall clock may be the one that jumps.
    private var zeros: [NodeName: Int64] = [:] {
        didSet { sorted = zeros.values.sorted() }
    }
    /// The same, the least first: the time is asked for at every request, and told once in a while.
    private var sorted: [Int64] = []

    public static let leeway: Int64 = 5000

    public init() {}

    public mutating func heard(_ peer: NodeName, saying theirWall: Int64, at now: Moment) {
        zeros[peer] = theirWall - now.uptime / 1_000_000
    }

    /// Forgets all but these. The dead are worth keeping for a while: alone, one wrong clock would have nothing to be held against.
    public mutating func keep(only isKnown: (NodeName) -> Bool) {
        zeros = zeros.filter { isKnown($0.key) }
    }

    /// Unix milliseconds.
    public func wall(at now: Moment) -> Int64 {
        let median = median(with: now.wall - now.uptime / 1_000_000) + now.uptime / 1_000_000
        return min(max(now.wall, median - Self.leeway), median + Self.leeway)
    }

    /// The middle one of theirs and ours; of two the earlier.
    private func median(with ours: Int64) -> Int64 {
        // Ours pushes those behind it up by one place.
        let middle = sorted.count / 2
        if middle < sorted.count, sorted[middle] < ours { return sorted[middle] }
        if middle > 0, ours < sorted[middle - 1] { return sorted[middle - 1] }
        return ours
    }
}
