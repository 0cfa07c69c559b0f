public import MeshCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The present of this machine, for the core that may not ask for it.
public enum SystemClock {
    /// The continuous clock goes on while the machine sleeps, so an agent that was suspended sees how long it was away.
    private static let origin = ContinuousClock.now

    public static func now() -> Moment {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let wall = Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
        return Moment(uptime: origin.duration(to: .now).nanoseconds, wall: wall)
    }
}
