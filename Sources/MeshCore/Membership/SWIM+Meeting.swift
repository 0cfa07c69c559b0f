// Finding members, at the start and after a partition, and hearing all they know.

extension SWIM {
    /// One entry of the seed list.
    struct Seed: Sendable {
        var endpoint: Endpoint
        /// It has answered or refused, or it is ourselves.
        var isSettled: Bool
        /// Who answered there. It may say of itself that it lives elsewhere.
        var peer: MemberID?
        var due = Int64.min
    }

    /// Seeds are tried for ever while nobody stands behind them: every second until they have answered and while we are alone, seldom after.
    mutating func trySeeds(round: UInt64) {
        guard round == seedRound, !seeds.isEmpty || !remembered.isEmpty else { return }
        let others = reachableOthers
        tryRemembered(besides: others)
        for index in seeds.indices where !isOwn(seeds[index]) {
            guard !seeds[index].isSettled || !isCovered(seeds[index], by: others) else { continue }
            let isPressing = others.isEmpty || !seeds[index].isSettled
            guard isPressing || now.uptime >= seeds[index].due else { continue }
            seeds[index].due = now.uptime + configuration.seedInterval.nanoseconds
            directives.append(.syncWith(seeds[index].endpoint))
        }
        seedRound += 1
        let wait = random.jittered(configuration.syncInterval, share: 0.1)
        directives.append(.startTimer(.seeds(round: seedRound), after: wait))
    }

    private func isOwn(_ seed: Seed) -> Bool { seed.endpoint == local.endpoint || seed.peer == local.id }

    /// Whether one of those records, or this member, stands behind it.
    func isCovered(_ seed: Seed, by others: [Int]) -> Bool {
        isOwn(seed) || others.contains { records[$0].member.endpoint == seed.endpoint || records[$0].id == seed.peer }
    }

    mutating func setSeeds(_ endpoints: [Endpoint], isComplete: Bool) {
        seedsAreComplete = isComplete
        let former = seeds
        seeds = []
        for endpoint in endpoints where seeds.count < Self.seedsMax && !seeds.contains(where: { $0.endpoint == endpoint }) {
            let known = former.first { $0.endpoint == endpoint }
            seeds.append(known ?? Seed(endpoint: endpoint, isSettled: endpoint == local.endpoint))
        }
        let hasNew = seeds.contains { seed in !former.contains { $0.endpoint == seed.endpoint } }
        if hasNew, phase == .running { trySeeds(round: seedRound) }
    }

    mutating func syncOpened(_ endpoint: Endpoint, peer: MemberID) {
        settleRemembered(endpoint)
        for index in seeds.indices where seeds[index].endpoint == endpoint {
            seeds[index].peer = peer
            if peer == local.id { seeds[index].isSettled = true }
        }
        guard peer != local.id else { return }
        if peer.name != local.name, let index = find(peer.name), records[index].id.life < peer.life,
            !yields(index, to: peer, said: nil, at: endpoint)
        {
            return
        }
        directives.append(.sendState(to: peer, asking: true))
    }

    mutating func syncFailed(_ endpoint: Endpoint, refused: Bool) {
        guard refused else { return }
        settleRemembered(endpoint)
        for index in seeds.indices where seeds[index].endpoint == endpoint { seeds[index].isSettled = true }
    }

    // MARK: Remembered

    /// Those that were within reach come first.
    static func choose(from members: [Member], for local: Member, using random: inout SeededGenerator) -> [Seed] {
        let others = members.filter { $0.name != local.name && $0.endpoint != local.endpoint }
        guard !others.isEmpty else { return [] }
        let shuffled = others.shuffled(using: &random)
        let best = shuffled.filter(\.status.isReachable) + shuffled.filter { !$0.status.isReachable }
        return best.prefix(rememberedMax).map { Seed(endpoint: $0.endpoint, isSettled: false) }
    }

    var rememberedHadTheirChance: Bool { startedAt < .max && now.uptime - startedAt >= 3 * configuration.syncInterval.nanoseconds }

    /// A few at a time while we are alone, one now and then otherwise: the mesh may have found together without some of them. Who is a member
    /// by now needs no remembering.
    private mutating func tryRemembered(besides others: [Int]) {
        guard !remembered.isEmpty else { return }
        let isOld = now.uptime - startedAt >= configuration.memory.nanoseconds
        remembered = remembered.filter { !isOld && !isCovered($0, by: others) }
        let due = remembered.indices.filter { others.isEmpty || remembered[$0].due <= now.uptime }.sorted {
            remembered[$0].due < remembered[$1].due
        }
        for index in due.prefix(others.isEmpty ? Self.rememberedAtOnce : 1) {
            remembered[index].due = now.uptime + configuration.seedInterval.nanoseconds
            directives.append(.syncWith(remembered[index].endpoint))
        }
    }

    private mutating func settleRemembered(_ endpoint: Endpoint) {
        for index in remembered.indices where remembered[index].endpoint == endpoint { remembered[index].isSettled = true }
    }

    mutating func receiveState(_ page: GossipMessage, from peer: MemberID) {
        guard case .state(let isLast, let asking) = page.kind, page.sender == peer, peer != local.id else { return }
        guard listens(to: peer, saying: page.facts) else { return }
        var outdated: [MemberID] = []
        for fact in page.facts where phase == .running { merge(fact, from: peer, at: nil, outdated: &outdated) }
        guard isLast, phase == .running else { return }
        let endpoint = find(peer).map { records[$0].member.endpoint }
        for index in seeds.indices where seeds[index].peer == peer || seeds[index].endpoint == endpoint { seeds[index].isSettled = true }
        if asking { directives.append(.sendState(to: peer, asking: false)) }
    }

    // MARK: The dead

    mutating func scheduleReunion() {
        guard !reunionIsScheduled else { return }
        reunionIsScheduled = true
        reunionRound += 1
        let wait = random.jittered(configuration.reunionInterval, share: 0.1)
        directives.append(.startTimer(.reunion(round: reunionRound), after: wait))
    }

    /// Pings one of the dead: after a partition the other side is alive and holds us for dead just so.
    mutating func reunionTick(round: UInt64) {
        guard round == reunionRound else { return }
        reunionIsScheduled = false
        let dead = records.indices.filter { records[$0].member.status == .dead }
        guard let index = dead.min(by: { records[$0].reunionDue < records[$1].reunionDue }) else { return }
        scheduleReunion()
        guard records[index].reunionDue <= now.uptime else { return }
        sendPing(to: index)
        let longer = Duration.nanoseconds(records[index].reunionInterval.nanoseconds * 3 / 2)
        records[index].reunionInterval = min(longer, configuration.reunionIntervalMax)
        // Those who parted at one moment must not all call at one moment.
        let wait = random.jittered(records[index].reunionInterval, share: 0.5)
        records[index].reunionDue = now.uptime + wait.nanoseconds
    }
}
