import Foundation
import MeshAgent
import MeshCore
import MeshSupervisor

/// The processes of a demo: started in order, started again when they die, and stopped together.
///
/// Each process has a keeper, a task that starts it, follows what it prints, and starts it again. Keepers end only when the demo stops, and
/// the demo ends only when all keepers have: no process is left.
actor DemoMesh {
    struct Configuration: Sendable {
        var nodes: [String]
        var port: UInt16
        var mirror: String?
        var mirrorMode: MirrorMode
        var logLevel: String
        /// What the processes get, beside what they are told.
        var environment: [String: String]
        var directory: DemoDirectory
    }

    /// One of the demo's processes.
    enum Role: Hashable, Sendable {
        case agent(Int)
        case application(Int)
        case balancer
    }

    /// What is known of one, all of it nil until it runs.
    private struct State {
        var child: ChildProcess?
        /// Where it can be reached; kept over a restart.
        var address: String?
        var isReady = false
        var wasReady = false
        var pause: Task<Void, Never>?
    }

    private let configuration: Configuration
    private let announce: @Sendable (DemoEvent) -> Void
    private var states: [Role: State] = [:]
    private var targets = 0
    private var failure: CommandFailure?
    private var isStopping = false
    private var executioner: Task<Void, Never>?

    /// Time to see on the page that a node is gone, and that nothing was lost.
    static let restartPause = Duration.seconds(3)
    private static let startTimeout = Duration.seconds(60)
    private static let stopTimeout = Duration.seconds(5)

    init(_ configuration: Configuration, announce: @escaping @Sendable (DemoEvent) -> Void) {
        self.configuration = configuration
        self.announce = announce
    }

    /// Returns when the demo was stopped and every process has ended.
    func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            do {
                try await start { role in group.addTask { await self.keep(role) } }
                if !isStopping { announce(.ready(board)) }
            } catch let error as CommandFailure {
                failure = failure ?? error
                stop()
            } catch {
                stop()
            }
            await group.waitForAll()
        }
        executioner?.cancel()
        if let failure { throw failure }
    }

    private func start(_ keep: (Role) -> Void) async throws {
        let nodes = configuration.nodes.indices
        // The first one alone, so that the others have somebody to ask.
        keep(.agent(0))
        try await wait(for: "the first agent") { states[.agent(0)]?.isReady ?? false }
        for node in nodes.dropFirst() { keep(.agent(node)) }
        try await wait(for: "the agents") { nodes.allSatisfy { states[.agent($0)]?.isReady ?? false } }
        for node in nodes { keep(.application(node)) }
        keep(.balancer)
        try await wait(for: "the applications") { nodes.allSatisfy { states[.application($0)]?.isReady ?? false } }
        try await wait(for: "the balancer, which must find every application,") { targets == nodes.count }
        try await settle()
    }

    /// The first visitor finds a mesh in quiet: everybody sees everybody, and every slot has its second copy.
    private func settle() async throws {
        let sockets = configuration.nodes.map { String(configuration.directory.admin($0).dropFirst("unix:".count)) }
        var isSettled = false
        let deadline = ContinuousClock.now + Self.startTimeout
        while !isSettled, !isStopping {
            guard ContinuousClock.now < deadline else { throw CommandFailure.failed("the mesh does not settle: try --log-level info") }
            try await Task.sleep(for: .milliseconds(50))
            isSettled = true
            for socket in sockets where isSettled { isSettled = await AdminProbe.isSettled(socket, members: sockets.count + 1) }
        }
    }

    private func wait(for what: String, _ isThere: () -> Bool) async throws {
        let deadline = ContinuousClock.now + Self.startTimeout
        while !isThere(), !isStopping {
            if let failure { throw failure }
            guard ContinuousClock.now < deadline else {
                throw CommandFailure.failed("\(what) is not ready after \(Self.startTimeout): see above, or try --log-level info")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Stops everything: politely, and after a while not.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for state in states.values {
            state.pause?.cancel()
            state.child?.send(SIGTERM)
        }
        executioner = Task {
            try? await Task.sleep(for: Self.stopTimeout)
            guard !Task.isCancelled else { return }
            for state in states.values { state.child?.killAll() }
        }
    }

    /// Kills a node, agent and application, as a power cut would. Who asked is served by that very node, so its answer gets a moment to leave.
    func kill(_ name: String) async {
        guard let node = configuration.nodes.firstIndex(of: name) else { return }
        try? await Task.sleep(for: .milliseconds(200))
        for role in [Role.agent(node), .application(node)] { states[role]?.child?.send(SIGKILL) }
    }

    // MARK: Keeping

    private func keep(_ role: Role) async {
        while !isStopping {
            for await event in start(role) {
                switch event {
                case .started(let child):
                    states[role, default: State()].child = child
                    // Stopping may have begun while it was being started.
                    if isStopping { child.send(SIGTERM) }
                case .notStarted(let reason):
                    failure = failure ?? .failed("\(name(of: role))'s \(role.process) can't be started: \(reason)")
                case .line(_, let line): heed(line, of: role)
                case .ended(let ending, _, _): ended(ending, role)
                case .notified, .exited: break
                }
            }
            guard !isStopping, failure == nil else { return }
            let pause = Task<Void, Never> { try? await Task.sleep(for: Self.restartPause) }
            states[role]?.pause = pause
            await pause.value
        }
    }

    /// Starts a process, and tells of it until it has ended. What it prints is looked at when there is time; of a flood, the oldest is dropped.
    private func start(_ role: Role) -> AsyncStream<ChildProcess.Event> {
        let (events, continuation) = AsyncStream.makeStream(of: ChildProcess.Event.self, bufferingPolicy: .bufferingNewest(256))
        ChildProcess.start(program(of: role)) { event in
            if case .line(.errors, let line) = event { return LogStream.standardError.write(line + "\n") }
            continuation.yield(event)
            switch event {
            case .ended, .notStarted: continuation.finish()
            case .started, .line, .notified, .exited: break
            }
        }
        return events
    }

    private func heed(_ line: String, of role: Role) {
        guard let report = Report(line, from: role) else { return }
        switch report {
        case .ready(let address):
            let isAgain = states[role]?.wasReady ?? false
            states[role]?.address = address
            states[role]?.isReady = true
            states[role]?.wasReady = true
            if isAgain { announce(.restarted(name(of: role), process: role.process, pid: states[role]?.child?.pid ?? 0)) }
        case .targets(let count): targets = count
        }
    }

    private func ended(_ ending: ProcessEnding, _ role: Role) {
        let pid = states[role]?.child?.pid ?? 0
        let wasReady = states[role]?.wasReady ?? false
        states[role]?.child = nil
        states[role]?.isReady = false
        guard !isStopping else { return }
        guard wasReady else {
            // It has said why; its code says whether trying again could help.
            let code = if case .exited(code: 78) = ending { 78 as Int32 } else { 1 as Int32 }
            let line = "\(name(of: role))'s \(role.process) did not start: see above"
            failure = failure ?? (code == 78 ? .configuration(line) : .failed(line))
            return
        }
        announce(.ended(name(of: role), process: role.process, pid: pid, ending))
    }

    // MARK: Programs

    private func program(of role: Role) -> ChildProcess.Program {
        let directory = configuration.directory
        let name = name(of: role)
        var environment = configuration.environment
        let member = [
            "--name", name, "--key-file", directory.keyFile, "--admin", directory.admin(name), "--events", "json", "--log-level",
            configuration.logLevel,
        ]
        switch role {
        case .agent(let node):
            environment["SESSIONMESH_MIRROR"] = configuration.mirror
            environment["SESSIONMESH_MIRROR_MODE"] = configuration.mirrorMode.rawValue
            // An address of the node's own, so that nobody else takes the port while the node is away.
            let bind = states[role]?.address ?? "127.0.1.\(node + 1):0"
            return ChildProcess.Program(
                path: OwnExecutable.path,
                arguments: ["agent"] + member + ["--bind", bind, "--client", directory.client(name)] + seeds(for: role),
                environment: environment, launcher: OwnExecutable.path)
        case .application(let node):
            environment["SESSIONMESH_AGENT"] = directory.client(configuration.nodes[node])
            environment["SESSIONMESH_DEMO_KILL"] = directory.killSwitch
            return ChildProcess.Program(
                path: DemoMesh.application, arguments: ["--name", name, "--port", "0"], environment: environment,
                launcher: OwnExecutable.path)
        case .balancer:
            let listen = states[role]?.address ?? "127.0.0.1:\(configuration.port)"
            return ChildProcess.Program(
                path: OwnExecutable.path,
                arguments: ["balance"] + member + ["--listen", listen, "--service", "demo", "--drain-timeout", "3s"] + seeds(for: role),
                environment: environment, launcher: OwnExecutable.path)
        }
    }

    static var application: String { OwnExecutable.neighbour("sessionmesh-demo") }

    /// Every agent that was ever heard of, but the one that asks.
    private func seeds(for role: Role) -> [String] {
        configuration.nodes.indices.filter { .agent($0) != role }.compactMap { states[.agent($0)]?.address }.flatMap { ["--seed", $0] }
    }

    private func name(of role: Role) -> String {
        switch role {
        case .agent(let node), .application(let node): configuration.nodes[node]
        case .balancer: "balancer"
        }
    }

    private var board: DemoBoard {
        let directory = configuration.directory
        func pid(_ role: Role) -> pid_t { states[role]?.child?.pid ?? 0 }
        return DemoBoard(
            url: "http://\(states[.balancer]?.address ?? "")/",
            nodes: configuration.nodes.enumerated().map { index, name in
                DemoBoard.Node(
                    name: name, agentPID: pid(.agent(index)), applicationPID: pid(.application(index)), admin: directory.admin(name),
                    gossip: states[.agent(index)]?.address ?? "", client: directory.client(name),
                    application: states[.application(index)]?.address ?? "")
            },
            balancerPID: pid(.balancer), balancerAdmin: directory.admin("balancer"))
    }
}

extension DemoMesh.Role {
    var process: String {
        switch self {
        case .agent: "agent"
        case .application: "app"
        case .balancer: "balancer"
        }
    }
}

/// What a process of the demo tells by what it prints.
private enum Report {
    /// With the address where it is reached.
    case ready(String)
    /// How many instances the balancer routes to.
    case targets(Int)

    private struct Line: Decodable {
        var event: String
        var address: String?
        var listen: String?
        var targets: Int?
    }

    init?(_ text: String, from role: DemoMesh.Role) {
        if case .application = role {
            // It says `... listens on http://127.0.0.1:8081/`.
            guard let start = text.firstRange(of: "http://") else { return nil }
            self = .ready(String(text[start.upperBound...].prefix { $0 != "/" }))
            return
        }
        guard let line = try? JSONDecoder().decode(Line.self, from: Data(text.utf8)) else { return nil }
        switch line.event {
        case "ready":
            guard let address = line.listen ?? line.address else { return nil }
            self = .ready(address)
        case "routes":
            guard let targets = line.targets else { return nil }
            self = .targets(targets)
        default: return nil
        }
    }
}
