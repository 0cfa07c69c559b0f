import AgentTools
import LabTools
import MeshCore

/// Requests of applications, each sent when it is due whether or not others are answered, to sessions of which every acknowledged state is known.
final class Load: Asker {
    struct Shape {
        /// Names of the fields that each commit sets.
        var fields = ["data"]
        var valueBytes = 100
        /// Commits in a hundred requests; the others are reads.
        var commitShare = 20
        /// Commits in a hundred that make a session.
        var makeShare = 0
        /// Each commit is to the session that was changed longest ago, not to one at random.
        var isInTurn = false
        /// Of every second session's commits; those of the others are held by two nodes.
        var evenLevel = AcknowledgementLevel.replicated
    }

    /// In what part of a row a request was due.
    enum Part { case unmeasured, quiet, harmed, after }

    struct Waits {
        /// Milliseconds from when a request was due to its answer.
        var reads = Sample()
        var commits = Sample()

        var all: Sample {
            var all = reads
            all.add(commits.values)
            return all
        }
    }

    /// One session, of which no two commits are ever under way at once: so what was acknowledged last is what must be there.
    struct Session {
        let key: SessionKey
        /// Every commit sets fields to values that begin with its number.
        fileprivate(set) var sent: Int
        fileprivate(set) var acknowledgements: [Acknowledgement]
        fileprivate var isBusy = false

        var acknowledged: Int { acknowledgements.last?.number ?? 0 }
    }

    struct Acknowledgement {
        let number: Int
        let at: Duration
        let isMirrored: Bool
    }

    private struct Due {
        var at: Duration
        var part: Part
        /// Nil when it makes a session.
        var session: Int?
        /// Of a commit.
        var number: Int?
        /// That a read must find at least.
        var least = 0
    }

    let shape: Shape
    private let mesh: Mesh
    private var generator: SeededGenerator
    private var connections: [Connection] = []
    private var requests: [Int: Due] = [:]
    private var lastTicket = 0
    private var turn = 0
    private(set) var sessions: [Session] = []
    private(set) var waits: [Part: Waits] = [:]
    private(set) var requestCount = 0
    /// Requests that were not answered as they should be, by what went wrong.
    private(set) var failures: [String: Int] = [:]
    /// Set when agents are about to be killed: connections may close.
    var expectsTheEnd = false

    /// To each agent, so that a slow answer holds up few others.
    private static let connectionsMax = 16
    private static let fillDepth = 16
    private static let answerPatience = Duration.seconds(5)

    init(_ shape: Shape, seed: UInt64, of mesh: Mesh) {
        self.shape = shape
        self.mesh = mesh
        generator = SeededGenerator(seed: seed)
    }

    private var loop: Loop { mesh.loop }
    var failed: Int { failures.values.reduce(0, +) }
    var underWay: Int { requests.count }

    func connect() throws {
        connections.removeAll()
        for agent in mesh.agents {
            for _ in 0..<Self.connectionsMax {
                let connection = try Connection(to: mesh.clientSocket(of: agent), for: self)
                loop.add(connection)
                connections.append(connection)
            }
        }
    }

    /// Makes so many sessions as fast as they are answered.
    func fill(_ count: Int, _ wait: () throws -> Void) throws {
        while sessions.count < count {
            for connection in connections {
                while connection.unanswered < Self.fillDepth, sessions.count + requests.count < count {
                    commit(to: nil, at: loop.now, .unmeasured, over: connection)
                }
            }
            try wait()
            guard failures.isEmpty else { throw LabFailure("sessions can't be made: \(failures)") }
        }
    }

    /// Asks at a rate for so long, or until it is so.
    func ask(_ rate: Int, _ part: Part, for time: Duration, until isSo: () throws -> Bool = { false }, _ wait: () throws -> Void) throws {
        var pace = Pace(rate: rate, start: loop.now, time: time)
        while loop.now < pace.end, try !isSo() {
            ask(&pace, part)
            try wait()
        }
    }

    /// When requests are due.
    struct Pace {
        fileprivate var next: Duration
        fileprivate let interval: Duration
        let end: Duration

        init(rate: Int, start: Duration, time: Duration) {
            next = start
            interval = .seconds(1) / rate
            end = start + time
        }
    }

    /// Asks what is due now.
    func ask(_ pace: inout Pace, _ part: Part) {
        while pace.next <= loop.now, pace.next < pace.end {
            askOne(at: pace.next, part)
            pace.next += pace.interval
        }
    }

    /// Every session, in the order of ``sessions``, as fast as they are answered; nil for what was not found.
    func readAll(within patience: Duration, _ wait: () throws -> Void) throws -> [SessionSnapshot?] {
        let all = MeshReader(sessions.map(\.key), over: mesh.agents.map { mesh.clientSocket(of: $0) }, in: loop)
        let end = loop.now + patience
        while !all.isDone {
            guard loop.now < end else { throw LabFailure("not every session could be read within \(patience): \(all.complaints)") }
            try all.ask()
            try wait()
        }
        all.close()
        return all.found
    }

    private func askOne(at due: Duration, _ part: Part) {
        guard let connection = connections.randomElement(using: &generator), !sessions.isEmpty else { return }
        let commits = Int.random(in: 0..<100, using: &generator) < shape.commitShare
        if commits, shape.makeShare > 0, Int.random(in: 0..<100, using: &generator) < shape.makeShare {
            return commit(to: nil, at: due, part, over: connection)
        }
        var index = Int.random(in: sessions.indices, using: &generator)
        if commits {
            if shape.isInTurn { index = turn }
            // One that is free; there are many more than requests under way.
            for _ in sessions.indices where sessions[index].isBusy { index = (index + 1) % sessions.count }
            turn = (index + 1) % sessions.count
            return commit(to: index, at: due, part, over: connection)
        }
        ask(.read(sessions[index].key), Due(at: due, part: part, session: index, least: sessions[index].acknowledged), over: connection)
    }

    private func commit(to index: Int?, at due: Duration, _ part: Part, over connection: Connection) {
        let number = index.map { sessions[$0].sent + 1 } ?? 1
        if let index {
            sessions[index].sent = number
            sessions[index].isBusy = true
        }
        let isEven = (index ?? sessions.count) % 2 == 0
        let commit = SessionCommit(
            key: index.map { sessions[$0].key }, id: CommitID(using: &generator), changes: shape.fields.map { .set($0, value(number)) },
            acknowledgement: isEven ? shape.evenLevel : .replicated)
        ask(.commit(commit), Due(at: due, part: part, session: index, number: number), over: connection)
    }

    private func ask(_ request: ClientRequest, _ due: Due, over connection: Connection) {
        lastTicket += 1
        if due.part != .unmeasured { requestCount += 1 }
        requests[lastTicket] = due
        connection.ask(lastTicket, request)
    }

    // MARK: Values

    private static let digits = 10

    private func value(_ number: Int) -> [UInt8] {
        let text = String(number)
        var bytes = [UInt8](repeating: UInt8(ascii: "0"), count: Self.digits - text.utf8.count) + Array(text.utf8)
        while bytes.count < shape.valueBytes { bytes.append(UInt8.random(in: 33...126, using: &generator)) }
        return bytes
    }

    /// The number of the commit that a session's registers are of; 0 when they are of none or of several.
    func number(in registers: [String: [UInt8]]) -> Int {
        let numbers = Set(shape.fields.map { registers[$0].flatMap { Int(String(decoding: $0.prefix(Self.digits), as: UTF8.self)) } ?? 0 })
        return numbers.count == 1 ? numbers.first ?? 0 : 0
    }

    // MARK: Answers

    func answered(_ ticket: Int, _ response: ClientResponse) {
        guard let due = requests.removeValue(forKey: ticket) else { return }
        if let index = due.session, due.number != nil { sessions[index].isBusy = false }
        let wait = loop.now - due.at
        switch response {
        case .committed(let receipt):
            let acknowledgement = Acknowledgement(number: due.number ?? 0, at: loop.now, isMirrored: receipt.isMirrored)
            if let index = due.session {
                sessions[index].acknowledgements.append(acknowledgement)
            } else {
                sessions.append(Session(key: receipt.key, sent: 1, acknowledgements: [acknowledgement]))
            }
        case .session(let snapshot?): if number(in: snapshot.registers) < due.least { fail("an older state was read") }
        case .session(nil): fail("no such session")
        case .failure(let failure): fail("\(failure.code.rawValue)")
        default: fail("another answer")
        }
        if wait > Self.answerPatience { fail("answered after more than \(Self.answerPatience)") }
        if due.part == .unmeasured { return }
        if due.number == nil {
            waits[due.part, default: Waits()].reads.add(wait.seconds * 1000)
        } else {
            waits[due.part, default: Waits()].commits.add(wait.seconds * 1000)
        }
    }

    func lost(_ ticket: Int) {
        guard requests.removeValue(forKey: ticket) != nil, !expectsTheEnd else { return }
        fail("connection closed")
    }

    /// Waits for what is not answered yet.
    func finish(_ wait: () throws -> Void) throws {
        let end = loop.now + Self.answerPatience
        while !requests.isEmpty, loop.now < end { try wait() }
        if !requests.isEmpty { failures["no answer", default: 0] += requests.count }
        requests.removeAll()
    }

    private func fail(_ what: String) { failures[what, default: 0] += 1 }
}
