import MeshAgent
import MeshSimulator

/// A ``SessionOrdeal`` for each seed; one that breaks a promise is made smaller for as long as it still does.
struct SessionTrial: Trial {
    var configuration: SessionOrdeal.Configuration
    /// Nil draws it from each seed.
    var plan: SessionPlan?

    struct Outcome: Broken, Sendable {
        var report: SessionOrdeal.Report
        /// Of a broken promise.
        var shrunk: Shrunk<SessionOrdeal.Report>?

        var isBroken: Bool { !report.violations.isEmpty }
    }

    func run(seed: UInt64, progress: @escaping @Sendable (Duration) -> Void) -> Outcome {
        var ordeal = SessionOrdeal(seed: seed, configuration: configuration, plan: plan)
        let report = ordeal.run(progress: progress)
        return Outcome(report: report, shrunk: report.violations.isEmpty ? nil : SessionOrdeal.shrink(report))
    }

    /// Says everything, so that it stays true when a default changes.
    static func replay(_ report: SessionOrdeal.Report) -> String {
        let configuration = report.configuration
        return "sessionmesh simulate --seed \(report.seed) --nodes \(configuration.nodes) --loss \(configuration.loss)"
            + " --browsers \(configuration.workload.browsers) --clients \(configuration.workload.clientsPerBrowser)"
            + (configuration.workload.expires ? "" : " --no-expiring") + " --plan '\(report.plan)'"
    }

    private static func summary(_ report: SessionOrdeal.Report) -> RunSummary {
        RunSummary(plan: "\(report.plan)", violations: report.violations.map { "\($0)" }, replay: replay(report))
    }

    private static func summary(_ shrunk: Shrunk<SessionOrdeal.Report>) -> ShrunkSummary {
        ShrunkSummary(run: summary(shrunk.report), runs: shrunk.runs)
    }

    func text(of outcome: Outcome) -> String {
        let report = outcome.report
        var parts = [
            "seed \(report.seed)", "trace \(Figures.hex(report.traceHash))", "\(Figures.seconds(report.virtualTime)) s simulated",
            "\(report.operations) operations, \(report.repeated) repeated",
        ]
        if !report.plan.rounds.isEmpty { parts.append("\(report.plan)") }
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
            ("virtualMilliseconds", Figures.milliseconds(report.virtualTime)), ("operations", .number(report.operations)),
            ("repeated", .number(report.repeated)),
        ]
        pairs += Self.summary(report).pairs
        if let shrunk = outcome.shrunk { pairs.append(("shrunk", Self.summary(shrunk).json)) }
        return .object(pairs)
    }
}
