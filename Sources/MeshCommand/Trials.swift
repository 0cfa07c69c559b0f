import Foundation
import MeshAgent
import MeshSimulator
import Synchronization

/// What is done for each seed of a simulation, and how its outcome is shown.
protocol Trial: Sendable {
    associatedtype Outcome: Broken, Sendable

    /// - Parameter progress: told now and then how much time has been simulated.
    func run(seed: UInt64, progress: @escaping @Sendable (Duration) -> Void) -> Outcome
    func text(of outcome: Outcome) -> String
    func json(of outcome: Outcome) -> JSON
}

protocol Broken {
    /// Whether a promise was.
    var isBroken: Bool { get }
}

/// What is said of a run, of sessions or of membership.
struct RunSummary {
    var plan: String
    /// Empty when every promise held.
    var violations: [String]
    /// The command that repeats it.
    var replay: String

    func brokenText(indent: String) -> String {
        violations.map { "\(indent)\($0)\n" }.joined() + "\(indent)again: \(replay)\n"
    }

    var pairs: [(String, JSON?)] {
        [("plan", .text(plan)), ("violations", .array(violations.map { .text($0) })), ("replay", .text(replay))]
    }
}

/// What is said of the smaller run that a broken one came to.
struct ShrunkSummary {
    var run: RunSummary
    /// How many runs it took to find.
    var runs: Int

    var text: String { "  made smaller in \(runs) runs:\n" + run.brokenText(indent: "    ") }

    var json: JSON {
        var pairs: [(String, JSON?)] = [("runs", .number(runs))]
        pairs += run.pairs
        return .object(pairs)
    }
}

/// Runs a trial for each seed, a thread a core, and hands the outcomes out in the order of the seeds.
final class Trials<T: Trial>: Sendable {
    private struct State {
        var next: UInt64?
        var outcomes: [UInt64: T.Outcome] = [:]
        /// How far the latest is that said so.
        var simulated = Duration.zero
    }

    private let seeds: ClosedRange<UInt64>
    private let trial: T
    private let state: Mutex<State>
    private let done = DispatchSemaphore(value: 0)

    /// After how long a person is told that something happens.
    private static var progressInterval: DispatchTimeInterval { .seconds(2) }

    var count: Int { Int(seeds.upperBound - seeds.lowerBound) + 1 }

    init(seeds: ClosedRange<UInt64>, of trial: T) {
        self.seeds = seeds
        self.trial = trial
        state = Mutex(State(next: seeds.lowerBound))
    }

    func run(_ show: (T.Outcome) -> Void) {
        for _ in 0..<min(count, ProcessInfo.processInfo.activeProcessorCount) {
            Thread.detachNewThread { [self] in
                while let seed = take() {
                    let outcome = trial.run(seed: seed) { [self] time in state.withLock { $0.simulated = time } }
                    state.withLock { $0.outcomes[seed] = outcome }
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
                sayProgress(finished, since: start)
            }
            while shown < count, let outcome = state.withLock({ $0.outcomes.removeValue(forKey: seeds.lowerBound + UInt64(shown)) }) {
                show(outcome)
                shown += 1
            }
        }
    }

    private func sayProgress(_ finished: Int, since start: ContinuousClock.Instant) {
        let simulated = state.withLock { $0.simulated }
        let far = count == 1 && simulated > .zero ? ", \(Figures.seconds(simulated)) s simulated" : ""
        Output.note("\(finished) of \(count) seeds after \((ContinuousClock.now - start).components.seconds) s\(far)")
    }

    private func take() -> UInt64? {
        state.withLock { state in
            guard let seed = state.next else { return nil }
            state.next = seed == seeds.upperBound ? nil : seed + 1
            return seed
        }
    }
}

/// Numbers as a person reads them.
enum Figures {
    static func hex(_ hash: UInt64) -> String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// With a tenth.
    static func seconds(_ time: Duration) -> String {
        String(format: "%.1f", Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18)
    }

    static func milliseconds(_ time: Duration) -> JSON { .number(Int64(time / .milliseconds(1))) }
}
