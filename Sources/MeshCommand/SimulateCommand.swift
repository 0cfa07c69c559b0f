import ArgumentParser
import Foundation
import MeshAgent
import MeshSimulator
import Synchronization

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Puts a simulated mesh through faults while clients count, and holds it to its promises.",
        discussion: """
            The same seed and flags give the same trace, on any machine. A broken promise is printed with the command that repeats it.

            Examples:
              sessionmesh simulate --seed 7
              sessionmesh simulate --seeds 1...200 --faults crash,pause --loss 0.3
            """)

    @Option(help: "The seed of the world and everything that happens in it. (default: 1)")
    var seed: UInt64?

    @Option(
        help: ArgumentHelp("Seeds one after the other, on all cores, such as 1...200.", valueName: "first...last"), transform: Self.range)
    var seeds: ClosedRange<UInt64>?

    @Option(help: "Nodes, 2 to 64.")
    var nodes = Ordeal.Configuration().nodes

    @Option(help: "Faults, one a round.")
    var rounds = Ordeal.Configuration().rounds

    @Option(help: "The share of packets that are lost, 0 to 0.9.")
    var loss = Ordeal.Configuration().loss

    @Option(
        help: ArgumentHelp("What may happen: crash, pause, clock, cut. (default: crash,pause,clock)", valueName: "list"),
        transform: Self.faults)
    var faults: Set<Ordeal.Fault> = Ordeal.Configuration().faults

    @Flag(help: "Prints JSON, one object a seed.")
    var json = false

    /// More would take weeks.
    private static let seedsMax: UInt64 = 1_000_000

    @Sendable private static func range(_ text: String) throws -> ClosedRange<UInt64> {
        let ends = text.split(separator: "...", omittingEmptySubsequences: false).map { UInt64($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, last - first < seedsMax else {
            throw ValidationError("write seeds as 1...200, at most \(seedsMax) of them")
        }
        return first...last
    }

    @Sendable private static func faults(_ text: String) throws -> Set<Ordeal.Fault> {
        try Set(
            text.split(separator: ",").map { word in
                guard let fault = Ordeal.Fault(rawValue: String(word)) else {
                    throw ValidationError("faults are \(Ordeal.Fault.allCases.map(\.rawValue).joined(separator: ", "))")
                }
                return fault
            })
    }

    func validate() throws {
        guard seed == nil || seeds == nil else { throw ValidationError("give --seed or --seeds, not both") }
        guard (2...64).contains(nodes) else { throw ValidationError("--nodes is a whole number from 2 to 64") }
        guard (0...1000).contains(rounds) else { throw ValidationError("--rounds is a whole number from 0 to 1000") }
        guard !faults.isEmpty else { throw ValidationError("--faults names one or more; for none, say --rounds 0") }
        guard (0...0.9).contains(loss) else { throw ValidationError("--loss is a number from 0 to 0.9") }
    }

    func run() throws {
        var configuration = Ordeal.Configuration()
        configuration.nodes = nodes
        configuration.rounds = rounds
        configuration.loss = loss
        configuration.faults = faults
        let single = seed ?? 1
        let trials = Trials(seeds: seeds ?? single...single, configuration: configuration)
        var broken = 0
        trials.run { report in
            if !report.violations.isEmpty { broken += 1 }
            if json { Output.line(Self.json(of: report, replay: replay(report.seed))) } else { Output.write(text(of: report)) }
        }
        guard broken == 0 else {
            throw CommandFailure.failed("promises were broken with \(broken) of \(trials.count) seeds: see above for how to repeat them")
        }
    }

    func replay(_ seed: UInt64) -> String {
        let faults = faults.map(\.rawValue).sorted().joined(separator: ",")
        return "sessionmesh simulate --seed \(seed) --nodes \(nodes) --rounds \(rounds) --loss \(loss) --faults \(faults)"
    }

    func text(of report: Ordeal.Report) -> String {
        let seconds = Double(report.virtualTime.components.seconds) + Double(report.virtualTime.components.attoseconds) / 1e18
        var text = "seed \(report.seed)  trace \(Self.hex(report.traceHash))  \(String(format: "%.1f", seconds)) s simulated  "
        text += "\(report.commitsAcknowledged) commits, \(report.commitsRepeated) repeats  \(report.faults.joined(separator: ", "))  "
        text += report.violations.isEmpty ? "all promises held\n" : "BROKEN\n"
        if !report.violations.isEmpty {
            text += report.violations.map { "  \($0)\n" }.joined() + "  again: \(replay(report.seed))\n"
        }
        return text
    }

    static func json(of report: Ordeal.Report, replay: String) -> JSON {
        .object([
            ("seed", .number(report.seed)), ("trace", .text(hex(report.traceHash))),
            ("virtualMilliseconds", .number(Int64(report.virtualTime / .milliseconds(1)))),
            ("faults", .array(report.faults.map { .text($0) })), ("commitsAcknowledged", .number(report.commitsAcknowledged)),
            ("commitsRepeated", .number(report.commitsRepeated)), ("violations", .array(report.violations.map { .text($0) })),
            ("replay", .text(replay)),
        ])
    }

    private static func hex(_ hash: UInt64) -> String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Runs an ordeal for each seed, a thread a core, and hands the reports out in the order of the seeds.
final class Trials: Sendable {
    private struct State {
        var next: UInt64?
        var reports: [UInt64: Ordeal.Report] = [:]
    }

    private let seeds: ClosedRange<UInt64>
    private let configuration: Ordeal.Configuration
    private let state: Mutex<State>
    private let done = DispatchSemaphore(value: 0)

    /// After how long a person is told that something happens.
    private static let progressInterval = DispatchTimeInterval.seconds(2)

    var count: Int { Int(seeds.upperBound - seeds.lowerBound) + 1 }

    init(seeds: ClosedRange<UInt64>, configuration: Ordeal.Configuration) {
        self.seeds = seeds
        self.configuration = configuration
        state = Mutex(State(next: seeds.lowerBound))
    }

    func run(_ show: (Ordeal.Report) -> Void) {
        for _ in 0..<min(count, ProcessInfo.processInfo.activeProcessorCount) {
            Thread.detachNewThread { [self] in
                while let seed = take() {
                    var ordeal = Ordeal(seed: seed, configuration: configuration)
                    let report = ordeal.run()
                    state.withLock { $0.reports[seed] = report }
                    done.signal()
                }
            }
        }
        var finished = 0
        var shown = 0
        let start = ContinuousClock.now
        while shown < count {
            if done.wait(timeout: .now() + Self.progressInterval) == .success {
                finished += 1
            } else {
                Output.note("\(finished) of \(count) seeds after \((ContinuousClock.now - start).components.seconds) s")
            }
            while shown < count, let report = state.withLock({ $0.reports.removeValue(forKey: seeds.lowerBound + UInt64(shown)) }) {
                show(report)
                shown += 1
            }
        }
    }

    private func take() -> UInt64? {
        state.withLock { state in
            guard let seed = state.next else { return nil }
            state.next = seed == seeds.upperBound ? nil : seed + 1
            return seed
        }
    }
}
