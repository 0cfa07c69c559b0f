import MeshCore

/// A ``MembershipWorld`` put through faults drawn from a seed, and held to its promises: those that its checkers watch all the time, and that all
/// come to see the same once the faults are over. ``SessionOrdeal`` is the same for sessions.
public struct MembershipOrdeal: Sendable {
    public struct Configuration: Hashable, Sendable {
        public var nodes = 10
        /// So many of them, the last ones, are balancers.
        public var balancers = 1
        public var loss = 0.05
        /// Shares of packets that come twice, and that are overtaken.
        public var duplication = 0.02
        public var reordering = 0.05
        /// How many faults are drawn, of which kinds, and that none lasts beyond the length.
        public var rounds = 8
        public var faults = Set(MembershipPlan.Fault.Kind.allCases)
        /// Faults and quiet together; longer if the plan's faults last longer.
        public var length: Duration = .seconds(60)
        /// All members start within this time.
        public var joining: Duration = .seconds(1)
        /// Within this time after the last fault all must agree.
        public var quiet: Duration = .seconds(30)
        public init() {}
    }

    public struct Report: Sendable {
        public var seed: UInt64
        public var configuration: Configuration
        public var plan: MembershipPlan
        public var traceHash: UInt64
        public var virtualTime: Duration
        public var traffic: MembershipWorld.Traffic
        /// When all agreed for the first time, since the beginning.
        public var joinedAfter: Duration?
        /// When all agreed again, since the last fault was over.
        public var agreedAfter: Duration?
        /// What was broken; empty when every promise held.
        public var violations: [Violation]

        public init(
            seed: UInt64, configuration: Configuration, plan: MembershipPlan, traceHash: UInt64, virtualTime: Duration,
            traffic: MembershipWorld.Traffic, joinedAfter: Duration? = nil, agreedAfter: Duration? = nil, violations: [Violation]
        ) {
            self.seed = seed
            self.configuration = configuration
            self.plan = plan
            self.traceHash = traceHash
            self.virtualTime = virtualTime
            self.traffic = traffic
            self.joinedAfter = joinedAfter
            self.agreedAfter = agreedAfter
            self.violations = violations
        }
    }

    /// A promise of a test's own, looked at a hundred times in a run: nil, or how it is broken.
    public typealias Promise = @Sendable (borrowing MembershipWorld) -> String?

    public let seed: UInt64
    public let configuration: Configuration
    public let plan: MembershipPlan
    private let promise: Promise?
    private var progress: @Sendable (Duration) -> Void = { _ in }
    private var world: MembershipWorld

    /// - Parameter plan: what happens; nil draws it from the seed.
    public init(seed: UInt64, configuration: Configuration = Configuration(), plan: MembershipPlan? = nil, promise: Promise? = nil) {
        self.seed = seed
        self.configuration = configuration
        self.plan = plan ?? Self.draw(seed: seed, configuration: configuration)
        self.promise = promise
        var settings = MembershipWorld.Configuration()
        settings.network.loss = configuration.loss
        settings.network.duplication = configuration.duplication
        settings.network.reordering = configuration.reordering
        settings.peerLinks = configuration.nodes <= Self.fullyLinkedMax ? .all : .watchers
        world = MembershipWorld(seed: seed, configuration: settings)
    }

    /// Up to here everybody holds a link to everybody, as nodes that share sessions do.
    private static let fullyLinkedMax = 16

    // MARK: Drawing a plan

    private static func draw(seed: UInt64, configuration: Configuration) -> MembershipPlan {
        var generator = SeededGenerator(seed: seed ^ 0x04DE_A1B0)
        let kinds = configuration.faults.sorted { $0.rawValue < $1.rawValue }
        let begin = configuration.joining.milliseconds + 1000
        let end = max(begin + 1000, configuration.length.milliseconds - configuration.quiet.milliseconds)
        var plan = MembershipPlan()
        for _ in 0..<configuration.rounds {
            guard let kind = kinds.randomElement(using: &generator) else { break }
            let at = Int64.random(in: begin..<end, using: &generator)
            let length = kind == .kill ? 0 : Int64.random(in: 50...longest(kind), using: &generator)
            let member = Int.random(in: 1...configuration.nodes, using: &generator)
            let shift = Int.random(in: 1...max(1, configuration.nodes - 1), using: &generator)
            let other = kind == .cut ? (member - 1 + shift) % configuration.nodes + 1 : nil
            if kind == .cut, other == member { continue }
            plan.faults.append(.init(kind, member: member, other: other, at: at, length: max(0, min(length, end - at))))
        }
        plan.faults.sort { $0.at < $1.at }
        return plan
    }

    /// Milliseconds. Half of all pauses are to be survived.
    private static func longest(_ kind: MembershipPlan.Fault.Kind) -> Int64 {
        switch kind {
        case .pause: 3000
        case .cut, .deaf, .lossy, .split: 15_000
        case .crash, .kill, .restart, .rewind, .move, .leave, .clock: 6000
        }
    }

    // MARK: Running

    private struct Act: Comparable {
        let at: Int64
        let isEnd: Bool
        let index: Int
        static func < (lhs: Act, rhs: Act) -> Bool { (lhs.at, lhs.isEnd ? 1 : 0, lhs.index) < (rhs.at, rhs.isEnd ? 1 : 0, rhs.index) }
    }

    /// Runs it to the end, or until a promise is broken.
    /// - Parameter progress: told now and then how much time has passed in the world.
    public mutating func run(progress: @escaping @Sendable (Duration) -> Void = { _ in }) -> Report {
        self.progress = progress
        var joined: Duration?
        join()
        for act in acts() {
            pass(until: act.at, noticing: &joined)
            guard world.violations.isEmpty else { break }
            if act.isEnd { end(plan.faults[act.index]) } else { begin(plan.faults[act.index]) }
        }
        let agreed = settle(noticing: &joined)
        return Report(
            seed: seed, configuration: configuration, plan: plan, traceHash: world.traceHash, virtualTime: .nanoseconds(world.uptime),
            traffic: world.traffic, joinedAfter: joined, agreedAfter: agreed, violations: world.violations)
    }

    private func acts() -> [Act] {
        plan.faults.indices.flatMap { index in
            let fault = plan.faults[index]
            let start = Act(at: fault.at, isEnd: false, index: index)
            return fault.kind == .kill ? [start] : [start, Act(at: fault.end, isEnd: true, index: index)]
        }.sorted()
    }

    private func name(_ member: Int) -> NodeName? { try? NodeName("n\(member)") }

    private mutating func join() {
        let step = configuration.joining.nanoseconds / Int64(max(1, configuration.nodes))
        for member in 1...max(1, configuration.nodes) {
            guard let name = name(member) else { continue }
            world.start(name, role: member > configuration.nodes - configuration.balancers ? .balancer : .node)
            world.run(for: .nanoseconds(step))
            progress(.nanoseconds(world.uptime))
        }
    }

    private mutating func pass(until milliseconds: Int64, noticing joined: inout Duration?) {
        let end = milliseconds * 1_000_000
        while world.uptime < end, world.violations.isEmpty {
            world.run(for: .nanoseconds(min(Self.look, end - world.uptime)))
            progress(.nanoseconds(world.uptime))
            if let promise, let broken = promise(world) { world.violated(.planted, broken) }
            if joined == nil, world.disagreement == nil { joined = .nanoseconds(world.uptime) }
        }
    }

    private static let look: Int64 = 100_000_000

    /// Lets the rest of the time pass and says when all agreed for good.
    private mutating func settle(noticing joined: inout Duration?) -> Duration? {
        guard world.violations.isEmpty else { return nil }
        let over = max(world.uptime, plan.end * 1_000_000)
        let end = max(over + configuration.quiet.nanoseconds, configuration.length.nanoseconds)
        var agreed: Int64?
        while world.uptime < end, world.violations.isEmpty {
            pass(until: min(end, world.uptime + Self.look) / 1_000_000, noticing: &joined)
            if world.disagreement != nil { agreed = nil } else if agreed == nil { agreed = world.uptime }
        }
        if world.violations.isEmpty, let disagreement = world.disagreement {
            world.violated(.agreement, "\(configuration.quiet) after the last fault \(disagreement)")
        }
        return agreed.map { .nanoseconds($0 - over) }
    }

    private mutating func begin(_ fault: MembershipPlan.Fault) {
        guard let name = name(fault.member) else { return }
        switch fault.kind {
        case .crash, .kill, .restart, .rewind, .move: world.crash(name)
        case .leave: world.leave(name)
        case .pause: world.pause(name)
        case .clock: world.setClock(of: name, error: 3_600_000)
        case .cut: if let other = fault.other.flatMap(self.name) { world.cut(from: other, to: name) }
        case .deaf: world.deafen(name)
        case .lossy: world.setLoss(0.8, at: name)
        case .split: world.split(after: name)
        }
    }

    private mutating func end(_ fault: MembershipPlan.Fault) {
        guard let name = name(fault.member) else { return }
        switch fault.kind {
        case .kill: break
        case .crash: world.start(name)
        case .restart: world.start(name, restart: .withSnapshot)
        case .rewind: world.start(name, clockError: -3_600_000)
        case .move: world.start(name, moved: true)
        case .leave: comeBack(name)
        case .pause: world.wake(name)
        case .clock: world.setClock(of: name, error: 0)
        case .cut: if let other = fault.other.flatMap(self.name) { world.mend(from: other, to: name) }
        case .deaf: world.undeafen(name)
        case .lossy: world.setLoss(nil, at: name)
        case .split: world.join(after: name)
        }
    }

    /// One that is still saying goodbye is given the time for it by its supervisor, and then killed.
    private mutating func comeBack(_ name: NodeName) {
        world.crash(name)
        world.start(name)
    }
}
