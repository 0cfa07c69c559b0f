public import MeshCore

/// A mesh of gossip layers alone, up to thousands of them in one process: real packets, really sealed, on a ``Network``; peer links, snapshots and
/// the processes around them are played.
///
/// Nothing is random but by the seed, and nothing waits. The same seed and the same calls give the same ``traceHash`` in any process. What must
/// never happen is looked for after every step; see ``violations``.
public struct MembershipWorld: Sendable {
    public struct Configuration: Sendable {
        public var network = Network.Configuration()
        public var membership = SWIM.Configuration()
        public var peerLinks = PeerLinks.watchers
        public init() {}
    }

    /// Between whom peer links are held.
    public enum PeerLinks: Hashable, Sendable {
        /// Everybody and everybody, as nodes that share sessions do.
        case all
        /// Each and the six that watch it.
        case watchers
    }

    public let configuration: Configuration
    /// Everything that happened so far, as one number.
    public private(set) var traceHash: UInt64 = 0
    /// Since the world began, in nanoseconds.
    public internal(set) var uptime: Int64 = 0
    /// Of packets sent, for whoever wants to know what a run was worth.
    public private(set) var traffic = Traffic()

    public struct Traffic: Hashable, Sendable {
        public var packets = 0
        public var bytes = 0
        /// Exchanges of whole states over peer links.
        public var states = 0
        public var stateBytes = 0
        public var lostInBuffers = 0

        public init() {}
    }

    var network: Network
    var hosts: [Host] = []
    var watch = Watch()
    private let keys: KeyFile
    private var generator: SeededGenerator
    private var timeline = Timeline<Event>()
    // Looked up, never walked.
    private var numbers: [NodeName: Int] = [:]
    private var places: [Endpoint: Int] = [:]
    private var linkNumbers: [Network.Way: UInt64] = [:]

    /// Unix milliseconds at the beginning, an arbitrary Friday.
    private static let epoch: Int64 = 1_795_000_000_000
    /// A socket buffer's worth for a paused process; more is lost, as a kernel would lose it.
    private static let waitingPacketsMax = 200
    /// How often a process looks whether its links stand.
    private static let linkInterval: Int64 = 1_000_000_000
    /// How often an agent writes its snapshot.
    private static let snapshotInterval: Int64 = 5_000_000_000
    private static let seedCount = 3

    public init(seed: UInt64, configuration: Configuration = Configuration()) {
        self.configuration = configuration
        network = Network(configuration: configuration.network)
        generator = SeededGenerator(seed: seed)
        keys = KeyFile.generate(using: &generator)
    }

    // MARK: Hosts

    struct Host: Sendable {
        let name: NodeName
        let nameHash: UInt64
        let role: Role
        var endpoint: Endpoint
        var process: Gossip?
        /// Raised at each start, so that what was meant for an earlier run is lost with it.
        var run = 0
        var clockError: Int64 = 0
        var pausedAt: Int64?
        var waiting: [Gossip.Input] = []
        var dials: [Dial] = []
        /// What a snapshot file would hold: the members as of its last writing.
        var snapshot: [Member] = []
        /// Of the view in it; nil when it is not of this run.
        var snapshotEpoch: UInt64?
        var isLeaving = false
        var faults = Faults()
        /// Names of those this one holds a link to, if it can.
        var linked: [Int] = []

        var isPaused: Bool { pausedAt != nil }

        // Read here, in place: from outside an optional process would be copied for one field of it.
        var id: MemberID? { process?.swim.local.id }
        var digest: UInt64? { process?.swim.digest }

        /// In place: the process is large, and nothing may copy it at every step.
        mutating func step(_ input: Gossip.Input, at now: Moment) -> [Gossip.Directive] {
            process?.step(input, at: now, noting: &faults.epoch) ?? []
        }
    }

    struct Dial: Hashable, Sendable {
        let endpoint: Endpoint
        /// Gossip wants to hear the outcome.
        var isForSync: Bool
    }

    private struct Event: Sendable {
        let host: Int
        let run: Int
        let what: What

        enum What: Sendable {
            case timer(SWIM.Timer)
            case packet([UInt8], from: Int, Endpoint)
            case state([[UInt8]], from: Int, MemberID)
            case dialled(Endpoint, since: Int64)
            case syncOpened(Endpoint, MemberID)
            case linkBroke(MemberID)
            case links
        }
    }

    public enum Restart: Hashable, Sendable {
        /// With nothing but its name and the seeds.
        case empty
        /// With what its snapshot file says.
        case withSnapshot
    }

    /// Starts a member, or starts it again under its name, with the addresses of the first three as its seeds.
    /// - Parameters:
    ///   - clockError: of its wall clock, in milliseconds.
    ///   - moved: at an address nobody had before; its old one is silent from then on.
    public mutating func start(
        _ name: NodeName, role: Role = .node, restart: Restart = .empty, clockError: Int64 = 0, moved: Bool = false
    ) {
        let host = numbers[name] ?? add(name, role: role)
        guard hosts[host].process == nil else { return }
        if moved { place(host) }
        hosts[host].run += 1
        hosts[host].clockError = clockError
        hosts[host].pausedAt = nil
        hosts[host].waiting = []
        hosts[host].dials = []
        hosts[host].isLeaving = false
        hosts[host].snapshotEpoch = nil
        let life = Life(startedAt: moment(of: host).wall, salt: UInt16(truncatingIfNeeded: generator.next()))
        let local = Member(id: MemberID(name: name, life: life), role: hosts[host].role, stage: .serving, endpoint: hosts[host].endpoint)
        // The only throw is for tags and weight, which are left at their defaults.
        hosts[host].process = try? Gossip(
            local: local, seeds: hosts.prefix(Self.seedCount).map(\.endpoint),
            remembered: restart == .withSnapshot ? hosts[host].snapshot : [], seed: generator.next(),
            configuration: configuration.membership, ring: keys.gossip, label: "simulated", sid: generator.next())
        note(0x57A2, host)
        began(host)
        deliver(.membership(.start), to: host)
        schedule(Int64.random(in: 0...Self.linkInterval, using: &generator), host, .links)
    }

    private mutating func add(_ name: NodeName, role: Role) -> Int {
        let host = hosts.count
        hosts.append(Host(name: name, nameHash: Mix.hash(name.description.utf8), role: role, endpoint: .loopback(port: 1)))
        numbers[name] = host
        place(host)
        findWatchers(with: host)
        return host
    }

    private mutating func place(_ host: Int) {
        let number = UInt32(places.count + 1)
        let address = [
            10, UInt8(truncatingIfNeeded: number >> 16), UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number),
        ]
        guard let endpoint = Endpoint(address: address, port: 7946) else { return }
        hosts[host].endpoint = endpoint
        places[endpoint] = host
    }

    /// Kills the process: its memory is gone, its sockets close, its port refuses.
    public mutating func crash(_ name: NodeName) {
        if let host = numbers[name] { end(host) }
    }

    private mutating func end(_ host: Int) {
        guard hosts[host].process != nil else { return }
        note(0xDEAD, host)
        closeLinks(of: host)
        hosts[host].process = nil
        hosts[host].run += 1
        hosts[host].pausedAt = nil
        hosts[host].waiting = []
    }

    public mutating func leave(_ name: NodeName) {
        guard let host = numbers[name], hosts[host].process != nil else { return }
        hosts[host].isLeaving = true
        deliver(.membership(.leave), to: host)
    }

    /// Takes the process off the processor, as SIGSTOP does.
    public mutating func pause(_ name: NodeName) {
        guard let host = numbers[name], hosts[host].process != nil, !hosts[host].isPaused else { return }
        hosts[host].pausedAt = uptime
    }

    /// Lets it run again. Its socket is drained before its timers are looked at.
    public mutating func wake(_ name: NodeName) {
        guard let host = numbers[name], let since = hosts[host].pausedAt else { return }
        let waiting = hosts[host].waiting
        hosts[host].pausedAt = nil
        hosts[host].waiting = []
        woke(host, after: uptime - since)
        for input in waiting { if case .packet = input { deliver(input, to: host) } }
        for input in waiting { if case .membership = input { deliver(input, to: host) } }
    }

    public mutating func setClock(of name: NodeName, error: Int64) {
        if let host = numbers[name] { hosts[host].clockError = error }
    }

    /// The hosts there are, in the order in which they came.
    public var names: [NodeName] { hosts.map(\.name) }
    public var running: [NodeName] { hosts.lazy.filter { $0.process != nil }.map(\.name) }
    public func gossip(of name: NodeName) -> Gossip? { numbers[name].flatMap { hosts[$0].process } }

    func number(of name: NodeName) -> Int? { numbers[name] }

    // MARK: Time

    public mutating func run(for duration: Duration) { run(until: uptime + duration.nanoseconds) }

    /// Lets time pass until `condition` holds, which is looked at once in `interval`. False when it did not within `limit`.
    @discardableResult
    public mutating func run(for limit: Duration, lookingEvery interval: Duration, until condition: (borrowing MembershipWorld) -> Bool)
        -> Bool
    {
        let end = uptime + limit.nanoseconds
        while !condition(self) {
            guard uptime < end else { return false }
            run(until: min(end, uptime + interval.nanoseconds))
        }
        return true
    }

    private mutating func run(until end: Int64) {
        while let (at, event) = timeline.next(until: end) {
            while at >= watch.nextSample {
                uptime = max(uptime, watch.nextSample)
                sample()
            }
            uptime = max(uptime, at)
            perform(event)
        }
        uptime = end
    }

    private mutating func perform(_ event: Event) {
        let host = event.host
        switch event.what {
        case .packet(let bytes, let sender, let source):
            if !network.isCut(sender, host) { deliver(.packet(bytes, from: source), to: host) }
        case _ where hosts[host].run != event.run: break
        case .timer(let timer): deliver(.membership(.timer(timer)), to: host)
        case .state(let pages, let sender, let id): if !network.isCut(sender, host) { receive(pages, from: id, at: host) }
        case .dialled(let endpoint, let since): connect(host, to: endpoint, since: since)
        case .syncOpened(let endpoint, let peer): deliver(.membership(.syncOpened(endpoint, peer: peer)), to: host)
        case .linkBroke(let peer):
            deliver(.membership(.linkDown(peer, refused: false)), to: host)
            holdLinks(host)
        case .links:
            holdLinks(host)
            if uptime >= hosts[host].faults.snapshotDue { writeSnapshot(host) }
            schedule(Self.linkInterval, host, .links)
        }
    }

    private func moment(of host: Int) -> Moment {
        Moment(uptime: uptime, wall: Self.epoch + uptime / 1_000_000 + hosts[host].clockError)
    }

    private mutating func schedule(_ delay: Int64, _ host: Int, _ what: Event.What) {
        timeline.insert(Event(host: host, run: hosts[host].run, what: what), at: uptime + delay)
    }

    private mutating func writeSnapshot(_ host: Int) {
        guard !hosts[host].isPaused, hosts[host].process != nil else { return }
        hosts[host].faults.snapshotDue = uptime + Self.snapshotInterval
        // Nearly all are written while nothing changes, and a thousand views of a thousand members take their time.
        guard hosts[host].faults.epoch != hosts[host].snapshotEpoch, let view = hosts[host].process?.swim.view else { return }
        hosts[host].snapshot = view.members
        hosts[host].snapshotEpoch = view.epoch
    }

    // MARK: One step

    private mutating func deliver(_ input: Gossip.Input, to host: Int) {
        guard hosts[host].process != nil else { return }
        if hosts[host].isPaused { return wait(input, for: host) }
        let now = moment(of: host)
        let before = hosts[host].faults.epoch
        let directives = hosts[host].step(input, at: now)
        if hosts[host].faults.epoch < before { epochFell(host, from: before) }
        for directive in directives { perform(directive, for: host) }
    }

    private mutating func wait(_ input: Gossip.Input, for host: Int) {
        if case .packet = input, hosts[host].waiting.count >= Self.waitingPacketsMax {
            traffic.lostInBuffers += 1
            return
        }
        hosts[host].waiting.append(input)
    }

    private mutating func perform(_ directive: Gossip.Directive, for host: Int) {
        switch directive {
        case .packet(let bytes, let endpoint): send(bytes, from: host, to: endpoint)
        case .membership(.startTimer(let timer, let after)): schedule(after.nanoseconds, host, .timer(timer))
        case .membership(.syncWith(let endpoint)): exchangeState(host, with: endpoint)
        case .membership(.sendState(let peer, let asking)): sendState(from: host, to: peer, asking: asking)
        case .membership(.checkPort(_, let endpoint)): dial(endpoint, from: host, isForSync: false)
        case .membership(.memberChanged(let member, _)):
            note(Mix.finish(member.id.life.rawValue &+ UInt64(member.status.rawValue)), host)
            saw(member, at: host)
        case .membership(.declaredDead): beginNewLife(host, after: nil)
        case .membership(.becameStale(let known)): beginNewLife(host, after: known)
        case .membership(.departed): end(host)
        case .membership(.cancelTimer): break
        case .membership: note(2, host)
        }
    }

    private mutating func beginNewLife(_ host: Int, after known: Life?) {
        note(3, host)
        beganNewLife(host)
        // A link introduces a life; those of the old one are closed, and dialled anew when links are looked after.
        closeLinks(of: host)
        let now = moment(of: host)
        let directives = hosts[host].process?.beginNewLife(at: now, stage: .serving, after: known) ?? []
        for directive in directives { perform(directive, for: host) }
    }

    private mutating func send(_ bytes: [UInt8], from host: Int, to endpoint: Endpoint) {
        // The seal's tag stands for every byte before it.
        note(bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }, host)
        traffic.packets += 1
        traffic.bytes += bytes.count
        sent(bytes.count, by: host)
        guard let target = places[endpoint], hosts[target].endpoint == endpoint else { return }
        let fate = network.fate(from: host, to: target, using: &generator)
        if let delay = fate.first { schedule(delay, target, .packet(bytes, from: host, hosts[host].endpoint)) }
        if let delay = fate.second { schedule(delay, target, .packet(bytes, from: host, hosts[host].endpoint)) }
    }

    private mutating func note(_ value: UInt64, _ host: Int) {
        traceHash = Mix.finish(traceHash ^ value &+ UInt64(bitPattern: uptime) &+ hosts[host].nameHash)
    }

    // MARK: Peer links

    /// Per host, its watchers: the six nodes of the highest score.
    private var watchers: [[(score: UInt64, host: Int)]] = []
    /// Per host, those it holds links to: its watchers, and those it watches.
    private var partners: [[Int]] = []

    /// Which links are held follows from the names there are, not from views: a link too many or too few changes no verdict.
    private func partners(of host: Int) -> [Int] {
        configuration.peerLinks == .all ? hosts.indices.filter { $0 != host } : partners[host]
    }

    private static let watchersPerMember = 6

    private mutating func findWatchers(with newcomer: Int) {
        watchers.append([])
        partners.append([])
        for host in hosts.indices where host != newcomer {
            addWatcher(newcomer, of: host)
            addWatcher(host, of: newcomer)
        }
    }

    private mutating func addWatcher(_ watcher: Int, of subject: Int) {
        guard hosts[watcher].role == .node else { return }
        let score = Mix.finish(hosts[watcher].nameHash ^ hosts[subject].nameHash)
        if watchers[subject].count >= Self.watchersPerMember {
            guard let lowest = watchers[subject].indices.min(by: { watchers[subject][$0] < watchers[subject][$1] }),
                watchers[subject][lowest].score < score
            else { return }
            // A link that is up stays up; it is not held any more.
            let former = watchers[subject].remove(at: lowest).host
            if !watchers[former].contains(where: { $0.host == subject }) {
                partners[subject].removeAll { $0 == former }
                partners[former].removeAll { $0 == subject }
            }
        }
        watchers[subject].append((score, watcher))
        if !partners[subject].contains(watcher) { partners[subject].append(watcher) }
        if !partners[watcher].contains(subject) { partners[watcher].append(subject) }
    }

    private static func way(_ one: Int, _ two: Int) -> Network.Way { Network.Way(from: min(one, two), to: max(one, two)) }

    /// Dials those it should have a link to and believes to be there.
    private mutating func holdLinks(_ host: Int) {
        guard hosts[host].process != nil, !hosts[host].isPaused, !hosts[host].isLeaving else { return }
        for partner in partners(of: host) where linkNumbers[Self.way(host, partner)] == nil {
            guard let member = hosts[host].process?.swim.member(named: hosts[partner].name), member.status.isReachable else { continue }
            dial(member.endpoint, from: host, isForSync: false)
        }
    }

    private mutating func dial(_ endpoint: Endpoint, from host: Int, isForSync: Bool) {
        guard endpoint != hosts[host].endpoint || isForSync else { return }
        if let index = hosts[host].dials.firstIndex(where: { $0.endpoint == endpoint }) {
            if isForSync { hosts[host].dials[index].isForSync = true }
            return
        }
        hosts[host].dials.append(Dial(endpoint: endpoint, isForSync: isForSync))
        schedule(network.delay(using: &generator) * 2, host, .dialled(endpoint, since: uptime))
    }

    private mutating func connect(_ host: Int, to endpoint: Endpoint, since: Int64) {
        guard let index = hosts[host].dials.firstIndex(where: { $0.endpoint == endpoint }) else { return }
        let target = places[endpoint]
        // Where a member has moved away from, nobody says anything: the machine is gone.
        let isGone = target.map { hosts[$0].endpoint != endpoint } ?? false
        let outcome = network.outcome(
            from: host, to: target, isListening: target.map { hosts[$0].process != nil } ?? false,
            isPaused: isGone || target.map { hosts[$0].isPaused } ?? false, since: since, now: uptime)
        if case .again(let wait) = outcome { return schedule(wait, host, .dialled(endpoint, since: since)) }
        let dial = hosts[host].dials.remove(at: index)
        guard outcome == .open, let target else { return dialFailed(dial, at: host, refused: outcome == .refused) }
        linkUp(host, target, dial)
    }

    private mutating func dialFailed(_ dial: Dial, at host: Int, refused: Bool) {
        if dial.isForSync { deliver(.membership(.syncFailed(dial.endpoint, refused: refused)), to: host) }
        guard refused, let process = hosts[host].process else { return }
        for member in process.swim.others where member.endpoint == dial.endpoint && member.status.isReachable {
            deliver(.membership(.linkDown(member.id, refused: true)), to: host)
        }
    }

    private mutating func linkUp(_ host: Int, _ target: Int, _ dial: Dial) {
        guard let me = hosts[host].id, let other = hosts[target].id else { return }
        let way = Self.way(host, target)
        if linkNumbers[way] == nil, host != target, partners(of: host).contains(target) {
            linkNumbers[way] = network.open(from: .init(host: host, run: hosts[host].run), to: .init(host: target, run: hosts[target].run))
        }
        if host != target {
            deliver(.membership(.linkUp(other)), to: host)
            deliver(.membership(.linkUp(me)), to: target)
        }
        if dial.isForSync { deliver(.membership(.syncOpened(dial.endpoint, peer: other)), to: host) }
    }

    private mutating func closeLinks(of host: Int) {
        guard let id = hosts[host].id else { return }
        for number in network.links(of: host) {
            guard let link = network.close(number) else { continue }
            let far = link.far(from: host)
            linkNumbers[Self.way(host, far.host)] = nil
            // Who is cut off from the other's goodbye keeps a link that is none, until it is dialled again.
            guard hosts[far.host].run == far.run, !network.isCut(host, far.host) else { continue }
            schedule(network.delay(using: &generator), far.host, .linkBroke(id))
        }
    }

    /// A linked peer is asked as soon as what is being done has been done: one step's directives never come between another's.
    private mutating func exchangeState(_ host: Int, with endpoint: Endpoint) {
        if let target = places[endpoint], hosts[target].endpoint == endpoint, linkNumbers[Self.way(host, target)] != nil,
            let peer = hosts[target].id
        {
            schedule(0, host, .syncOpened(endpoint, peer))
        } else {
            dial(endpoint, from: host, isForSync: true)
        }
    }

    private mutating func sendState(from host: Int, to peer: MemberID, asking: Bool) {
        guard let target = numbers[peer.name], hosts[target].id == peer, let process = hosts[host].process else {
            return
        }
        let pages = process.swim.statePages(asking: asking).map(\.encoded)
        traffic.states += 1
        for page in pages {
            note(Mix.hash(page.prefix(64)), host)
            traffic.stateBytes += page.count
        }
        schedule(network.segmentDelay(using: &generator), target, .state(pages, from: host, process.swim.local.id))
    }

    private mutating func receive(_ pages: [[UInt8]], from peer: MemberID, at host: Int) {
        for page in pages {
            do { deliver(.membership(.state(try GossipMessage(decoding: page), from: peer)), to: host) } catch {
                violated(.codec, "\(hosts[host].name) could not read a page of \(peer): \(error)")
            }
        }
    }
}

extension Gossip {
    fileprivate mutating func step(_ input: Input, at now: Moment, noting epoch: inout UInt64) -> [Directive] {
        let directives = step(input, at: now)
        epoch = swim.epoch
        return directives
    }
}
