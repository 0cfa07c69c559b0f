// What an owner has changed, until as many hold it as its answer says.
//
// A change goes to every replica at once, and is held as soon as one of them has it: whoever takes over asks everybody first, so it doesn't
// matter which. It is followed until all of them have it, for a copy that missed something is whole no more. A replica that says nothing for fifty
// milliseconds, frozen or cut off and not yet found out, holds nobody up: its commits go a second way, to the next in rank, and so do all that follow
// while it is late.

/// A change that this agent has made as owner and that some replica has not confirmed: mostly a commit.
struct PendingCommit: Sendable {
    /// Whoever asked for it and is not answered: one, or more when it was sent again; nobody, when a former owner handed it in.
    var operations: [UInt64]
    let key: SessionKey
    let commit: CommitID?
    let delta: SessionState
    let former: Former
    let result: [SessionSnapshot.Field]
    /// In uptime nanoseconds.
    let sentAt: Int64
    /// Whose word is missing.
    var waiting: [MemberID]
    /// Fewer than two when it rests on something that has fewer.
    let copiesMax: UInt8
    /// What those who follow are told once it is held.
    let event: SessionEvent.Kind?
    /// Whether somebody was told that it is done before a second node had it. It is not taken back when another turns out to be owner.
    var isPromised = false
    /// Whether it is held as it should be, and shown to readers.
    var isHeld = false
    /// Who last said that it has it.
    var copiedBy: MemberID?
    /// Of a strict one: replicas that may not have it. If one of them takes over out of reach, it may be made again there.
    var unheard: [MemberID] = []
    /// Who gave it, and keeps it until it is held.
    var handIns: [HandIn] = []

    /// Whether it is a strict one that does not count yet, because some replica may miss it.
    var isMissed: Bool { !isHeld && !unheard.isEmpty }

    /// What there was of the session before.
    enum Former {
        case none
        case session(SessionState)
        /// Without its marks: those that are there are the same, but for this commit's own.
        case unmarked(SessionState)
    }

    /// The session without it; nil when it makes the session.
    func undone(in present: SessionState) -> SessionState? {
        switch former {
        case .none: return nil
        case .session(let session): return session
        case .unmarked(var session):
            session.commits = present.commits.filter { $0.id != commit }
            return session
        }
    }
}

/// Who waits for the mirror, with the answer that is due then.
struct MirrorWait: Sendable {
    let number: UInt64
    /// What the mirror must have.
    let stamp: Stamp
    /// What the nodes have made of it.
    let result: OperationResult
    /// In uptime nanoseconds.
    let until: Int64
}

extension OperationResult {
    fileprivate func mirrored(_ isMirrored: Bool) -> OperationResult {
        guard case .committed(var copies, let counters) = self else { return self }
        copies.isMirrored = isMirrored
        return .committed(copies, counters: counters)
    }
}

extension AgentCore {
    /// After so long without a replica's word a commit goes a second way: hundreds of round trips, and less than a person notices.
    static let secondWayAfter: Duration = .milliseconds(50)
    /// How long a commit waits for the mirror before it is answered without; less than a requester waits.
    private static let mirrorPatience: Duration = .seconds(1)

    // MARK: Held

    /// Changes of a session that have no second copy yet, oldest first.
    func unheld(of key: SessionKey) -> [UInt64] { slots[Int(key.slot.rawValue)].pending.filter { isUnheld($0, of: key) } }

    /// Whether a session has any such.
    func isPending(_ key: SessionKey) -> Bool { slots[Int(key.slot.rawValue)].pending.contains { isUnheld($0, of: key) } }

    private func isUnheld(_ ticket: UInt64, of key: SessionKey) -> Bool {
        commits[ticket]?.key == key && commits[ticket]?.isHeld == false
    }

    /// Waits until the change is held twice, then answers.
    mutating func hold(
        _ number: UInt64?, _ key: SessionKey, _ commit: CommitID?, _ delta: SessionState, former: PendingCommit.Former,
        counters: [SessionSnapshot.Field], copiesMax: UInt8 = 2, isPromised: Bool = false, event: SessionEvent.Kind? = nil
    ) {
        let ticket = nextNumber()
        let index = Int(key.slot.rawValue)
        markDirty(key)
        let waiting = replicate(delta, of: key, ticket: ticket)
        var pending = PendingCommit(
            operations: number.map { [$0] } ?? [], key: key, commit: commit, delta: delta, former: former, result: counters,
            sentAt: now.uptime, waiting: waiting, copiesMax: copiesMax, event: event, isPromised: isPromised)
        if let number, operations[number]?.body.commit?.isStrict ?? false {
            pending.unheard = slots[index].ownership?.replicas.map(\.member) ?? []
        }
        if let number, operations[number]?.acknowledgement == .local {
            pending.operations = []
            pending.isPromised = true
            finish(number, .committed(CommitCopies(nodes: 1), counters: counters))
        }
        commits[ticket] = pending
        slots[index].pending.append(ticket)
        if waiting.isEmpty { settle(ticket) }
    }

    /// A commit that came twice is answered when the first is.
    mutating func joinCommit(_ number: UInt64, _ key: SessionKey, _ commit: CommitID, counters: [SessionSnapshot.Field]) {
        guard let entry = slots[Int(key.slot.rawValue)].sessions[key], let ownership = slots[Int(key.slot.rawValue)].ownership else {
            return
        }
        if let ticket = unheld(of: key).first(where: { commits[$0]?.commit == commit }) {
            commits[ticket]?.operations.append(number)
        } else if ownership.synced.isEmpty, !ownership.replicas.isEmpty {
            // It came with the copy that we took over on, and may be nowhere else.
            hold(number, key, commit, entry.state, former: .session(entry.state), counters: counters)
        } else {
            answerCommit(number, key, nodes: nodesHolding(key.slot), counters: counters)
        }
    }

    /// Takes note that somebody holds a commit, or is not waited for any more: answers it once it is held, forgets it once nobody's word is
    /// missing, and sends it on when those it waited for are gone.
    ///
    /// - Parameter member: who says that it holds it; nil when something else has changed.
    mutating func settle(_ ticket: UInt64, heldBy member: MemberID? = nil) {
        // Out of the table while it is changed: a copy of it would be one of all it holds.
        guard var commit = commits.removeValue(forKey: ticket) else { return }
        let index = Int(commit.key.slot.rawValue)
        let replicas = slots[index].ownership?.replicas ?? []
        commit.waiting.removeAll { waiting in waiting == member || !replicas.contains { $0.member == waiting } }
        if let member {
            commit.copiedBy = member
            commit.unheard.removeAll { $0 == member }
        }
        let isCopied = member != nil || replicas.contains { $0.member == commit.copiedBy }
        let mayBeHeld = (isCopied || replicas.isEmpty) && commit.unheard.isEmpty
        let becomesHeld = !commit.isHeld && mayBeHeld && !waitsForAssent(ticket, of: commit.key)
        // Before it is answered, which may begin something else.
        let later = becomesHeld ? copied(after: ticket, of: commit.key) : []
        var readers: [UInt64]?
        if becomesHeld {
            if member != nil { counters.commitWaits.record(.nanoseconds(now.uptime - commit.sentAt)) }
            if !isPending(commit.key) { readers = takeReaders(of: commit.key) }
            tellHeld(&commit, ticket, nodes: min(commit.copiesMax, isCopied ? 2 : 1))
        }
        if commit.waiting.isEmpty, commit.isHeld {
            slots[index].pending.removeAll { $0 == ticket }
        } else {
            if commit.waiting.isEmpty, !isCopied { commit.waiting = replicate(commit.delta, of: commit.key, ticket: ticket) }
            commits[ticket] = commit
        }
        if let readers {
            resumeMove(of: commit.key)
            // By the front door: the slot may have changed hands, its owner be asking whether it still is that, or another commit be waiting.
            for reader in readers { route(reader) }
        }
        for ticket in later { settle(ticket) }
        if slots[index].pending.isEmpty { plan(commit.key.slot) }
    }

    /// Commits of a session that wait for nothing but one before them.
    private func copied(after ticket: UInt64, of key: SessionKey) -> [UInt64] {
        slots[Int(key.slot.rawValue)].pending.filter { $0 > ticket && isUnheld($0, of: key) && commits[$0]?.copiedBy != nil }
    }

    private mutating func takeReaders(of key: SessionKey) -> [UInt64]? {
        slots[Int(key.slot.rawValue)].update(key) { entry in
            defer { entry.readers = [] }
            return entry.readers
        }
    }

    /// Tells everybody who waits for a commit that it is held.
    private mutating func tellHeld(_ commit: inout PendingCommit, _ ticket: UInt64, nodes: UInt8) {
        commit.isHeld = true
        if !assents.isEmpty { assents[ticket] = nil }
        answer(commit, nodes: nodes)
        if let event = commit.event { tellWhoFollows(event, of: commit.key) }
        commit.operations = []
        for handIn in commit.handIns { isHeld(handIn) }
        commit.handIns = []
    }

    private mutating func answer(_ commit: PendingCommit, nodes: UInt8) {
        for number in commit.operations {
            if case .move(_, _, let successor, let draw) = operations[number]?.body {
                answer(number, .moved(to: successor, draw: draw, copies: nodes, counters: commit.result), of: commit.key)
            } else {
                answerCommit(number, commit.key, nodes: nodes, counters: commit.result)
            }
        }
    }

    /// How many nodes hold all of a slot of ours that is not waiting.
    func nodesHolding(_ slot: Slot) -> UInt8 { slots[Int(slot.rawValue)].ownership?.synced.isEmpty ?? true ? 1 : 2 }

    // MARK: The second way

    /// Sends what waits for a replica that says nothing to the next in rank as well.
    mutating func takeSecondWays() {
        let late = Set(commits.values.filter { !$0.isHeld && $0.copiedBy == nil && isLate($0) }.map(\.key.slot))
        for slot in late.sorted() { takeSecondWay(slot) }
    }

    /// Whether a replica could have said long ago that it has it.
    func isLate(_ commit: PendingCommit) -> Bool { commit.sentAt <= now.uptime - Self.secondWayAfter.nanoseconds }

    private mutating func takeSecondWay(_ slot: Slot) {
        let index = Int(slot.rawValue)
        guard let ownership = slots[index].ownership, !ownership.replicas.contains(where: { $0.progress == .aside }),
            !isToBeAssented(slot), let next = nextInRank(slot, besides: ownership)
        else { return }
        slots[index].ownership?.replicas.append(.init(member: next, progress: .aside))
        counters.secondWays += 1
        let tenure = SlotTenure(slot: slot, tenure: slots[index].tenure)
        for ticket in slots[index].pending {
            guard let commit = commits[ticket], let whole = slots[index].sessions[commit.key]?.state,
                send(.delta(tenure, ticket: ticket, commit.key, whole, whole: true), to: next.name)
            else { continue }
            commits[ticket]?.waiting.append(next)
        }
    }

    /// The first in rank that there is a link to and that is no replica.
    private func nextInRank(_ slot: Slot, besides ownership: SlotState.Ownership) -> MemberID? {
        for name in table.ranking(of: slot) {
            guard let member = swim.member(named: name)?.id, member != id, isReachable(member), hasLink(to: member),
                !ownership.replicas.contains(where: { $0.member == member })
            else { continue }
            return member
        }
        return nil
    }

    // MARK: Mirrored

    /// Answers a commit that the nodes hold; if that was asked for, or a session ends or is given another id, once the mirror has it too.
    mutating func answerCommit(_ number: UInt64, _ key: SessionKey, nodes: UInt8, counters: [SessionSnapshot.Field]) {
        answer(number, .committed(CommitCopies(nodes: nodes), counters: counters), of: key)
    }

    private mutating func answer(_ number: UInt64, _ result: OperationResult, of key: SessionKey) {
        guard mirror != nil else { return finish(number, result) }
        let entry = slots[Int(key.slot.rawValue)].sessions[key]
        let isWrittenThrough = operations[number]?.isWrittenThrough(under: configuration.mirrorMode) ?? false
        guard isWrittenThrough, let entry, entry.mirrored < entry.state.latest, mirror?.isLost == false else {
            return finish(number, result.mirrored(entry.map { $0.mirrored >= $0.state.latest } ?? false))
        }
        let until = now.uptime + Self.mirrorPatience.nanoseconds
        mirror?.waits[key, default: []].append(MirrorWait(number: number, stamp: entry.state.latest, result: result, until: until))
        markDirty(key)
        flushMirror()
    }

    /// Answers who waited for the mirror to have a session, as far as it has.
    mutating func settleMirrorWaits(of key: SessionKey, upTo stamp: Stamp) {
        guard let waits = mirror?.waits[key] else { return }
        let left = waits.filter { $0.stamp > stamp }
        mirror?.waits[key] = left.isEmpty ? nil : left
        for wait in waits where wait.stamp <= stamp { finish(wait.number, wait.result.mirrored(true)) }
    }

    /// Answers who has waited for the mirror too long, or all when it is lost: the nodes hold what they committed.
    mutating func giveUpMirrorWaits(all: Bool = false) {
        guard let waits = mirror?.waits, !waits.isEmpty else { return }
        for (key, waits) in waits.sorted(by: { $0.key < $1.key }) {
            let left = all ? [] : waits.filter { $0.until > now.uptime }
            guard left.count < waits.count else { continue }
            mirror?.waits[key] = left.isEmpty ? nil : left
            for wait in waits where all || wait.until <= now.uptime { finish(wait.number, wait.result) }
        }
    }

    /// Their slot changed hands: its new owner is asked.
    mutating func moveMirrorWaits(of key: SessionKey) {
        for wait in mirror?.waits.removeValue(forKey: key) ?? [] { park(wait.number) }
    }
}
