/// What a supervisor knows of one process.
public struct WorkerStatus: Hashable, Sendable {
    public var post: Post
    public var launch: Launch?
    public var pid: Int32?
    public var state: State
    /// Since when it is ready, or was started; milliseconds since 1970-01-01 UTC.
    public var since: Int64?
    /// How often it was started again after a crash, since the supervisor's start.
    public var restarts: Int
    public var memory: UInt64?
    public var requests: UInt64?

    public enum State: String, Hashable, Sendable {
        case starting
        case ready
        /// Ready, but without a heartbeat for so long that it gets no new requests.
        case silent
        /// It crashed and is started again in a moment.
        case waiting
        case crashLooping = "crash-looping"
        case stopping
        /// It ended by itself with code 0, and is not started again.
        case ended
    }
}

/// How often things happened since a supervisor's start.
public struct SupervisorCounters: Hashable, Sendable {
    public var spawned: UInt64 = 0
    public var crashes: UInt64 = 0
    public var restarts: UInt64 = 0
    public var hangs: UInt64 = 0
    public var replacements: UInt64 = 0

    public init() {}
}
