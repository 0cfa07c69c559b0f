import CMeshSystem
import Glibc
import Logging
import MeshCore
import SessionMesh

/// Does what the core decides: starts processes, hears what they say, sends signals, makes instances known.
///
/// Everything that happens comes in as one sequence, so that the core sees it in the order in which it happened to each process.
actor SupervisorShell {
    private let configuration: ClusterConfiguration
    private let hub: EventHub
    private let logger: Logger
    private let directory: PrivateDirectory
    private let warden: Warden
    /// What every process of this supervisor is known by; nobody else's begins so.
    private let mark: String
    private var core: SupervisorCore
    private var ports: PortPool
    private var workers: [Launch: Attended] = [:]
    private let letters: AsyncStream<Letter>
    /// Bounded by what processes do: their notices come at most fifty times a second each.
    private nonisolated let inbox: AsyncStream<Letter>.Continuation
    private var timer: Task<Void, Never>?
    /// When something was heard last, be it that a second has passed.
    private var heardAt = SupervisorShell.now()
    private var outcome: SupervisorDirective.Outcome?
    private var isKilled = false

    /// What happens.
    private enum Letter: Sendable {
        case asked(SupervisorInput)
        case child(Launch, ChildProcess.Event)
        case probed(Launch)
        case probeFound(Launch, String)
        case measured([pid_t: UInt64])
        case timer
        case killAll
    }

    /// A process, and what goes on for it.
    private struct Attended {
        let post: Post
        var child: ChildProcess?
        var port: UInt16?
        /// Where it says that it listens, when that is not its port.
        var address: String?
        var cookieName: String?
        var probe: Task<Void, Never>?
        var lastLook: String?
        var registration: Task<Void, any Error>?
        /// The one before, until the new one is known.
        var formerRegistration: Task<Void, any Error>?
    }

    /// Enough for a new connection to the agent, so that the worker is an instance all the time.
    private static let registrationOverlap = Duration.seconds(1)

    /// Between two beats of the supervisor's own clock, and between two looks for orphans, and at memory where that has a limit.
    private static let pace = Duration.seconds(1)
    /// Whoever hears nothing for as long, not even that a second has passed, did not run.
    private static let standstillMin = Duration.seconds(2)

    init(_ configuration: ClusterConfiguration, hub: EventHub, logger: Logger) throws(SupervisorError) {
        self.configuration = configuration
        self.hub = hub
        self.logger = logger
        var random = SystemRandomNumberGenerator()
        mark = "\(getpid())-" + String(random.next(), radix: 36) + "."
        directory = try PrivateDirectory.make("sessionmesh-run", environment: configuration.environment)
        warden = try Warden(
            executable: configuration.launcher, mark: mark, directory: directory.path, environment: configuration.environment,
            logger: logger)
        let pool = configuration.portPool
        ports = pool
        core = SupervisorCore(
            configuration: SupervisorCore.Configuration(
                workers: configuration.workers, sidecarsBefore: configuration.sidecars.filter(\.isFirst).map(SupervisorCore.Sidecar.init),
                sidecarsAfter: configuration.sidecars.filter { !$0.isFirst }.map(SupervisorCore.Sidecar.init), policy: configuration.policy,
                processesMax: pool.freeCount),
            generator: SeededGenerator(seed: random.next()))
        (letters, inbox) = AsyncStream.makeStream()
    }

    nonisolated func ask(_ input: SupervisorInput) { inbox.yield(.asked(input)) }

    nonisolated func killAll() { inbox.yield(.killAll) }

    func run() async -> SupervisorDirective.Outcome {
        if configuration.adoptsOrphans { ChildTable.shared.adoptOrphans() }
        warden.start()
        let housekeeping = [Task { await beat() }, Task { await keepHouse() }]
        feed(.start)
        for await letter in letters {
            take(letter)
            if outcome != nil { break }
        }
        for task in housekeeping { task.cancel() }
        timer?.cancel()
        if configuration.adoptsOrphans { ChildTable.shared.endOrphans() }
        warden.stop()
        directory.remove()
        return outcome ?? .stopped
    }

    private func take(_ letter: Letter) {
        let now = Self.now()
        let silence = now.since(heardAt)
        heardAt = now
        if silence > Self.standstillMin { feed(.resumed(after: silence - Self.pace)) }
        switch letter {
        case .asked(let input): feed(input)
        case .child(let launch, let event): heed(event, of: launch)
        case .probed(let launch): feed(.ready(launch))
        case .probeFound(let launch, let what): workers[launch]?.lastLook = what
        case .measured(let memory):
            for (launch, worker) in workers {
                if let pid = worker.child?.pid { feed(.usage(launch, memory: memory[pid] ?? 0, requests: nil)) }
            }
        case .timer: feed(.tick)
        case .killAll:
            isKilled = true
            feed(.stop)
            for worker in workers.values { worker.child?.killAll() }
        }
    }

    // MARK: The core

    private func feed(_ input: SupervisorInput) {
        for directive in core.step(input, at: Self.now()) { perform(directive) }
        schedule()
    }

    /// The monotonic clock stands still while the machine sleeps: nobody is taken for hung because of that.
    private static func now() -> Moment {
        var wall = timespec()
        clock_gettime(CLOCK_REALTIME, &wall)
        return Moment(uptime: mesh_uptime(), wall: Int64(wall.tv_sec) * 1000 + Int64(wall.tv_nsec) / 1_000_000)
    }

    private func schedule() {
        timer?.cancel()
        guard outcome == nil, let deadline = core.deadline else { return }
        let pause = max(.zero, deadline.since(Self.now()))
        timer = Task { [inbox] in
            try? await Task.sleep(for: pause)
            if !Task.isCancelled { inbox.yield(.timer) }
        }
    }

    private func perform(_ directive: SupervisorDirective) {
        switch directive {
        case .spawn(let launch, let post): spawn(launch, post)
        case .register(let launch): register(launch)
        case .withdraw(let launch): withdraw(launch)
        case .diagnose(let launch): feed(.diagnosed(launch, hint: diagnosis(of: launch)))
        case .signal(let launch, .terminate): workers[launch]?.child?.terminate()
        case .signal(let launch, .abort): workers[launch]?.child?.abort()
        case .signal(let launch, .kill): workers[launch]?.child?.killAll()
        case .tell(let event):
            log(event)
            hub.tell(event)
        case .finish(let outcome): self.outcome = outcome
        }
    }

    // MARK: Processes

    private func spawn(_ launch: Launch, _ post: Post) {
        var worker = Attended(post: post)
        if post.worker != nil {
            worker.port = ports.take()
            guard worker.port != nil else {
                ask(.notSpawned(launch, reason: "no port is free: stop what listens on them, or name other ports"))
                return
            }
        }
        workers[launch] = worker
        ChildProcess.start(program(of: launch, post, worker.port)) { [inbox, warden, configuration] event in
            switch event {
            case .line(let stream, let text): configuration.onLine(post, ClusterConfiguration.Line(text: text, isError: stream == .errors))
            case .started(let child):
                warden.watch(child.pid)
                inbox.yield(.child(launch, event))
            case .notStarted, .notified, .exited, .ended: inbox.yield(.child(launch, event))
            }
        }
    }

    private func heed(_ event: ChildProcess.Event, of launch: Launch) {
        switch event {
        case .started(let child):
            workers[launch]?.child = child
            if isKilled { child.killAll() }
            feed(.spawned(launch, pid: child.pid))
            probe(launch)
        case .notStarted(let reason):
            forget(launch)
            feed(.notSpawned(launch, reason: reason))
        case .notified(let fields): heed(fields, of: launch)
        case .exited: feed(.exited(launch))
        case .ended(let ending, let leftBehind, let lines):
            if let pid = workers[launch]?.child?.pid { warden.forget(pid) }
            // Before the core hears of it: the next one may need the port.
            forget(launch)
            feed(.ended(launch, ending, leftBehind: leftBehind, lastLines: lines))
        case .line: break
        }
    }

    private func forget(_ launch: Launch) {
        withdraw(launch)
        guard let worker = workers.removeValue(forKey: launch) else { return }
        worker.probe?.cancel()
        if let port = worker.port { ports.giveBack(port) }
    }

    private func heed(_ fields: [String: String], of launch: Launch) {
        if var worker = workers[launch] {
            let former = identity(of: worker)
            if let name = fields["X_SESSIONMESH_COOKIE"], (1...Instance.textBytesMax).contains(name.utf8.count) { worker.cookieName = name }
            if let address = fields["X_SESSIONMESH_ADDRESS"], Endpoint(text: address) != nil { worker.address = address }
            workers[launch] = worker
            // Its port may have answered before it said how it is to be known.
            if worker.registration != nil, identity(of: worker) != former { register(launch) }
        }
        if let requests = fields["X_SESSIONMESH_REQUESTS"].flatMap({ UInt64($0) }) {
            feed(.usage(launch, memory: nil, requests: requests))
        }
        if fields["WATCHDOG"] == "1" { feed(.heartbeat(launch)) }
        if fields["READY"] == "1" { feed(.ready(launch)) }
    }

    private func probe(_ launch: Launch) {
        guard let port = workers[launch]?.port else { return }
        let path: String?
        switch configuration.readiness {
        case .listening: path = nil
        case .answering(let asked): path = asked
        case .notified: return
        }
        let probe = ReadinessProbe(host: configuration.host, port: port, path: path)
        workers[launch]?.probe = Task { [inbox] in
            await probe.wait { inbox.yield(.probeFound(launch, $0)) }
            if !Task.isCancelled { inbox.yield(.probed(launch)) }
        }
    }

    private func diagnosis(of launch: Launch) -> String? {
        guard let worker = workers[launch], let port = worker.port, let pid = worker.child?.pid else { return "it has not said READY=1" }
        worker.probe?.cancel()
        if configuration.readiness == .notified { return "it has not said READY=1" }
        let listening = ProcessScan.listeningPorts(ofGroup: pid)
        if listening.contains(port) {
            return worker.lastLook ?? "port \(port) can't be reached at \(configuration.host): have it listen there"
        }
        guard !listening.isEmpty else { return "it listens on no port: have it listen on $PORT, which is \(port)" }
        return "it listens on \(listening.sorted().map(String.init).joined(separator: ", ")): have it listen on $PORT, which is \(port)"
    }

    // MARK: Instances

    /// As long as the registration's task runs, the agent has a connection that stands for this instance; its end is the instance's.
    private func register(_ launch: Launch) {
        workers[launch]?.probe?.cancel()
        guard let agent = configuration.agent, let worker = workers[launch], let address = address(of: worker) else { return }
        var mesh = SessionMeshConfiguration(
            agent: agent, registration: .init(service: configuration.service, address: address))
        mesh.cookie.customName = worker.cookieName
        let link = SessionMesh(configuration: mesh, logger: quiet)
        worker.formerRegistration?.cancel()
        workers[launch]?.formerRegistration = worker.registration
        workers[launch]?.registration = Task { try await link.run() }
        guard let former = worker.registration else { return }
        // A node has room for twice as many instances, and no more.
        guard workers.count <= SupervisorCore.workersMax / 2 else { return former.cancel() }
        Task {
            try? await Task.sleep(for: Self.registrationOverlap)
            former.cancel()
        }
    }

    private func withdraw(_ launch: Launch) {
        workers[launch]?.registration?.cancel()
        workers[launch]?.formerRegistration?.cancel()
        workers[launch]?.registration = nil
        workers[launch]?.formerRegistration = nil
    }

    /// How balancers know it.
    private func identity(of worker: Attended) -> (address: String?, cookieName: String) {
        (address(of: worker), worker.cookieName ?? SessionCookie().name)
    }

    private func address(of worker: Attended) -> String? {
        worker.address ?? worker.port.map { ClusterConfiguration.address(configuration.host, $0) }
    }

    /// The agent's outages are the agent's to tell, once and not once a worker.
    private var quiet: Logger {
        var logger = logger
        logger.logLevel = .error
        return logger
    }

    // MARK: Programs

    private func program(of launch: Launch, _ post: Post, _ port: UInt16?) -> ChildProcess.Program {
        var environment = configuration.environment
        let socket = "\(directory.path)/\(launch.number)"
        environment["NOTIFY_SOCKET"] = socket
        environment["WATCHDOG_USEC"] = String(configuration.policy.silenceMax.nanoseconds / 1000)
        environment[ProcessScan.markName] = "\(mark)\(launch.number)."
        guard case .worker(let number) = post, let port else {
            let sidecar = configuration.sidecars.first { .sidecar($0.name) == post }
            environment.merge(sidecar?.environment ?? [:]) { $1 }
            return ChildProcess.Program(
                path: sidecar?.program ?? "", arguments: sidecar?.arguments ?? [], environment: environment, notifySocket: socket,
                launcher: configuration.launcher)
        }
        environment["PORT"] = String(port)
        environment["SESSIONMESH_WORKER"] = String(number)
        environment["SESSIONMESH_ADDRESS"] = ClusterConfiguration.address(configuration.host, port)
        environment["SESSIONMESH_AGENT"] = configuration.agent?.description
        return ChildProcess.Program(
            path: configuration.program, arguments: configuration.arguments, environment: environment, notifySocket: socket,
            launcher: configuration.launcher)
    }

    // MARK: Housekeeping

    private nonisolated func beat() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.pace)
            inbox.yield(.timer)
        }
    }

    private nonisolated func keepHouse() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.pace)
            guard !Task.isCancelled else { return }
            if configuration.adoptsOrphans { ChildTable.shared.reapOrphans() }
            if configuration.policy.recycling.memory != nil { inbox.yield(.measured(ProcessScan.memoryByGroup())) }
        }
    }

    /// Memory is not in it.
    var status: ClusterStatus {
        ClusterStatus(
            processes: core.statuses.map { status in
                ClusterStatus.Process(status: status, address: status.launch.flatMap { workers[$0] }.flatMap { address(of: $0) })
            }, counters: core.counters, workers: core.workerCount, ready: core.readyCount, isStopping: core.isStopping)
    }

    private func log(_ event: SupervisorEvent) {
        let metadata: Logger.Metadata = event.pid.map { ["pid": "\($0)"] } ?? [:]
        let who = event.post
        switch event.kind {
        case .spawned: logger.debug("\(who) was started", metadata: metadata)
        case .ready(let after): logger.info("\(who) is ready after \(after.milliseconds) ms", metadata: metadata)
        case .restarted(let after): logger.notice("\(who) is back, \(after.milliseconds) ms after its crash", metadata: metadata)
        case .hung(let silence): logger.warning("\(who) has sent no heartbeat for \(silence.milliseconds) ms", metadata: metadata)
        case .crashed(let crash): logger.warning("\(who) \(crash.words)", metadata: metadata)
        case .crashLooping(let crashes):
            logger.error("\(who) has crashed \(crashes) times in a row; it is tried again, ever less often", metadata: metadata)
        case .replacing(let why): logger.info("\(who) is replaced (\(why.rawValue))", metadata: metadata)
        case .notReplaced(_, let crash):
            logger.error("\(who) is not replaced, and who served goes on: the new one \(crash.words)", metadata: metadata)
        case .stopped(let ending): logger.info("\(who) \(ending)", metadata: metadata)
        }
    }
}

extension SupervisorCore.Sidecar {
    fileprivate init(_ sidecar: ClusterConfiguration.Sidecar) { self.init(name: sidecar.name, stopTimeout: sidecar.stopTimeout) }
}

extension ClusterConfiguration {
    static func address(_ host: String, _ port: UInt16) -> String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
