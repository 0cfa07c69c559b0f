public import MeshCore

/// Clients that use sessions as browsers do, by a seed, and write down what they were told. Whoever runs it carries their requests to agents,
/// simulated or real, and the answers back.
///
/// A browser has one session at a time, which its clients use at once, as tabs and parallel requests do. Each has a field of its own that it counts
/// up; all add to one counter, and take turns, of which each is for one of them only; one of them logs in, and out. Now and then somebody comes by
/// a former id. Whatever is not acknowledged is asked again, under the same commit id, of any agent.
public struct Workload: Sendable {
    public struct Configuration: Hashable, Sendable {
        public var browsers = 6
        public var clientsPerBrowser = 3
        /// Between an answer and a client's next request.
        public var pause: ClosedRange<Duration> = .milliseconds(50)...(.milliseconds(400))
        /// Whether there is another browser, one that comes seldom and whose session expires within seconds.
        public var expires = true
        /// Sessions that other workloads made in the same mesh: numbers go on from there, so that what belongs to another is recognised.
        public var sessionsBefore = 0
        public init() {}
    }

    public struct Request: Sendable {
        /// Given back with the answer.
        public let ticket: Int
        public let agent: NodeName
        public let body: ClientRequest
    }

    public private(set) var history = History()
    /// Answers that no client should ever get.
    public private(set) var unexpected: [String] = []
    private let configuration: Configuration
    private var generator: SeededGenerator
    private var browsers: [Browser] = []
    private var clients: [Client] = []
    /// Of every session that a client was told the key of.
    private var names: [SessionKey: History.SessionName] = [:]
    /// By this workload and those before.
    public private(set) var sessionsMade: Int
    private var lastTicket = 0
    /// Who waits for the answer, as a place in ``clients``.
    private var waiting: [Int: Int] = [:]
    /// The last reads, as numbers in the history.
    private var lastReads: [Int: Int] = [:]
    private var isEnding = false

    private struct Browser: Sendable {
        var isSeldom = false
        /// Logs out now and then.
        var endsSessions = false
        var present: Visit?
        /// Ids that opened its sessions once, oldest first.
        var former: [Visit] = []
        /// The last turn of the present session that anybody heard of.
        var turn = 0
        /// The login or logout under way: until it is answered nobody knows by which id to come.
        var change: Int?
    }

    private struct Visit: Sendable {
        var session: History.SessionName
        var key: SessionKey
        var cookie: [UInt8]

        /// - Parameter receipt: of the commit that gave the session this id.
        init(_ session: History.SessionName, _ receipt: CommitReceipt) {
            self.session = session
            key = receipt.key
            cookie = Array((receipt.cookie ?? "").utf8)
        }
    }

    private struct Client: Sendable {
        let number: Int
        let browser: Int
        let isFirst: Bool
        var count = 0
        var nextAt: Duration
        var attempt: Attempt?
    }

    private struct Attempt: Sendable {
        let operation: Int
        let body: ClientRequest
        var ticket: Int?
        /// When it is sent again, if there is no answer by then.
        var againAt: Duration
    }

    /// A browser changes its id every few seconds, so the oldest of so many has long lost its grace.
    private static let formerMax = 30
    /// An agent answers within three seconds.
    private static let answerPatience: Duration = .seconds(4)
    static let seldomIdle: Duration = .seconds(5)

    public init(seed: UInt64, configuration: Configuration = Configuration()) {
        self.configuration = configuration
        generator = SeededGenerator(seed: seed)
        sessionsMade = configuration.sessionsBefore
        for number in 0..<configuration.browsers {
            browsers.append(Browser(endsSessions: number % 2 == 1))
            for place in 0..<configuration.clientsPerBrowser { add(to: number, isFirst: place == 0) }
        }
        if configuration.expires {
            browsers.append(Browser(isSeldom: true))
            add(to: browsers.count - 1, isFirst: true)
        }
    }

    private mutating func add(to browser: Int, isFirst: Bool) {
        let begin = Duration.milliseconds(Int64.random(in: 0...200, using: &generator))
        clients.append(Client(number: clients.count + 1, browser: browser, isFirst: isFirst, nextAt: begin))
    }

    // MARK: Time

    /// No more is begun.
    public mutating func stop() { isEnding = true }

    /// Whether everything has been answered.
    public var isIdle: Bool { clients.allSatisfy { $0.attempt == nil } && lastReads.isEmpty }

    /// What clients ask now. Nothing while there is no agent.
    public mutating func requests(at now: Duration, of agents: [NodeName]) -> [Request] {
        guard !agents.isEmpty else { return [] }
        var requests: [Request] = []
        for index in clients.indices {
            if clients[index].attempt == nil, !isEnding, clients[index].nextAt <= now { begin(index, at: now) }
            guard let attempt = clients[index].attempt, attempt.againAt <= now else { continue }
            if let ticket = attempt.ticket { waiting[ticket] = nil }
            lastTicket += 1
            waiting[lastTicket] = index
            clients[index].attempt?.ticket = lastTicket
            clients[index].attempt?.againAt = now + Self.answerPatience
            let agent = agents[Int.random(in: agents.indices, using: &generator)]
            history.sent(attempt.operation, to: agent.description, at: now)
            requests.append(Request(ticket: lastTicket, agent: agent, body: attempt.body))
        }
        return requests
    }

    /// Every session read once by way of each agent, and every former id by way of one.
    public mutating func readAll(at now: Duration, of agents: [NodeName]) -> [Request] {
        history.restedAt = now
        var requests: [Request] = []
        for browser in browsers {
            let reads = agents.compactMap { agent in browser.present.map { (agent, $0) } }
            let former = browser.former.compactMap { visit in agents.randomElement(using: &generator).map { ($0, visit) } }
            for (agent, visit) in reads + former {
                lastTicket += 1
                let number = history.begin(.init(client: 0, session: visit.session, action: .read, invoked: now))
                history.sent(number, to: agent.description, at: now)
                lastReads[lastTicket] = number
                requests.append(Request(ticket: lastTicket, agent: agent, body: .open(cookie: visit.cookie)))
            }
        }
        return requests
    }

    /// The sessions that are in use, by key.
    public var sessions: [(History.SessionName, SessionKey)] { browsers.compactMap { $0.present.map { ($0.session, $0.key) } } }

    mutating func told(_ applications: FollowingApplications) { history.followings = applications.told(names) }

    public mutating func saw(_ sighting: History.Sighting) { history.sightings.append(sighting) }

    public mutating func interruptionBegan(at now: Duration) {
        if history.interruptions.last.map({ $0.ended != nil }) ?? true { history.interruptions.append(.init(began: now)) }
    }

    public mutating func interruptionEnded(at now: Duration) {
        guard let last = history.interruptions.indices.last, history.interruptions[last].ended == nil else { return }
        history.interruptions[last].ended = now
    }

    // MARK: Judging

    /// How the mesh broke what it promises, once all is over: what clients saw, what nobody answered, what nobody should be answered.
    public var counterexamples: [Counterexample] {
        var found = history.counterexamples
        let unanswered = isEnding ? clients.compactMap { $0.attempt.map { history.operations[$0.operation] } } : []
        if !unanswered.isEmpty { found.append(Counterexample(.answered, "never answered", unanswered)) }
        let failed = history.operations.filter { read in
            guard history.restedAt.map({ read.invoked >= $0 }) ?? false else { return false }
            switch read.outcome {
            case .failed, .unknown: return true
            case .absent, .shown, .done: return false
            }
        }
        if !failed.isEmpty { found.append(Counterexample(.answered, "a mesh at rest doesn't answer", failed)) }
        return found + unexpected.prefix(3).map { Counterexample(.answered, $0) }
    }

    // MARK: Asking

    private mutating func begin(_ index: Int, at now: Duration) {
        let client = clients[index]
        let browser = browsers[client.browser]
        guard let visit = browser.present else {
            if client.isFirst { create(index, at: now) } else { clients[index].nextAt = now + .milliseconds(50) }
            return
        }
        if browser.isSeldom {
            return Int.random(in: 0..<3, using: &generator) == 0 ? write(visit, index, at: now) : read(visit, index, at: now)
        }
        let roll = Int.random(in: 0..<100, using: &generator)
        switch roll {
        case ..<35: write(visit, index, at: now)
        case ..<52: increment(visit, index, at: now)
        case ..<60: take(visit, index, at: now)
        case ..<88: read(visit, index, at: now)
        case ..<93: read(browser.former.randomElement(using: &generator) ?? visit, index, at: now)
        case ..<95: increment(browser.former.randomElement(using: &generator) ?? visit, index, at: now)
        case ..<98 where client.isFirst: regenerate(visit, index, at: now)
        case ..<100 where client.isFirst && browser.endsSessions: destroy(visit, index, at: now)
        default: read(visit, index, at: now)
        }
    }

    private mutating func ask(
        _ index: Int, _ session: History.SessionName, _ action: History.Action, _ body: ClientRequest, at now: Duration
    ) {
        let number = history.begin(.init(client: clients[index].number, session: session, action: action, invoked: now))
        clients[index].attempt = Attempt(operation: number, body: body, againAt: now)
        switch action {
        case .regenerate, .destroy: browsers[clients[index].browser].change = number
        case .create, .write, .increment, .take, .read: break
        }
    }

    private mutating func create(_ index: Int, at now: Duration) {
        sessionsMade += 1
        let idle = browsers[clients[index].browser].isSeldom ? Self.seldomIdle : nil
        let commit = SessionCommit(
            key: nil, id: CommitID(using: &generator), changes: [mark(index, session: sessionsMade, count: 0)],
            idleSeconds: idle.map { UInt32($0.components.seconds) })
        ask(index, .init(sessionsMade), .create(idle: idle), .commit(commit), at: now)
    }

    private mutating func write(_ visit: Visit, _ index: Int, at now: Duration) {
        clients[index].count += 1
        let count = clients[index].count
        let commit = SessionCommit(
            key: visit.key, id: CommitID(using: &generator), changes: [mark(index, session: visit.session.number, count: count)])
        ask(index, visit.session, .write(count), .commit(commit), at: now)
    }

    private func mark(_ index: Int, session: Int, count: Int) -> FieldChange {
        let client = clients[index].number
        return .set("c\(client)", Array(History.Mark(session: session, client: client, count: count).description.utf8))
    }

    private mutating func increment(_ visit: Visit, _ index: Int, at now: Duration) {
        let amount = Int64.random(in: 1...3, using: &generator)
        let commit = SessionCommit(key: visit.key, id: CommitID(using: &generator), changes: [.increment(Self.counter, by: amount)])
        ask(index, visit.session, .increment(amount), .commit(commit), at: now)
    }

    private static let counter = "n"

    /// The turn after the last that is known of, by a strict commit. Who comes second is told that it is taken.
    private mutating func take(_ visit: Visit, _ index: Int, at now: Duration) {
        let last = browsers[clients[index].browser].turn
        let commit = SessionCommit(
            key: visit.key, id: CommitID(using: &generator), changes: [.set(Self.turn, Self.text(last + 1))],
            conditions: [last == 0 ? .isAbsent(Self.turn) : .holds(Self.turn, Self.text(last))], isStrict: true)
        ask(index, visit.session, .take(last + 1), .commit(commit), at: now)
    }

    private static let turn = "t"
    private static func text(_ number: Int) -> [UInt8] { Array(String(number).utf8) }

    private static func turn(in fields: [SessionSnapshot.Field]) -> Int? {
        guard case .bytes(let bytes)? = fields.first(where: { $0.name == turn })?.value else { return nil }
        return Int(String(decoding: bytes, as: UTF8.self))
    }

    private mutating func read(_ visit: Visit, _ index: Int, at now: Duration) {
        ask(index, visit.session, .read, .open(cookie: visit.cookie), at: now)
    }

    private mutating func regenerate(_ visit: Visit, _ index: Int, at now: Duration) {
        let commit = SessionCommit(key: visit.key, id: CommitID(using: &generator), regenerate: true)
        ask(index, visit.session, .regenerate, .commit(commit), at: now)
    }

    private mutating func destroy(_ visit: Visit, _ index: Int, at now: Duration) {
        ask(index, visit.session, .destroy, .destroy(visit.key, CommitID(using: &generator)), at: now)
    }

    // MARK: Answers

    /// The connection closed before an answer came.
    public mutating func lost(_ ticket: Int, at now: Duration) {
        if let number = lastReads.removeValue(forKey: ticket) { return history.end(number, .failed("connection closed"), at: now) }
        guard let index = waiting.removeValue(forKey: ticket) else { return }
        askAgain(index, at: now)
    }

    public mutating func answered(_ ticket: Int, _ response: ClientResponse, at now: Duration) {
        if let number = lastReads.removeValue(forKey: ticket) { return history.end(number, Self.outcome(response), at: now) }
        guard let index = waiting.removeValue(forKey: ticket), let attempt = clients[index].attempt else { return }
        let outcome = Self.outcome(response)
        let operation = history.operations[attempt.operation]
        if let turn = Self.turn(in: response), browsers[clients[index].browser].present?.session == operation.session {
            browsers[clients[index].browser].turn = turn
        }
        switch (operation.action, response, outcome) {
        case (.take, .conflict, _): finish(index, .failed("taken"), at: now)
        case (.read, .opened, _), (.read, .absent(.ended), _), (.destroy, .done, _): finish(index, outcome, at: now)
        case (.read, .failure(let failure), _) where failure.code == .unavailable || failure.code == .full: finish(index, outcome, at: now)
        case (.read, _, _), (.destroy, _, .done): unexpect(response, to: operation, index, at: now)
        case (_, .committed(let receipt), _):
            finish(index, outcome, at: now)
            committed(receipt, operation, clients[index].browser)
        case (_, .failure(let failure), _) where failure.code == .unavailable || failure.code == .full: askAgain(index, at: now)
        case (_, _, .absent): finish(index, outcome, at: now)
        default: unexpect(response, to: operation, index, at: now)
        }
    }

    private static func turn(in response: ClientResponse) -> Int? {
        switch response {
        case .opened(let snapshot, _): turn(in: snapshot.fields) ?? 0
        case .conflict(let present): turn(in: present) ?? 0
        default: nil
        }
    }

    private mutating func unexpect(_ response: ClientResponse, to operation: History.Operation, _ index: Int, at now: Duration) {
        unexpected.append("\(operation) was answered \(response)")
        finish(index, .failed("\(response)"), at: now)
    }

    private mutating func askAgain(_ index: Int, at now: Duration) {
        let wait = Duration.milliseconds(Int64.random(in: 10...200, using: &generator))
        clients[index].attempt?.ticket = nil
        clients[index].attempt?.againAt = now + wait
    }

    private mutating func finish(_ index: Int, _ outcome: History.Outcome, at now: Duration) {
        guard let attempt = clients[index].attempt else { return }
        history.end(attempt.operation, outcome, at: now)
        clients[index].attempt = nil
        clients[index].nextAt = now + thinkingTime(of: index)
        let operation = history.operations[attempt.operation]
        let browser = clients[index].browser
        if browsers[browser].change == attempt.operation { browsers[browser].change = nil }
        let isPresent = browsers[browser].present?.session == operation.session
        if outcome == .absent, isPresent, browsers[browser].change == nil { leave(browser) }
        if operation.action == .destroy, case .done = outcome, isPresent { leave(browser) }
    }

    private mutating func thinkingTime(of index: Int) -> Duration {
        var range = configuration.pause.lowerBound.milliseconds...configuration.pause.upperBound.milliseconds
        // Mostly in time, and now and then long after.
        if browsers[clients[index].browser].isSeldom {
            range = Int.random(in: 0..<4, using: &generator) == 0 ? 16_000...45_000 : 500...4500
        }
        return .milliseconds(Int64.random(in: range, using: &generator))
    }

    private mutating func committed(_ receipt: CommitReceipt, _ operation: History.Operation, _ browser: Int) {
        switch operation.action {
        case .create:
            names[receipt.key] = operation.session
            browsers[browser].present = Visit(operation.session, receipt)
            browsers[browser].turn = 0
        case .take(let turn) where browsers[browser].present?.session == operation.session: browsers[browser].turn = turn
        case .regenerate where browsers[browser].present?.session == operation.session:
            leave(browser)
            let next = History.SessionName(operation.session.number, id: operation.session.id + 1)
            names[receipt.key] = next
            browsers[browser].present = Visit(next, receipt)
        case .write, .increment, .take, .read, .destroy, .regenerate: break
        }
    }

    private mutating func leave(_ browser: Int) {
        guard let visit = browsers[browser].present.take() else { return }
        browsers[browser].former.append(visit)
        if browsers[browser].former.count > Self.formerMax { browsers[browser].former.removeFirst() }
    }

    static func outcome(_ response: ClientResponse) -> History.Outcome {
        switch response {
        case .done: .done(copies: 2)
        case .committed(let receipt): .done(copies: Int(receipt.copies))
        case .opened(let snapshot, _): .shown(contents(of: snapshot))
        case .absent(.ended): .absent
        case .failure(let failure) where failure.code == .notFound: .absent
        case .failure(let failure): .failed("\(failure.code)")
        case .session, .absent, .conflict, .listed, .revoked, .published, .members, .placement: .failed("\(response)")
        }
    }

    private static func contents(of snapshot: SessionSnapshot) -> History.Contents {
        var contents = History.Contents()
        for field in snapshot.fields {
            switch field.value {
            case .integer(let value) where field.name == counter: contents.counter = value
            case .bytes where field.name == turn: break
            case .bytes(let bytes):
                if let client = Int(field.name.dropFirst()), field.name.first == "c", let text = String(validating: bytes, as: UTF8.self),
                    let mark = History.Mark(text)
                {
                    contents.marks[client] = mark
                } else {
                    contents.strange.append(field.name)
                }
            case .integer, .elements: contents.strange.append(field.name)
            }
        }
        return contents
    }
}
