import ArgumentParser
import CMeshSystem
import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshSupervisor
import SessionMesh

/// The processes that `sessionmesh run` keeps, as its flags ask for them.
struct RunPlan {
    let configuration: ClusterConfiguration
    /// Where the balancer listens.
    let balance: Endpoint?

    init(_ command: RunCommand, name: String, directory: RunDirectory, environment: [String: String]) throws {
        let bind = try Self.chosen(command.member.bind ?? Endpoint(parsing: Addresses.gossip), flag: "--bind", notAmong: command.ports)
        balance = try command.balance.map { try Self.chosen($0, flag: "--balance", notAmong: command.ports) }
        let client = directory.clientSocket(of: name)
        var configuration = ClusterConfiguration(
            program: command.program[0], arguments: Array(command.program.dropFirst()), workers: command.workers,
            environment: Self.forWorkers(environment), launcher: OwnExecutable.path)
        configuration.agent = .unix(path: client)
        configuration.service = command.service
        configuration.host = try Self.host(of: command.member, bind: bind)
        configuration.ports = command.ports
        configuration.reservedPorts = Set(
            [bind.port, balance?.port, command.member.admin?.port, command.control?.port].compactMap { $0 })
        configuration.readiness = command.ready
        configuration.policy.readyTimeout = command.readyTimeout
        configuration.policy.stopTimeout = command.stopTimeout
        configuration.policy.recycling = SupervisionPolicy.Recycling(
            age: command.recycleAge, memory: command.recycleMemory.map(UInt64.init), requests: command.recycleRequests)
        configuration.adoptsOrphans = true

        var shared = ["--profile", "\(command.member.profile)", "--label", command.member.label]
        shared += ["--log-level", (command.logLevel ?? .warning).rawValue]
        if let keyFile = command.member.keyFile { shared += ["--key-file", keyFile] }
        if let dataDir = command.member.dataDir { shared += ["--data-dir", dataDir] }
        configuration.sidecars = [
            .init(
                name: "agent", program: OwnExecutable.path,
                arguments: ["agent", "--name", name, "--bind", "\(bind)", "--client", "unix:\(client)"] + shared
                    + Self.agentFlags(command.member),
                environment: Self.forAgent(environment, command), isFirst: true,
                stopTimeout: Self.stopTimeout(of: AgentCommand.drainTimeoutDefault, environment))
        ]
        if let listen = balance {
            // Reached from here, which may not be where others reach it.
            let near = bind.isUnspecified ? Self.loopback(like: bind) : bind
            let seeds = [near.description]
            configuration.sidecars.append(
                .init(
                    name: "balancer", program: OwnExecutable.path,
                    arguments: [
                        "balance", "--name", "\(name.prefix(55))-balancer", "--listen", "\(listen)", "--service", command.service, "--bind",
                        "\(bind.with(port: 0))",
                    ] + shared + (seeds + command.member.seed.map(\.description)).flatMap { ["--seed", $0] }
                        + Self.advertised(command.member),
                    environment: Self.forSidecars(environment), isFirst: false,
                    stopTimeout: Self.stopTimeout(of: BalanceCommand.drainTimeoutDefault, environment)))
        }
        self.configuration = configuration
    }

    /// What it takes to drain is its own matter, and it ends itself when that time is over.
    private static func stopTimeout(of drainDefault: Duration, _ environment: [String: String]) -> Duration {
        let drain = environment["SESSIONMESH_DRAIN_TIMEOUT"].flatMap { try? Values.duration($0) } ?? drainDefault
        return drain + .seconds(10)
    }

    private static func agentFlags(_ member: MemberOptions) -> [String] {
        member.seed.flatMap { ["--seed", $0.description] } + (member.advertise.map { ["--advertise", $0] } ?? [])
            + (member.admin.map { ["--admin", $0.description] } ?? [])
    }

    /// The balancer is reached where the agent is, on a port of its own.
    private static func advertised(_ member: MemberOptions) -> [String] {
        member.advertise.map { ["--advertise", "\($0.prefix(upTo: $0.lastIndex(of: ":") ?? $0.endIndex)):0"] } ?? []
    }

    /// Where balancers of other nodes reach this node's workers: where they reach its agent.
    private static func host(of member: MemberOptions, bind: Endpoint) throws -> String {
        let endpoint = try member.advertised(bind: bind) ?? bind
        guard !endpoint.isUnspecified else {
            throw CommandFailure.configuration(
                "\(endpoint.host) is every address of this machine: say with --advertise which one others dial")
        }
        return endpoint.host
    }

    private static func loopback(like endpoint: Endpoint) -> Endpoint {
        Endpoint(text: endpoint.address.count == 4 ? "127.0.0.1:\(endpoint.port)" : "[::1]:\(endpoint.port)") ?? endpoint
    }

    /// A balancer is told where the agent is before either runs, and both keep their ports over a restart: so what the system is to choose is
    /// chosen here.
    private static func chosen(_ endpoint: Endpoint, flag: String, notAmong workers: ClosedRange<UInt16>?) throws -> Endpoint {
        guard endpoint.port == 0 else { return endpoint }
        for _ in 0..<16 {
            if let port = PortChoice.free(on: endpoint), workers?.contains(port) != true { return endpoint.with(port: port) }
        }
        throw CommandFailure.configuration("no port of \(endpoint.host) is free: name one with \(flag)")
    }

    // MARK: Environments

    /// What is set for agents and balancers is meant for those alone; a mirror's password most of all.
    private static func forWorkers(_ environment: [String: String]) -> [String: String] {
        let flags = [RunCommand.self, AgentCommand.self, BalanceCommand.self] as [any ParsableCommand.Type]
        let ours = Set(flags.flatMap { Variables.flags(of: $0).map(\.variable) } + ["SESSIONMESH_SERVICE"])
        return withoutNotices(environment).filter { !ours.contains($0.key) }
    }

    /// Flags that are given on their command lines win over variables; the others are set by these.
    private static func forSidecars(_ environment: [String: String]) -> [String: String] {
        let own = ["SESSIONMESH_ADMIN", "SESSIONMESH_EVENTS", "SESSIONMESH_MIRROR", "SESSIONMESH_MIRROR_MODE", "SESSIONMESH_UPSTREAM"]
        return withoutNotices(environment).filter { !own.contains($0.key) }
    }

    private static func forAgent(_ environment: [String: String], _ command: RunCommand) -> [String: String] {
        var variables = forSidecars(environment)
        // Not among the arguments, which everybody on this machine can read.
        variables["SESSIONMESH_MIRROR"] = command.mirror
        variables["SESSIONMESH_MIRROR_MODE"] = command.mirrorMode.rawValue
        return variables
    }

    /// What our own supervisor has told us is not for our children.
    private static func withoutNotices(_ environment: [String: String]) -> [String: String] {
        environment.filter {
            !["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "PORT", "SESSIONMESH_LAUNCH"].contains($0.key)
        }
    }
}

/// A port that is free for streams and for datagrams, as gossip needs both.
private enum PortChoice {
    static func free(on bind: Endpoint) -> UInt16? {
        var address = mesh_address()
        address.length = UInt8(bind.address.count)
        withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: bind.address) }
        let listener = mesh_bind(&address, 1)
        guard listener >= 0 else { return nil }
        defer { mesh_close(listener) }
        guard mesh_local_address(listener, &address) == 0 else { return nil }
        let gossip = mesh_bind(&address, 0)
        guard gossip >= 0 else { return nil }
        mesh_close(gossip)
        return address.port
    }
}
