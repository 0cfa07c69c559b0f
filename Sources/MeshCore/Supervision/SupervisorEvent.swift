/// Something that became of a supervised process.
public struct SupervisorEvent: Hashable, Sendable {
    /// Milliseconds since 1970-01-01 UTC.
    public var time: Int64
    public var post: Post
    public var launch: Launch
    /// Nil when there was no process.
    public var pid: Int32?
    public var kind: Kind

    public enum Kind: Hashable, Sendable {
        case spawned
        /// It may get requests. How long its start took.
        case ready(after: Duration)
        /// It is ready again, so long after the crash.
        case restarted(after: Duration)
        /// No heartbeat for so long: it is aborted.
        case hung(silence: Duration)
        case crashed(Crash)
        /// So many crashes in a row. It is tried again all the same, ever less often.
        case crashLooping(crashes: Int)
        /// A replacement is started, and stops it once it is ready.
        case replacing(Replacement)
        /// The replacement came to nothing; who served goes on.
        case notReplaced(Replacement, Crash)
        /// It ended because it was asked to, or by itself with code 0.
        case stopped(ProcessEnding)
    }

    public init(time: Int64, post: Post, launch: Launch, pid: Int32?, kind: Kind) {
        self.time = time
        self.post = post
        self.launch = launch
        self.pid = pid
        self.kind = kind
    }
}

/// How a process failed.
public struct Crash: Hashable, Sendable {
    public var reason: Reason
    /// Whether it had been ready, so that requests may have been inside it.
    public var wasReady: Bool
    /// What it last wrote to standard error, the oldest line first.
    public var lastLines: [String]

    public enum Reason: Hashable, Sendable {
        case ended(ProcessEnding)
        /// It couldn't be started at all.
        case notSpawned(String)
        /// It was killed because it wasn't ready in time; what is known of why.
        case notReady(after: Duration, hint: String?)
        /// It was aborted because its heartbeats had ceased.
        case hung(ProcessEnding)
        /// It ended at once, with code 0, and left processes of its own in the background, where nobody could look after them.
        case forkedAway
    }

    public init(reason: Reason, wasReady: Bool, lastLines: [String]) {
        self.reason = reason
        self.wasReady = wasReady
        self.lastLines = lastLines
    }
}

/// Why a worker that serves is replaced.
public enum Replacement: String, Hashable, Sendable {
    case restart
    case age
    case memory
    case requests
}
