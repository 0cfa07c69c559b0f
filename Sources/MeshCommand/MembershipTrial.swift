import MeshAgent
import MeshSimulator

/// A ``MembershipOrdeal`` for each seed; one that breaks a promise is made smaller for as long as it still does.
struct MembershipTrial: Trial {
    var configuration: MembershipOrdeal.Configuration
    /// Nil draws it from each seed.
    var plan: MembershipPlan?

    struct Outcome: Broken, Sendable {
        var report: MembershipOrdeal.Report
        var wallTime: Duration
        /// Of a broken promise.
        var shrunk: Shrunk<MembershipOrdeal.Report>?

        var isBroken: Bool { !report.violations.isEmpty }
    }

    func run(seed: UInt64, progress: @escaping @Sendable (Duration) -> Void) -> Outcome {
        let start = ContinuousClock.now
        var ordeal = MembershipOrdeal(seed: seed, configuration: configuration, plan: plan)
        let report = ordeal.run(progress: progress)
        let wallTime = ContinuousClock.now - start
        return Outcome(report: report, wallTime: wallTime, shrunk: report.violations.isEmpty ? nil : MembershipOrdeal.shrink(report))
    }

    /// Says everything, so that it stays true when a default changes.
    static func replay(_ report: MembershipOrdeal.Report) -> String {
        let configuration = report.configuration
        return "sessionmesh simulate --membership --seed \(report.seed) --nodes \(configuration.nodes)"
            + " --balancers \(configuration.balancers) --seconds \(max(1, configuration.length.components.seconds))"
            + " --loss \(configuration.loss) --duplication \(configuration.duplication) --reordering \(configuration.reordering)"
            + " --plan '\(report.plan)'"
    }

    private static func summary(_ report: MembershipOrdeal.Report) -> RunSummary {
        RunSummary(plan: "\(report.plan)", violations: report.violations.map { "\($0)" }, replay: replay(report))
    }

    private static func summary(_ shrunk: Shrunk<MembershipOrdeal.Report>) -> ShrunkSummary {
        ShrunkSummary(run: summary(shrunk.report), runs: shrunk.runs)
    }

    func text(of outcome: Outcome) -> String {
        let report = outcome.report
        let traffic = report.traffic
        var parts = [
            "seed \(report.seed)", "trace \(Figures.hex(report.traceHash))",
            "\(Figures.seconds(report.virtualTime)) s simulated in \(Figures.seconds(outcome.wallTime)) s",
            "\(traffic.packets) packets of \(traffic.bytes) bytes, \(traffic.states) states of \(traffic.stateBytes) bytes",
        ]
        if let joined = report.joinedAfter { parts.append("one view \(Figures.seconds(joined)) s after the beginning") }
        if let agreed = report.agreedAfter { parts.append("and \(Figures.seconds(agreed)) s after the last fault") }
        if !report.plan.faults.isEmpty { parts.append("\(report.plan)") }
        parts.append(report.violations.isEmpty ? "all promises held" : "BROKEN")
        var text = parts.joined(separator: "  ") + "\n"
        guard outcome.isBroken else { return text }
        text += Self.summary(report).brokenText(indent: "  ")
        if let shrunk = outcome.shrunk { text += Self.summary(shrunk).text }
        return text
    }

    func json(of outcome: Outcome) -> JSON {
        let report = outcome.report
        var pairs: [(String, JSON?)] = [
            ("seed", .number(report.seed)), ("trace", .text(Figures.hex(report.traceHash))),
            ("virtualMilliseconds", Figures.milliseconds(report.virtualTime)),
            ("wallMilliseconds", Figures.milliseconds(outcome.wallTime)), ("packets", .number(report.traffic.packets)),
            ("packetBytes", .number(report.traffic.bytes)), ("states", .number(report.traffic.states)),
            ("stateBytes", .number(report.traffic.stateBytes)),
            ("joinedMilliseconds", report.joinedAfter.map(Figures.milliseconds)),
            ("agreedMilliseconds", report.agreedAfter.map(Figures.milliseconds)),
        ]
        pairs += Self.summary(report).pairs
        if let shrunk = outcome.shrunk { pairs.append(("shrunk", Self.summary(shrunk).json)) }
        return .object(pairs)
    }
}
