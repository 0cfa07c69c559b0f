// What is done by the clock: deadlines, expiry, joining and leaving.

/// The rounds of housekeeping: frequent while something waits, seldom in quiet, where each would wake the process for nothing.
struct Housekeeping: Sendable {
    /// Names the timer that counts; an earlier one is stale.
    var round: UInt64 = 0
    /// When that fires, in uptime nanoseconds.
    var dueAt = Int64.max
    var isRunning = false
    /// Where the walk over all slots stands.
    var slot = 0
    var secondDueAt = Int64.min
    /// Until when ends of sessions are remembered for nodes that were out of reach, and may hold what was destroyed meanwhile.
    var remembersEndsUntil = Int64.min
    /// When to ask whether copies are needed that this agent doesn't rank for: soon after ranks have changed.
    var sparesDueAt = Int64.max

    /// A quarter of what a write may wait for the mirror.
    static let busyInterval: Duration = .milliseconds(50)
    /// While links are missing or slots are claimed, and where probes are seldom.
    static let waitingInterval: Duration = .milliseconds(200)
    static let quietInterval: Duration = .seconds(1)
    /// Slots looked at in a second, for expired sessions and spare copies: each has its turn once in 51 seconds.
    static let slotsPerSecond = 80
}

/// A leave under way.
struct Departure: Sendable {
    /// In uptime nanoseconds.
    let begunAt: Int64
    var isAnnounced = false
}

extension AgentCore {
    /// Whether something waits that a round of housekeeping moves on.
    private var isBusy: Bool {
        !operations.isEmpty || !commits.isEmpty || !walks.asked.isEmpty || !inquiries.isEmpty || reachIsStale || departure != nil
            || leftoverSlots.contains { !slots[Int($0.rawValue)].isOwner } || events.isBusy
            || configuration.role == .node && stage == .syncing
            || mirror.map { $0.queue.hasWaiting || !$0.batches.isEmpty || !$0.visits.stale.isEmpty } ?? false
    }

    private var housekeepingInterval: Duration {
        if isBusy { return Housekeeping.busyInterval }
        // Steps must come more often than what counts as a pause; probes see to that, unless they are as seldom.
        let isQuiet = dials.missingSince.isEmpty && claimsDueAt == .max && configuration.swim.probePeriod * 2 <= Self.pauseMin
        return isQuiet ? Housekeeping.quietInterval : Housekeeping.waitingInterval
    }

    /// Sets the timer of the next round, if that is not soon enough yet.
    mutating func scheduleHousekeeping() {
        let wait = housekeepingInterval
        let dueAt = now.uptime + wait.nanoseconds
        guard dueAt < housekeeping.dueAt else { return }
        housekeeping.isRunning = true
        housekeeping.round += 1
        housekeeping.dueAt = dueAt
        directives.append(.timer(.housekeeping(round: housekeeping.round), after: wait))
    }

    mutating func keepHouse(round: UInt64) {
        guard round == housekeeping.round else { return }
        housekeeping.dueAt = .max
        if reachIsStale { reachChanged() }
        giveUpMirrorWaits()
        expireOperations()
        expireInquiries()
        lookAfterWalks()
        if !apart.isEmpty { closeOldApart() }
        if configuration.role == .node {
            takeSecondWays()
            askForAssentsAnew()
            goOnWithAssents()
            retryParked()
            goOnWritingAnew()
            flushMirror()
            lookAfterEvents()
            lookOverSlots()
            askForClaims()
            handOverLeftovers()
            join()
            dialMissingPeers()
            if housekeeping.secondDueAt <= now.uptime { onceASecond() }
        }
        if departure != nil { depart() }
    }

    private mutating func onceASecond() {
        housekeeping.secondDueAt = now.uptime + 1_000_000_000
        tellTime()
        forgetFormerPullers()
        lookForAbsence()
        lookAfterDoubts()
        lookAfterAnswers()
        compareCopies()
        lookAfterLostRecipients()
        visitMirror()
        if housekeeping.sparesDueAt <= now.uptime, stage == .serving {
            // Again, for an owner that has changes under way keeps them.
            housekeeping.sparesDueAt = offerSpares(slots.indices) ? now.uptime + Self.sparesAfter.nanoseconds : .max
        }
        if !silentNodes.isEmpty { housekeeping.remembersEndsUntil = now.uptime + Self.reunionTime.nanoseconds }
        let swim = swim
        clock.keep { swim.member(named: $0) != nil }
    }

    /// To one peer in turn: what it costs doesn't grow with the mesh, and a wrong clock is outvoted all the same. Each new link begins with
    /// it, so this is for clocks that are set or drift meanwhile.
    private mutating func tellTime() {
        guard now.uptime >= timeToldAt + Self.timeInterval.nanoseconds else { return }
        timeToldAt = now.uptime
        let names = peers.keys.sorted()
        guard let name = names.first(where: { name in lastToldTime.map { name > $0 } ?? true }) ?? names.first else { return }
        send(.clock(now.wall), to: name)
        lastToldTime = name
    }

    private static let timeInterval: Duration = .seconds(5)

    /// A node that ranks, or is gone, pulls no more; what it holds beyond its ranks is released.
    private mutating func forgetFormerPullers() {
        guard !pullers.isEmpty else { return }
        let pulling = Set(swim.others.lazy.filter { !$0.ranks && $0.status.isReachable }.map(\.id)).subtracting(gone)
        let former = pullers
        pullers = former.compactMapValues { members in
            let left = members.filter(pulling.contains)
            return left.isEmpty ? nil : left
        }
        if pullers != former { planAllSlots() }
    }

    /// A few slots a round.
    private mutating func lookOverSlots() {
        let round = housekeepingInterval / .seconds(1)
        let first = housekeeping.slot
        let end = min(Slot.count, first + Int(round * Double(Housekeeping.slotsPerSecond)))
        for index in first..<end {
            lookOverSessions(in: index)
            plan(Slot.all[index])
        }
        offerSpares(first..<end)
        housekeeping.slot = end % Slot.count
    }

    /// Only the owner lets go of a session for its age, and says so. Owner and replica each forget the commits of one at rest.
    private mutating func lookOverSessions(in index: Int) {
        var bytes = slots[index].leftover?.sessions.values.reduce(0) { $0 + $1.state.memoryBytes } ?? 0
        defer { memory.measured(bytes, in: index) }
        guard !slots[index].sessions.isEmpty else { return }
        let wall = wall
        let isOwner = slots[index].isOwner
        var expired: [SessionKey] = []
        var resting: [SessionKey] = []
        for (key, entry) in slots[index].sessions {
            bytes += entry.state.memoryBytes
            guard !isPending(key) else { continue }
            if isOwner, mayForget(entry.state, wall: wall) {
                expired.append(key)
            } else if entry.state.hasMarksAtRest(wall: wall) {
                resting.append(key)
            }
        }
        for key in resting { slots[index].sessions[key]?.state.forgetMarksAtRest(wall: wall) }
        for key in expired.sorted() { expire(key) }
    }

    /// A session's end is remembered for an hour; while a node is cut off, which may come back with a copy that lives, and until it has long
    /// given what it held, as long as that node is remembered itself. Half of the memory is for the living.
    func mayForget(_ state: SessionState, wall: Int64) -> Bool {
        guard state.isExpired(wall: wall, policy: configuration.expiry) else { return false }
        guard let destroyed = state.destroyed, now.uptime < housekeeping.remembersEndsUntil, memory.bytes < configuration.memoryMax / 2
        else { return true }
        return destroyed.milliseconds + configuration.swim.memory.milliseconds <= wall
    }

    /// After its return a node may still be handing over: more than enough for all that one can hold.
    private static let reunionTime: Duration = .seconds(600)

    // MARK: Leaving

    /// How long one waits for second copies and for the mirror where nobody goes on.
    private static let lastPatience: Duration = .seconds(3)

    mutating func leave() {
        guard departure == nil else { return }
        departure = Departure(begunAt: now.uptime)
        if configuration.role == .node {
            stage = .draining
            gossip(.setStage(.draining))
            flushMirror()
        }
        depart()
    }

    private mutating func depart() {
        guard let departure, !departure.isAnnounced else { return }
        let hasHeirs = swim.others.contains { $0.role == .node && $0.stage == .serving && isReachable($0.id) }
        let status = status
        let isHandedOff = hasHeirs ? status.primarySlots + status.backupSlots == 0 : status.underReplicatedSlots == 0
        let isMirrored = mirror.map { $0.isLost || $0.queue.isEmpty } ?? true
        let isDone = isHandedOff && status.leftoverSlots == 0 && commits.isEmpty && isMirrored
        let patience = hasHeirs ? configuration.drainTimeout : min(configuration.drainTimeout, Self.lastPatience)
        guard isDone || now.uptime >= departure.begunAt + patience.nanoseconds else { return }
        self.departure?.isAnnounced = true
        if hasHeirs, !isDone { directives.append(.event(.handOffUnfinished(slots: status.primarySlots + status.backupSlots))) }
        gossip(.leave)
    }
}
