import MeshAgent
import MeshSimulator

/// An ``Ordeal`` for each seed.
struct SessionTrial: Trial {
    var configuration: Ordeal.Configuration

    func run(seed: UInt64, progress: @escaping @Sendable (Duration) -> Void) -> Ordeal.Report {
        var ordeal = Ordeal(seed: seed, configuration: configuration)
        return ordeal.run()
    }

    func replay(_ seed: UInt64) -> String {
        let faults = configuration.faults.map(\.rawValue).sorted().joined(separator: ",")
        return "sessionmesh simulate --seed \(seed) --nodes \(configuration.nodes) --rounds \(configuration.rounds)"
            + " --loss \(configuration.loss) --faults \(faults)"
    }

    func text(of report: Ordeal.Report) -> String {
        var text = "seed \(report.seed)  trace \(Figures.hex(report.traceHash))  \(Figures.seconds(report.virtualTime)) s simulated  "
        text += "\(report.commitsAcknowledged) commits, \(report.commitsRepeated) repeats  \(report.faults.joined(separator: ", "))  "
        text += report.violations.isEmpty ? "all promises held\n" : "BROKEN\n"
        if !report.violations.isEmpty {
            text += report.violations.map { "  \($0)\n" }.joined() + "  again: \(replay(report.seed))\n"
        }
        return text
    }

    func json(of report: Ordeal.Report) -> JSON {
        .object([
            ("seed", .number(report.seed)), ("trace", .text(Figures.hex(report.traceHash))),
            ("virtualMilliseconds", Figures.milliseconds(report.virtualTime)),
            ("faults", .array(report.faults.map { .text($0) })), ("commitsAcknowledged", .number(report.commitsAcknowledged)),
            ("commitsRepeated", .number(report.commitsRepeated)), ("violations", .array(report.violations.map { .text($0) })),
            ("replay", .text(replay(report.seed))),
        ])
    }
}

extension Ordeal.Report: Broken {
    var isBroken: Bool { !violations.isEmpty }
}
