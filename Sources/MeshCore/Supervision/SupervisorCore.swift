/// Decides which processes run: when each is started, again and again if need be, replaced, and stopped.
///
/// A post is a place for one process: a worker's number, or a sidecar. Posts stand in stages (sidecars that come first, workers, sidecars that come
/// after): a stage is opened when the sidecars before it were ready once, and closed when nothing of the later ones runs any more.
/// `SupervisorCore+Launches.swift` has what becomes of one process, `SupervisorCore+Replacing.swift` how workers are replaced.
public struct SupervisorCore: Sendable {
    public struct Configuration: Hashable, Sendable {
        public var workers: Int
        /// Started one after the other before the workers, stopped after them.
        public var sidecarsBefore: [Sidecar]
        /// Started with the workers, stopped before them.
        public var sidecarsAfter: [Sidecar]
        public var policy: SupervisionPolicy
        /// Worker processes at a time: each needs a port. Where that leaves one free, a replacement is started while who serves still runs;
        /// otherwise after its end.
        public var processesMax: Int

        public init(
            workers: Int, sidecarsBefore: [Sidecar] = [], sidecarsAfter: [Sidecar] = [], policy: SupervisionPolicy = SupervisionPolicy(),
            processesMax: Int = .max
        ) {
            self.workers = workers
            self.sidecarsBefore = sidecarsBefore
            self.sidecarsAfter = sidecarsAfter
            self.policy = policy
            self.processesMax = processesMax
        }
    }

    public struct Sidecar: Hashable, Sendable {
        public var name: String
        /// Between SIGTERM and SIGKILL.
        public var stopTimeout: Duration

        public init(name: String, stopTimeout: Duration) {
            self.name = name
            self.stopTimeout = stopTimeout
        }
    }

    /// Workers of one supervisor: each is an instance of its node, and so is one that replaces another for a moment.
    public static let workersMax = SWIM.instancesMax - 1

    /// What a post needs, and who fills it.
    struct Vacancy: Hashable, Sendable {
        let post: Post
        let stage: Int
        /// Between SIGTERM and SIGKILL.
        let stopTimeout: Duration
        /// Who serves, or is to.
        var holder: Launch?
        /// Who is to serve when ready, in place of the holder.
        var successor: Launch?
        /// When the next is started; nil while somebody is there, or nobody is wanted.
        var startAt: Moment?
        var crashesInARow = 0
        var restarts = 0
        var crashedAt: Moment?
        var hasBeenReady = false
        /// The last one ended on purpose.
        var isDone = false
        /// Not for a worker that is scaled away.
        var isWanted = true
    }

    /// A process from its start to its end.
    struct Process: Hashable, Sendable {
        let post: Post
        var startedAt: Moment
        var phase: Phase
        var pid: Int32?
        var readyAt: Moment?
        var heartbeatAt: Moment?
        var isRegistered = false
        /// It ends as soon as what it left behind has.
        var hasExited = false
        var memory: UInt64?
        var requests: UInt64?
        /// What it may use until it is replaced.
        var limits = SupervisionPolicy.Recycling()
    }

    enum Phase: Hashable, Sendable {
        /// Can transition to ready, overdue, draining, aborted.
        case starting
        /// Can transition to draining, aborted.
        case ready
        /// Not ready in time; killed as soon as it is known why. Final.
        case overdue(hint: String?)
        /// No instance any more; SIGTERM comes then. Can transition to stopping.
        case draining(until: Moment)
        /// SIGTERM was sent; SIGKILL comes then.
        case stopping(until: Moment?)
        /// SIGABRT was sent for being hung; SIGKILL comes then.
        case aborted(until: Moment?)
    }

    let configuration: Configuration
    var policy: SupervisionPolicy { configuration.policy }
    var generator: SeededGenerator
    /// In the order of stages, workers by number.
    var vacancies: [Vacancy] = []
    var processes: [Launch: Process] = [:]
    var lastLaunch = Launch(0)
    var replacing = ReplacementQueue()
    public internal(set) var counters = SupervisorCounters()
    private var openStage = 0
    private var isStarted = false
    public private(set) var isStopping = false
    private var outcome: SupervisorDirective.Outcome?
    private var isFinished = false

    var out: [SupervisorDirective] = []
    var now = Moment(uptime: 0, wall: 0)

    public init(configuration: Configuration, generator: SeededGenerator) {
        self.configuration = configuration
        self.generator = generator
    }

    /// Tells what has happened, and when; what is to be done about it comes back, in order.
    public mutating func step(_ input: SupervisorInput, at now: Moment) -> [SupervisorDirective] {
        self.now = now
        switch input {
        case .start: start()
        case .spawned(let launch, let pid): spawned(launch, pid)
        case .notSpawned(let launch, let reason): notSpawned(launch, reason)
        case .ready(let launch): becameReady(launch)
        case .heartbeat(let launch): heard(launch)
        case .usage(let launch, let memory, let requests): uses(launch, memory, requests)
        case .exited(let launch): exited(launch)
        case .ended(let launch, let ending, let leftBehind, let lines): ended(launch, ending, leftBehind, lines)
        case .diagnosed(let launch, let hint): diagnosed(launch, hint)
        case .scale(let count): scale(to: count)
        case .restart: restartAll()
        case .stop: isStopping = true
        case .resumed(let pause): resumed(after: pause)
        case .tick: break
        }
        if !isFinished { advance() }
        defer { out = [] }
        return out
    }

    private mutating func start() {
        guard !isStarted else { return }
        isStarted = true
        for (stage, sidecar) in configuration.sidecarsBefore.enumerated() { add(sidecar, stage: stage) }
        for index in 0..<max(0, configuration.workers) { add(worker: index + 1) }
        for sidecar in configuration.sidecarsAfter { add(sidecar, stage: workerStage + 1) }
    }

    private var workerStage: Int { configuration.sidecarsBefore.count }

    private mutating func add(worker number: Int) {
        add(Vacancy(post: .worker(number), stage: workerStage, stopTimeout: policy.stopTimeout, startAt: now))
    }

    private mutating func add(_ sidecar: Sidecar, stage: Int) {
        add(Vacancy(post: .sidecar(sidecar.name), stage: stage, stopTimeout: sidecar.stopTimeout, startAt: now))
    }

    private mutating func add(_ vacancy: Vacancy) {
        let place = vacancies.firstIndex { $0.stage > vacancy.stage } ?? vacancies.endIndex
        vacancies.insert(vacancy, at: place)
    }

    private mutating func scale(to count: Int) {
        guard isStarted, !isStopping, (1...Self.workersMax).contains(count) else { return }
        for index in vacancies.indices {
            guard let number = vacancies[index].post.worker else { continue }
            vacancies[index].isWanted = number <= count
            if number > count {
                vacancies[index].startAt = nil
                replacing.forget(number)
            } else if vacancies[index].isDone || (vacancies[index].holder == nil && vacancies[index].startAt == nil) {
                vacancies[index].isDone = false
                vacancies[index].startAt = now
            }
        }
        let present = Set(vacancies.compactMap(\.post.worker))
        for number in 1...count where !present.contains(number) { add(worker: number) }
    }

    // MARK: Time

    /// Everything that is due by now.
    private mutating func advance() {
        if let retryAt = replacing.retryAt, retryAt.uptime <= now.uptime { replacing.retryAt = nil }
        for launch in processes.keys.sorted() { watch(launch) }
        for index in vacancies.indices where !vacancies[index].isWanted { retireAll(at: index) }
        vacancies.removeAll { !$0.isWanted && $0.holder == nil && $0.successor == nil }
        if isStopping {
            stopLatestStage()
        } else {
            openStages()
            // Who is missing comes before who is to be replaced.
            fill()
            replaceNext()
            fill()
        }
        finishIfOver()
    }

    /// When there is something to do though nothing happens; nil for never.
    public var deadline: Moment? {
        guard isStarted, !isFinished else { return nil }
        var moments = processes.values.compactMap { nextMoment(of: $0) }
        if !isStopping {
            // What is due and has not been done waits for somebody's end.
            moments += vacancies.filter { $0.stage <= openStage && $0.holder == nil }.compactMap(\.startAt).filter {
                $0.uptime > now.uptime
            }
            if let moment = replacing.retryAt { moments.append(moment) }
        }
        return moments.min { $0.uptime < $1.uptime }
    }

    private mutating func openStages() {
        while openStage <= workerStage {
            let isUp = vacancies.allSatisfy { $0.stage != openStage || $0.post.worker != nil || $0.hasBeenReady }
            guard isUp else { return }
            openStage += 1
        }
    }

    private mutating func fill() {
        for index in vacancies.indices where vacancies[index].stage <= openStage && vacancies[index].holder == nil {
            guard vacancies[index].isWanted, let startAt = vacancies[index].startAt, startAt.uptime <= now.uptime,
                vacancies[index].post.worker == nil || !waitsForAPort
            else { continue }
            vacancies[index].startAt = nil
            vacancies[index].holder = launch(vacancies[index].post)
        }
    }

    /// Whether every port is taken, and one of them will soon be free.
    private var waitsForAPort: Bool {
        hasNoPortToSpare
            && (vacancies.contains { $0.successor != nil } || processes.values.contains { $0.post.worker != nil && isLeaving($0) })
    }

    var hasNoPortToSpare: Bool { processes.values.count(where: { $0.post.worker != nil }) >= configuration.processesMax }

    private mutating func stopLatestStage() {
        let occupied = vacancies.filter { vacancy in processes.values.contains { $0.post == vacancy.post } }
        guard let stage = occupied.map(\.stage).max() else { return }
        for index in vacancies.indices where vacancies[index].stage == stage { retireAll(at: index) }
    }

    private mutating func finishIfOver() {
        guard isStarted, !isFinished else { return }
        if !isStopping {
            let workers = vacancies.filter { $0.post.worker != nil }
            let isDone = !workers.isEmpty && workers.allSatisfy { $0.isDone && $0.holder == nil && $0.successor == nil }
            guard isDone else { return }
            isStopping = true
            stopLatestStage()
        }
        guard processes.isEmpty else { return }
        isFinished = true
        out.append(.finish(outcome ?? .stopped))
    }

    /// A sidecar has gone without which nothing works: everything ends.
    mutating func giveUp(_ outcome: SupervisorDirective.Outcome?) {
        self.outcome = self.outcome ?? outcome
        isStopping = true
    }

    // MARK: Asking

    public var workerCount: Int { vacancies.count { $0.post.worker != nil && $0.isWanted } }
    /// Workers that get requests.
    public var readyCount: Int { processes.values.count { $0.isRegistered } }

    public var statuses: [WorkerStatus] { vacancies.flatMap { statuses(of: $0) } }

    private func statuses(of vacancy: Vacancy) -> [WorkerStatus] {
        let launches = processes.filter { $0.value.post == vacancy.post }.sorted { $0.key < $1.key }
        guard !launches.isEmpty else {
            let state: WorkerStatus.State = vacancy.isDone ? .ended : isLooping(vacancy) ? .crashLooping : .waiting
            return [WorkerStatus(post: vacancy.post, state: state, restarts: vacancy.restarts)]
        }
        return launches.map { launch, process in
            let state: WorkerStatus.State =
                switch process.phase {
                case .starting: isLooping(vacancy) ? .crashLooping : .starting
                case .ready: process.isRegistered || process.post.worker == nil ? .ready : .silent
                case .overdue, .draining, .stopping, .aborted: .stopping
                }
            return WorkerStatus(
                post: vacancy.post, launch: launch, pid: process.pid, state: state,
                since: (process.readyAt ?? process.startedAt).wall, restarts: vacancy.restarts, memory: process.memory,
                requests: process.requests)
        }
    }

    func isLooping(_ vacancy: Vacancy) -> Bool { vacancy.crashesInARow >= policy.crashLoopAfter }
}
