import HeapModule
public import MeshCore

/// A mesh of agents in one process: virtual time, a network that loses, delays and cuts, clocks that are wrong, a mirror that fails.
///
/// Nothing here is random but by the seed, and nothing waits: time is whatever the next event says. The same seed and the same calls give the same
/// ``traceHash`` in any process.
///
/// Packets are sealed as on a real wire. Peer links are taken as proven: their handshake has tests of its own.
public struct World: Sendable {
    public struct Configuration: Sendable {
        /// Share of packets that vanish. Peer links lose nothing, but wait longer.
        public var loss = 0.0
        /// One way, evenly drawn.
        public var delay: ClosedRange<Int64> = 200_000...2_000_000
        public var idleDefault: Duration = .seconds(1800)
        public var mirrors = false
        /// How long a peer link stands while nothing gets through.
        public var linkTimeout: Duration = .seconds(10)
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
    private var hosts: [NodeName: Host] = [:]
    private var names: [NodeName] = []
    private var queue = Heap<Event>()
    private var sequence: UInt64 = 0
    private var links: [LinkID: Link] = [:]
    private var lastLink: UInt64 = 0
    private var cuts: Set<Cut> = []
    private var lastRequest: UInt64 = 0
    private var responses: [UInt64: ClientResponse] = [:]
    /// Hosts whose agent ended because its name was taken, with who has it.
    public private(set) var refusals: [NodeName: Member] = [:]
    /// What each subscriber was given, in order.
    public private(set) var deliveries: [NodeName: [ChannelMessage]] = [:]

    /// Unix milliseconds at the beginning, an arbitrary Friday.
    private static let epoch: Int64 = 1_795_000_000_000

    public init(seed: UInt64, configuration: Configuration = Configuration()) {
        self.configuration = configuration
        generator = SeededGenerator(seed: seed)
        keys = KeyFile.generate(using: &generator)
    }

    // MARK: Hosts

    private struct Host: Sendable {
        var core: AgentCore?
        let endpoint: Endpoint
        /// Raised at each start, so that what was meant for an earlier run is lost with it.
        var run = 0
        var clockError: Int64 = 0
        /// Not scheduled: everything that reaches it waits.
        var isPaused = false
        var waiting: [AgentInput] = []
    }

    private static let firstPort: UInt16 = 7000
    private static let seeds = (0..<3).map { Endpoint.loopback(port: firstPort + $0) }
    /// A socket buffer's worth; more is lost, as a kernel would lose it.
    private static let waitingPacketsMax = 200

    private struct Link: Sendable {
        let from: (name: NodeName, run: Int, id: LinkID)
        let to: (name: NodeName, run: Int, id: LinkID)
        /// When the last message in either direction arrives: messages stay in order.
        var arrival: [NodeName: Int64] = [:]
    }

    private struct Cut: Hashable, Sendable {
        let from: NodeName
        let to: NodeName
    }

    private struct Event: Comparable, Sendable {
        let at: Int64
        let order: UInt64
        let host: NodeName
        let run: Int
        let what: What

        enum What: Sendable {
            case input(AgentInput)
            case linkMessage(link: LinkID, [UInt8], sentAt: Int64)
            case packet([UInt8], from: NodeName, Endpoint)
            case dialled(Endpoint, at: Int64)
        }

        static func < (lhs: Event, rhs: Event) -> Bool { (lhs.at, lhs.order) < (rhs.at, rhs.order) }
        static func == (lhs: Event, rhs: Event) -> Bool { lhs.order == rhs.order }
    }

    /// Starts an agent that knows the first three as seeds, or starts it again, empty, under its old name.
    /// - Parameter node: the agent's name, when it is not its host's.
    public mutating func start(_ name: NodeName, as node: NodeName? = nil, clockError: Int64 = 0) {
        if hosts[name] == nil {
            hosts[name] = Host(endpoint: .loopback(port: Self.firstPort + UInt16(names.count)))
            names.append(name)
        }
        guard var host = hosts[name] else { return }
        host.run += 1
        host.clockError = clockError
        host.isPaused = false
        host.waiting = []
        var settings = AgentConfiguration(name: node ?? name, endpoint: host.endpoint, seeds: Self.seeds)
        settings.mirrors = configuration.mirrors
        settings.idleDefault = configuration.idleDefault
        let secret = (0..<4).flatMap { _ in withUnsafeBytes(of: generator.next()) { Array($0) } }
        // The only throw is for tags and weight, which are left at their defaults.
        host.core = try? AgentCore(
            configuration: settings, keys: keys, seed: generator.next(), secretSeed: secret,
            now: moment(clockError: clockError))
        hosts[name] = host
        schedule(0, name, .input(.start))
    }

    /// Kills the process: its memory is gone, its sockets close, its port refuses.
    public mutating func crash(_ name: NodeName) {
        guard hosts[name]?.core != nil else { return }
        hosts[name]?.core = nil
        hosts[name]?.run += 1
        note(0xDEAD, name)
        for (id, link) in links.sorted(by: { $0.key < $1.key }) {
            if link.from.name == name { close(id, tell: link.to.name, after: 500_000) }
            if link.to.name == name { close(id, tell: link.from.name, after: 500_000) }
        }
    }

    /// Takes the process off the processor, as SIGSTOP does.
    public mutating func pause(_ name: NodeName) {
        hosts[name]?.isPaused = true
    }

    /// Lets it run again. It finds first whatever came first.
    public mutating func wake(_ name: NodeName) {
        guard hosts[name]?.isPaused ?? false, let waiting = hosts[name]?.waiting else { return }
        hosts[name]?.isPaused = false
        hosts[name]?.waiting = []
        for input in waiting { deliver(input, to: name) }
    }

    public mutating func setClock(of name: NodeName, error: Int64) {
        hosts[name]?.clockError = error
    }

    /// Lets nothing through from one to another.
    public mutating func cut(from: NodeName, to: NodeName) { cuts.insert(Cut(from: from, to: to)) }

    public mutating func partition(_ side: [NodeName], from other: [NodeName]) {
        for one in side {
            for two in other {
                cut(from: one, to: two)
                cut(from: two, to: one)
            }
        }
    }

    public mutating func heal() { cuts = [] }

    public mutating func setMirror(isDown: Bool) { mirror.isDown = isDown }

    public var running: [NodeName] { names.filter { hosts[$0]?.core != nil } }

    public func core(of name: NodeName) -> AgentCore? { hosts[name]?.core }

    // MARK: Asking

    /// Hands a request to the agent of `name`, as an application there would; the number fetches its answer.
    public mutating func submit(_ request: ClientRequest, to name: NodeName, client: UInt64 = 1) -> UInt64 {
        lastRequest += 1
        let id = RequestID(client: ClientID(rawValue: client), number: lastRequest)
        schedule(0, name, .input(.request(id, request)))
        return lastRequest
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
        while let next = queue.min, next.at <= end { stepOnce() }
        uptime = end
    }

    private mutating func stepOnce() {
        guard let event = queue.popMin() else { return }
        uptime = max(uptime, event.at)
        switch event.what {
        case .input(let input):
            if hosts[event.host]?.run == event.run { deliver(input, to: event.host) }
        case .packet(let bytes, let sender, let source):
            if hosts[event.host]?.core != nil, !isCut(sender, event.host) { deliver(.datagram(bytes, from: source), to: event.host) }
        case .linkMessage(let id, let bytes, let sentAt): arrive(id, bytes, at: event.host, sentAt: sentAt)
        case .dialled(let endpoint, let at):
            if hosts[event.host]?.run == event.run { connect(event.host, to: endpoint, since: at) }
        }
    }

    private func moment(clockError: Int64) -> Moment {
        Moment(uptime: uptime, wall: Self.epoch + uptime / 1_000_000 + clockError)
    }

    private mutating func schedule(_ delay: Int64, _ host: NodeName, _ what: Event.What) {
        sequence += 1
        queue.insert(Event(at: uptime + delay, order: sequence, host: host, run: hosts[host]?.run ?? 0, what: what))
    }

    private mutating func deliver(_ input: AgentInput, to name: NodeName) {
        // Nothing of the host is held while it takes its step: a second reference would have all its slots copied.
        guard let (isRunning, isPaused, clockError) = hosts[name].map({ ($0.core != nil, $0.isPaused, $0.clockError) }), isRunning
        else { return }
        if isPaused {
            if case .datagram = input, hosts[name]?.waiting.count ?? 0 >= Self.waitingPacketsMax { return }
            hosts[name]?.waiting.append(input)
            return
        }
        let now = moment(clockError: clockError)
        let directives = hosts[name]?.core?.step(input, at: now) ?? []
        for directive in directives { perform(directive, for: name) }
    }

    // MARK: The network

    private mutating func perform(_ directive: AgentDirective, for name: NodeName) {
        switch directive {
        case .datagram(let bytes, let endpoint): sendPacket(bytes, from: name, to: endpoint)
        case .connect(let endpoint): schedule(delay() * 2, name, .dialled(endpoint, at: uptime))
        case .linkMessage(let id, let bytes): sendMessage(bytes, over: id, from: name)
        case .closeLink(let id):
            if let link = links[id] ?? links[twin(of: id)] {
                let other = link.from.name == name ? link.to.name : link.from.name
                close(min(id, twin(of: id)), tell: other, after: delay())
            }
        case .timer(let timer, let after): schedule(after.nanoseconds, name, .input(.timer(timer)))
        case .reply(let request, let response):
            note(1, name)
            responses[request.number] = response
        case .push(_, let message):
            note(message.position.offset, name)
            deliveries[name, default: []].append(message)
        case .mirror(let request): schedule(delay(), name, .input(.mirror(mirror.answer(request))))
        case .event, .view, .ring, .keysReloaded: note(2, name)
        case .departed: crash(name)
        case .nameTaken(let holder):
            refusals[name] = holder
            crash(name)
        }
    }

    private mutating func sendPacket(_ bytes: [UInt8], from name: NodeName, to endpoint: Endpoint) {
        note(Mix.hash(bytes), name)
        guard let host = hosts[name], let target = names.first(where: { hosts[$0]?.endpoint == endpoint }) else { return }
        guard Double.random(in: 0..<1, using: &generator) >= configuration.loss, !isCut(name, target) else { return }
        schedule(delay(), target, .packet(bytes, from: name, host.endpoint))
    }

    private mutating func delay() -> Int64 { Int64.random(in: configuration.delay, using: &generator) }

    private func isCut(_ from: NodeName, _ to: NodeName) -> Bool { cuts.contains(Cut(from: from, to: to)) }

    /// The two ends of a link have numbers 2n and 2n + 1.
    private func twin(of id: LinkID) -> LinkID { LinkID(rawValue: id.rawValue ^ 1) }

    private mutating func connect(_ name: NodeName, to endpoint: Endpoint, since: Int64) {
        guard let target = names.first(where: { hosts[$0]?.endpoint == endpoint }) else {
            return deliver(.connectFailed(endpoint, .refused), to: name)
        }
        let isSilent = isCut(name, target) || isCut(target, name) || hosts[target]?.isPaused == true
        if isSilent {
            let left = Self.connectTimeout - (uptime - since)
            if left > 0 { return schedule(min(left, 50_000_000), name, .dialled(endpoint, at: since)) }
            return deliver(.connectFailed(endpoint, .silent), to: name)
        }
        guard let (me, run, home) = end(name), let (other, otherRun, _) = end(target) else {
            return deliver(.connectFailed(endpoint, .refused), to: name)
        }
        lastLink += 2
        let id = LinkID(rawValue: lastLink)
        links[id] = Link(from: (name, run, id), to: (target, otherRun, twin(of: id)))
        deliver(.linkUp(id, peer: other, endpoint: endpoint), to: name)
        deliver(.linkUp(twin(of: id), peer: me, endpoint: home), to: target)
    }

    private func end(_ name: NodeName) -> (MemberID, run: Int, Endpoint)? {
        guard let host = hosts[name], let id = host.core?.id else { return nil }
        return (id, host.run, host.endpoint)
    }

    private static let connectTimeout: Int64 = 500_000_000

    private mutating func sendMessage(_ bytes: [UInt8], over id: LinkID, from name: NodeName) {
        note(Mix.hash(bytes), name)
        let base = LinkID(rawValue: id.rawValue & ~1)
        guard var link = links[base] else { return }
        let target = link.from.name == name ? link.to.name : link.from.name
        // A lost segment is sent again a little later; what follows waits behind it.
        var wait = delay()
        while Double.random(in: 0..<1, using: &generator) < configuration.loss, wait < 1_000_000_000 { wait += 20_000_000 }
        let arrival = max(uptime + wait, (link.arrival[target] ?? 0) + 1)
        link.arrival[target] = arrival
        links[base] = link
        schedule(arrival - uptime, target, .linkMessage(link: base, bytes, sentAt: uptime))
    }

    private mutating func arrive(_ base: LinkID, _ bytes: [UInt8], at name: NodeName, sentAt: Int64) {
        guard var link = links[base] else { return }
        let sender = link.from.name == name ? link.to : link.from
        let receiver = link.from.name == name ? link.from : link.to
        guard hosts[name]?.run == receiver.run else { return }
        if isCut(sender.name, name) {
            // Nothing gets through: the segment is sent again until the link is given up.
            guard uptime - sentAt < configuration.linkTimeout.nanoseconds else {
                close(base, tell: name, after: 0)
                deliver(.linkDown(sender.id), to: sender.name)
                return
            }
            let again = max(uptime + 100_000_000, (link.arrival[name] ?? 0) + 1)
            link.arrival[name] = again
            links[base] = link
            return schedule(again - uptime, name, .linkMessage(link: base, bytes, sentAt: sentAt))
        }
        deliver(.linkMessage(receiver.id, bytes), to: name)
    }

    private mutating func close(_ base: LinkID, tell name: NodeName, after delay: Int64) {
        guard let link = links.removeValue(forKey: base) else { return }
        let end = link.from.name == name ? link.from : link.to
        schedule(delay, name, .input(.linkDown(end.id)))
    }

    private mutating func note(_ value: UInt64, _ name: NodeName) {
        traceHash = Mix.finish(traceHash ^ value &+ UInt64(bitPattern: uptime) &+ Mix.hash(name.description.utf8))
    }
}
