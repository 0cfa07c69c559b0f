import MeshCore

/// A mesh put through faults while clients count, and held to its promises.
///
/// Rounds of one fault each: the next begins only when every slot has its second copy again, which is what the promise asks for. Meanwhile clients add
/// one to counters and try again, under the same commit id, whatever is not acknowledged. In the end every counter must show exactly what was
/// acknowledged: less is a lost write, more is one that counted twice.
public struct Ordeal: Sendable {
    public struct Configuration: Sendable {
        public var nodes = 5
        public var loss = 0.2
        public var rounds = 4
        public var sessions = 8
        /// All but cuts by default: see ``Fault/cut``.
        public var faults: Set<Fault> = [.crash, .pause, .clock]
        public init() {}
    }

    public enum Fault: String, Sendable, CaseIterable {
        /// Killed, and started again empty under its name a while later.
        case crash
        /// Off the processor for up to five seconds.
        case pause
        /// Nothing gets from another to it. Both sides may go on as if the other were gone, so a commit that is repeated on the other side of a
        /// cut may count on both: sums are held to what was acknowledged and repeated, not to the exact figure.
        case cut
        /// Its wall clock jumps by up to an hour; no other is wrong then.
        case clock
    }

    public struct Report: Sendable {
        public var seed: UInt64
        public var traceHash: UInt64
        public var virtualTime: Duration
        public var faults: [String]
        public var commitsAcknowledged: Int
        /// Commits that had to be sent more than once.
        public var commitsRepeated: Int
        /// What was broken; empty when every promise held.
        public var violations: [String]
    }

    private let configuration: Configuration
    private let seed: UInt64
    private var world: World
    private var generator: SeededGenerator
    private var names: [NodeName] = []
    private var ledger: [SessionKey: Int64] = [:]
    /// Attempts that were repeated when the session may have forgotten them, and so may have counted twice.
    private var unsure: [SessionKey: Int64] = [:]
    private var keys: [SessionKey] = []
    private var pending: [Attempt] = []
    private var report: Report

    private struct Attempt: Sendable {
        let key: SessionKey
        let commit: SessionCommit
        let begunAt: Int64
        var request: UInt64
        var sentAt: Int64
        var isUnsure = false
    }

    public init(seed: UInt64, configuration: Configuration = Configuration()) {
        self.seed = seed
        self.configuration = configuration
        var settings = World.Configuration()
        settings.network.loss = configuration.loss
        world = World(seed: seed, configuration: settings)
        generator = SeededGenerator(seed: seed ^ 0x04DE_A100)
        report = Report(
            seed: seed, traceHash: 0, virtualTime: .zero, faults: [], commitsAcknowledged: 0, commitsRepeated: 0, violations: [])
    }

    /// Runs it to the end.
    public mutating func run() -> Report {
        for number in 1...max(1, configuration.nodes) {
            if let name = try? NodeName("n\(number)") { names.append(name) }
        }
        for name in names { world.start(name) }
        if settle("after the start") {
            makeSessions()
            for _ in 0..<configuration.rounds where report.violations.isEmpty { round() }
            finishAttempts()
            check()
        }
        report.traceHash = world.traceHash
        report.virtualTime = .nanoseconds(world.uptime)
        return report
    }

    // MARK: Rounds

    private mutating func makeSessions() {
        for _ in 0..<configuration.sessions {
            guard let name = names.randomElement(using: &generator),
                case .committed(let receipt) = world.ask(name, .commit(SessionCommit(key: nil, id: CommitID(using: &generator))))
            else { return report.violations.append("a session could not be made on a quiet mesh") }
            keys.append(receipt.key)
            ledger[receipt.key] = 0
        }
    }

    private mutating func round() {
        count(for: .milliseconds(500))
        guard let fault = configuration.faults.sorted(by: { $0.rawValue < $1.rawValue }).randomElement(using: &generator),
            let victim = names.randomElement(using: &generator), let other = names.filter({ $0 != victim }).randomElement(using: &generator)
        else { return }
        report.faults.append("\(fault.rawValue) \(victim)")
        switch fault {
        case .crash:
            world.crash(victim)
            count(for: .milliseconds(Int64.random(in: 10...6000, using: &generator)))
            world.start(victim)
        case .pause:
            world.pause(victim)
            count(for: .milliseconds(Int64.random(in: 100...5000, using: &generator)))
            world.wake(victim)
        case .cut:
            world.cut(from: other, to: victim)
            count(for: .milliseconds(Int64.random(in: 100...8000, using: &generator)))
            world.heal()
        case .clock:
            // Nobody can tell the time when most clocks are wrong: the last one is put right first, and everybody hears of it.
            for name in names { world.setClock(of: name, error: 0) }
            count(for: .seconds(3))
            world.setClock(of: victim, error: Int64.random(in: -3_600_000...3_600_000, using: &generator))
            count(for: .milliseconds(1000))
        }
        count(for: .milliseconds(500))
        _ = settle("after \(report.faults.last ?? "")")
    }

    /// Lets clients count for a while, about a hundred times a second.
    private mutating func count(for duration: Duration) {
        let end = world.uptime + duration.nanoseconds
        while world.uptime < end {
            if let key = keys.randomElement(using: &generator) {
                let commit = SessionCommit(key: key, id: CommitID(using: &generator), changes: [.increment("n", by: 1)])
                pending.append(
                    Attempt(key: key, commit: commit, begunAt: world.uptime, request: send(commit), sentAt: world.uptime))
            }
            world.run(for: .milliseconds(10))
            collect()
        }
    }

    private mutating func send(_ commit: SessionCommit) -> UInt64 {
        let name = world.running.randomElement(using: &generator) ?? names[0]
        return world.submit(.commit(commit), to: name)
    }

    /// Takes in what was answered; what failed, or was asked of one who died since, is sent again.
    private mutating func collect() {
        var still: [Attempt] = []
        for var attempt in pending {
            switch world.takeResponse(attempt.request) {
            case .committed:
                ledger[attempt.key, default: 0] += 1
                report.commitsAcknowledged += 1
                continue
            case nil:
                if world.uptime - attempt.sentAt > Duration.seconds(4).nanoseconds { sendAgain(&attempt) }
            case .failure(let failure) where failure.code == .unavailable: sendAgain(&attempt)
            case let answer?:
                report.violations.append("an increment was answered \(answer)")
                continue
            }
            still.append(attempt)
        }
        pending = still
    }

    private mutating func sendAgain(_ attempt: inout Attempt) {
        attempt.request = send(attempt.commit)
        attempt.sentAt = world.uptime
        if !attempt.isUnsure, world.uptime - attempt.begunAt > Self.repeatAge.nanoseconds {
            attempt.isUnsure = true
            unsure[attempt.key, default: 0] += 1
        }
        report.commitsRepeated += 1
    }

    /// So long after the first try a repeat is sure to be known, whosever clock gave the stamps.
    private static let repeatAge = Duration.milliseconds(SessionState.commitAgeMilliseconds - 2 * MeshClock.leeway)

    private mutating func finishAttempts() {
        let end = world.uptime + Duration.seconds(60).nanoseconds
        while !pending.isEmpty, world.uptime < end {
            world.run(for: .milliseconds(10))
            collect()
        }
        if !pending.isEmpty { report.violations.append("\(pending.count) commits were never acknowledged") }
    }

    // MARK: Promises

    /// Views agree and every slot has one owner and a second copy, within thirty quiet seconds.
    private mutating func settle(_ when: String) -> Bool {
        let isSettled = world.run(for: .seconds(30), lookingEvery: .milliseconds(200)) { Self.isWhole($0) }
        if !isSettled {
            let states = world.running.compactMap { name -> String? in
                guard let core = world.core(of: name) else { return nil }
                let status = core.status
                return "\(name) \(status.stage)\(status.isReady ? "" : ", not ready"), owns \(status.primarySlots), "
                    + "\(status.underReplicatedSlots) without a copy, view \(core.view.digest)"
            }
            report.violations.append("not whole within 30 s \(when): \(states.joined(separator: "; "))")
        }
        return isSettled
    }

    /// Whether the mesh is in quiet: everybody serves and sees the same, and every slot is held twice and answered for by its primary.
    public static func isWhole(_ world: World) -> Bool {
        let cores = world.running.compactMap { world.core(of: $0) }
        guard Set(cores.map(\.view.digest)).count == 1 else { return false }
        let states = cores.map(\.status)
        return states.allSatisfy { $0.isReady && $0.isPlanned && $0.underReplicatedSlots + $0.leftoverSlots + $0.handOffSlots == 0 }
            && states.reduce(0) { $0 + $1.primarySlots } == Slot.count
    }

    private mutating func check() {
        for key in keys {
            for name in names {
                guard case .session(let snapshot?) = world.ask(name, .read(key)) else {
                    report.violations.append("\(name) lost session \(key)")
                    continue
                }
                let acknowledged = ledger[key] ?? 0
                let surplus = configuration.faults.contains(.cut) ? Int64(report.commitsRepeated) : unsure[key] ?? 0
                var shown: Int64 = 0
                if case .integer(let value) = snapshot.fields.first(where: { $0.name == "n" })?.value { shown = value }
                if !(acknowledged...acknowledged + surplus).contains(shown) {
                    report.violations.append("\(name) shows \(shown) for \(acknowledged) acknowledged increments of \(key)")
                }
            }
        }
    }
}
