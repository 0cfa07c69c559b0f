/// What an operator decides about one agent. Everything has a default but who and where it is.
public struct AgentConfiguration: Sendable {
    public var name: NodeName
    /// Where other members reach it, for gossip and peer links alike.
    public var endpoint: Endpoint
    public var role: Role
    /// Members to ask for the rest. May hold this agent's own endpoint, so that all agents can be given one list.
    public var seeds: [Endpoint]
    /// False when there are seeds yet to be looked up, which an ``AgentInput/seeds(_:isComplete:)`` is going to name: until then this agent
    /// can't know that nobody else is there, and forms no mesh of its own. Default true.
    public var seedsAreComplete = true
    /// Members of an earlier run, the dead included, to be asked when no seed leads to anybody; see ``Snapshot``. Default none.
    public var remembered: [Member] = []
    /// Separates meshes that could hear each other; part of everything that is sealed. Default "sessionmesh".
    public var label: String
    public var tags: [String: String]
    /// Share of slots, 1 to 16. Default 1.
    public var weight: UInt8
    /// When changes are written to the mirror behind this agent; nil when there is none. The same for all agents. Default nil.
    public var mirrorMode: MirrorMode?
    /// When a session expires unless it says otherwise.
    public var expiry: ExpiryPolicy
    /// How long a request waits for a primary in transition before it is answered `unavailable`. Default 3 seconds, so that a
    /// silent death is outlived, and more where such takes longer; see ``requestDeadline(under:)``. Longer holds a browser longer.
    public var requestDeadline: Duration
    /// Bytes that sessions may take of memory, in either rank, about. Beyond it new ones are refused and none is dropped; changes, second copies and
    /// new ids are taken all the same, for their sessions live already. Default 1 GiB: two million small ones.
    public var memoryMax: Int
    /// How long a leave waits, at most, until others hold all that is held here. Then it goes, and second copies take over what is left. Default
    /// 30 seconds: what one agent can hold is handed off in less.
    public var drainTimeout: Duration
    public var swim: SWIM.Configuration

    public init(
        name: NodeName, endpoint: Endpoint, role: Role = .node, seeds: [Endpoint] = [], label: String = "sessionmesh",
        tags: [String: String] = [:], weight: UInt8 = 1, mirrorMode: MirrorMode? = nil, expiry: ExpiryPolicy = .init(),
        requestDeadline: Duration? = nil, memoryMax: Int = 1 << 30, drainTimeout: Duration = .seconds(30),
        swim: SWIM.Configuration = .init()
    ) {
        self.name = name
        self.endpoint = endpoint
        self.role = role
        self.seeds = seeds
        self.label = label
        self.tags = tags
        self.weight = weight
        self.mirrorMode = mirrorMode
        self.expiry = expiry
        self.requestDeadline = requestDeadline ?? Self.requestDeadline(under: swim)
        self.memoryMax = memoryMax
        self.drainTimeout = drainTimeout
        self.swim = swim
    }

    /// How long a request waits, so that a silent death is outlived under those times: twice what it takes to be believed.
    public static func requestDeadline(under swim: SWIM.Configuration) -> Duration {
        max(.seconds(3), swim.suspicionSilent * 2)
    }
}
