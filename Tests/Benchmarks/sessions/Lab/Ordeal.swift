import AgentTools
import Glibc
import LabTools
import MeshCore
import MeshSimulator

/// Real agents put through the faults of a ``SessionPlan`` while a ``Workload``'s clients use sessions, and held to the promises that simulated ones are
/// held to, by the same checks; and whether copies are equal is asked of the agents, by the digest of each slot.
///
/// A round begins when the mesh is whole again after the one before. Histories are judged in chapters: after so many operations, at the end of a round,
/// clients come to an end, everything is read once more by way of every agent, and others begin. Sessions of former chapters stay.
final class Ordeal {
    struct Settings {
        var agents = 5
        var seed: UInt64 = 1
        var plan = SessionPlan()
        /// No round begins after it.
        var time: Duration = .seconds(24 * 3600)
        var browsers = 6
        var clientsPerBrowser = 3
    }

    struct Report {
        /// Rounds that were begun.
        var rounds = 0
        var chapters = 0
        var faults: [SessionPlan.Fault.Kind: Int] = [:]
        var operations = 0
        /// Changes that two nodes held when they were answered.
        var acknowledged = 0
        /// Those that nobody else was there to hold.
        var alone = 0
        var repeated = 0
        var reads = 0
        var sessions = 0
        /// Second copies of slots that were compared with their owners', all equal unless that is among the violations.
        var copies = 0
        /// Seconds from a client's first try to its answer.
        var waits = Sample()
        /// Seconds from the end of each round's last fault to a mesh that is whole.
        var recoveries = Sample()
        var seconds = 0.0
        /// Of that, spent on checks, while no client asked.
        var judgingSeconds = 0.0
        var violations: [Counterexample] = []
        /// What happened in the chapter that broke a promise.
        var events: [String] = []
    }

    private let settings: Settings
    private let directory: String
    private let mesh: Mesh
    private let loop: Loop
    private let overseer: Overseer
    private var clients: Clients
    private var report = Report()
    private var asks = false

    /// Checking takes time that grows with the square of a session's operations: this many are judged in seconds. When a round lasts so long that
    /// there are twice as many, clients begin nothing more in it.
    private static let chapterOperationsMax = 15_000
    /// How long the mesh has to be whole again: twice that of simulated ones, as real ones share a machine.
    private static let patience = Duration.seconds(60)
    private static let leavePatience = Duration.seconds(10)
    private static let answerPatience = Duration.seconds(60)
    /// Between two looks at what clients want.
    private static let step = Duration.milliseconds(2)

    init(_ settings: Settings, on ground: Mesh.Ground, with toolbox: Toolbox) throws {
        self.settings = settings
        directory = toolbox.directory
        loop = Loop()
        mesh = try Mesh(settings.agents, on: ground, with: toolbox, in: loop)
        overseer = Overseer(mesh)
        clients = Clients(Workload(seed: settings.seed), of: mesh)
    }

    // MARK: Running

    func run() throws -> Report {
        defer { mesh.end() }
        try begin()
        var number = 0
        for round in settings.plan.rounds where report.violations.isEmpty {
            if loop.now >= settings.time { break }
            number += 1
            try run(round, number: number)
            if clients.workload.history.operations.count >= Self.chapterOperationsMax { try endChapter() }
        }
        if asks { try endChapter() }
        report.seconds = loop.now.seconds
        return report
    }

    private func begin() throws {
        Say.progress("starting \(settings.agents) agents")
        for agent in mesh.agents {
            try mesh.start(agent)
            try wait(for: "\(agent.name) to be ready") { agent.isReady }
        }
        try settle("after the start")
        beginChapter()
    }

    private func beginChapter() {
        var configuration = Workload.Configuration()
        configuration.browsers = settings.browsers
        configuration.clientsPerBrowser = settings.clientsPerBrowser
        // So short that a kill finds requests under way.
        configuration.pause = .milliseconds(0)...(.milliseconds(5))
        configuration.sessionsBefore = report.sessions
        clients = Clients(Workload(seed: settings.seed &+ UInt64(report.chapters), configuration: configuration), of: mesh)
        report.events = []
        asks = true
    }

    private func run(_ round: [SessionPlan.Fault], number: Int) throws {
        report.rounds += 1
        let start = loop.now
        for act in SessionPlan.acts(of: round) {
            let due = start + .milliseconds(act.at)
            if case .end = act.step, act.fault.kind == .crash {
                // Whoever starts it again waits until the others have what it held, or doesn't.
                let killed = loop.now
                try pass(until: due) { self.overseer.isWhole(since: killed) }
            } else {
                try pass(until: due)
            }
            try carryOut(act)
        }
        let over = loop.now
        try settle("after round \(number)")
        clients.interruptionEnded()
        report.recoveries.add((loop.now - over).seconds)
        let what = round.map { "\($0.kind.rawValue) n\($0.member)" }.joined(separator: " + ")
        Say.progress(
            "round \(number) of \(settings.plan.rounds.count): \(what), whole after \((loop.now - over).seconds.fixed(2)) s; "
                + "\(report.operations + clients.workload.history.operations.count) operations")
    }

    private func carryOut(_ act: SessionPlan.Act) throws {
        let fault = act.fault
        guard let agent = mesh[fault.member] else { return }
        let other = fault.other.flatMap { mesh[$0] }
        switch act.step {
        case .begin:
            note("\(fault.kind.rawValue) \(agent.name)\(other.map { " \($0.name)" } ?? "") begins")
            report.faults[fault.kind, default: 0] += 1
            if fault.interrupts { clients.interruptionBegan() }
            try begin(fault, agent, other)
        case .setClock(let error):
            note("\(agent.name)'s clock is \(error) ms wrong")
            try mesh.setClock(of: agent, error: error)
        case .clients(let come): asks = come
        case .end:
            try end(fault, agent)
            note("\(fault.kind.rawValue) \(agent.name) is over")
        }
    }

    private func begin(_ fault: SessionPlan.Fault, _ agent: Agent, _ other: Agent?) throws {
        switch fault.kind {
        case .crash:
            if let directive = fault.directive { try waitForWork(of: agent, microseconds: 2 * directive) }
            mesh.kill(agent)
        case .pause: mesh.signal(SIGSTOP, agent)
        case .leave: mesh.signal(SIGTERM, agent)
        case .rolling: try roll(from: fault.member, away: .milliseconds(fault.length))
        case .clock: break
        case .cut: if let other { try mesh.cut(agent, from: other) }
        case .split, .sever:
            for one in mesh.agents.prefix(fault.member) {
                for other in mesh.agents.dropFirst(fault.member) {
                    try mesh.cut(one, from: other)
                    try mesh.cut(other, from: one)
                }
            }
        }
    }

    /// What an agent has done can't be counted from outside, as it is in the simulator. Instead it gets a moment for what it was just asked.
    private func waitForWork(of agent: Agent, microseconds: Int) throws {
        try pass(until: loop.now + .seconds(1)) { self.clients.areWaiting(for: agent) }
        try pass(until: loop.now + .microseconds(min(microseconds, 1000)))
    }

    private func end(_ fault: SessionPlan.Fault, _ agent: Agent) throws {
        switch fault.kind {
        case .crash, .leave: try restart(agent)
        case .pause: mesh.signal(SIGCONT, agent)
        case .rolling, .clock: break
        case .cut, .split, .sever: try mesh.mend()
        }
    }

    /// One that still runs is killed, as a supervisor would.
    private func restart(_ agent: Agent) throws {
        if agent.isRunning { mesh.kill(agent) }
        // The first to come back is everybody's seed.
        if mesh.ready.isEmpty, !mesh.running.isEmpty { try wait(for: "an agent that is ready") { !self.mesh.ready.isEmpty } }
        try mesh.start(agent)
    }

    private func roll(from first: Int, away: Duration) throws {
        for offset in mesh.agents.indices {
            let agent = mesh.agents[(first - 1 + offset) % mesh.agents.count]
            mesh.signal(SIGTERM, agent)
            try pass(until: loop.now + Self.leavePatience) { !agent.isReady }
            try pass(until: loop.now + away)
            try restart(agent)
            note("\(agent.name) is back")
            try settle("after the restart of \(agent.name)")
        }
    }

    private func note(_ text: String) { report.events.append("\(loop.now.seconds.fixed(3)) s: \(text)") }

    // MARK: Waiting

    /// Lets clients go on until then, or until it is so.
    private func pass(until end: Duration, or isSo: () -> Bool = { false }) throws {
        while loop.now < end {
            if asks { clients.ask() }
            if clients.workload.history.operations.count >= 2 * Self.chapterOperationsMax { clients.stop() }
            if isSo() { return }
            overseer.look()
            try loop.turn(min(Self.step, end - loop.now))
            try mesh.watch()
        }
    }

    private func wait(for what: String, _ isSo: () -> Bool) throws {
        try pass(until: loop.now + Self.patience, or: isSo)
        guard isSo() else { throw LabFailure("waited \(Self.patience) for \(what)") }
    }

    private func settle(_ when: String) throws {
        let start = loop.now
        try pass(until: start + Self.patience) { self.overseer.isWhole(since: start) }
        guard overseer.isWhole(since: start) else {
            let broken = Counterexample(.whole, "not whole \(Self.patience) \(when): \(overseer.disorder)")
            Say.progress("\(broken)")
            return report.violations.append(broken)
        }
    }

    // MARK: Judging

    /// Everything under way is answered, all is read once more, and what clients saw is judged.
    private func endChapter() throws {
        clients.stop()
        try pass(until: loop.now + Self.answerPatience) { self.clients.workload.isIdle }
        asks = false
        if clients.workload.isIdle, report.violations.isEmpty {
            clients.readAll()
            try pass(until: loop.now + Self.answerPatience) { self.clients.workload.isIdle }
            try compareCopies()
        }
        clients.end()
        let workload = clients.workload
        report.chapters += 1
        let judged = loop.now
        report.violations += workload.counterexamples
        count(workload)
        report.judgingSeconds += (loop.now - judged).seconds
        guard report.violations.isEmpty else {
            return try Files.write(workload.history.operations.map { "\($0)\n" }.joined(), to: "\(directory)/history")
        }
        beginChapter()
    }

    private func compareCopies() throws {
        let copies = Copies(mesh)
        try pass(until: loop.now + Self.patience) { copies.areEqual() }
        let finding = copies.finding
        report.copies += finding?.compared ?? 0
        guard let differing = finding?.differing, differing.isEmpty else {
            let first = finding?.differing.prefix(3).joined(separator: "; ") ?? "an agent doesn't say"
            let count = finding?.differing.count ?? 0
            return report.violations.append(Counterexample(.copiesAgree, "\(count) slots differ after \(Self.patience): \(first)"))
        }
    }

    private func count(_ workload: Workload) {
        report.sessions = workload.sessionsMade
        for operation in workload.history.operations {
            report.operations += 1
            if operation.repeats > 0 { report.repeated += 1 }
            if let completed = operation.completed { report.waits.add((completed - operation.invoked).seconds) }
            switch operation.outcome {
            case .done(let copies): if copies >= 2 { report.acknowledged += 1 } else { report.alone += 1 }
            case .shown: report.reads += 1
            case .unknown, .failed, .absent: break
            }
        }
    }
}
