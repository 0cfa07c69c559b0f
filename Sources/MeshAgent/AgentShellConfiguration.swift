public import MeshCore

/// Where an agent listens, and what guards its doors. What it decides by is ``MeshCore/AgentConfiguration``.
public struct AgentShellConfiguration: Sendable {
    /// Gossip (UDP) and peer links (TCP) share this address and port. Port 0 lets the system choose.
    public var bind: Endpoint
    /// What other members dial, when it is not what is bound: behind a NAT, or when every address is bound. Port 0 stands for the bound one.
    public var advertise: Endpoint?
    /// Separates meshes that could hear each other. Must be the core's.
    public var label: String
    /// Where applications are listened to; nil for a balancer that serves none.
    public var client: ListenAddress?
    /// What applications must send with `AUTH` over TCP, 16 to 128 bytes. A Unix socket is guarded by its file mode instead.
    public var clientToken: String?
    /// Where `/metrics`, `/healthz` and the rest are served.
    public var admin: ListenAddress?
    /// How long a graceful shutdown waits for the hand-off. Default 3 seconds; longer delays a restart, shorter leaves more to the backups.
    public var leaveTimeout: Duration

    /// An application needs one connection, a command line one more. Above it a connection gets one line of explanation and is closed.
    /// A test has fewer descriptors.
    var clientsMax = 1024
    /// Bytes that may wait for a peer that doesn't read: a few seconds of the largest transfer. Above it the link is closed, and the core
    /// sends the slots anew when it is back. A test has less patience.
    var linkPendingBytesMax = 64 << 20

    public static let clientTokenBytes = 16...128

    public init(
        bind: Endpoint, advertise: Endpoint? = nil, label: String = "sessionmesh", client: ListenAddress? = nil,
        clientToken: String? = nil, admin: ListenAddress? = nil, leaveTimeout: Duration = .seconds(3)
    ) {
        self.bind = bind
        self.advertise = advertise
        self.label = label
        self.client = client
        self.clientToken = clientToken
        self.admin = admin
        self.leaveTimeout = leaveTimeout
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
