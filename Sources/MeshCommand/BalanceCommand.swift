import ArgumentParser
import Foundation
import Logging
import MeshAgent
import MeshBalancer
import MeshCore
import ServiceLifecycle
import Synchronization

struct BalanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "balance",
        abstract: "Runs a balancer: sends every request to the node that has its session, and elsewhere when that node dies.",
        discussion: """
            It learns from the mesh where instances are, and on SIGHUP reads its key file again. With --upstream it needs no mesh and no \
            key, and balances over a fixed list.

            Examples:
              sessionmesh balance --listen 127.0.0.1:8080 --seed 127.0.0.1:7946
              sessionmesh balance --listen 0.0.0.0:80 --bind 10.0.0.9:7946 --seed 10.0.0.1:7946 --key-file mesh.key --service shop
              sessionmesh balance --listen 127.0.0.1:8080 --upstream 127.0.0.1:3000 --upstream 127.0.0.1:3001
            """)

    @Option(help: "Where clients come in, as HOST:PORT. (default: 127.0.0.1:8080)", transform: Values.endpoint)
    var listen = Endpoint.loopback(port: 8080)

    @OptionGroup var member: MemberOptions

    @Option(help: "Whose instances get the requests. (default: the only service there is)")
    var service: String?

    @Option(help: "Who gets a visitor that is bound to nobody: round-robin or least-connections.")
    var algorithm: AlgorithmName = .leastConnections

    @Option(help: "mesh sends visitors to the node that has their session; none sends them anywhere.")
    var sticky: Sticky = .mesh

    @Option(help: "HOST:PORT of an instance, instead of a mesh; may be given more than once.")
    var upstream: [String] = []

    @Option(help: "Loops, each a thread. (default: one a core, at most 8)")
    var threads: Int?

    @Option(help: "Requests at a time, of which a client has one; the rest wait at the door. (default: from the limit of open files)")
    var maxRequests: Int?

    @Option(help: "How long requests may take to finish after SIGTERM. (default: 10s)", transform: Values.duration)
    var drainTimeout = Self.drainTimeoutDefault

    static let drainTimeoutDefault = Duration.seconds(10)

    @OptionGroup var log: LogOptions

    enum AlgorithmName: String, ExpressibleByArgument, CaseIterable {
        case roundRobin = "round-robin"
        case leastConnections = "least-connections"
    }

    enum Sticky: String, ExpressibleByArgument, CaseIterable {
        case mesh, none
    }

    func validate() throws {
        guard threads.map({ (1...256).contains($0) }) ?? true else { throw ValidationError("--threads is a whole number from 1 to 256") }
        guard maxRequests.map({ (1...10_000_000).contains($0) }) ?? true else {
            throw ValidationError("--max-requests is a whole number from 1 to 10000000")
        }
        guard upstream.isEmpty || member.seed.isEmpty else {
            throw ValidationError("--upstream is a fixed list and --seed a mesh; give one of them")
        }
        guard upstream.isEmpty || member.admin == nil else {
            throw ValidationError("--admin shows a mesh, and --upstream has none; leave one of them out")
        }
    }

    func run() async throws {
        let logger = log.logger()
        DescriptorLimit.raise()
        let plan = upstream.isEmpty ? try meshPlan(logger) : nil
        let upstreams = try Addresses.resolve(upstream, flag: "--upstream")
        let balancer = try startBalancer(RoutingTable(upstreams: upstreams), logger)
        logger.info("the balancer is up", metadata: ["listen": "\(balancer.address)"])
        let service = BalancerService(balancer: balancer, drain: drainTimeout)

        guard let plan else {
            if member.events != nil { Output.line(BalancerEvents.ready(listen: balancer.address, addresses: nil, at: .now())) }
            return try await Services.run([service])
        }
        let agent = plan.agent(companion: service.companion)
        let router = MeshRouter(service: self.service, cookieRing: sticky == .mesh ? plan.keys.cookie : [], logger: logger)
        let events = BalancerEvents(listen: balancer.address, isPrinting: member.events != nil)
        let follower = RouteFollower(router: router, gate: ViewGate.Configuration(under: plan.agent.swim), logger: logger, events: events) {
            table in
            balancer.update(table)
            service.routed(table)
        } onBrake: { brake in
            service.braked(brake != nil)
        }
        let following = Task { await follower.follow(agent.views) }
        let usesCookies = sticky == .mesh
        let cookies = Task { for await keys in agent.keyFiles where usesCookies { await follower.accept(cookies: keys.cookie) } }
        let printing = Task { await events.print(agent.notices) }
        let notices = ServiceNotices.follow(agent)
        defer { notices?.cancel() }
        try await Services.run([agent, service]) { agent.reloadKeys() }
        following.cancel()
        cookies.cancel()
        events.finish()
        await printing.value
    }

    private func startBalancer(_ table: RoutingTable, _ logger: Logger) throws -> Balancer {
        var configuration = BalancerConfiguration(listen: listen)
        configuration.loops = threads ?? min(8, ProcessInfo.processInfo.activeProcessorCount)
        configuration.limits.clientConnectionsMax = maxRequests ?? 0
        switch algorithm {
        case .roundRobin: configuration.algorithm = { RoundRobin() }
        case .leastConnections: configuration.algorithm = { LeastConnections() }
        }
        try Addresses.checkFree(listen, flag: "--listen")
        do { return try Balancer(configuration, table: table) { line in logger.warning("\(line)") } } catch {
            throw CommandFailure.configuration(
                error.code == .address ? "\(error.description): stop what listens there, or choose another --listen" : error.description)
        }
    }

    // MARK: Membership

    /// Everything an agent of role balancer needs, found out before a socket is open.
    private struct MeshPlan {
        var shell: AgentShellConfiguration
        var agent: AgentConfiguration
        var keys: KeyFile
        var rereadKeys: (@Sendable () throws -> KeyFile)?
        var logger: Logger

        func agent(companion: AgentCompanion) -> MeshAgent {
            var shell = shell
            shell.companion = companion
            return MeshAgent(configuration: shell, agent: agent, keys: keys, rereadKeys: rereadKeys, logger: logger)
        }
    }

    private func meshPlan(_ logger: Logger) throws -> MeshPlan {
        let directory = try RunDirectory.open()
        let label = try member.meshLabel()
        let name = try member.nodeName() ?? NodeName("\(try MemberOptions.defaultName().description.prefix(55))-balancer")
        let seeds = member.seed.isEmpty ? [.endpoint(try Endpoint(parsing: Addresses.gossip))] : member.seed
        guard let bind = member.bind ?? (seeds.allSatisfy(\.isLoopback) ? .loopback(port: 0) : nil) else {
            throw CommandFailure.configuration(
                "the seed \(seeds.first { !$0.isLoopback } ?? seeds[0]) may be on another machine: say with --bind which HOST:PORT of this one "
                    + "the others reach")
        }
        let advertise = try member.advertised(bind: bind)
        let keys = try member.keys(bind: bind, advertise: advertise, in: directory, logger: logger)
        return MeshPlan(
            shell: AgentShellConfiguration(
                bind: bind, advertise: advertise, seeds: seeds, label: label,
                admin: member.admin ?? .unix(directory.adminSocket(of: name.description)), dataDirectory: try member.dataDirectory()),
            agent: AgentConfiguration(
                name: name, endpoint: bind, role: .balancer, label: label, swim: SWIM.Configuration(member.profile)),
            keys: keys, rereadKeys: member.rereadKeys(in: directory), logger: logger)
    }
}

/// The balancer for as long as the process runs, and what its admin listener shows of it.
final class BalancerService: Service {
    private let balancer: Balancer
    private let drain: Duration
    private let targets = Atomic<Int>(0)
    private let updates = Atomic<Int>(0)
    private let isBraked = Atomic<Bool>(false)
    private let isDraining = Atomic<Bool>(false)

    init(balancer: Balancer, drain: Duration) {
        self.balancer = balancer
        self.drain = drain
    }

    func routed(_ table: RoutingTable) {
        targets.store(table.targets.count, ordering: .relaxed)
        updates.add(1, ordering: .relaxed)
    }

    func braked(_ isOn: Bool) { isBraked.store(isOn, ordering: .relaxed) }

    func run() async throws {
        try? await gracefulShutdown()
        isDraining.store(true, ordering: .relaxed)
        await balancer.stop(drain: drain)
    }

    /// Ready when a request would find somebody.
    var companion: AgentCompanion {
        AgentCompanion { [self] in
            BalancerMetrics.metrics(balancer.counters, targets: targets.load(ordering: .relaxed)) + [
                .init("routing_updates_total", .counter, "Views that were let through to the loops.", updates.load(ordering: .relaxed)),
                .init(
                    "routing_brake", .gauge, "Whether so much died at once that the dead are still routed to.",
                    isBraked.load(ordering: .relaxed) ? 1 : 0),
            ]
        } isReady: { [self] in
            !isDraining.load(ordering: .relaxed) && targets.load(ordering: .relaxed) > 0
        }
    }
}

enum BalancerMetrics {
    static func metrics(_ counters: BalancerCounters, targets: Int) -> [AgentCompanion.Metric] {
        [
            .init("balancer_targets", .gauge, "Instances that requests may go to.", targets),
            .init("balancer_requests_total", .counter, "Requests whose head was understood.", counters.requests),
            .init(
                "balancer_answers_total", .counter, "Answers by class of status.", label: "class",
                (1...5).map { ("\($0)xx", counters.answers[$0]) }),
            .init("balancer_refused_total", .counter, "Requests that were malformed or over a limit.", counters.refused),
            .init(
                "balancer_retries_total", .counter, "Requests given to somebody again.", label: "reason",
                [
                    ("reconnect", counters.retries.reconnect), ("connect", counters.retries.connect), ("reset", counters.retries.reset),
                    ("silence", counters.retries.silence),
                ]),
            .init(
                "balancer_sticky_total", .counter, "Where requests of visitors went.", label: "result",
                [
                    ("hit", counters.sticky.hit), ("new", counters.sticky.new), ("failover_replica", counters.sticky.failoverReplica),
                    ("failover_other", counters.sticky.failoverOther), ("tampered", counters.sticky.tampered),
                ]),
            .init("balancer_clients_accepted_total", .counter, "Connections of clients.", counters.clientsAccepted),
            .init("balancer_clients_open", .gauge, "Connections of clients that are open.", counters.clientsOpen),
            .init("balancer_upstreams_dialled_total", .counter, "Connections made to instances.", counters.upstreamsDialled),
            .init("balancer_upstreams_open", .gauge, "Connections to instances that are open.", counters.upstreamsOpen),
            .init("balancer_tunnels_open", .gauge, "WebSockets that pass through.", counters.tunnelsOpen),
        ]
    }
}

/// What a balancer prints with `--events json`: what its agent tells, `ready` with the clients' address, and `routes` when the instances change.
final class BalancerEvents: Sendable {
    private let listen: Endpoint
    private let isPrinting: Bool
    private let lines: AsyncStream<String>
    private let continuation: AsyncStream<String>.Continuation
    private let targets = Mutex<Int?>(nil)

    init(listen: Endpoint, isPrinting: Bool) {
        self.listen = listen
        self.isPrinting = isPrinting
        // As many as an agent keeps; beyond it the oldest are dropped, because a reader that sleeps must not fill the memory.
        (lines, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1024))
    }

    func print(_ notices: AsyncStream<AgentNotice>) async {
        guard isPrinting else { return }
        let feeding = Task {
            for await notice in notices {
                if case .ready(let addresses) = notice.kind {
                    continuation.yield(Self.ready(listen: listen, addresses: addresses, at: notice.time).line)
                } else {
                    continuation.yield(notice.jsonLine)
                }
            }
            continuation.finish()
        }
        await Output.print(lines)
        await feeding.value
    }

    /// Says how many instances there are, when that has changed.
    func routes(_ table: RoutingTable, epoch: UInt64) {
        let hasChanged = targets.withLock { targets in
            defer { targets = table.targets.count }
            return targets != table.targets.count
        }
        guard isPrinting, hasChanged else { return }
        continuation.yield(
            JSON.object([
                ("time", .number(Int64.now())), ("event", .text("routes")), ("targets", .number(table.targets.count)),
                ("epoch", .number(epoch)),
            ]).line)
    }

    /// Says that so much died at once that it isn't believed, or that it is over.
    func brake(_ brake: ViewGate.Brake?) {
        guard isPrinting else { return }
        continuation.yield(
            JSON.object([
                ("time", .number(Int64.now())), ("event", .text("brake")), ("on", .bool(brake != nil)),
                ("reason", brake.map { .text($0.reason.rawValue) }), ("dead", brake.map { .number($0.dead) }),
                ("nodes", brake.map { .number($0.nodes) }),
            ]).line)
    }

    func finish() { continuation.finish() }

    static func ready(listen: Endpoint, addresses: BoundAddresses?, at time: Int64) -> JSON {
        .object([
            ("time", .number(time)), ("event", .text("ready")), ("listen", .text(listen.description)),
            ("address", addresses.map { .text($0.endpoint.description) }),
            ("admin", addresses?.admin.map { .text($0.description) }),
        ])
    }
}

extension Int64 {
    /// Unix milliseconds.
    static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
