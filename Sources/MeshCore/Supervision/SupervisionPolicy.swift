/// When processes are started again, taken for hung, and replaced.
public struct SupervisionPolicy: Hashable, Sendable {
    /// How long a process may take from its start until it is ready; after that it is killed, which counts as a crash. Default 60 s. More keeps
    /// one that hangs at its start for longer.
    public var readyTimeout: Duration = .seconds(60)
    /// After a first crash a process is started at once; then after a time drawn from nothing up to the lower bound, which doubles with each
    /// crash in a row up to the upper one. Default 100 ms and 30 s. It never ends: a worker that can't start today may tomorrow.
    public var backoff: ClosedRange<Duration> = .milliseconds(100) ... .seconds(30)
    /// Crashes are in a row until a process was ready for as long. Default 60 s.
    public var healthyAfter: Duration = .seconds(60)
    /// As many crashes in a row are a crash loop, which is told. Default 5, which takes less than a second.
    public var crashLoopAfter = 5
    /// A process that has sent heartbeats, and none for as long, gets no new requests until it sends one. Default 3 s.
    public var silenceMax: Duration = .seconds(3)
    /// After as long without a heartbeat it is taken for hung, and aborted, so that it leaves a trace of where. Default 10 s.
    public var hangTimeout: Duration = .seconds(10)
    /// Between the abort and the kill. Default 2 s: time to write a trace.
    public var abortGrace: Duration = .seconds(2)
    /// Between a worker's end as an instance and its SIGTERM, so that balancers know before it stops listening. Default 200 ms, some rounds of
    /// gossip.
    public var drainPause: Duration = .milliseconds(200)
    /// Between a worker's SIGTERM and SIGKILL. Default 30 s: requests may take as long to finish.
    public var stopTimeout: Duration = .seconds(30)
    public var recycling = Recycling()

    /// When a worker is replaced though nothing is wrong with it, one at a time. Each limit is drawn anew for each process from 90 % to 100 % of
    /// it, so that workers that were started together are not all due together. Nil is no limit, the default.
    public struct Recycling: Hashable, Sendable {
        public var age: Duration?
        /// Bytes of resident memory, children included. Looked at when a worker has been ready for ten seconds: a limit below what the program
        /// needs anyway costs no more than a start in as long.
        public var memory: UInt64?
        /// Requests served, as the program counts them.
        public var requests: UInt64?

        static let memoryPause = Duration.seconds(10)

        public init(age: Duration? = nil, memory: UInt64? = nil, requests: UInt64? = nil) {
            self.age = age
            self.memory = memory
            self.requests = requests
        }
    }

    public init() {}
}
