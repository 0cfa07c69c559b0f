import ArgumentParser
import MeshSimulator

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Puts a simulated mesh through faults and holds it to its promises.",
        discussion: """
            Whole agents while clients use sessions or, with --membership, up to thousands of members that do nothing but gossip.
            The same seed and flags give the same trace, on any machine. A broken promise is printed with the command that repeats it,
            and with the smallest plan found that still breaks it.

            Examples:
              sessionmesh simulate --seed 7
              sessionmesh simulate --seeds 1...200 --faults crash,pause --pairs --loss 0.3
              sessionmesh simulate --nodes 3 --plan 0.5:crash@17:n3:2,1:pause:n1:1+1.5:clock:n2:4
              sessionmesh simulate --membership --nodes 1000 --seconds 60
              sessionmesh simulate --membership --nodes 8 --plan 5:cut:n1:n2:8,9.5:crash:n3:2
            """)

    @Option(help: "The seed of the world and everything that happens in it. (default: 1)")
    var seed: UInt64?

    @Option(
        help: ArgumentHelp("Seeds one after the other, on all cores, such as 1...200.", valueName: "first...last"), transform: Self.range)
    var seeds: ClosedRange<UInt64>?

    @Option(help: "Nodes, 2 to 64; with --membership 1 to 2000 members. (default: 5; with --membership 10)")
    var nodes: Int?

    @Option(help: "Faults that are drawn, one a round. (default: 4; with --membership 8)")
    var rounds: Int?

    @Option(help: "The share of packets that are lost, 0 to 0.9. (default: 0.2; with --membership 0.05)")
    var loss: Double?

    @Option(
        help: ArgumentHelp(
            "What may happen: \(Self.sessionKinds); with --membership \(Self.membershipKinds). "
                + "(default: all but cut, split and sever; with --membership all)",
            valueName: "list"))
    var faults: String?

    @Flag(help: "A mesh that does nothing but gossip.")
    var membership = false

    @Option(help: "With --membership: how many of the members are balancers. (default: 1)")
    var balancers: Int?

    @Option(help: "With --membership: seconds simulated, 1 to 604800; longer if the faults last longer. (default: 60)")
    var seconds: Int?

    @Option(help: "With --membership: the share of packets that come twice, 0 to 0.9. (default: 0.02)")
    var duplication: Double?

    @Option(help: "With --membership: the share of packets that are overtaken, 0 to 0.9. (default: 0.05)")
    var reordering: Double?

    @Flag(help: "Two faults of different nodes in each round.")
    var pairs = false

    @Option(help: "Browsers, 1 to 1000; each has a session. (default: 6)")
    var browsers: Int?

    @Option(help: "Clients of each browser, 1 to 100, that use its session at once. (default: 3)")
    var clients: Int?

    @Flag(help: "Without the browser that comes so seldom that its session expires.")
    var noExpiring = false

    @Option(
        help: ArgumentHelp(
            "What happens, instead of what the seed would draw: each fault as SECOND:KIND:nI:LENGTH, a cut as SECOND:cut:nI:nJ:LENGTH. "
                + "Seconds count from when the mesh was whole after the last one; faults of one round are joined by +, and crash@K kills "
                + "in the middle of things, after K more. With --membership seconds count from the beginning, and a kill is "
                + "SECOND:kill:nI.",
            valueName: "list"))
    var plan: String?

    @Flag(help: "Prints JSON, one object a seed.")
    var json = false

    /// More would take weeks.
    private static let seedsMax: UInt64 = 1_000_000
    private static let sessionKinds = SessionPlan.Fault.Kind.allCases.map(\.rawValue).joined(separator: ", ")
    private static let membershipKinds = MembershipPlan.Fault.Kind.allCases.map(\.rawValue).joined(separator: ", ")

    @Sendable private static func range(_ text: String) throws -> ClosedRange<UInt64> {
        let ends = text.split(separator: "...", omittingEmptySubsequences: false).map { UInt64($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, last - first < seedsMax else {
            throw ValidationError("write seeds as 1...200, at most \(seedsMax) of them")
        }
        return first...last
    }

    private func faults<Kind: RawRepresentable & CaseIterable & Hashable>(of _: Kind.Type) throws -> Set<Kind>?
    where Kind.RawValue == String {
        try faults.map { words in
            try Set(
                words.split(separator: ",").map { word in
                    guard let fault = Kind(rawValue: String(word)) else {
                        throw ValidationError("faults are \(Kind.allCases.map(\.rawValue).joined(separator: ", "))")
                    }
                    return fault
                })
        }
    }

    func validate() throws {
        guard seed == nil || seeds == nil else { throw ValidationError("give --seed or --seeds, not both") }
        guard (0...1000).contains(rounds ?? 0) else { throw ValidationError("--rounds is a whole number from 0 to 1000") }
        guard faults.map({ !$0.isEmpty }) ?? true else { throw ValidationError("--faults names one or more; for none, say --rounds 0") }
        for (flag, share) in [("loss", loss), ("duplication", duplication), ("reordering", reordering)] {
            guard (0...0.9).contains(share ?? 0) else { throw ValidationError("--\(flag) is a number from 0 to 0.9") }
        }
        if membership { _ = try membershipTrial() } else { _ = try sessionTrial() }
    }

    func run() throws {
        if membership { try run(membershipTrial()) } else { try run(sessionTrial()) }
    }

    private func run<T: Trial>(_ trial: T) throws {
        let single = seed ?? 1
        let trials = Trials(seeds: seeds ?? single...single, of: trial)
        var broken = 0
        trials.run { result in
            if result.isBroken { broken += 1 }
            if json { Output.line(trial.json(of: result)) } else { Output.write(trial.text(of: result)) }
        }
        guard broken == 0 else {
            throw CommandFailure.failed("promises were broken with \(broken) of \(trials.count) seeds: see above for how to repeat them")
        }
    }

    // MARK: Sessions

    func sessionTrial() throws -> SessionTrial {
        let foreign: [(String, Bool)] = [
            ("balancers", balancers != nil), ("seconds", seconds != nil), ("duplication", duplication != nil),
            ("reordering", reordering != nil),
        ]
        if let (flag, _) = foreign.first(where: \.1) { throw ValidationError("--\(flag) goes with --membership") }
        var configuration = SessionOrdeal.Configuration()
        if let nodes { configuration.nodes = nodes }
        if let rounds { configuration.rounds = rounds }
        if let loss { configuration.loss = loss }
        if let faults = try faults(of: SessionPlan.Fault.Kind.self) { configuration.faults = faults }
        configuration.pairs = pairs
        if let browsers { configuration.workload.browsers = browsers }
        if let clients { configuration.workload.clientsPerBrowser = clients }
        configuration.workload.expires = !noExpiring
        guard (2...64).contains(configuration.nodes) else { throw ValidationError("--nodes is a whole number from 2 to 64") }
        guard (1...1000).contains(configuration.workload.browsers) else {
            throw ValidationError("--browsers is a whole number from 1 to 1000")
        }
        guard (1...100).contains(configuration.workload.clientsPerBrowser) else {
            throw ValidationError("--clients is a whole number from 1 to 100")
        }
        return SessionTrial(configuration: configuration, plan: try plan.map { try Self.sessionPlan($0, nodes: configuration.nodes) })
    }

    private static func sessionPlan(_ text: String, nodes: Int) throws -> SessionPlan {
        guard let plan = SessionPlan(text) else {
            throw ValidationError("--plan is a list such as 0.5:crash@17:n3:2,1:pause:n1:1+1.5:clock:n2:4; kinds are \(sessionKinds)")
        }
        guard plan.membersMax <= nodes else { throw ValidationError("--plan names a node above n\(nodes); raise --nodes") }
        return plan
    }

    // MARK: Membership

    /// More would not fit this machine's memory: each keeps a record of each.
    private static let membersMax = 2000
    private static let secondsMax = 7 * 24 * 3600

    func membershipTrial() throws -> MembershipTrial {
        let foreign = [("pairs", pairs), ("browsers", browsers != nil), ("clients", clients != nil), ("no-expiring", noExpiring)]
        if let (flag, _) = foreign.first(where: \.1) { throw ValidationError("--\(flag) goes without --membership") }
        var configuration = MembershipOrdeal.Configuration()
        if let nodes { configuration.nodes = nodes }
        if let rounds { configuration.rounds = rounds }
        if let loss { configuration.loss = loss }
        if let duplication { configuration.duplication = duplication }
        if let reordering { configuration.reordering = reordering }
        if let faults = try faults(of: MembershipPlan.Fault.Kind.self) { configuration.faults = faults }
        guard (1...Self.membersMax).contains(configuration.nodes) else {
            throw ValidationError("--nodes is a whole number from 1 to \(Self.membersMax)")
        }
        configuration.balancers = balancers ?? min(configuration.balancers, configuration.nodes - 1)
        guard (0..<configuration.nodes).contains(configuration.balancers) else {
            throw ValidationError("--balancers is a whole number from 0 to \(configuration.nodes - 1): one member at least is a node")
        }
        if let seconds {
            guard (1...Self.secondsMax).contains(seconds) else {
                throw ValidationError("--seconds is a whole number from 1 to \(Self.secondsMax)")
            }
            configuration.length = .seconds(seconds)
        }
        return MembershipTrial(
            configuration: configuration, plan: try plan.map { try Self.membershipPlan($0, members: configuration.nodes) })
    }

    private static func membershipPlan(_ text: String, members: Int) throws -> MembershipPlan {
        guard let plan = MembershipPlan(text) else {
            throw ValidationError("--plan is a list such as 5:cut:n1:n2:8,9.5:crash:n3:2,12:kill:n4; kinds are \(membershipKinds)")
        }
        guard plan.membersMax <= members else { throw ValidationError("--plan names a member above n\(members); raise --nodes") }
        return plan
    }
}
