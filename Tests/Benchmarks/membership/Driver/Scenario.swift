import LabTools

/// One row group of the table: a kind of trouble and how many members meet it, such as `kill-32`.
struct Scenario {
    let kind: Kind
    let size: Int

    enum Kind: String, CaseIterable {
        case kill, stop, pause, loss, starve, flap, leave, join, burst, replace, duplicate, heal, idle, junk, hostile
    }

    var name: String { "\(kind.rawValue)-\(size)" }

    /// Those of the goals, in the order of their table.
    static let all = [
        "kill-10", "kill-32", "kill-100", "stop-10", "stop-32", "pause-10", "loss-32", "starve-32", "flap-16", "leave-10", "join-100",
        "burst-50",
        "replace-10", "duplicate-10", "heal-16", "idle-10", "idle-32", "idle-100", "junk-10", "hostile-5",
    ]

    /// Nil for a text that names none. Any number of members from 3 to 120 does.
    init?(_ text: String) {
        let parts = text.split(separator: "-")
        guard parts.count == 2, let kind = Kind(rawValue: String(parts[0])), let size = Int(parts[1]), (3...120).contains(size) else {
            return nil
        }
        self.kind = kind
        self.size = size
    }

    /// serf has no such thing: a balancer, a guard against replay.
    func exists(for system: System) -> Bool { system == .ours || kind != .hostile }
}

/// How long and how often.
struct Effort {
    /// Nil for each scenario's own.
    var rounds: Int?
    /// The times of the goals instead of shorter ones: ten minutes of loss, five of a partition.
    var isFull = false
}

/// What a scenario runs in.
struct Lab {
    let toolbox: Toolbox
    let effort: Effort
    /// For names that others on this machine can see.
    let id: String

    func run(_ scenario: Scenario, on system: System) throws -> Outcome {
        let load = HostLoad()
        let run = Run(lab: self, scenario: scenario, system: system)
        var failure: String?
        do { try run.perform() } catch let error as LabFailure {
            failure = error.message
            Say.progress("  \(scenario.name) \(system.rawValue): \(error.message)")
        }
        return Outcome(
            system: system, measurements: run.measurements, rounds: run.rounds, hostBusy: HostLoad.percent(since: load), failure: failure)
    }
}

/// One scenario with one system, under way.
final class Run {
    let lab: Lab
    let scenario: Scenario
    let system: System
    private(set) var measurements: [Measurement] = []
    /// Done so far.
    var rounds = 0

    init(lab: Lab, scenario: Scenario, system: System) {
        self.lab = lab
        self.scenario = scenario
        self.system = system
    }

    var size: Int { scenario.size }
    var toolbox: Toolbox { lab.toolbox }

    func perform() throws {
        switch scenario.kind {
        case .kill: try kill()
        case .stop: try stop()
        case .pause: try pause()
        case .loss: try loss()
        case .starve: try starve()
        case .flap: try flap()
        case .leave: try leave()
        case .join: try join()
        case .burst: try burst()
        case .replace: try replace()
        case .duplicate: try duplicate()
        case .heal: try heal()
        case .idle: try idle()
        case .junk: try junk()
        case .hostile: try hostile()
        }
    }

    // MARK: What scenarios share

    /// A mesh of that many members for as long as `body` runs.
    func withMesh(on ground: Ground = .loopback, members: Int? = nil, balancer: Bool = false, _ body: (Mesh) throws -> Void) throws {
        say("starting \(members ?? size) members")
        let mesh = Mesh(system, on: ground, with: toolbox)
        defer { mesh.end() }
        try mesh.form(members ?? size)
        if balancer, system == .ours {
            try mesh.start(250, isBalancer: true)
            try mesh.whole()
        }
        try body(mesh)
    }

    /// - Parameter rounds: unless the person who runs the lab wants another number.
    func repeated(_ rounds: Int, _ body: (Int) throws -> String) throws {
        let rounds = lab.effort.rounds ?? rounds
        for round in 0..<rounds {
            let text = try body(round)
            self.rounds = round + 1
            say("round \(round + 1) of \(rounds): \(text)")
        }
    }

    func say(_ text: String) { Say.progress("  \(scenario.name) \(system.rawValue): \(text)") }

    /// Reads on for a long time, and says so.
    func watch(_ mesh: Mesh, for duration: Duration, _ text: () -> String) throws {
        let start = Instant.now
        while .now < start + duration {
            let left = duration - (.now - start)
            try mesh.run(for: min(left, .seconds(20)))
            say("\(Int(Instant.now.seconds(since: start))) s of \(Int(duration.seconds)) s: \(text())")
        }
    }

    /// In seconds from `start`; who has not seen it counts as never.
    func delays(_ instants: [Instant?], from start: Instant) -> [Double] {
        instants.map { $0.map { max(0, $0.seconds(since: start)) } ?? .infinity }
    }

    func report(_ what: String, _ unit: Measurement.Unit, goal: Double? = nil, _ value: Double) {
        measurements.append(Measurement(what, unit, goal: goal, value))
    }

    func report(_ what: String, _ sample: Sample, p50: Double? = nil, p99: Double? = nil) {
        report("\(what), p50", .seconds, goal: p50, sample.percentile(50))
        report("\(what), p99", .seconds, goal: p99, sample.percentile(99))
    }
}
