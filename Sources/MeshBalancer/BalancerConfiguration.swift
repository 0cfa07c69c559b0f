public import MeshCore

/// How a balancer behaves. Everything has a default that works; times are measured to about 35 ms.
public struct BalancerConfiguration: Sendable {
    /// Where clients come in. Port 0 lets the system choose.
    public var listen: Endpoint
    /// Loops, each a thread of its own with its own listener on the same port. Default 1; more than there are cores helps nobody.
    public var loops = 1
    /// Makes each loop's algorithm for visitors that are bound to nobody. Default least connections.
    public var algorithm: @Sendable () -> any BalancingAlgorithm = { LeastConnections() }
    public var retry = RetryPolicy()
    public var timeouts = Timeouts()
    public var limits = Limits()

    public init(listen: Endpoint) {
        self.listen = listen
    }

    public struct Timeouts: Sendable {
        /// For a TCP connection to an instance. Default 1 s.
        public var connect: Duration = .seconds(1)
        /// The same for an instance whose node is suspect, and how long it may stay silent on a safe request. Default 100 ms.
        public var suspect: Duration = .milliseconds(100)
        /// From the first byte of a request head to its blank line, in total and not per read, so that a byte a second gains nothing. Default 10 s, then 408.
        public var requestHead: Duration = .seconds(10)
        /// Without a byte of a request body that is due. Default 30 s, then 408.
        public var requestBodyIdle: Duration = .seconds(30)
        /// A safe request whose instance is silent for longer than this, or 4 x p99 if that is more, goes to the next rank. Default 1 s.
        public var silence: Duration = .seconds(1)
        /// From the request's last byte to the blank line of the response head. Default 60 s, then 504. No longer than ``silence`` once the instance's
        /// node has died in silence.
        public var responseHead: Duration = .seconds(60)
        /// Without a byte of a response body. Default 60 s, then the client's connection is cut.
        public var responseBodyIdle: Duration = .seconds(60)
        /// Without a byte taken by a client that has an answer waiting. Default 60 s.
        public var clientStall: Duration = .seconds(60)
        /// Between two requests of a client. Default 60 s.
        public var clientIdle: Duration = .seconds(60)
        /// Between two requests to an instance; below the 65 to 75 s after which servers close, so that the two rarely meet. Default 30 s.
        public var upstreamIdle: Duration = .seconds(30)
        /// Without a byte either way through a tunnel. Default 1 h.
        public var tunnelIdle: Duration = .seconds(3600)
        /// How long a client that was told off may go on sending before its socket is closed; closing at once would take the answer with it. Default 2 s.
        public var linger: Duration = .seconds(2)

        public init() {}
    }

    public struct Limits: Sendable {
        /// Client connections of all loops together; above it the rest wait in the listener's backlog. 0, the default, derives it from the descriptor
        /// limit: a client may need a second descriptor for its instance, and 64 are left for everything else.
        public var clientConnectionsMax = 0
        /// Idle connections kept to one instance by one loop. Default 256.
        public var idlePerInstanceMax = 256
        /// Requests on one client connection. Default 10,000: a balancer that joins gets its share of long-lived clients.
        public var requestsPerConnectionMax = 10_000
        /// What is kept of a request so that it can be repeated, in bytes. Default 64 KiB.
        public var replayBytesMax = 64 * 1024
        /// Interim (1xx) answers to one request. Default 16.
        public var interimAnswersMax = 16

        public init() {}
    }
}
