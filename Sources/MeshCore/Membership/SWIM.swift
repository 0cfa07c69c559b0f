/// Who is in the mesh, as this member believes it: SWIM with Lifeguard, as a value.
///
/// Every period it pings one other member, each in turn. Who gives no sign, neither to a ping nor to one by way of three others, is suspect,
/// and dead unless it refutes that in time. Facts travel on the pings and acks, and those that can't wait in packets of their own. Each
/// ping and ack carries a digest of the view; two members whose digests keep differing tell each other what they hold of the members in
/// question, by packets if it fits a few, else over a peer link.
///
/// Facts form an order, and merging is taking the greater: by life, then gone above reachable, then incarnation, then status. So it does
/// not matter when, how often or from whom a fact comes. Death is final for a life: who hears of its own begins a new one.
///
/// A step takes one input and returns what to do. The time is an argument, chance comes from the seed, and timers carry the fact they were
/// set for, so the same inputs give the same directives in any process.
///
/// What it can't do: every holder of the key is believed about everybody.
///
/// Sources: Das, Gupta and Motivala, "SWIM", DSN 2002; for suspicions see ``Suspicion``.
public struct SWIM: Sendable {
    /// The times that a mesh is tuned by. The defaults are for a local network.
    public struct Configuration: Hashable, Sendable {
        /// How often one other member is probed. Half of it halves detection and doubles idle traffic.
        public var probePeriod: Duration = .milliseconds(250)
        /// Bounds of the wait for a direct ack; within them it follows the measured round trips.
        public var ackTimeoutMin: Duration = .milliseconds(80)
        public var ackTimeoutMax: Duration = .milliseconds(200)
        /// How many others are asked to try when a member does not answer.
        public var helperCount = 3
        /// How long a suspicion lasts that enough others confirmed, and one that nobody did.
        public var suspicionMin: Duration = .seconds(2)
        public var suspicionMax: Duration = .seconds(10)
        /// How long when there is nobody else to confirm it.
        public var suspicionAlone: Duration = .seconds(1)
        /// How long when the member's peer port refuses connections: its process is gone.
        public var suspicionGone: Duration = .milliseconds(150)
        /// Between rounds of urgent gossip, and to how many members each round goes.
        public var gossipInterval: Duration = .milliseconds(50)
        public var gossipFanout = 3
        /// Own silence beyond which nothing that others failed to say counts against them.
        public var pauseMin: Duration = .milliseconds(500)
        /// Between attempts to reach a seed, and between repairs with a peer whose view differs.
        public var syncInterval: Duration = .seconds(1)
        /// Between attempts to reach a seed that is not among the members known.
        public var seedInterval: Duration = .seconds(10)
        /// Between pings to the dead at first, and at last for each of them.
        public var reunionInterval: Duration = .seconds(1)
        public var reunionIntervalMax: Duration = .seconds(10)
        /// How long the former life of a name is asked for a sign before a newcomer at another address takes it. Several round trips.
        public var contestTime: Duration = .milliseconds(300)
        /// How long the dead and the left are remembered. For the first half they count in the digest.
        public var memory: Duration = .seconds(24 * 3600)
        /// How long a suspicion lasts that enough watchers confirmed and none objected to. A process that stands still for less is not
        /// mourned; for each bit more, a dead one's sessions wait.
        public var suspicionSilent: Duration = .milliseconds(1500)
        /// A watcher that is asked pings so often, so far apart, before it confirms; and accusers go on pinging, so far apart.
        public var inquiryPings = 3
        public var inquiryInterval: Duration = .milliseconds(80)
        public var pursuitInterval: Duration = .milliseconds(250)
        /// So many confirmed suspicions within that time, and four times the median of all, make a member degraded.
        public var degradedCount = 3
        public var degradedWindow: Duration = .seconds(30)
        /// How long it stays so at first, and at most when that happens again and again.
        public var degradedHold: Duration = .seconds(5)
        public var degradedHoldMax: Duration = .seconds(60)
        /// After each such time without trouble half of what a member's unsteadiness brought it is forgotten.
        public var calmInterval: Duration = .seconds(60)

        public init() {}
    }

    public enum Input: Hashable, Sendable {
        /// The sockets are open: begin. Once.
        case start
        case timer(Timer)
        /// A packet was opened and decoded.
        case message(GossipMessage, from: Endpoint)
        /// A page of a state came over the peer link to `from`.
        case state(GossipMessage, from: MemberID)
        /// A peer link to the member was established, by whomever: it lives.
        case linkUp(MemberID)
        /// A peer link that was up broke; or, `refused`, its port was found to refuse connections: its process is gone.
        case linkDown(MemberID, refused: Bool)
        /// The link asked for with ``Directive/syncWith(_:)`` is established; that address is `peer`, perhaps this member itself.
        case syncOpened(Endpoint, peer: MemberID)
        /// It could not be: refused says that nobody listens there, otherwise nothing is known.
        case syncFailed(Endpoint, refused: Bool)
        case setStage(Stage)
        /// An application registered or changed. Its `node` is filled in here.
        case register(Instance)
        case unregister(number: UInt32)
        /// Say goodbye; ``Directive/departed`` follows within 0.2 s.
        case leave
        /// Other keys are accepted here, or another is used; the last of each ring is the one used.
        case setKeys([KeyMark], cookies: [KeyMark])
        /// What the seeds were found to stand for, in the place of what they stood for before. What is known of those that stay is kept.
        /// `isComplete` is false while one of them is yet to be looked up.
        case seeds([Endpoint], isComplete: Bool)
    }

    public enum Directive: Hashable, Sendable {
        /// Seal it and send it by UDP. Its bytes fit ``PacketSealer/payloadBytesMax``.
        case send(GossipMessage, to: Endpoint)
        /// Give the timer back after that time. A stale one is ignored.
        case startTimer(Timer, after: Duration)
        /// That timer has become stale: whoever can spare itself the waking should.
        case cancelTimer(Timer)
        /// Open a peer link there, unless there is one, and answer with `syncOpened` or `syncFailed`.
        case syncWith(Endpoint)
        /// Send ``SWIM/statePages(asking:)`` over the peer link.
        case sendState(to: MemberID, asking: Bool)
        /// Try a TCP connection there, even if a link is up. Answer with `linkUp`, or with `linkDown` if the port refuses; silence needs none.
        case checkPort(of: MemberID, at: Endpoint)
        /// Something about a member other than its incarnation and keys changed; `from` is nil for one not known before, in that life.
        case memberChanged(Member, from: Status?)
        case instancesChanged
        case instanceRefused(number: UInt32, InstanceRefusal)
        /// A later life of our name is known. Call ``SWIM/beginNewLife(at:stage:after:)`` with it.
        case becameStale(known: Life)
        /// The mesh holds us for dead or left. Call ``SWIM/beginNewLife(at:stage:after:)``.
        case declaredDead
        /// This process stood still for so long, and has begun to discount what it missed.
        case paused(for: Duration)
        /// The goodbye was said. Nothing more comes.
        case departed
        /// Our name is a living member's. Nothing more comes: this process must end, without a goodbye.
        case nameTaken(by: Member)
    }

    /// Each names the one thing it was set for.
    public enum Timer: Hashable, Sendable {
        case probe(round: UInt64)
        case ackTimeout(number: UInt32)
        case suspicion(MemberID, generation: UInt64)
        case gossip(round: UInt64)
        case seeds(round: UInt64)
        case reunion(round: UInt64)
        case sweep(round: UInt64)
        case departure(round: UInt64)
        case contest(number: UInt32)
        case inquiry(MemberID, generation: UInt64)
        case helpTimeout(number: UInt32)
    }

    public enum InstanceRefusal: Hashable, Sendable {
        /// A text above ``Instance/textBytesMax`` bytes, or a weight outside 1 to 100.
        case outOfBounds
        /// This node has ``SWIM/instancesMax`` already.
        case tooMany
    }

    /// What an operator's settings can be wrong about.
    public enum InvalidLocalMember: Error, Hashable, Sendable, CustomStringConvertible {
        case tagsTooLong
        case weightOutOfBounds

        public var description: String {
            switch self {
            case .tagsTooLong: "the tags take more than \(Member.tagsBytesMax) bytes, or one more than 255; shorten them"
            case .weightOutOfBounds: "the weight is not 1 to 16"
            }
        }
    }

    /// Members known at once, the gone included. When all places are taken a new one gets that of who has been gone longest; when nobody is
    /// gone it is refused and counted in ``refusedMembers``.
    public static let membersMax = 4096
    /// Instances of one node.
    public static let instancesMax = 256
    /// Pings on others' behalf under way. When full the oldest is given up; its asker has two more helpers.
    static let relaysMax = 256
    /// Members to be probed out of turn. When full the next must wait for its turn.
    static let hurriedMax = 64
    /// Each is tried every second while this member is alone. Of more the first count.
    public static let seedsMax = 256
    /// Of the members remembered from an earlier run, drawn by chance: they can't all be gone unless the mesh is.
    static let rememberedMax = 64
    /// How many of them are tried a second, while this member is alone.
    static let rememberedAtOnce = 8

    let configuration: Configuration
    /// What others are told of this member.
    public internal(set) var local: Member
    /// Counts the changes of this view. Never compared with another's.
    public internal(set) var epoch: UInt64 = 0
    /// See ``MeshView/digest``.
    public internal(set) var digest: UInt64 = 0
    /// New members for whom there was no place.
    public internal(set) var refusedMembers: UInt64 = 0
    public internal(set) var counters = Counters()
    /// How the last suspicions ended, the oldest first; at most ``verdictsMax``.
    public internal(set) var verdicts: [Verdict] = []

    /// Can only move down the list, but for a new life, which runs again.
    enum Phase: Hashable, Sendable {
        case waiting
        case running
        /// Somebody holds this life to be over; nothing is said until the caller begins a new one.
        case disowned(by: Endpoint?)
        case leaving
        case departed
        /// Our name is another's.
        case refused
    }

    var phase = Phase.waiting
    var random: SeededGenerator
    /// The present and the answer of the step under way.
    var now = Moment(uptime: 0, wall: 0)
    var directives: [Directive] = []

    /// In the order of their names, one life a name, ourselves included.
    var records: [MemberRecord]
    /// Of each record's name, at the same place; see ``Watchers``. Beside the records, because who ranks all for one member reads nothing else.
    var nameSeeds: [UInt64]
    /// Counts the names that came and went: until it moves a record keeps its place.
    var nameChanges: UInt64 = 0

    // Probing
    var probeRound: UInt64 = 0
    var probeDue: Int64 = 0
    var probe: Probe?
    var turn: [NodeName] = []
    var hurried: [NodeName] = []
    var lastWasHurried = false
    var lastNumber: UInt32 = 0
    var relays: [Relay] = []
    var roundTrip = RoundTrip()
    /// How many more periods a verdict waits, because our own timers come late.
    var slowness = 0
    /// Until when nobody is suspected and nobody declared dead, after a pause of our own.
    var lenientUntil = Int64.min
    /// Numbers our words on others.
    var lastWord: UInt32 = 0
    /// Those whose hold-down is to be ended in time. At most all members.
    var degraded: [NodeName] = []
    /// The life that was held for dead, until the next has said so.
    var outlived: Life?

    // Telling
    var rumours = RumourQueue()
    var gossipRound: UInt64 = 0
    var gossipIsScheduled = false
    var gossipsNow = false
    /// Counted once an epoch.
    var reachable = (epoch: UInt64.max, count: 0)

    // Finding each other
    var seeds: [Seed]
    var seedsAreComplete: Bool
    /// Where members were when this one last ran: seeds of last resort.
    var remembered: [Seed]
    var startedAt = Int64.max
    /// Begun a moment ago; no other with the same address until then.
    var repairs: [(endpoint: Endpoint, until: Int64)] = []
    var seedRound: UInt64 = 0
    var sweepRound: UInt64 = 0
    var reunionRound: UInt64 = 0
    var reunionIsScheduled = false
    var departureRound: UInt64 = 0
    var generation: UInt64 = 0
    var instanceVersion: UInt32 = 0
    var deafToStaleUntil = Int64.min

    // One name, two addresses
    var contests: [Contest] = []
    /// We answered for this life: others may count on it.
    var hasVouched = false

    /// - Parameters:
    ///   - local: this member: alive, incarnation 0, in the stage it starts with.
    ///   - seeds: where others may be found; may contain this member's own endpoint.
    ///   - seedsAreComplete: false when an ``Input/seeds(_:isComplete:)`` is going to name more.
    ///   - remembered: members of an earlier run. None is believed to live; they are asked when nobody else can be.
    ///   - seed: of all chance in here.
    public init(
        local: Member, seeds: [Endpoint], seedsAreComplete: Bool = true, remembered: [Member] = [], seed: UInt64,
        configuration: Configuration = Configuration()
    ) throws(InvalidLocalMember) {
        guard local.tagsFit else { throw .tagsTooLong }
        guard (1...16).contains(local.weight) else { throw .weightOutOfBounds }
        self.local = local
        self.configuration = configuration
        random = SeededGenerator(seed: seed)
        // In seconds, so that a restarted member's words come after those of its former life.
        lastWord = UInt32(truncatingIfNeeded: local.id.life.rawValue >> 26)
        self.seeds = seeds.prefix(Self.seedsMax).map { Seed(endpoint: $0, isSettled: $0 == local.endpoint) }
        self.seedsAreComplete = seedsAreComplete
        self.remembered = Self.choose(from: remembered, for: local, using: &random)
        let hash = MemberRecord.hash(of: local)
        records = [MemberRecord(member: local, hash: hash)]
        nameSeeds = [Watchers.seed(of: local.name)]
        digest = hash
    }

    public mutating func step(_ input: Input, at now: Moment) -> [Directive] {
        self.now = now
        if phase == .running { noticePause() }
        switch (phase, input) {
        case (.waiting, .start): start()
        case (.running, .message(let message, let endpoint)): receive(message, from: endpoint)
        case (.running, .state(let page, let peer)): receiveState(page, from: peer)
        case (.running, .timer(let timer)): fire(timer)
        case (.running, .linkUp(let peer)): linkUp(peer)
        case (.running, .linkDown(let peer, let refused)): linkDown(peer, refused: refused)
        case (.running, .leave): leave()
        case (.running, .setStage(let stage)), (.waiting, .setStage(let stage)): setStage(stage)
        case (.running, .setKeys(let keys, let cookies)), (.waiting, .setKeys(let keys, let cookies)): setKeys(keys, cookies: cookies)
        case (.running, .seeds(let endpoints, let isComplete)), (.waiting, .seeds(let endpoints, let isComplete)):
            setSeeds(endpoints, isComplete: isComplete)
        case (.running, .syncOpened(let endpoint, let peer)): syncOpened(endpoint, peer: peer)
        case (.running, .syncFailed(let endpoint, let refused)): syncFailed(endpoint, refused: refused)
        case (.running, .register(let instance)), (.waiting, .register(let instance)): register(instance)
        case (.running, .unregister(let number)), (.waiting, .unregister(let number)): unregister(number)
        case (.leaving, .timer(.departure(let round))): goodbye(round: round)
        case (.disowned, .leave), (.waiting, .leave), (.refused, .leave):
            // Nobody needs to be told.
            phase = .departed
            directives.append(.departed)
        default: break
        }
        return finish()
    }

    /// Starts over as a later run of the same name, with an empty record of refutations but all else that is known, except deaths that nobody
    /// else agreed to, when it was held for dead itself. Instances come along.
    /// - Parameters:
    ///   - stage: how far this node is with its slots in its new life.
    ///   - known: the life named in ``Directive/becameStale(known:)``.
    public mutating func beginNewLife(at now: Moment, stage: Stage, after known: Life? = nil) -> [Directive] {
        guard phase != .leaving, phase != .departed, phase != .refused else { return [] }
        self.now = now
        let started = Life(startedAt: now.wall, salt: UInt16.random(in: 0...UInt16.max, using: &random))
        let latest = max(local.id.life, known ?? local.id.life).rawValue
        // By chance, because two of one name may both have been told of the same life. At the very end of the 64 bits there is no later one
        // to be had; only a holder of the key can have claimed that.
        let (later, isBeyond) = latest.addingReportingOverflow(UInt64.random(in: 1...1 << 16, using: &random))
        let life = Life(rawValue: max(started.rawValue, isBeyond ? .max : later))
        var informer: Endpoint?
        if case .disowned(let endpoint) = phase { informer = endpoint }
        phase = .running
        probe = nil
        relays = []
        contests.removeAll { $0.claimant == local.id }
        hasVouched = false
        // Two processes of one name would otherwise outbid each other as fast as packets travel.
        deafToStaleUntil = now.uptime + configuration.syncInterval.nanoseconds
        reannounce(as: MemberID(name: local.name, life: life), stage: stage)
        var news: [Fact] = [.member(local)]
        if let former = outlived {
            counters.ownDeaths += 1
            forgetOwnVerdicts()
            let survival = Fact.survival(local.id, of: former)
            tell(survival, about: .survival(local.name))
            news.append(survival)
            outlived = nil
        }
        restartTimers()
        if let informer { send(.gossip, to: informer, leading: news) }
        return finish()
    }

    private mutating func start() {
        phase = .running
        startedAt = now.uptime
        epoch += 1
        directives.append(.memberChanged(local, from: nil))
        scheduleProbe()
        trySeeds(round: 0)
        scheduleSweep(round: 0)
    }

    /// Those that fired between two lives were lost.
    private mutating func restartTimers() {
        scheduleProbe()
        trySeeds(round: seedRound)
        scheduleSweep(round: sweepRound)
        reunionIsScheduled = false
        if records.contains(where: { $0.member.status == .dead }) { scheduleReunion() }
        for index in records.indices where records[index].suspicion != nil {
            if records[index].inquiry != nil {
                records[index].inquiry = nil
                pursue(index)
            }
            judge(index, anew: true)
        }
        gossipsNow = true
    }

    /// Those whom the mesh held for dead were perhaps cut off, and held the others for dead for the same reason. What this member decided with
    /// nobody agreeing, it had better learn anew, or it would tell living members of their deaths.
    private mutating func forgetOwnVerdicts() {
        for index in records.indices.reversed() where records[index].deathIsOwnWord && records[index].member.status == .dead {
            rumours.remove(.member(records[index].member.name))
            forget(index)
        }
    }

    private mutating func fire(_ timer: Timer) {
        switch timer {
        case .probe(let round): probeTick(round: round)
        case .ackTimeout(let number): ackTimedOut(number)
        case .suspicion(let id, let generation): suspicionTimedOut(id, generation: generation)
        case .gossip(let round): gossipTick(round: round)
        case .seeds(let round): trySeeds(round: round)
        case .reunion(let round): reunionTick(round: round)
        case .sweep(let round): sweep(round: round)
        case .inquiry(let id, let generation): inquiryTick(id, generation: generation)
        case .helpTimeout(let number): helpTimedOut(number)
        case .departure: break
        case .contest(let number): contestTick(number)
        }
    }

    private mutating func finish() -> [Directive] {
        if gossipsNow, phase == .running { gossip() }
        gossipsNow = false
        defer { directives = [] }
        return directives
    }
}

// MARK: The view

extension SWIM {
    /// The view as a value of its own. Building it walks all members; ask when ``epoch`` has moved.
    public var view: MeshView {
        MeshView(
            epoch: epoch, digest: digest, members: records.map(\.member),
            instances: records.flatMap { $0.instances.entries.map(\.instance) })
    }

    public func member(named name: NodeName) -> Member? {
        find(name).map { records[$0].member }
    }

    /// How long a member has been dead or gone; zero while it isn't.
    func silence(of name: NodeName, at now: Moment) -> Duration {
        let goneAt = find(name).flatMap { records[$0].goneAt }
        return goneAt.map { .nanoseconds(now.uptime - $0) } ?? .zero
    }

    /// All but ourselves, in the order of their names.
    public var others: [Member] {
        records.lazy.map(\.member).filter { $0.name != local.name }
    }

    /// Whether every seed has answered, or has refused: nobody listens there. Silence is no answer, it may be a partition. Those remembered from
    /// an earlier run have had their chance after a while: they may be gone for good, and no operator says that they are there.
    public var seedsSettled: Bool {
        seedsAreComplete && seeds.allSatisfy(\.isSettled) && (remembered.allSatisfy(\.isSettled) || rememberedHadTheirChance)
    }

    /// The seeds that nobody within reach stands behind.
    public var seedsMissing: [Endpoint] {
        let others = reachableOthers
        return seeds.filter { !isCovered($0, by: others) }.map(\.endpoint)
    }

    func find(_ name: NodeName) -> Int? {
        let index = position(of: name)
        return index < records.count && records[index].member.name == name ? index : nil
    }

    /// Where the name is, or would be.
    func position(of name: NodeName) -> Int {
        records.partitioningIndex { $0.member.name >= name }
    }

    /// The record of exactly that life.
    func find(_ id: MemberID) -> Int? {
        guard let index = find(id.name), records[index].id == id else { return nil }
        return index
    }

    var reachableOthers: [Int] {
        records.indices.filter { records[$0].isReachable && records[$0].member.name != local.name }
    }

    func fact(about record: MemberRecord) -> Fact {
        let seconds = record.goneAt.map { max(0, now.uptime - $0) / 1_000_000_000 } ?? 0
        var member = record.member
        member.isDegraded = false
        return .member(member, goneFor: UInt32(clamping: seconds))
    }
}
