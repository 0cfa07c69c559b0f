public import MeshCore

/// A mesh of agents in one process: virtual time, a network that loses, delays and cuts, clocks that are wrong, a mirror that fails.
///
/// Nothing here is random but by the seed, and nothing waits: time is whatever the next event says. The same seed and the same calls give the same
/// ``traceHash`` in any process.
///
/// Packets are sealed as on a real wire. Peer links are taken as proven: their handshake has tests of its own.
public struct World: Sendable {
    public struct Configuration: Sendable {
        public var network = Network.Configuration()
        public var expiry = ExpiryPolicy()
        public var mirrors = false
        public var swim = SWIM.Configuration()
        public init() {}
    }

    public let configuration: Configuration
    public private(set) var mirror = SimulatedMirror()
    /// Everything that happened so far, as one number.
    public private(set) var traceHash: UInt64 = 0
    /// Since the world began.
    public private(set) var uptime: Int64 = 0

    private var generator: SeededGenerator
    private let keys: KeyFile
    private var network: Network
    private var hosts: [Host] = []
    /// Looked up, never walked.
    private var numbers: [NodeName: Int] = [:]
    private var timeline = Timeline<Event>()
    private var lastRequest: UInt64 = 0
    private var responses: [UInt64: ClientResponse] = [:]
    private var answered: [UInt64] = []
    private var requestsLost: [UInt64] = []
    /// Hosts whose agent ended because its name was taken, with who has it.
    public private(set) var refusals: [NodeName: Member] = [:]
    /// What each subscriber was given, in order.
    public private(set) var deliveries: [NodeName: [ChannelMessage]] = [:]
    private var pushes: [(NodeName, ClientPush)] = []

    /// Unix milliseconds at the beginning, an arbitrary Friday.
    private static let epoch: Int64 = 1_795_000_000_000

    public init(seed: UInt64, configuration: Configuration = Configuration()) {
        self.configuration = configuration
        network = Network(configuration: configuration.network)
        generator = SeededGenerator(seed: seed)
        keys = KeyFile.generate(using: &generator)
    }

    // MARK: Hosts

    private struct Host: Sendable {
        let name: NodeName
        /// Of the name, for the trace.
        let nameHash: UInt64
        let endpoint: Endpoint
        var core: AgentCore?
        /// Raised at each start, so that what was meant for an earlier run is lost with it.
        var run = 0
        var clockError: Int64 = 0
        /// Not scheduled: everything that reaches it waits.
        var isPaused = false
        var waiting: [AgentInput] = []
        /// How many directives it still carries out; nil when it isn't about to be killed.
        var directivesLeft: Int?
        /// Applications' requests that it has not answered; looked up and, when it is killed, sorted.
        var asked: Set<UInt64> = []
    }

    private static let firstPort: UInt16 = 7000
    private static let seeds = (0..<3).map { Endpoint.loopback(port: firstPort + $0) }
    /// A socket buffer's worth; more is lost, as a kernel would lose it.
    private static let waitingPacketsMax = 200

    private struct Event: Sendable {
        let host: Int
        let run: Int
        let what: What

        enum What: Sendable {
            case input(AgentInput)
            case linkMessage(link: UInt64, [UInt8], sentAt: Int64)
            case packet([UInt8], from: Int, Endpoint)
            case dialled(Endpoint, at: Int64)
            case linkEnded(UInt64, isGivenUp: Bool = false)
        }
    }

    /// Starts an agent that knows the first three as seeds, or starts it again, empty, under its old name.
    /// - Parameter node: the agent's name, when it is not its host's.
    public mutating func start(_ name: NodeName, as node: NodeName? = nil, clockError: Int64 = 0) {
        let host = numbers[name] ?? hosts.count
        if host == hosts.count {
            let endpoint = Endpoint.loopback(port: Self.firstPort + UInt16(host))
            hosts.append(Host(name: name, nameHash: Mix.hash(name.description.utf8), endpoint: endpoint))
            numbers[name] = host
        }
        hosts[host].run += 1
        hosts[host].clockError = clockError
        hosts[host].isPaused = false
        hosts[host].waiting = []
        hosts[host].directivesLeft = nil
        var settings = AgentConfiguration(name: node ?? name, endpoint: hosts[host].endpoint, seeds: Self.seeds)
        settings.mirrorMode = configuration.mirrors ? .behind : nil
        settings.expiry = configuration.expiry
        settings.swim = configuration.swim
        let secret = (0..<4).flatMap { _ in withUnsafeBytes(of: generator.next()) { Array($0) } }
        // The only throw is for tags and weight, which are left at their defaults.
        hosts[host].core = try? AgentCore(
            configuration: settings, keys: keys, seed: generator.next(), secretSeed: secret, now: moment(clockError: clockError))
        schedule(0, host, .input(.start))
    }

    /// Kills the process: its memory is gone, its sockets close, its port refuses.
    public mutating func crash(_ name: NodeName) {
        guard let host = numbers[name] else { return }
        crash(host)
    }

    /// Kills the process once it has carried out so many more directives. A step has many: of the last one some are done and some are not, as
    /// when a real process is killed between two writes.
    public mutating func crash(_ name: NodeName, afterDirectives count: Int) {
        guard let host = numbers[name], hosts[host].core != nil else { return }
        hosts[host].directivesLeft = count
    }

    /// Has the agent say goodbye; its process ends when that is done.
    public mutating func leave(_ name: NodeName) {
        if let host = numbers[name] { schedule(0, host, .input(.leave)) }
    }

    private mutating func crash(_ host: Int) {
        guard hosts[host].core != nil else { return }
        hosts[host].core = nil
        hosts[host].isPaused = false
        hosts[host].run += 1
        hosts[host].directivesLeft = nil
        requestsLost += hosts[host].asked.sorted()
        hosts[host].asked = []
        note(0xDEAD, host)
        // The kernel sends what was written before it says that the process is gone; when something unread lies there it sends nothing any more.
        for link in network.links(of: host) where !(network.link(link)?.isEnding ?? true) {
            end(link, by: host, sendsRest: generator.next() & 1 == 0)
        }
    }

    /// Takes the process off the processor, as SIGSTOP does.
    public mutating func pause(_ name: NodeName) {
        guard let host = numbers[name] else { return }
        hosts[host].isPaused = true
    }

    /// Lets it run again. It finds first whatever came first.
    public mutating func wake(_ name: NodeName) {
        guard let host = numbers[name], hosts[host].isPaused else { return }
        let waiting = hosts[host].waiting
        hosts[host].isPaused = false
        hosts[host].waiting = []
        for input in waiting { deliver(input, to: host) }
    }

    public mutating func setClock(of name: NodeName, error: Int64) {
        guard let host = numbers[name] else { return }
        hosts[host].clockError = error
    }

    /// Lets nothing through from one to another.
    public mutating func cut(from: NodeName, to: NodeName) {
        guard let from = numbers[from], let to = numbers[to] else { return }
        network.cut(from: from, to: to)
    }

    public mutating func partition(_ side: some Collection<NodeName>, from other: some Collection<NodeName>) {
        network.partition(side.compactMap { numbers[$0] }, from: other.compactMap { numbers[$0] })
    }

    /// Takes one ``partition(_:from:)`` back.
    public mutating func rejoin(_ side: some Collection<NodeName>, with other: some Collection<NodeName>) {
        for one in side {
            for two in other {
                mend(from: one, to: two)
                mend(from: two, to: one)
            }
        }
    }

    /// Opens one way again that was cut.
    public mutating func mend(from: NodeName, to: NodeName) {
        guard let from = numbers[from], let to = numbers[to] else { return }
        network.mend(from: from, to: to)
    }

    public mutating func heal() { network.heal() }

    public mutating func setMirror(isDown: Bool) { mirror.isDown = isDown }
    /// Nothing is in it any more.
    public mutating func emptyMirror() { mirror.empty() }

    public var running: [NodeName] { hosts.lazy.filter { $0.core != nil }.map(\.name) }

    public func core(of name: NodeName) -> AgentCore? { numbers[name].flatMap { hosts[$0].core } }

    /// Who holds a session as its owner, or as a whole copy for one.
    public func copies(of key: SessionKey) -> [History.Sighting.Copy] {
        hosts.compactMap { host in
            host.core?.held(key).map { .init(agent: host.name.description, isOwners: $0.isOwners, digest: $0.digest) }
        }
    }

    /// Whether the mesh is in quiet: everybody serves and sees the same, and every slot is held twice and answered for by its primary.
    public var isWhole: Bool {
        var digest: UInt64?
        for host in hosts {
            guard let core = host.core else { continue }
            guard digest ?? core.view.digest == core.view.digest, !host.isPaused else { return false }
            digest = core.view.digest
        }
        var owned = 0
        for host in hosts {
            guard let status = host.core?.status else { continue }
            guard status.isReady, status.isPlanned,
                status.underReplicatedSlots + status.leftoverSlots + status.handOffSlots + status.doubtedSlots == 0
            else {
                return false
            }
            owned += status.primarySlots
        }
        return owned == Slot.count
    }

    /// What is to be said of one that should be whole and is not.
    public var disorder: String {
        running.compactMap { name -> String? in
            guard let core = core(of: name) else { return nil }
            let status = core.status
            return "\(name) \(status.stage)\(status.isReady ? "" : ", not ready"), owns \(status.primarySlots), "
                + "\(status.underReplicatedSlots) without a copy, \(status.handOffSlots) to hand off, "
                + "\(status.leftoverSlots) left over, \(status.doubtedSlots) in doubt, view \(String(core.view.digest, radix: 16))"
        }.joined(separator: "; ")
    }

    // MARK: Asking

    /// Hands a request to the agent of `name`, as an application there would; the number fetches its answer.
    public mutating func submit(_ request: ClientRequest, to name: NodeName, client: UInt64 = 1) -> UInt64 {
        lastRequest += 1
        let id = RequestID(client: ClientID(rawValue: client), number: lastRequest)
        if let host = numbers[name] {
            hosts[host].asked.insert(lastRequest)
            schedule(0, host, .input(.request(id, request)))
        }
        return lastRequest
    }

    /// Requests that were answered since this was last asked, in the order of their answers.
    public mutating func takeAnswered() -> [UInt64] {
        defer { answered = [] }
        return answered
    }

    /// Requests whose agent was killed before it answered, since this was last asked: their applications saw the connection close.
    public mutating func takeRequestsLost() -> [UInt64] {
        defer { requestsLost = [] }
        return requestsLost
    }

    /// What clients were told of sessions since this was last asked.
    public mutating func takePushes() -> [(NodeName, ClientPush)] {
        defer { pushes = [] }
        return pushes
    }

    public func hasResponse(_ number: UInt64) -> Bool { responses[number] != nil }

    public mutating func takeResponse(_ number: UInt64) -> ClientResponse? {
        responses.removeValue(forKey: number)
    }

    /// Asks and lets time pass until the answer is there; nil after `patience`.
    public mutating func ask(_ name: NodeName, _ request: ClientRequest, patience: Duration = .seconds(10)) -> ClientResponse? {
        let number = submit(request, to: name)
        run(for: patience) { $0.responses[number] != nil }
        return takeResponse(number)
    }

    // MARK: Time

    /// Lets time pass until `condition` holds, which is looked at once in `interval`. False when it did not within `limit`.
    @discardableResult
    public mutating func run(
        for limit: Duration, lookingEvery interval: Duration = .milliseconds(1), until condition: (World) -> Bool
    ) -> Bool {
        let end = uptime + limit.nanoseconds
        while !condition(self) {
            guard uptime < end else { return false }
            run(for: min(interval, .nanoseconds(end - uptime)))
        }
        return true
    }

    public mutating func run(for duration: Duration) {
        let end = uptime + duration.nanoseconds
        while let (at, event) = timeline.next(until: end) {
            uptime = max(uptime, at)
            perform(event)
        }
        uptime = end
    }

    private mutating func perform(_ event: Event) {
        switch event.what {
        case .input(let input):
            if hosts[event.host].run == event.run { deliver(input, to: event.host) }
        case .packet(let bytes, let sender, let source):
            if !network.isCut(sender, event.host) { deliver(.datagram(bytes, from: source), to: event.host) }
        case .linkMessage(let link, let bytes, let sentAt): arrive(link, bytes, at: event.host, sentAt: sentAt)
        case .dialled(let endpoint, let at):
            if hosts[event.host].run == event.run { connect(event.host, to: endpoint, since: at) }
        case .linkEnded(let link, let isGivenUp): linkEnded(link, at: event.host, isGivenUp: isGivenUp)
        }
    }

    private func moment(clockError: Int64) -> Moment {
        Moment(uptime: uptime, wall: Self.epoch + uptime / 1_000_000 + clockError)
    }

    private mutating func schedule(_ delay: Int64, _ host: Int, _ what: Event.What) {
        timeline.insert(Event(host: host, run: hosts[host].run, what: what), at: uptime + delay)
    }

    private mutating func deliver(_ input: AgentInput, to host: Int) {
        guard hosts[host].core != nil else { return }
        if hosts[host].isPaused {
            if case .datagram = input, hosts[host].waiting.count >= Self.waitingPacketsMax { return }
            hosts[host].waiting.append(input)
            return
        }
        let now = moment(clockError: hosts[host].clockError)
        // The step is taken in place: a second reference to the core would have all its slots copied.
        let directives = hosts[host].core?.step(input, at: now) ?? []
        for directive in directives {
            if let left = hosts[host].directivesLeft {
                guard left > 0 else { return crash(host) }
                hosts[host].directivesLeft = left - 1
            }
            perform(directive, for: host)
        }
    }

    // MARK: The network

    private mutating func perform(_ directive: AgentDirective, for host: Int) {
        switch directive {
        case .datagram(let bytes, let endpoint): sendPacket(bytes, from: host, to: endpoint)
        case .connect(let endpoint): schedule(network.delay(using: &generator) * 2, host, .dialled(endpoint, at: uptime))
        case .linkMessage(let id, let bytes): sendMessage(bytes, over: id, from: host)
        case .closeLink(let id): close(id.rawValue >> 1, by: host)
        case .timer(let timer, let after): schedule(after.nanoseconds, host, .input(.timer(timer)))
        case .cancelTimer: break
        case .reply(let request, let response):
            note(1, host)
            hosts[host].asked.remove(request.number)
            responses[request.number] = response
            answered.append(request.number)
        case .push(let clients, let push):
            for client in clients { note(client.rawValue, host) }
            if case .message(let message) = push {
                deliveries[hosts[host].name, default: []].append(message)
            } else {
                pushes.append((hosts[host].name, push))
            }
        case .mirror(let request): schedule(network.delay(using: &generator), host, .input(.mirror(mirror.answer(request))))
        case .event, .view, .ring, .keysReloaded: note(2, host)
        case .departed: crash(host)
        case .nameTaken(let holder):
            refusals[hosts[host].name] = holder
            crash(host)
        }
    }

    private func host(at endpoint: Endpoint) -> Int? {
        guard endpoint.port >= Self.firstPort else { return nil }
        let host = Int(endpoint.port - Self.firstPort)
        return host < hosts.count && hosts[host].endpoint == endpoint ? host : nil
    }

    private mutating func sendPacket(_ bytes: [UInt8], from host: Int, to endpoint: Endpoint) {
        note(Mix.hash(bytes), host)
        guard let target = self.host(at: endpoint) else { return }
        let fate = network.fate(from: host, to: target, using: &generator)
        for delay in [fate.first, fate.second] {
            if let delay { schedule(delay, target, .packet(bytes, from: host, hosts[host].endpoint)) }
        }
    }

    /// The two ends of link n have numbers 2n and 2n + 1; the first is that of who dialled.
    private func id(of link: UInt64, at host: Int) -> LinkID {
        LinkID(rawValue: link << 1 | (network.link(link)?.from.host == host ? 0 : 1))
    }

    private mutating func connect(_ host: Int, to endpoint: Endpoint, since: Int64) {
        let target = self.host(at: endpoint)
        let outcome = network.outcome(
            from: host, to: target, isListening: target.map { hosts[$0].core != nil } ?? false,
            isPaused: target.map { hosts[$0].isPaused } ?? false, since: since, now: uptime)
        switch outcome {
        case .again(let wait): schedule(wait, host, .dialled(endpoint, at: since))
        case .silent: deliver(.connectFailed(endpoint, .silent), to: host)
        case .refused: deliver(.connectFailed(endpoint, .refused), to: host)
        case .open:
            guard let target, let me = hosts[host].core?.id, let other = hosts[target].core?.id else { return }
            let link = network.open(from: .init(host: host, run: hosts[host].run), to: .init(host: target, run: hosts[target].run))
            deliver(.linkUp(LinkID(rawValue: link << 1), peer: other, endpoint: endpoint), to: host)
            deliver(.linkUp(LinkID(rawValue: link << 1 | 1), peer: me, endpoint: hosts[host].endpoint), to: target)
        }
    }

    private mutating func sendMessage(_ bytes: [UInt8], over id: LinkID, from host: Int) {
        note(Mix.hash(bytes), host)
        let number = id.rawValue >> 1
        guard let link = network.link(number) else { return }
        // Nobody takes it any more. That is heard at once, or when the link is given up because the way back is cut.
        if link.isEnding { return schedule(network.configuration.linkTimeout.nanoseconds, host, .linkEnded(number, isGivenUp: true)) }
        let target = link.far(from: host).host
        guard let arrival = network.arrival(over: number, at: target, now: uptime, using: &generator) else { return }
        schedule(arrival - uptime, target, .linkMessage(link: number, bytes, sentAt: uptime))
    }

    private mutating func arrive(_ number: UInt64, _ bytes: [UInt8], at host: Int, sentAt: Int64) {
        guard let link = network.link(number), hosts[host].run == link.end(at: host).run, !link.isLost, link.endedBy != host else {
            return
        }
        let sender = link.far(from: host).host
        guard network.isCut(sender, host) else { return deliver(.linkMessage(id(of: number, at: host), bytes), to: host) }
        // Nothing gets through: the segment is sent again until the link is given up.
        if let again = network.retry(over: number, at: host, sentAt: sentAt, now: uptime) {
            schedule(again - uptime, host, .linkMessage(link: number, bytes, sentAt: sentAt))
        } else if !link.isEnding {
            schedule(0, sender, .input(.linkDown(id(of: number, at: sender))))
            end(number, by: sender, sendsRest: false)
        }
    }

    /// A process closes a link. It is told when that is done, as by a real shell.
    private mutating func close(_ number: UInt64, by host: Int) {
        guard let link = network.link(number), !link.isEnding else { return }
        schedule(0, host, .input(.linkDown(id(of: number, at: host))))
        end(number, by: host, sendsRest: true)
    }

    /// The other side hears that a link has ended after everything that was written before.
    /// - Parameter sendsRest: false when what is on its way is lost, as when a process is killed that had not read all.
    private mutating func end(_ number: UInt64, by host: Int, sendsRest: Bool) {
        guard let far = network.link(number)?.far(from: host).host else { return }
        let heard = uptime + network.delay(using: &generator)
        network.end(number, by: host, sendsRest: sendsRest)
        schedule(sendsRest ? network.lastArrival(over: number, at: far, after: heard) - uptime : heard - uptime, far, .linkEnded(number))
    }

    private mutating func linkEnded(_ number: UInt64, at host: Int, isGivenUp: Bool) {
        guard let link = network.link(number) else { return }
        guard hosts[host].run == link.end(at: host).run else { return _ = network.close(number) }
        // The goodbye is said again until it gets through.
        if network.isCut(link.far(from: host).host, host), !isGivenUp { return schedule(100_000_000, host, .linkEnded(number)) }
        let end = id(of: number, at: host)
        _ = network.close(number)
        deliver(.linkDown(end), to: host)
    }

    private mutating func note(_ value: UInt64, _ host: Int) {
        traceHash = Mix.finish(traceHash ^ value &+ UInt64(bitPattern: uptime) &+ hosts[host].nameHash)
    }
}
