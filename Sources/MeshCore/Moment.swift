/// The present, as a shell tells it to the core.
///
/// The core never asks for the time: each `step` is given one `Moment`. Two clocks travel together because they answer
/// different questions. `uptime` never runs backwards and is what every timeout is measured on; `wall` may jump and is
/// used only where two machines must compare dates (stamps and expiry).
public struct Moment: Hashable, Sendable {
    /// Nanoseconds on a monotonic clock. The origin means nothing.
    public var uptime: Int64
    /// Milliseconds since 1970-01-01 UTC, as this machine believes it.
    public var wall: Int64

    public init(uptime: Int64, wall: Int64) {
        self.uptime = uptime
        self.wall = wall
    }

    /// The time that has passed on the monotonic clock since `earlier`.
    public func since(_ earlier: Moment) -> Duration {
        .nanoseconds(uptime - earlier.uptime)
    }

    /// The moment `duration` later on both clocks.
    public func advanced(by duration: Duration) -> Moment {
        Moment(uptime: uptime + duration.nanoseconds, wall: wall + duration.nanoseconds / 1_000_000)
    }
}

extension Duration {
    /// Whole nanoseconds, saturating: a configured duration of centuries must not trap.
    public var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, carried) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return carried ? (seconds < 0 ? .min : .max) : sum
    }

    /// Whole milliseconds, rounded towards zero.
    public var milliseconds: Int64 { nanoseconds / 1_000_000 }
}
