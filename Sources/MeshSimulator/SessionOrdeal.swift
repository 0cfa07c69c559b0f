import MeshCore

/// A ``World`` put through faults drawn from a seed while a ``Workload``'s clients use sessions, and held to every ``SessionPromise``.
///
/// Rounds of one fault each, or of two where pairs are asked for: the next begins only when every slot has its second copy again, which is what the
/// promises ask for. Clients go on all the while. In the end everything is read once more, and ``History/checks`` judge what clients saw.
public struct SessionOrdeal: Sendable {
    public struct Configuration: Hashable, Sendable {
        public var nodes = 5
        public var loss = 0.2
        public var rounds = 4
        /// All but cuts by default: see ``cuts``.
        public var faults = Set(SessionPlan.Fault.Kind.allCases).subtracting(cuts)
        /// Two faults of different agents at once.
        public var pairs = false
        public var workload = Workload.Configuration()
        public init() {}

        /// Both sides of one may go on as if the other were gone. What they promise meanwhile is less: see ``History/interruptions``.
        public static let cuts: Set<SessionPlan.Fault.Kind> = [.cut, .split, .sever]
    }

    public struct Report: Sendable {
        public var seed: UInt64
        public var configuration: Configuration
        public var plan: SessionPlan
        public var traceHash: UInt64
        public var virtualTime: Duration
        public var operations: Int
        /// Operations that had to be sent more than once.
        public var repeated: Int
        /// What was broken; empty when every promise held.
        public var violations: [Counterexample]

        public init(
            seed: UInt64, configuration: Configuration, plan: SessionPlan, traceHash: UInt64, virtualTime: Duration, operations: Int,
            repeated: Int, violations: [Counterexample]
        ) {
            self.seed = seed
            self.configuration = configuration
            self.plan = plan
            self.traceHash = traceHash
            self.virtualTime = virtualTime
            self.operations = operations
            self.repeated = repeated
            self.violations = violations
        }
    }

    /// A test's own promise, judged after the built-in ones.
    public typealias Promise = @Sendable (History, borrowing World) -> String?

    public let seed: UInt64
    public let configuration: Configuration
    public let plan: SessionPlan
    public private(set) var world: World
    public private(set) var workload: Workload
    private let promise: Promise?
    private var names: [NodeName] = []
    /// By the world's number of the request, the workload's.
    private var tickets: [UInt64: Int] = [:]
    private var applications = FollowingApplications()
    private var asks = true
    private var violations: [Counterexample] = []
    private var progress: @Sendable (Duration) -> Void = { _ in }

    /// - Parameter plan: what happens; nil draws it from the seed.
    public init(seed: UInt64, configuration: Configuration = Configuration(), plan: SessionPlan? = nil, promise: Promise? = nil) {
        self.seed = seed
        self.configuration = configuration
        self.plan =
            plan
            ?? SessionPlan(
                seed: seed, nodes: configuration.nodes, rounds: configuration.rounds, kinds: configuration.faults,
                pairs: configuration.pairs)
        self.promise = promise
        var settings = World.Configuration()
        settings.network.loss = configuration.loss
        world = World(seed: seed, configuration: settings)
        workload = Workload(seed: seed ^ 0x0C11_E475, configuration: configuration.workload)
    }

    // MARK: Running

    /// Runs it to the end.
    /// - Parameter progress: told now and then how much time has passed in the world.
    public mutating func run(progress: @escaping @Sendable (Duration) -> Void = { _ in }) -> Report {
        self.progress = progress
        names = (1...max(1, configuration.nodes)).compactMap { try? NodeName("n\($0)") }
        for name in names { start(name) }
        asks = false
        settle("after the start")
        asks = true
        for (number, round) in plan.rounds.enumerated() where violations.isEmpty { run(round, number: number + 1) }
        if violations.isEmpty { rest() }
        workload.told(applications)
        violations += workload.counterexamples
        if let broken = promise?(workload.history, world) { violations.append(Counterexample(.planted, broken)) }
        let operations = workload.history.operations
        return Report(
            seed: seed, configuration: configuration, plan: plan, traceHash: world.traceHash, virtualTime: .nanoseconds(world.uptime),
            operations: operations.count, repeated: operations.count { $0.repeats > 0 }, violations: violations)
    }

    private mutating func run(_ round: [SessionPlan.Fault], number: Int) {
        let start = world.uptime
        for act in SessionPlan.acts(of: round) {
            pass(until: start + act.at * 1_000_000)
            switch act.step {
            case .begin: begin(act.fault)
            case .setClock(let error): if let name = name(act.fault.member) { world.setClock(of: name, error: error) }
            case .clients(let come): asks = come
            case .end: end(act.fault)
            }
        }
        pass(until: world.uptime + 500_000_000)
        settle("after round \(number)")
        workload.interruptionEnded(at: now)
    }

    private var now: Duration { .nanoseconds(world.uptime) }

    private mutating func begin(_ fault: SessionPlan.Fault) {
        guard let name = name(fault.member) else { return }
        if fault.interrupts { workload.interruptionBegan(at: now) }
        switch fault.kind {
        case .crash: if let directive = fault.directive { world.crash(name, afterDirectives: directive) } else { world.crash(name) }
        case .pause: world.pause(name)
        case .leave: world.leave(name)
        case .rolling: roll(from: fault.member, away: fault.length)
        case .clock: break
        case .cut: if let other = fault.other.flatMap(self.name) { world.cut(from: other, to: name) }
        case .split, .sever: world.partition(names.prefix(fault.member), from: names.dropFirst(fault.member))
        }
    }

    private mutating func end(_ fault: SessionPlan.Fault) {
        guard let name = name(fault.member) else { return }
        switch fault.kind {
        case .crash, .leave: restart(name)
        case .pause: world.wake(name)
        case .rolling, .clock: break
        case .cut: if let other = fault.other.flatMap(self.name) { world.mend(from: other, to: name) }
        case .split, .sever: world.rejoin(names.prefix(fault.member), with: names.dropFirst(fault.member))
        }
    }

    private func name(_ member: Int) -> NodeName? { names.indices.contains(member - 1) ? names[member - 1] : nil }

    /// One that still runs is killed, as a supervisor would.
    private mutating func restart(_ name: NodeName) {
        world.crash(name)
        start(name)
    }

    private mutating func start(_ name: NodeName) {
        world.start(name)
        applications.start(at: name, of: &world, at: now)
    }

    private mutating func roll(from first: Int, away: Int64) {
        for offset in names.indices where violations.isEmpty {
            let name = names[(first - 1 + offset) % names.count]
            world.leave(name)
            let end = world.uptime + Self.leavePatience
            while world.running.contains(name), world.uptime < end { pass(until: world.uptime + Self.step) }
            pass(until: world.uptime + away * 1_000_000)
            restart(name)
            settle("after the restart of \(name)")
        }
    }

    private static let leavePatience: Int64 = 10_000_000_000
    private static let step: Int64 = 5_000_000
    /// While nobody asks anything.
    private static let longStep: Int64 = 1_000_000_000

    /// Lets clients go on until then.
    private mutating func pass(until end: Int64) {
        while world.uptime < end {
            if asks { submit(workload.requests(at: now, of: world.running)) }
            let isIdle = !asks && tickets.isEmpty
            world.run(for: .nanoseconds(min(isIdle ? Self.longStep : Self.step, end - world.uptime)))
            collect()
        }
        progress(now)
    }

    private mutating func submit(_ requests: [Workload.Request]) {
        for request in requests { tickets[world.submit(request.body, to: request.agent)] = request.ticket }
    }

    private mutating func collect() {
        for number in world.takeRequestsLost() {
            if applications.lost(number) { continue }
            if let ticket = tickets.removeValue(forKey: number) { workload.lost(ticket, at: now) }
        }
        for number in world.takeAnswered() where !applications.answered(number, at: now) {
            guard let response = world.takeResponse(number), let ticket = tickets.removeValue(forKey: number) else { continue }
            workload.answered(ticket, response, at: now)
        }
        applications.take(from: &world)
    }

    // MARK: Rest

    /// How long the mesh has to be whole again after a fault is over.
    static let patience: Duration = .seconds(30)

    /// Views agree and every slot has one owner and a second copy.
    private mutating func settle(_ when: String) {
        let end = world.uptime + Self.patience.nanoseconds
        while !world.isWhole {
            guard world.uptime < end else {
                return violations.append(Counterexample(.whole, "not whole \(Self.patience) \(when): \(world.disorder)"))
            }
            pass(until: world.uptime + 200_000_000)
        }
    }

    /// Everything under way is answered, copies have met, all is read once more, and who follows is told what became of it.
    private mutating func rest() {
        workload.stop()
        let end = world.uptime + Self.answerPatience
        while !workload.isIdle, world.uptime < end { pass(until: world.uptime + Self.step) }
        if !workload.isIdle { return }
        asks = false
        settle("at rest")
        pass(until: world.uptime + Self.quiet)
        for (session, key) in workload.sessions { workload.saw(.init(at: now, session: session, copies: world.copies(of: key))) }
        submit(workload.readAll(at: now, of: world.running))
        let last = world.uptime + Self.answerPatience
        while !workload.isIdle, world.uptime < last { pass(until: world.uptime + Self.step) }
        pass(until: world.uptime + Self.eventPatience)
    }

    private static let answerPatience = Duration.seconds(60).nanoseconds
    /// Those reads make owners notice that sessions expired, of which who follows is told later than who asks.
    private static let eventPatience = Duration.seconds(10).nanoseconds
    /// Long enough for former ids to have lost their grace.
    private static let quiet = Duration.seconds(25).nanoseconds
}
