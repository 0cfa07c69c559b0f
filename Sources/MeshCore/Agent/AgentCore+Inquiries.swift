// What an owner asks before it answers.
//
// A copy that was synced once may not be whole any more: its owner may have dropped it, because a link broke or this process stood still, and gone
// on with another. So whoever takes over asks every other node first. Each takes note of the new tenure, so that nobody goes on as owner, gives what it
// holds of those slots, and only then says so, in order over one link. Requests wait meanwhile. An owner that stood still itself asks likewise,
// but only whether somebody has taken over; nobody can hold what it has not.

/// The questions under way.
struct Inquiries: Sendable {
    /// Takeovers, by number: those of one step are asked in one message.
    private(set) var takeovers: [UInt64: Takeover] = [:]
    /// Of takeovers of the present step, not asked yet.
    private(set) var unsent: UInt64?
    /// After a pause; of all slots owned.
    private(set) var afterPause: (round: UInt64, waiting: [NodeName])?

    struct Takeover: Sendable {
        var slots: [Slot]
        /// Whose word is missing.
        var waiting: [NodeName] = []
        /// Rounds of housekeeping until it ends whoever is silent. Not a time: after this process stood still, answers may lie in its sockets.
        var roundsLeft = Inquiries.patienceRounds
    }

    /// Who says nothing for so long is a second fault beside that of the former owner. Many round trips, also on a loaded host.
    static let patience: Duration = .milliseconds(250)
    /// The first may come at once.
    private static let patienceRounds = Int(patience / Housekeeping.busyInterval) + 1

    var isEmpty: Bool { takeovers.isEmpty && afterPause == nil }

    /// The inquiry that a takeover of the present step belongs to.
    mutating func next(numbering lastNumber: inout UInt64, _ slot: Slot) -> UInt64 {
        if let unsent {
            takeovers[unsent]?.slots.append(slot)
            return unsent
        }
        lastNumber += 1
        unsent = lastNumber
        takeovers[lastNumber] = Takeover(slots: [slot])
        return lastNumber
    }

    var hasUnsent: Bool { unsent != nil }

    /// What is to be asked of `names` now.
    mutating func takeUnsent(asking names: [NodeName]) -> UInt64? {
        guard let round = unsent else { return nil }
        unsent = nil
        takeovers[round]?.waiting = names
        return round
    }

    mutating func beginAfterPause(_ round: UInt64, asking names: [NodeName]) { afterPause = (round, names) }

    /// Who is still giving what it holds is not silent.
    mutating func heard(from name: NodeName) {
        for round in takeovers.keys where takeovers[round]?.waiting.contains(name) ?? false {
            takeovers[round]?.roundsLeft = Self.patienceRounds
        }
    }

    mutating func answered(_ round: UInt64, by name: NodeName) {
        takeovers[round]?.waiting.removeAll { $0 == name }
        if afterPause?.round == round { afterPause?.waiting.removeAll { $0 == name } }
    }

    /// Whoever is out of reach is waited for no longer.
    mutating func keep(only isReachable: (NodeName) -> Bool) {
        for round in takeovers.keys { takeovers[round]?.waiting.removeAll { !isReachable($0) } }
        afterPause?.waiting.removeAll { !isReachable($0) }
    }

    /// A round of housekeeping has passed.
    mutating func passRound() {
        for (round, takeover) in takeovers where round != unsent {
            takeovers[round]?.roundsLeft -= 1
            if takeover.roundsLeft <= 1 { takeovers[round]?.waiting = [] }
        }
    }

    /// Takes out what everybody has answered.
    mutating func takeEnded() -> (takeovers: [(round: UInt64, slots: [Slot])], afterPause: Bool) {
        let ended = takeovers.filter { $0.key != unsent && $0.value.waiting.isEmpty }.sorted { $0.key < $1.key }
        for (round, _) in ended { takeovers[round] = nil }
        let isPauseOver = afterPause?.waiting.isEmpty ?? false
        if isPauseOver { afterPause = nil }
        return (ended.map { ($0.key, $0.value.slots) }, isPauseOver)
    }
}

extension AgentCore {
    // MARK: Asking

    /// Whether this agent answers for a slot that it owns: it has not said goodbye, and has nothing to ask before.
    func mayAnswer(for slot: Slot) -> Bool {
        mayAnswerAtAll && slots[Int(slot.rawValue)].ownership?.inquiry == nil
    }

    /// Whether there is any slot that it may answer for.
    var mayAnswerAtAll: Bool { inquiries.afterPause == nil && !(departure?.isAnnounced ?? false) }

    /// Answers nothing as owner until everybody who could have taken over has been asked.
    mutating func verifyOwnership() {
        guard configuration.role == .node, !isAlone, slots.contains(where: \.isOwner) else { return }
        let round = nextNumber()
        let names = otherNodes.map(\.name)
        inquiries.beginAfterPause(round, asking: names)
        ask(names, afterPause: round)
    }

    mutating func ask(_ names: [NodeName], afterPause round: UInt64) {
        let owned = zip(Slot.all, slots).filter { $1.isOwner }.map { SlotTenure(slot: $0, tenure: $1.tenure) }
        send(.inquire(round: round, isTakeover: false, owned), to: names)
    }

    /// At the end of a step: asks about all slots that it took over.
    mutating func sendInquiries() {
        while inquiries.hasUnsent {
            // Whoever is back is asked too.
            if reachIsStale { reachChanged() }
            let names = otherNodes.map(\.name)
            guard let round = inquiries.takeUnsent(asking: names) else { return }
            ask(names, aboutTakeover: round)
            endInquiries()
        }
    }

    private mutating func ask(_ names: [NodeName], aboutTakeover round: UInt64) {
        let taken = inquiries.takeovers[round]?.slots.filter { slots[Int($0.rawValue)].ownership?.inquiry == round } ?? []
        send(
            .inquire(round: round, isTakeover: true, taken.map { SlotTenure(slot: $0, tenure: slots[Int($0.rawValue)].tenure) }), to: names)
    }

    /// There is another link to `name`: what it was asked over the last one may be lost.
    mutating func askAgain(_ name: NodeName) {
        if let (round, waiting) = inquiries.afterPause, waiting.contains(name) { ask([name], afterPause: round) }
        for (round, takeover) in inquiries.takeovers.sorted(by: { $0.key < $1.key }) where takeover.waiting.contains(name) {
            ask([name], aboutTakeover: round)
        }
        claimAgain(from: name)
    }

    mutating func inquired(_ round: UInt64, by name: NodeName) {
        endDoubts(inquiries.takeovers[round]?.slots ?? [], answeredBy: name)
        inquiries.answered(round, by: name)
        endInquiries()
        assented(round, by: name)
    }

    mutating func expireInquiries() {
        inquiries.passRound()
        endInquiries()
    }

    /// Begins to answer where nobody's word is missing any more.
    mutating func endInquiries() {
        let ended = inquiries.takeEnded()
        guard ended.afterPause || !ended.takeovers.isEmpty else { return }
        for (round, taken) in ended.takeovers {
            for slot in taken where slots[Int(slot.rawValue)].ownership?.inquiry == round {
                slots[Int(slot.rawValue)].ownership?.inquiry = nil
                plan(slot)
            }
        }
        if ended.afterPause { planAllSlots() } else { pumpSyncStreams() }
        retryParked()
    }

    // MARK: Answering

    mutating func answerInquiry(_ round: UInt64, isTakeover: Bool, _ asked: [SlotTenure], from name: NodeName) {
        guard configuration.role == .node else { return }
        var greater: [SlotTenure] = []
        for question in asked where !heard(question) {
            greater.append(SlotTenure(slot: question.slot, tenure: slots[Int(question.slot.rawValue)].tenure))
        }
        if !greater.isEmpty { send(.superseded(greater), to: name) }
        if isTakeover {
            for question in asked { giveWhatIsHeld(of: question, to: name) }
            let whole = asked.filter { slots[Int($0.slot.rawValue)].tenure == $0.tenure && slots[Int($0.slot.rawValue)].wasWhole }
            if !whole.isEmpty { send(.whole(whole.map(\.slot)), to: name) }
        }
        send(.inquired(round: round), to: name)
    }

    /// Copies that are not of this very tenure: the new owner may miss what they have.
    private mutating func giveWhatIsHeld(of taken: SlotTenure, to name: NodeName) {
        let state = slots[Int(taken.slot.rawValue)]
        guard state.tenure == taken.tenure, !state.isOwner, !state.isSyncedReplica else { return }
        push(state.sessions, to: name)
        // Most often it went out when the tenure was heard of.
        handOver(taken.slot)
    }
}
