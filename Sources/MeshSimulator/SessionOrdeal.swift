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
    private var asks = true
    private var violations: [Counterexample] = []
    private var progress: @Sendable (Duration) -> Void = { _ in }

    /// - Parameter plan: what happens; nil draws it from the seed.
    public init(seed: UInt64, configuration: Configuration = Configuration(), plan: SessionPlan? = nil, promise: Promise? = nil) {
        self.seed = seed
        self.configuration = configuration
        self.plan = plan ?? Self.draw(seed: seed, configuration: configuration)
        self.promise = promise
        var settings = World.Configuration()
        settings.network.loss = configuration.loss
        world = World(seed: seed, configuration: settings)
        workload = Workload(seed: seed ^ 0x0C11_E475, configuration: configuration.workload)
    }

    // MARK: Drawing a plan

    private static func draw(seed: UInt64, configuration: Configuration) -> SessionPlan {
        var generator = SeededGenerator(seed: seed ^ 0x04DE_A100)
        let kinds = configuration.faults.sorted { $0.rawValue < $1.rawValue }
        var plan = SessionPlan()
        for _ in 0..<configuration.rounds {
            guard let kind = kinds.randomElement(using: &generator) else { break }
            var round = [draw(kind, besides: nil, configuration, using: &generator)]
            let others = kinds.filter { $0 != .rolling && mayMeet(kind, $0) }
            if configuration.pairs, configuration.nodes > 2, let other = others.randomElement(using: &generator) {
                round.append(draw(other, besides: round[0].member, configuration, using: &generator))
            }
            plan.rounds.append(round)
        }
        return plan
    }

    /// Two that are killed at once may hold both copies of a session: nothing is promised then. One that leaves is one copy less, too.
    private static func mayMeet(_ one: SessionPlan.Fault.Kind, _ other: SessionPlan.Fault.Kind) -> Bool {
        let takesCopy: Set<SessionPlan.Fault.Kind> = [.crash, .leave]
        return one != .rolling && !(takesCopy.contains(one) && takesCopy.contains(other))
    }

    private static func draw(
        _ kind: SessionPlan.Fault.Kind, besides taken: Int?, _ configuration: Configuration, using generator: inout SeededGenerator
    ) -> SessionPlan.Fault {
        var member = Int.random(in: 1...configuration.nodes, using: &generator)
        if member == taken { member = member % configuration.nodes + 1 }
        let shift = Int.random(in: 1...max(1, configuration.nodes - 1), using: &generator)
        // Three of four kills come in the middle of something.
        let directive = Int.random(in: 0..<400, using: &generator)
        let isAtOnce = Int.random(in: 0..<4, using: &generator) == 0
        return SessionPlan.Fault(
            kind, member: member, other: kind == .cut ? (member - 1 + shift) % configuration.nodes + 1 : nil,
            directive: kind == .crash && !isAtOnce ? directive : nil, at: Int64.random(in: 200...2000, using: &generator),
            length: Int64.random(in: lengths(kind), using: &generator))
    }

    /// Milliseconds.
    private static func lengths(_ kind: SessionPlan.Fault.Kind) -> ClosedRange<Int64> {
        switch kind {
        case .crash: 1000...6000
        case .pause: 100...5000
        case .leave: 4000...8000
        case .rolling: 500...2000
        case .clock: 2000...8000
        case .cut: 100...8000
        case .split: 100...15_000
        case .sever: 7_200_000...7_300_000
        }
    }

    // MARK: Running

    /// Runs it to the end.
    /// - Parameter progress: told now and then how much time has passed in the world.
    public mutating func run(progress: @escaping @Sendable (Duration) -> Void = { _ in }) -> Report {
        self.progress = progress
        names = (1...max(1, configuration.nodes)).compactMap { try? NodeName("n\($0)") }
        for name in names { world.start(name) }
        asks = false
        settle("after the start")
        asks = true
        for (number, round) in plan.rounds.enumerated() where violations.isEmpty { run(round, number: number + 1) }
        if violations.isEmpty { rest() }
        violations += workload.history.counterexamples
        for answer in workload.unexpected.prefix(3) { violations.append(Counterexample(.answered, answer)) }
        if let broken = promise?(workload.history, world) { violations.append(Counterexample(.planted, broken)) }
        let operations = workload.history.operations
        return Report(
            seed: seed, configuration: configuration, plan: plan, traceHash: world.traceHash, virtualTime: .nanoseconds(world.uptime),
            operations: operations.count, repeated: operations.count { $0.repeats > 0 }, violations: violations)
    }

    private mutating func run(_ round: [SessionPlan.Fault], number: Int) {
        let start = world.uptime
        var acts: [(at: Int64, fault: SessionPlan.Fault, act: (inout SessionOrdeal, SessionPlan.Fault) -> Void)] = []
        for fault in round {
            acts.append((fault.at, fault, { $0.begin($1) }))
            if fault.kind == .clock { acts.append((fault.at + fault.length / 2, fault, { $0.setClock(of: $1, error: -Self.clockStep) })) }
            if fault.kind == .sever {
                acts.append((min(fault.at + Self.severedUse, fault.end), fault, { ordeal, _ in ordeal.asks = false }))
                acts.append((max(fault.at, fault.end - Self.severedUse), fault, { ordeal, _ in ordeal.asks = true }))
            }
            acts.append((fault.end, fault, { $0.end($1) }))
        }
        // Sorting keeps the order of what is due at once.
        for (at, fault, act) in acts.enumerated().sorted(by: { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }).map(\.element) {
            pass(until: start + at * 1_000_000)
            act(&self, fault)
        }
        pass(until: world.uptime + 500_000_000)
        settle("after round \(number)")
        workload.interruptionEnded(at: now)
    }

    /// Milliseconds.
    private static let clockStep: Int64 = 60_000
    private static let severedUse: Int64 = 5000

    private var now: Duration { .nanoseconds(world.uptime) }

    private mutating func begin(_ fault: SessionPlan.Fault) {
        guard let name = name(fault.member) else { return }
        if fault.interrupts { workload.interruptionBegan(at: now) }
        switch fault.kind {
        case .crash: if let directive = fault.directive { world.crash(name, afterDirectives: directive) } else { world.crash(name) }
        case .pause: world.pause(name)
        case .leave: world.leave(name)
        case .rolling: roll(from: fault.member, away: fault.length)
        case .clock: setClock(of: fault, error: Self.clockStep)
        case .cut: if let other = fault.other.flatMap(self.name) { world.cut(from: other, to: name) }
        case .split, .sever: world.partition(names.prefix(fault.member), from: names.dropFirst(fault.member))
        }
    }

    private mutating func end(_ fault: SessionPlan.Fault) {
        guard let name = name(fault.member) else { return }
        switch fault.kind {
        case .crash, .leave: restart(name)
        case .pause: world.wake(name)
        case .rolling: break
        case .clock: setClock(of: fault, error: 0)
        case .cut: if let other = fault.other.flatMap(self.name) { world.mend(from: other, to: name) }
        case .split, .sever: world.rejoin(names.prefix(fault.member), with: names.dropFirst(fault.member))
        }
    }

    private func name(_ member: Int) -> NodeName? { names.indices.contains(member - 1) ? names[member - 1] : nil }

    private mutating func setClock(of fault: SessionPlan.Fault, error: Int64) {
        if let name = name(fault.member) { world.setClock(of: name, error: error) }
    }

    /// One that still runs is killed, as a supervisor would.
    private mutating func restart(_ name: NodeName) {
        world.crash(name)
        world.start(name)
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
            if let ticket = tickets.removeValue(forKey: number) { workload.lost(ticket, at: now) }
        }
        for number in world.takeAnswered() {
            guard let response = world.takeResponse(number), let ticket = tickets.removeValue(forKey: number) else { continue }
            workload.answered(ticket, response, at: now)
        }
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

    /// Everything under way is answered, copies have met, and all is read once more.
    private mutating func rest() {
        workload.stop()
        let end = world.uptime + Self.answerPatience
        while !workload.isIdle, world.uptime < end { pass(until: world.uptime + Self.step) }
        if !workload.isIdle { return violations.append(Counterexample(.answered, "never answered", workload.unanswered)) }
        asks = false
        settle("at rest")
        pass(until: world.uptime + Self.quiet)
        for (session, key) in workload.sessions { workload.saw(.init(at: now, session: session, copies: world.copies(of: key))) }
        submit(workload.readAll(at: now, of: world.running))
        let last = world.uptime + Self.answerPatience
        while !workload.isIdle, world.uptime < last { pass(until: world.uptime + Self.step) }
        let failed = workload.history.operations.filter { read in
            guard workload.history.restedAt.map({ read.invoked >= $0 }) ?? false else { return false }
            switch read.outcome {
            case .failed, .unknown: return true
            case .absent, .shown, .done: return false
            }
        }
        if !failed.isEmpty { violations.append(Counterexample(.answered, "a mesh at rest doesn't answer", failed)) }
    }

    private static let answerPatience = Duration.seconds(60).nanoseconds
    /// Long enough for former ids to have lost their grace.
    private static let quiet = Duration.seconds(25).nanoseconds
}
