internal import CMeshSystem
public import MeshCore
internal import NIOCore
public import SessionMesh

/// What a ``ClusterSupervisor`` keeps running, and how.
public struct ClusterConfiguration: Sendable {
    /// The program, by its path. One that is named without a `/` is looked for in `$PATH` of ``environment``.
    public var program: String
    public var arguments: [String]
    /// How many processes of it, 1 to 255. Default: one a core, of those that a container's quota and the affinity leave.
    public var workers: Int
    /// What every process gets, beside what tells it who it is. Default: nothing.
    public var environment: [String: String]
    /// Where workers find their agent, and where they are registered as instances when they are ready. Nil registers nothing.
    public var agent: AgentAddress?
    /// The service whose instances they are. Default `app`.
    public var service = "app"
    /// The IP address where balancers reach this node's workers. Default 127.0.0.1.
    public var host = "127.0.0.1"
    /// The ports to give to workers. Default: any that the system finds free. A range with one more port than workers lets a replacement start
    /// before who serves is stopped.
    public var ports: ClosedRange<UInt16>?
    /// Ports that no worker is given, because a sidecar listens there, or is about to.
    public var reservedPorts: Set<UInt16> = []
    public var readiness = Readiness.listening
    public var policy = SupervisionPolicy()
    /// What runs beside the workers.
    public var sidecars: [Sidecar] = []
    /// The program `sessionmesh`, which starts every process so that it can't outlive the supervisor, and watches over what they start
    /// themselves.
    public var launcher: String
    /// Whether orphans become children of this process, are reaped, and killed when it stops: for a program that does nothing else, and as the
    /// first process of a container. Default false: it would take the children of others in the same program.
    public var adoptsOrphans = false
    /// What processes print, a line at a time, on a thread of theirs; it must not wait. Default: nothing is done with it.
    public var onLine: @Sendable (Post, Line) -> Void = { _, _ in }

    /// A process of another kind, kept running like a worker. Ready when it says `READY=1`.
    public struct Sidecar: Sendable {
        public var name: String
        public var program: String
        public var arguments: [String]
        public var environment: [String: String]
        /// Started before the workers, which wait until it is ready, and stopped after them; otherwise the other way round.
        public var isFirst: Bool
        /// Between SIGTERM and SIGKILL. Default 60 s.
        public var stopTimeout: Duration

        public init(
            name: String, program: String, arguments: [String], environment: [String: String], isFirst: Bool,
            stopTimeout: Duration = .seconds(60)
        ) {
            self.name = name
            self.program = program
            self.arguments = arguments
            self.environment = environment
            self.isFirst = isFirst
            self.stopTimeout = stopTimeout
        }
    }

    /// A line that a process has printed.
    public struct Line: Hashable, Sendable {
        public var text: String
        public var isError: Bool
    }

    public init(program: String, arguments: [String] = [], workers: Int? = nil, environment: [String: String] = [:], launcher: String) {
        self.program = program
        self.arguments = arguments
        // One knows of quotas, the other of affinities.
        self.workers = workers ?? min(max(min(System.coreCount, Int(mesh_core_count())), 1), SupervisorCore.workersMax)
        self.environment = environment
        self.launcher = launcher
    }
}
