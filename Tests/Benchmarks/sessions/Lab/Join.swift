import AgentTools
import LabTools
import MeshCore

/// A fourth agent comes to three that hold many sessions, while applications go on asking at a rate that doesn't wait for answers.
final class Join: Asker {
    struct Settings {
        var sessions = 300_000
        /// Requests a second, all agents together: eight reads to two commits, of sessions at random.
        var rate = 2000
        /// How long the mesh is watched before the fourth agent comes.
        var idle: Duration = .seconds(10)
        var seed: UInt64 = 1
    }

    struct Report {
        /// Seconds until the first three held all sessions twice.
        var fillSeconds = 0.0
        /// Seconds from the start of the fourth's process until every slot is where it belongs, twice.
        var joinSeconds = Double.infinity
        /// Milliseconds from when a request was due to its answer.
        var idle = Sample()
        var joining = Sample()
        /// The slowest request of each tenth of a second since the fourth was started, in milliseconds.
        var slowest: [Double] = []
        /// Requests that were not answered as they should be: an error, no such session, a lost connection, no answer in five seconds.
        var failures: [String: Int] = [:]
        /// Sessions that the fourth agent has in the end, in either rank.
        var moved = 0
        var sessionBytes = Join.valueBytes
        var disorder: String?

        var ratio: Double { joining.percentile(99) / idle.percentile(99) }
    }

    private let settings: Settings
    private let mesh: Mesh
    private let loop: Loop
    private let overseer: Overseer
    private var generator: SeededGenerator
    private var report = Report()
    private var keys: [SessionKey] = []
    private var connections: [Connection] = []
    private var phase = Phase.filling
    private var requests: [Int: Due] = [:]
    private var lastTicket = 0
    /// When the fourth was started.
    private var joinedAt = Duration.zero

    private enum Phase { case filling, warming, idle, joining, over }

    private struct Due {
        var at: Duration
        var phase: Phase
    }

    static let valueBytes = 300
    /// Twice what a patient operator waits for the goal.
    private static let joinPatience = Duration.seconds(120)
    private static let answerPatience = Duration.seconds(5)
    /// To each agent, so that a slow answer holds up few others.
    private static let connectionsMax = 16
    private static let fillDepth = 16

    init(_ settings: Settings, with toolbox: Toolbox) throws {
        self.settings = settings
        generator = SeededGenerator(seed: settings.seed)
        loop = Loop()
        mesh = try Mesh(3, on: .loopback, with: toolbox, in: loop)
        overseer = Overseer(mesh)
    }

    func run() throws -> Report {
        defer { mesh.end() }
        for agent in mesh.agents {
            try mesh.start(agent)
            try wait(for: "\(agent.name) to be ready") { agent.isReady }
        }
        try settle()
        for agent in mesh.agents {
            for _ in 0..<Self.connectionsMax {
                let connection = try Connection(to: mesh.clientSocket(of: agent), for: self)
                loop.add(connection)
                connections.append(connection)
            }
        }
        try fill()
        try ask(.warming, for: .seconds(2))
        Say.progress("watching for \(settings.idle)")
        try ask(.idle, for: settings.idle)
        try join()
        phase = .over
        let end = loop.now + Self.answerPatience
        while !requests.isEmpty, loop.now < end { try turn() }
        if !requests.isEmpty { report.failures["no answer", default: 0] += requests.count }
        return report
    }

    private func fill() throws {
        Say.progress("making \(settings.sessions) sessions")
        let start = loop.now
        while keys.count + requests.count < settings.sessions || !requests.isEmpty {
            for connection in connections {
                while connection.unanswered < Self.fillDepth, keys.count + requests.count < settings.sessions {
                    let commit = SessionCommit(key: nil, id: CommitID(using: &generator), changes: [value()])
                    ask(.commit(commit), at: loop.now, over: connection)
                }
            }
            try turn()
            guard report.failures.isEmpty else { throw LabFailure("sessions can't be made: \(report.failures)") }
        }
        try settle()
        report.fillSeconds = (loop.now - start).seconds
    }

    private func join() throws {
        let agent = try mesh.add(4)
        let start = loop.now
        joinedAt = start
        try mesh.start(agent)
        try ask(.joining, for: Self.joinPatience) { [self] in agent.isReady && overseer.isWhole(since: start) }
        guard overseer.isWhole(since: start) else { return report.disorder = overseer.disorder }
        report.joinSeconds = (loop.now - start).seconds
        report.moved = overseer.sessions(of: agent) ?? 0
    }

    /// Asks at the rate, each request when it is due whether or not others are answered, for so long or until it is so.
    private func ask(_ phase: Phase, for time: Duration, or isSo: () -> Bool = { false }) throws {
        self.phase = phase
        let start = loop.now
        let interval = Duration.seconds(1) / settings.rate
        var count = 0
        while loop.now < start + time, !isSo() {
            while case let due = start + interval * count, due <= loop.now {
                guard let key = keys.randomElement(using: &generator), let connection = connections.randomElement(using: &generator) else {
                    break
                }
                let isRead = Int.random(in: 0..<10, using: &generator) < 8
                let commit = isRead ? nil : SessionCommit(key: key, id: CommitID(using: &generator), changes: [value()])
                ask(commit.map { .commit($0) } ?? .read(key), at: due, over: connection)
                count += 1
            }
            try turn()
        }
    }

    private func value() -> FieldChange {
        var bytes = [UInt8](repeating: UInt8(ascii: "x"), count: Self.valueBytes)
        for index in 0..<16 { bytes[index] = UInt8.random(in: 33...126, using: &generator) }
        return .set("data", bytes)
    }

    private func ask(_ request: ClientRequest, at due: Duration, over connection: Connection) {
        lastTicket += 1
        requests[lastTicket] = Due(at: due, phase: phase)
        connection.ask(lastTicket, request)
    }

    // MARK: Answers

    func answered(_ ticket: Int, _ response: ClientResponse) {
        guard let due = requests.removeValue(forKey: ticket) else { return }
        switch response {
        case .committed(let receipt): if due.phase == .filling { keys.append(receipt.key) }
        case .session(.some): break
        case .session(nil): fail("no such session")
        case .failure(let failure): fail("\(failure.code.rawValue)")
        default: fail("another answer")
        }
        let wait = (loop.now - due.at).seconds * 1000
        switch due.phase {
        case .idle: report.idle.add(wait)
        case .joining:
            report.joining.add(wait)
            note(wait, since: due.at - joinedAt)
        case .filling, .warming, .over: break
        }
    }

    private func note(_ wait: Double, since start: Duration) {
        let tenth = Int(start / .milliseconds(100))
        guard tenth >= 0 else { return }
        while report.slowest.count <= tenth { report.slowest.append(0) }
        report.slowest[tenth] = max(report.slowest[tenth], wait)
    }

    func lost(_ ticket: Int) { if requests.removeValue(forKey: ticket) != nil { fail("connection closed") } }

    private func fail(_ what: String) { report.failures[what, default: 0] += 1 }

    // MARK: Waiting

    private func turn() throws {
        overseer.look()
        try loop.turn(.milliseconds(1))
        try mesh.watch()
    }

    private func wait(for what: String, _ isSo: () -> Bool) throws {
        let end = loop.now + .seconds(60)
        while !isSo() {
            guard loop.now < end else { throw LabFailure("waited a minute for \(what)") }
            try turn()
        }
    }

    private func settle() throws {
        let start = loop.now
        try wait(for: "a mesh that is whole") { overseer.isWhole(since: start) }
    }
}
