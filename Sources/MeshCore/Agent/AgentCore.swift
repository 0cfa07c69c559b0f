/// One agent, without its sockets: every decision, as a value.
///
/// A shell tells it what happened, one ``AgentInput`` at a time, and carries out the ``AgentDirective``s it answers with. The core never waits, never
/// asks for the time, and draws chance from its own seed, so a world of cores can be run and replayed inside one process.
///
/// This file holds the state and the front door. The rooms behind it:
/// - `+Membership`: gossip, who can be reached
/// - `+Links`: peer links, in use and between lives
/// - `+Ownership`: who answers for a slot: takeover, claims, grants, stepping down
/// - `+Reunion`: what sides of a cut give each other when they meet
/// - `+Inquiries`: what is asked before an owner answers, after a takeover and after a pause
/// - `+Doubt`: slots whose sessions may live out of reach
/// - `+Horizon`: a side of the mesh that was away for too long
/// - `+AntiEntropy`: copies that should be equal, compared
/// - `+Replication`: second copies: deltas, syncs, what came from an owner
/// - `+AtOnce`: reads that wait for nothing
/// - `+Operations`: requests, where they go, and what an owner does with them
/// - `+Commits`: what was changed, until as many hold it as its answer says
/// - `+Assent`: strict commits
/// - `+Moving`: a session that is given another id
/// - `+Following`: what applications are told of sessions
/// - `+Walking`: all sessions of the mesh gone through, to list or to end many
/// - `+Mirroring`: the mirror behind: what is written to it, and what is loaded on a miss
/// - `+Housekeeping`: deadlines, expiry, joining and leaving
/// - `+Inspection`: what the simulator's checks are shown
public struct AgentCore: Sendable {
    let configuration: AgentConfiguration
    var generator: SeededGenerator
    var secrets: SecretGenerator
    var cookies: CookieCodec?
    var clock = MeshClock()

    // Set for the length of one step.
    var now: Moment
    var directives: [AgentDirective] = []

    // Members and links.
    var membership: Gossip
    /// Empty between steps. No step leaves more than a few.
    var gossipWaiting: [Gossip.Input] = []
    var isGossiping = false
    /// What came over peer links and could not be used, by reason. Packets are counted by ``Gossip``.
    var linkMessagesDropped: [String: UInt64] = [:]
    var peers: [NodeName: Peer] = [:]
    var linkNames: [LinkID: NodeName] = [:]
    var apart: [LinkID: LinkApart] = [:]
    /// Whose link ended before they were heard to know our present life, until there is another.
    var missedLinks: Set<NodeName> = []
    /// When this agent last went on as a new life, in uptime nanoseconds.
    var renewedAt = Int64.min / 2
    var dials = Dials()
    var arrivals = Arrivals()
    /// Lives whose peer port refused: placement passes them over before gossip has settled it.
    var gone: Set<MemberID> = []
    /// Every other node within reach, in the order of names.
    var otherNodes: [MemberID] = [] {
        didSet { otherNames = Set(otherNodes.map(\.name)) }
    }
    /// Theirs; looked up, never walked.
    private(set) var otherNames: Set<NodeName> = []
    /// Nodes out of reach that may live, in the order of names; see `+Doubt`.
    var silent: [SilentNode] = []
    var reachChangedAt = Int64.min / 2
    /// Somebody came within reach who is not among those yet: the next round of housekeeping sees to it, once for a whole burst.
    var reachIsStale = false
    /// The last peer that was told what time it is here; they have their turn.
    var lastToldTime: NodeName?
    var timeToldAt = Int64.min / 2
    var lastStepAt: Int64

    // Slots.
    var table = PlacementTable()
    /// The lives of the table's candidates, in their order; nil for this agent itself.
    var rankedLives: [MemberID?] = []
    /// What all slots were last planned on; nil when they must be planned again whatever the view says.
    var plannedOn: PlanBasis?
    var slots: [SlotState]
    var stage = Stage.syncing
    /// No claim is due before, in uptime nanoseconds: slots are many, and mostly none is claimed.
    var claimsDueAt = Int64.max
    /// Questions under way whether this agent is owner, and who holds what; see `+Inquiries`.
    var inquiries = Inquiries()
    /// The timer of the next message to who joins is set.
    var isSyncTimed = false
    /// While syncing: when the owners are asked again, and how long that was waited for.
    var pulled: (againAt: Int64, patience: Duration)?
    /// While syncing: the placement once all who sync with us serve.
    var future = PlacementTable()
    /// Syncing members that will rank for a slot. Looked up, never walked in an order that matters.
    var pullers: [Slot: [MemberID]] = [:]
    /// What the step has to tell of single slots, by peer.
    var slotNews: [NodeName: SlotNews] = [:]
    /// Slots that have a leftover, and the messages that carry them.
    var leftoverSlots: Set<Slot> = []
    var leftoverTickets: [UInt64: Slot] = [:]
    /// What others handed in, and how many changes of it have no second copy yet.
    var handIns: [HandIn: Int] = [:]
    /// Slots in doubt; see `+Doubt`.
    var doubtedSlots: Set<Slot> = []
    /// Sessions of slots that are not held here any more, and whose memory is still to be given back. No more than there are slots.
    var discarded: [[SessionKey: SessionEntry]] = []
    var memory = MemoryUse()
    /// Set while this agent is on the smaller side of its mesh; see `+Horizon`.
    var absence: Absence?
    var sessionsDiscarded: UInt64 = 0

    // Requests.
    var operations: [UInt64: Operation] = [:]
    var parked: [UInt64] = []
    var commits: [UInt64: PendingCommit] = [:]
    /// Strict commits that wait for a majority, by their operations; see `+Assent`.
    var assents: [UInt64: Assents] = [:]
    /// Sessions that are being given another id; see `+Moving`.
    var moves: [SessionKey: Move] = [:]
    var walks = Walks()
    var lastNumber: UInt64 = 0
    var channels = ChannelRegistry()
    var events = SessionEvents()

    // The mirror.
    var mirror: MirrorQueue?

    var housekeeping = Housekeeping()
    var antiEntropy = AntiEntropy()
    var counters = AgentCounters()
    var departure: Departure?

    /// - Parameters:
    ///   - seed: of everything that chance decides; from the operating system in an agent, from a number in a simulation.
    ///   - secretSeed: 32 bytes, of session ids. Never logged.
    /// - Throws: ``SWIM/InvalidLocalMember`` when tags or weight are out of bounds.
    public init(
        configuration: AgentConfiguration, keys: KeyFile, seed: UInt64, secretSeed: [UInt8], now: Moment
    ) throws(SWIM.InvalidLocalMember) {
        self.configuration = configuration
        self.now = now
        var generator = SeededGenerator(seed: seed)
        secrets = SecretGenerator(seed: secretSeed)
        cookies = CookieCodec(ring: keys.cookie)
        let sid = generator.next()
        let life = Life(startedAt: now.wall, salt: UInt16(truncatingIfNeeded: generator.next()))
        let member = Member(
            id: MemberID(name: configuration.name, life: life), role: configuration.role,
            stage: configuration.role == .balancer ? .serving : .syncing, endpoint: configuration.endpoint,
            weight: configuration.weight, tags: configuration.tags)
        membership = try Gossip(
            local: member, seeds: configuration.seeds, seedsAreComplete: configuration.seedsAreComplete,
            remembered: configuration.remembered, seed: generator.next(), configuration: configuration.swim, ring: keys.gossip,
            cookies: keys.cookie, label: configuration.label, sid: sid)
        slots = configuration.role == .node ? Array(repeating: SlotState(), count: Slot.count) : []
        mirror = configuration.mirrorMode == nil ? nil : MirrorQueue(generator: SeededGenerator(seed: generator.next()))
        self.generator = generator
        lastStepAt = now.uptime
    }

    /// This agent, in its present life. A peer link introduces itself by it.
    public var id: MemberID { swim.local.id }

    public var view: MeshView { swim.view }

    /// The seeds that nobody within reach stands behind.
    public var seedsMissing: [Endpoint] { swim.seedsMissing }

    var swim: SWIM { membership.swim }

    /// Which gossip keys the members accept, as this one sees it.
    public var keyReport: KeyReport { membership.keyReport }

    /// How the last suspicions ended, the oldest first.
    public var verdicts: [SWIM.Verdict] { swim.verdicts }

    /// Takes one input and gives what is to be done about it, in order.
    public mutating func step(_ input: AgentInput, at now: Moment) -> [AgentDirective] {
        var asked: [AgentDirective] = []
        step(input, at: now, into: &asked)
        return asked
    }

    /// The same, for a shell that takes many steps: what is to be done is put into `asked`, which is empty before.
    public mutating func step(_ input: AgentInput, at now: Moment, into asked: inout [AgentDirective]) {
        self.now = now
        noticePause()
        switch input {
        case .start: start()
        case .datagram(let packet, let source): gossip(.packet(packet, from: source))
        case .timer(.swim(let timer)): gossip(.timer(timer))
        case .timer(.housekeeping(let round)): keepHouse(round: round)
        case .timer(.walk): goOnWalking()
        case .timer(.sync): goOnSyncing()
        case .timer(.discard): goOnDiscarding()
        case .linkUp(let link, let peer, let endpoint): linkUp(link, peer: peer, endpoint: endpoint)
        case .linkMessage(let link, let bytes): receive(bytes, over: link)
        case .linkDown(let link): linkDown(link)
        case .connectFailed(let endpoint, let failure): connectFailed(endpoint, failure)
        case .request(let request, let body): receive(request, body)
        case .clientClosed(let client): clientClosed(client)
        case .mirror(let answer): receive(answer)
        case .seeds(let endpoints, let isComplete): gossip(.seeds(endpoints, isComplete: isComplete))
        case .leave: leave()
        case .reloadKeys(let keys, let force): reload(keys, force: force)
        }
        sendInquiries()
        for name in slotNews.keys.sorted() { sendSlotNews(to: name) }
        if housekeeping.isRunning { scheduleHousekeeping() }
        // What the next step has to say finds the memory of this one.
        swap(&directives, &asked)
    }

    mutating func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    public var status: AgentStatus {
        // A balancer has nothing to sync: it serves from the start.
        let stage = configuration.role == .balancer ? swim.local.stage : stage
        var status = AgentStatus(
            stage: stage, isReady: stage == .serving && inquiries.afterPause == nil, sessions: 0, sessionsDiscarded: sessionsDiscarded,
            memoryBytes: memory.bytes, primarySlots: 0, backupSlots: 0, underReplicatedSlots: 0, leftoverSlots: leftoverSlots.count,
            handOffSlots: 0, doubtedSlots: 0, staleCopies: antiEntropy.staleCopies, isPlanned: !reachIsStale, isAlone: isAlone,
            mirror: mirror?.status(at: now),
            packetsDropped: membership.packetsDropped.merging(linkMessagesDropped, uniquingKeysWith: +), membership: swim.counters,
            counters: counters)
        for (slot, state) in zip(Slot.all, slots) {
            status.sessions += state.sessions.count + (state.leftover?.sessions.count ?? 0)
            switch state.part {
            case .owner(let ownership):
                status.primarySlots += 1
                if state.doubt != nil { status.doubtedSlots += 1 }
                if table.primary(of: slot) != id.name { status.handOffSlots += 1 }
                if !status.isAlone, ownership.synced.isEmpty { status.underReplicatedSlots += 1 }
            case .replica(let replica): if replica.isSynced { status.backupSlots += 1 }
            case .none: break
            }
        }
        return status
    }
}
