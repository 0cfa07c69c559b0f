import DequeModule
import Logging
import MeshCore

/// The core on its thread, and the doors around it.
///
/// Everything here happens on one thread: inputs come one at a time, each step's directives are carried out in their order, and what they
/// cause at once (a link that is refused, a client that is closed) waits in `inbox` until they are through. Nothing is locked, and no
/// input is ever seen while another is being handled.
final class AgentDriver {
    let loop: AgentLoop
    let logger: Logger
    private let outlets: AgentOutlets
    private var core: any AgentStepping
    private var phase = Phase.opening
    /// What a step caused at once. Empty between two inputs.
    private var inbox: Deque<AgentInput> = []
    private var isStepping = false
    /// What a step asks for. Empty between two inputs.
    private var directives: [AgentDirective] = []
    /// Memory for so many is kept from one step to the next; few ask for more.
    private static let directivesKept = 64
    /// Doors that wrote something in this turn of the loop.
    private var unflushed: [any Flushing] = []
    private let handle: AgentHandle
    private var questions = AdminQuestions()
    private let keyReader: KeyReader?
    /// Who asked for the key file to be read again, in the order in which it is read.
    private var keyReads: Deque<(force: Bool, answer: (KeyReloadResult) -> Void)> = []
    /// What the core was told to follow, and who wants to know what came of it, in the order they asked. Empty between two turns of the loop.
    private var keyReloads: Deque<(keys: KeyFile, answer: (KeyReloadResult) -> Void)> = []

    /// Those under way: as many as the core has set, which its own bounds limit.
    private var timers: [AgentTimer: LoopTimer] = [:]

    private var gossip: GossipSocket?
    private var links: PeerLinks?
    private var clients: ClientTable?
    private(set) var seeds: SeedFinder?
    private(set) var snapshot: SnapshotKeeper?
    private var listeners: [LoopListener] = []

    enum Phase {
        /// The doors are being opened. Can transition to running, departed.
        case opening
        /// Can transition to leaving, departed.
        case running
        /// The core hands off. Can transition to departed.
        case leaving
        /// Nothing is asked or told any more.
        case departed
    }

    init(core: any AgentStepping, keyReader: KeyReader?, loop: AgentLoop, handle: AgentHandle, logger: Logger, outlets: AgentOutlets) {
        self.core = core
        self.keyReader = keyReader
        self.loop = loop
        self.handle = handle
        self.logger = logger
        self.outlets = outlets
    }

    var view: MeshView { core.view }
    var status: AgentStatus { core.status }
    var id: MemberID { core.id }
    var seedsMissing: [Endpoint] { core.seedsMissing }
    var keyReport: KeyReport { core.keyReport }
    var verdicts: [SWIM.Verdict] { core.verdicts }
    var slotReports: [SlotReport] { core.slotReports() }
    func end(of key: SessionKey) -> SessionEnd? { core.end(of: key) }
    var figures: AgentFigures {
        AgentFigures(
            status: core.status, view: core.view, troubles: handle.troubles.counts.map { ($0.0.rawValue, $0.1) }, links: links?.count ?? 0,
            clients: clients?.count ?? 0)
    }

    // MARK: Inputs

    /// The doors exist before they are open, so that what comes through one at once finds the others.
    func equip(
        gossip: GossipSocket, links: PeerLinks, clients: ClientTable?, seeds: SeedFinder?, snapshot: SnapshotKeeper?,
        listeners: [LoopListener]
    ) {
        self.seeds = seeds
        self.snapshot = snapshot
        self.gossip = gossip
        self.links = links
        self.clients = clients
        self.listeners = listeners
    }

    /// All doors are open.
    func start() {
        guard phase == .opening else { return }
        phase = .running
        feed(.start)
        seeds?.start()
        snapshot?.start()
    }

    func feed(_ input: AgentInput) {
        guard phase != .departed else { return }
        // Mostly nothing waits, and to queue it would copy it twice.
        guard !isStepping else { return inbox.append(input) }
        isStepping = true
        take(input)
        while let input = inbox.popFirst() { take(input) }
        isStepping = false
    }

    /// Writes the reply to a request that needs no step; false for any other, which is to be fed.
    func answerAtOnce(_ request: ClientRequest, to reply: inout [UInt8]) -> Bool {
        guard phase == .running, !isStepping else { return false }
        return core.answerAtOnce(request, at: SystemClock.now(), to: &reply)
    }

    /// Hand off and go. Asking again changes nothing.
    func leave() {
        switch phase {
        case .running:
            phase = .leaving
            feed(.leave)
        case .opening: depart()
        case .leaving, .departed: break
        }
    }

    /// Asks the core on behalf of the admin listener.
    func ask(_ request: ClientRequest, then answer: @escaping (ClientResponse) -> Void) {
        guard phase != .departed else { return answer(.failure(ClientFailure(.unavailable, "the agent has left the mesh"))) }
        feed(.request(questions.add(answer), request))
    }

    typealias KeyReloadResult = Result<KeyReport, KeyReloadFailure>

    /// Reads the key file again, off the loop, and tells the core what it says now. What came of it is logged, whoever asked.
    func reloadKeys(force: Bool, then answer: @escaping (KeyReloadResult) -> Void = { _ in }) {
        guard let keyReader else { return keysStay(because: .notAFile, answer) }
        keyReads.append((force, answer))
        keyReader.read { [handle] result in handle.execute { $0.load(result) } }
    }

    private func load(_ read: Result<KeyFile, KeyReloadFailure>) {
        guard let (force, answer) = keyReads.popFirst() else { return }
        guard phase == .running else { return keysStay(because: .notRunning, answer) }
        switch read {
        case .success(let keys):
            keyReloads.append((keys, answer))
            feed(.reloadKeys(keys, force: force))
        case .failure(let failure): keysStay(because: failure, answer)
        }
    }

    private func take(_ input: AgentInput) {
        core.step(input, at: SystemClock.now(), into: &directives)
        for index in directives.indices { perform(directives[index]) }
        directives.removeAll(keepingCapacity: directives.count <= Self.directivesKept)
    }

    // MARK: Directives

    private func perform(_ directive: AgentDirective) {
        switch directive {
        case .datagram(let packet, let endpoint): gossip?.send(packet, to: endpoint)
        case .connect(let endpoint): links?.dial(endpoint)
        case .linkMessage(let link, let message): links?.send(message, over: link)
        case .closeLink(let link): links?.close(link)
        case .timer(let timer, let delay): schedule(timer, after: delay)
        case .cancelTimer(let timer): if let timer = timers.removeValue(forKey: timer) { loop.cancel(timer) }
        case .reply(let request, let response):
            if request.client == AdminQuestions.client {
                questions.take(request)?(response)
            } else {
                clients?.answer(request, response)
            }
        case .push(let recipients, let push): clients?.push(push, to: recipients)
        case .mirror(let request): ask(request)
        case .event(let event): tell(event)
        case .view(let view): outlets.views.yield(view)
        case .ring(let ring): links?.replaceKeys(ring)
        case .keysReloaded(let outcome): reloaded(outcome)
        case .departed:
            snapshot?.finish()
            depart()
        case .nameTaken(let holder): depart(.nameTaken(by: holder))
        }
    }

    private func schedule(_ timer: AgentTimer, after delay: Duration) {
        timers[timer] = loop.schedule(after: delay) { [weak self] in
            self?.timers[timer] = nil
            self?.feed(.timer(timer))
        }
    }

    /// Whether the kernel may hold gossip that was received before a timer that is due now.
    var mayHearMore: Bool { gossip?.mayHoldMore ?? false }

    private func ask(_ request: MirrorRequest) {
        let ticket = request.ticket
        guard let requests = outlets.mirrorRequests else {
            return feed(.mirror(.failed(ticket: ticket, MirrorError(.unreachable, "this agent has no mirror"))))
        }
        if case .enqueued = requests.yield(request) { return }
        note(.mirrorQueueFull, "the mirror is behind by \(MirrorPump.queueMax) requests; more are refused")
        feed(.mirror(.failed(ticket: ticket, MirrorError(.unreachable, "too many requests wait for the mirror"))))
    }

    private func tell(_ event: AgentEvent) {
        switch event {
        case .member(let member, _, let verdict):
            var metadata: Logger.Metadata = [
                LogKeys.member: "\(member.id)", LogKeys.status: "\(member.status.word)", LogKeys.stage: "\(member.stage.word)",
            ]
            if let verdict { metadata[LogKeys.reason] = "\(verdict.ground.rawValue), by \(verdict.decidedBy)" }
            logger.info("a member changed", metadata: metadata)
        case .serving: logger.info("this agent serves")
        case .discarded(let sessions):
            logger.warning(
                "this agent was cut off from most of its mesh for too long, and begins anew without its sessions",
                metadata: [LogKeys.sessions: "\(sessions)"])
        case .handOffUnfinished(let slots):
            logger.warning(
                "the hand-off took too long; the other copies take over what is left", metadata: [LogKeys.slots: "\(slots)"])
        case .mirrorLost(let reason): logger.warning("the mirror stopped answering", metadata: [LogKeys.reason: "\(reason)"])
        case .mirrorBack: logger.info("the mirror answers again")
        case .mirrorStale: logger.warning("the mirror was emptied or came back with older data; all sessions are written to it anew")
        case .instanceRefused(_, let reason):
            logger.warning("an application's registration was not taken", metadata: [LogKeys.reason: "\(reason)"])
        case .keys(let report): logger.info("gossip keys changed", metadata: [LogKeys.reason: "\(report.summary)"])
        case .newLife: logger.warning("this agent was believed dead and goes on as a new life")
        }
        outlets.notices.yield(AgentNotice(time: SystemClock.now().wall, kind: .agent(event)))
    }

    private func reloaded(_ outcome: KeyReload) {
        guard let reload = keyReloads.popFirst() else { return }
        switch outcome {
        case .done(let report):
            logger.info("the key file was read again", metadata: [LogKeys.reason: "\(report.summary)"])
            outlets.keyFiles.yield(reload.keys)
            reload.answer(.success(report))
        case .refused(let problem): keysStay(because: .refused(problem), reload.answer)
        }
    }

    private func keysStay(because failure: KeyReloadFailure, _ answer: (KeyReloadResult) -> Void) {
        logger.error("the keys stay as they are", metadata: [LogKeys.reason: "\(failure)"])
        answer(.failure(failure))
    }

    private func depart(_ signal: AgentSignal = .departed) {
        guard phase != .departed else { return }
        phase = .departed
        inbox.removeAll()
        questions.failAll(ClientFailure(.unavailable, "the agent has left the mesh"))
        while let read = keyReads.popFirst() { read.answer(.failure(.notRunning)) }
        while let reload = keyReloads.popFirst() { reload.answer(.failure(.notRunning)) }
        outlets.signals.yield(signal)
    }

    /// Closes every door. What was said before, the last words of a leaving agent included, has been handed to the kernel.
    func close() {
        depart()
        for listener in listeners { listener.close() }
        gossip?.close()
        links?.closeAll()
        clients?.closeAll()
        seeds?.close()
        snapshot?.close()
        // The doors hold the driver; without this neither would ever go.
        (gossip, links, clients, seeds, snapshot, listeners) = (nil, nil, nil, nil, nil, [])
        unflushed = []
    }

    // MARK: For the doors

    func note(_ trouble: Trouble, _ detail: @autoclosure () -> String) { handle.troubles.note(trouble, detail()) }

    /// Has `body` run here, some time soon, from any other thread.
    var executor: AgentHandle { handle }

    /// Whoever has something to write asks for a flush at the end of the loop's turn, once.
    ///
    /// So what many connections asked in one turn is answered at its end, one write a connection: each write wakes who reads there, and one woken
    /// in the middle would only compete for the CPU.
    func willFlush(_ door: any Flushing) { unflushed.append(door) }

    func flushAll() {
        // A flush that fails closes its door, of which the core is told at once; what it says of it goes out with the rest.
        while !unflushed.isEmpty {
            let waiting = unflushed
            unflushed.removeAll(keepingCapacity: true)
            for door in waiting { door.flush() }
        }
    }
}

/// Something that gathers what it has to write until the loop's turn ends.
protocol Flushing: AnyObject {
    func flush()
}

/// Where an agent speaks to the program around it.
struct AgentOutlets: Sendable {
    let views: AsyncStream<MeshView>.Continuation
    let keyFiles: AsyncStream<KeyFile>.Continuation
    let notices: AsyncStream<AgentNotice>.Continuation
    let signals: AsyncStream<AgentSignal>.Continuation
    let mirrorRequests: AsyncStream<MirrorRequest>.Continuation?
}

enum AgentSignal: Sendable {
    /// The program is asked to end.
    case shutdown
    case departed
    case nameTaken(by: Member)
    /// The hand-off takes longer than the operator allows.
    case leaveTimedOut
}

/// Requests of the admin listener, which the core sees as a client of its own. At most one a connection, so their number is bounded.
private struct AdminQuestions {
    static let client = ClientID(rawValue: 0)

    private var waiting: [UInt64: (ClientResponse) -> Void] = [:]
    private var next: UInt64 = 0

    mutating func add(_ answer: @escaping (ClientResponse) -> Void) -> RequestID {
        next += 1
        waiting[next] = answer
        return RequestID(client: Self.client, number: next)
    }

    mutating func take(_ request: RequestID) -> ((ClientResponse) -> Void)? {
        waiting.removeValue(forKey: request.number)
    }

    mutating func failAll(_ failure: ClientFailure) {
        let answers = waiting.sorted { $0.key < $1.key }.map(\.value)
        waiting.removeAll()
        for answer in answers { answer(.failure(failure)) }
    }
}
