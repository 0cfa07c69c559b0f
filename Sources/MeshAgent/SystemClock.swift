import Glibc
public import MeshCore

/// The present of this machine, for the core that may not ask for it.
public enum SystemClock {
    /// This clock goes on while the machine sleeps, so an agent that was suspended sees how long it was away. Swift's continuous clock is the
    /// same one, behind arithmetic with 128 bits; this is asked at every request.
    private static let origin = nanoseconds(of: CLOCK_BOOTTIME)

    public static func now() -> Moment {
        let origin = origin
        return Moment(uptime: nanoseconds(of: CLOCK_BOOTTIME) - origin, wall: nanoseconds(of: CLOCK_REALTIME) / 1_000_000)
    }

    private static func nanoseconds(of clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
