// What is done by the clock: deadlines, expiry, joining and leaving.

/// A leave under way.
struct Departure: Sendable {
    /// When it ends whatever is still missing, in uptime nanoseconds.
    let deadline: Int64
    var isAnnounced = false
}

extension AgentCore {
    /// A quarter of what a write may wait for the mirror.
    static let housekeepingInterval: Duration = .milliseconds(50)
    /// Rounds in a second.
    private static let roundsPerSecond: UInt64 = 20
    /// Slots looked at in one round, for expired sessions and spare copies.
    private static let slotsPerRound = 4

    mutating func keepHouse() {
        directives.append(.timer(.housekeeping, after: Self.housekeepingInterval))
        housekeepingCount += 1
        expireOperations()
        if !strangers.isEmpty { dismissStrangers() }
        if configuration.role == .node {
            retryParked()
            flushMirror()
            lookOverSlots()
            askForClaims()
            join()
            if housekeepingCount % Self.roundsPerSecond == 0 { onceASecond() }
        }
        if departure != nil { depart() }
    }

    private mutating func onceASecond() {
        dialMissingPeers()
        for name in peers.keys.sorted() { send(.clock(now.wall), to: name) }
        forgetFormerPullers()
        let swim = swim
        clock.keep { swim.member(named: $0) != nil }
    }

    /// A node that ranks, or is gone, pulls no more; what it holds beyond its ranks is released.
    private mutating func forgetFormerPullers() {
        let former = pullers.values.filter { puller in
            !isReachable(puller.member) || (swim.member(named: puller.member.name)?.ranks ?? false)
        }
        guard !former.isEmpty else { return }
        for puller in former { pullers[puller.member.name] = nil }
        planAllSlots()
    }

    /// A few slots a round, so that each has its turn once in 51 seconds.
    private mutating func lookOverSlots() {
        let first = Int(housekeepingCount % UInt64(Slot.count / Self.slotsPerRound)) * Self.slotsPerRound
        for index in first..<first + Self.slotsPerRound {
            expireSessions(in: index)
            plan(Slot.all[index])
        }
        offerSpares(slots.indices[first..<first + Self.slotsPerRound])
    }

    /// Only the owner lets go of a session for its age, and says so by the next sync; a replica's copy goes by the same rule, later.
    private mutating func expireSessions(in index: Int) {
        guard !slots[index].sessions.isEmpty else { return }
        let wall = wall - (slots[index].isOwner ? 0 : Self.replicaSlack)
        for key in slots[index].sortedKeys {
            guard let entry = slots[index].sessions[key], entry.pending.isEmpty,
                entry.state.isExpired(wall: wall, idleDefault: configuration.idleDefault)
            else { continue }
            remove(key)
        }
    }

    /// An owner that is slow to look keeps a session up to a minute longer; its replica must not be the first to forget.
    private static let replicaSlack: Int64 = 60_000

    // MARK: Leaving

    /// How long a leave waits for second copies and for the mirror.
    private static let departurePatience: Duration = .seconds(3)

    mutating func leave() {
        guard departure == nil else { return }
        departure = Departure(deadline: now.uptime + Self.departurePatience.nanoseconds)
        if configuration.role == .node {
            stage = .draining
            gossip(.setStage(.draining))
            flushMirror()
        }
        depart()
    }

    private mutating func depart() {
        guard let departure, !departure.isAnnounced else { return }
        let status = status
        let isSafe = status.underReplicatedSlots == 0 && commits.isEmpty
        let isMirrored = mirror.map { $0.isLost || $0.queue.isEmpty } ?? true
        guard isSafe && isMirrored || now.uptime >= departure.deadline else { return }
        self.departure?.isAnnounced = true
        gossip(.leave)
    }
}
