import ArgumentParser
import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshMirrors
import MeshSupervisor
import SessionMesh
import UnixSignals

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Runs several processes of a program, an agent beside them, and a balancer if asked: cluster mode.",
        discussion: """
            Each worker gets a port of its own in PORT, its number in SESSIONMESH_WORKER and its agent in SESSIONMESH_AGENT. It gets requests \
            when it listens there, or says READY=1 (sd_notify). One that crashes or hangs is started again; one that ends with code 0 is not. \
            SIGHUP replaces all workers one after the other, SIGTERM lets requests finish and stops everything. What can be set for agents and \
            balancers can be set here, by their variables.

            Examples:
              sessionmesh run --balance 127.0.0.1:8080 -- ./my-server
              sessionmesh run -n 4 --balance 127.0.0.1:8080 --ready /healthz -- python3 server.py
              sessionmesh run --name n1 --bind 10.0.0.1:7946 --seed 10.0.0.2:7946 --key-file mesh.key -- ./my-server
              SESSIONMESH_IDLE_TIMEOUT=2h sessionmesh run --recycle-memory 512MiB -- ./my-server
            """)

    @Option(name: [.customShort("n"), .long], help: "How many processes of the program. (default: one a core)")
    var workers: Int?

    @Option(help: "Runs a balancer that listens there, as HOST:PORT.", transform: Values.endpoint)
    var balance: Endpoint?

    @Option(help: "What the workers are instances of; a balancer routes to one service.")
    var service = "app"

    @Option(
        help: """
            When a worker may get requests: listening, when its port accepts a connection; notify, when it says READY=1; or a path such as \
            /healthz, when that is answered with 200 to 399.
            """, transform: Values.readiness)
    var ready: Readiness = .listening

    @Option(help: "How long a worker may take until it is ready.", transform: Values.duration)
    var readyTimeout: Duration = .seconds(60)

    @Option(help: "How long a worker may take to end after SIGTERM.", transform: Values.duration)
    var stopTimeout: Duration = .seconds(30)

    @Option(help: "The ports to give to workers, as FIRST-LAST. (default: free ones of the system's choice)", transform: Values.ports)
    var ports: ClosedRange<UInt16>?

    @Option(help: "Replaces a worker at that age, such as 12h.", transform: Values.duration)
    var recycleAge: Duration?

    @Option(help: "Replaces a worker that takes as much memory, such as 512MiB.", transform: Values.byteCount)
    var recycleMemory: Int?

    @Option(help: "Replaces a worker after so many requests, as far as the program counts them.")
    var recycleRequests: UInt64?

    @Option(help: "Where restart, scale, workers and metrics of the supervisor are served.", transform: Values.listenAddress)
    var control: ListenAddress?

    @OptionGroup(title: "The agent") var member: MemberOptions

    @Option(help: "Where sessions are mirrored, such as redis://host; see `sessionmesh agent --help`.")
    var mirror: String?

    @Option(help: "When a change is answered: behind or through; see `sessionmesh agent --help`.")
    var mirrorMode: MirrorMode = .behind

    @Option(help: "How much is logged to standard error. (default: info, and warning for agent and balancer)")
    var logLevel: Logger.Level?

    @Argument(parsing: .postTerminator, help: "The program and its arguments, behind --.")
    var program: [String] = []

    func validate() throws {
        guard workers.map({ (1...SupervisorCore.workersMax).contains($0) }) ?? true else {
            throw ValidationError("-n is a whole number from 1 to \(SupervisorCore.workersMax)")
        }
        guard !program.isEmpty else { throw ValidationError("name the program behind --, as in `sessionmesh run -n 4 -- ./my-server`") }
        guard (1...Instance.textBytesMax).contains(service.utf8.count) else {
            throw ValidationError("--service is 1 to \(Instance.textBytesMax) bytes")
        }
        try checkPorts()
        guard member.keyFile != "-" else { throw ValidationError("--key-file names a file here: agent and balancer both read it") }
        if let mirror { do { _ = try MirrorURI(mirror) } catch { throw ValidationError("--mirror: \(error)") } }
    }

    /// One of them would be without.
    private func checkPorts() throws {
        let others = [
            ("--balance", balance?.port), ("--bind", member.bind?.port), ("--admin", member.admin?.port), ("--control", control?.port),
        ]
        for (flag, port) in others {
            if let port, let ports, ports.contains(port) {
                throw ValidationError("\(flag) has port \(port), which --ports gives to a worker: name another, or other ports")
            }
        }
    }

    func run() async throws {
        let environment = ProcessInfo.processInfo.environment
        let logger = Logger("sessionmesh", level: logLevel ?? .info)
        DescriptorLimit.raise()
        let directory = try RunDirectory.open()
        let name = try member.nodeName() ?? MemberOptions.defaultName()
        if let balance { try Addresses.checkFree(balance, flag: "--balance") }
        let plan = try RunPlan(self, name: name.description, directory: directory, environment: environment)
        var configuration = plan.configuration
        let output = LogStream(to: STDOUT_FILENO)
        let events = member.events == nil ? nil : LogStream(to: STDOUT_FILENO, notice: RunAnnouncer.dropped)
        configuration.onLine = { post, line in
            // Standard output is for events where these were asked for.
            let stream = line.isError || events != nil ? LogStream.standardError : output
            stream.write("\(post) | \(line.text)\n")
        }
        let supervisor = ClusterSupervisor(configuration, logger: logger)
        let control = control ?? .unix(directory.supervisorSocket(of: name.description))
        let listener = try await AdminListener.open(control, SupervisorAdmin(supervisor), logger: logger)
        let announcer = RunAnnouncer(
            supervisor: supervisor, balance: plan.balance, output: events, systemd: NotifySocket(environment: environment))
        let announcing = Task { [events = supervisor.events] in await announcer.follow(events, logger) }
        let beating = Task { await announcer.beat() }
        defer { beating.cancel() }
        let ending: Result<Void, any Error>
        do { ending = .success(try await Services.run([supervisor]) { supervisor.restart() }) } catch { ending = .failure(error) }
        await listener.close()
        await announcing.value
        (events ?? output).flush()
        try ending.get()
    }
}

extension Values {
    @Sendable static func readiness(_ text: String) throws -> Readiness {
        switch text {
        case "listening": .listening
        case "notify": .notified
        case _ where text.hasPrefix("/") && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }: .answering(path: text)
        default: throw ValidationError("write listening, notify, or a path such as /healthz")
        }
    }

    @Sendable static func ports(_ text: String) throws -> ClosedRange<UInt16> {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first > 0, first <= last else {
            throw ValidationError("write ports as FIRST-LAST, such as 3000-3007")
        }
        return first...last
    }
}
