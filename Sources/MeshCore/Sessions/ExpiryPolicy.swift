/// When a session ends by itself, as far as it doesn't say otherwise. In whole milliseconds: every read reckons with it, and a `Duration`
/// has 128 bits.
public struct ExpiryPolicy: Hashable, Sendable {
    /// How long without a request. Default 30 minutes. Longer holds more in memory.
    public var idle: Duration {
        get { .milliseconds(idleMilliseconds) }
        set { idleMilliseconds = newValue.milliseconds }
    }

    /// How long at most, requests or not; nil for no such end. Default nil. Limits what a stolen cookie is worth.
    public var absolute: Duration? {
        get { absoluteMilliseconds.map { .milliseconds($0) } }
        set { absoluteMilliseconds = newValue?.milliseconds }
    }

    /// Whether a request is enough to go on. Otherwise the idle time counts from the last commit. Default true.
    public var isRolling: Bool

    private(set) var idleMilliseconds: Int64
    private(set) var absoluteMilliseconds: Int64?

    public init(idle: Duration = .seconds(1800), absolute: Duration? = nil, isRolling: Bool = true) {
        idleMilliseconds = idle.milliseconds
        absoluteMilliseconds = absolute?.milliseconds
        self.isRolling = isRolling
    }

    /// Accesses are written down only when they moved the date by this much; the idle time is longer by as much. Of an active session that is
    /// one write in ten seconds, and in ninety of one that may idle for half an hour.
    public static func accessSlack(idle: Duration) -> Duration { .milliseconds(accessSlack(idleMilliseconds: idle.milliseconds)) }
    static func accessSlack(idleMilliseconds: Int64) -> Int64 { max(10_000, idleMilliseconds / 20) }

    /// By how much the clocks that two owners go by may differ. The idle time is longer by this as well, so that no takeover ends a session
    /// early.
    public static let skew = Duration.milliseconds(skewMilliseconds)
    static let skewMilliseconds = 2 * MeshClock.leeway
}
