public import MeshCore

/// Where an agent listens, and what guards its doors. What it decides by is ``MeshCore/AgentConfiguration``.
public struct AgentShellConfiguration: Sendable {
    /// Gossip (UDP) and peer links (TCP) share this address and port. Port 0 lets the system choose.
    public var bind: Endpoint
    /// What other members dial, when it is not what is bound: behind a NAT, or when every address is bound. Port 0 stands for the bound one.
    public var advertise: Endpoint?
    /// Where other members may be found; looked up again and again while nobody is found behind them, at most ``SeedAddress/countMax``.
    public var seeds: [SeedAddress]
    /// Separates meshes that could hear each other. Must be the core's.
    public var label: String
    /// Where applications are listened to; nil for a balancer that serves none.
    public var client: ListenAddress?
    /// What applications must send with `AUTH` over TCP, 16 to 128 bytes. A Unix socket is guarded by its file mode instead.
    public var clientToken: String?
    /// Where `/metrics`, `/healthz` and the rest are served.
    public var admin: ListenAddress?
    /// A directory in which the agent keeps, under its name, whom it knew, and finds the mesh again by them when no seed leads to anybody. Nil
    /// keeps nothing.
    public var dataDirectory: String?
    /// What shares this process and shows through its admin listener; nil for an agent by itself.
    public var companion: AgentCompanion?

    /// An application needs one connection, a command line one more. Above it a connection gets one line of explanation and is closed.
    /// A test has fewer descriptors.
    var clientsMax = 1024
    /// Bytes that may wait for a peer that doesn't read: a few seconds of the largest transfer. Above it the link is closed, and the core
    /// sends the slots anew when it is back. A test has less patience.
    var linkPendingBytesMax = 64 << 20

    /// After how long a graceful shutdown ends whatever the core says.
    var leaveTimeout: Duration = .seconds(35)
    /// Between two lookups of a seed.
    var seedInterval: Duration = .seconds(10)
    var seedLookup = SeedLookup()
    var snapshot: SnapshotFile?

    public static let clientTokenBytes = 16...128

    public init(
        bind: Endpoint, advertise: Endpoint? = nil, seeds: [SeedAddress] = [], label: String = "sessionmesh", client: ListenAddress? = nil,
        clientToken: String? = nil, admin: ListenAddress? = nil, dataDirectory: String? = nil
    ) {
        self.bind = bind
        self.advertise = advertise
        self.seeds = seeds
        self.label = label
        self.client = client
        self.clientToken = clientToken
        self.admin = admin
        self.dataDirectory = dataDirectory
    }
}

/// What runs beside an agent in one process, such as a balancer, and shows through the agent's admin listener.
///
/// Both are asked on the agent's thread and must not wait.
public struct AgentCompanion: Sendable {
    /// Asked at each scrape of `/metrics`, which shows them after the agent's own.
    public var metrics: @Sendable () -> [Metric]
    /// `/readyz` says no until the agent and its companion both say yes.
    public var isReady: @Sendable () -> Bool

    public init(metrics: @escaping @Sendable () -> [Metric], isReady: @escaping @Sendable () -> Bool) {
        self.metrics = metrics
        self.isReady = isReady
    }

    /// One figure, or one for each value of a label.
    public struct Metric: Sendable {
        public enum Kind: String, Sendable {
            case gauge, counter
        }

        /// Without the prefix `sessionmesh_`.
        public var name: String
        public var kind: Kind
        public var help: String
        /// The label's name; nil when there is one figure.
        public var label: String?
        public var values: [(String, Int)]

        public init(_ name: String, _ kind: Kind, _ help: String, _ value: Int) {
            self.init(name, kind, help, label: nil, [("", value)])
        }

        public init(_ name: String, _ kind: Kind, _ help: String, label: String?, _ values: [(String, Int)]) {
            self.name = name
            self.kind = kind
            self.help = help
            self.label = label
            self.values = values
        }
    }
}

/// Where the agent's listeners ended up, with the ports that the system chose.
public struct BoundAddresses: Hashable, Sendable {
    /// What other members dial.
    public var endpoint: Endpoint
    public var client: ListenAddress?
    public var admin: ListenAddress?

    public init(endpoint: Endpoint, client: ListenAddress? = nil, admin: ListenAddress? = nil) {
        self.endpoint = endpoint
        self.client = client
        self.admin = admin
    }
}
