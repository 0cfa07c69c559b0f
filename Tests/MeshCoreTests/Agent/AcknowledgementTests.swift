import Testing

@testable import MeshCore

/// How far a commit has got when it is answered.
@Suite struct AcknowledgementTests {
    private static func commit(
        _ key: SessionKey?, _ number: UInt64, _ changes: [FieldChange], to level: AcknowledgementLevel = .replicated, isStrict: Bool = false
    ) -> ClientRequest {
        .commit(
            SessionCommit(
                key: key, id: CommitID(upper: 1, lower: number), changes: changes, acknowledgement: level, isStrict: isStrict))
    }

    @Test func aLocalCommitIsAnsweredAtOnceAndShownToNobodyBeforeASecondNodeHasIt() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .local))
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 1)))
        let read = play.ask(.read(key))
        #expect(play.replies[read] == nil)
        let again = play.ask(Self.commit(key, 1, [.set("a", [1])]))
        #expect(play.replies[again] == nil, "sent again it may ask for more")
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        guard case .session(let snapshot?) = play.replies[read] else { return #expect(Bool(false)) }
        #expect(snapshot.fields.first?.value == .bytes([1]))
        #expect(play.replies[again] == .committed(CommitReceipt(key: key, copies: 2)))
    }

    @Test func aLocalCommitIsNotTakenBackByItsOwnAgent() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        _ = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .local))
        play.log = []
        play.hears(.superseded([SlotTenure(slot: key.slot, tenure: Tenure(term: 99, owner: play.peer))]))
        let given = play.log.compactMap { entry -> SessionState? in
            guard case .push(_, let sessions) = entry.message else { return nil }
            return sessions.first { $0.key == key }?.state
        }
        #expect(given.first?.visibleFields.first?.value == .bytes([1]))
    }

    @Test func aMirroredCommitIsAnsweredWhenTheMirrorHasItToo() throws {
        var play = try Dialogue(mirrorMode: .behind)
        try play.join()
        let key = try play.made()
        play.pass(.milliseconds(100))
        play.mirrorTakesAll()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .mirrored))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[number] == nil)
        play.pass(.milliseconds(200))
        play.mirrorTakesAll()
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 2, isMirrored: true)))
        let again = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .mirrored))
        #expect(play.replies[again] == .committed(CommitReceipt(key: key, copies: 2, isMirrored: true)))
    }

    @Test func aMirrorThatSaysNothingCostsAMirroredCommitASecondAndNotTheCommit() throws {
        var play = try Dialogue(mirrorMode: .behind)
        try play.join()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .mirrored))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        play.pass(.milliseconds(900))
        #expect(play.replies[number] == nil)
        play.pass(.milliseconds(200))
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 2)))
    }

    @Test func aMirroredCommitWhereThereIsNoMirrorIsRefusedAndChangesNothing() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], to: .mirrored))
        guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(failure.code == .invalid && failure.description.contains("--mirror"))
        #expect(play.deltas() == [])
    }

    @Test func aRegenerateIsHeldTwiceWhateverIsAsked() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let commit = SessionCommit(key: key, id: CommitID(upper: 1, lower: 1), regenerate: true, acknowledgement: .local)
        let number = play.ask(.commit(commit))
        guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(failure.code == .invalid && failure.description.contains("REGENERATE"))
    }

    // MARK: Strict

    @Test func aStrictCommitIsMadeOnceAMajorityKnowsOfNoGreaterTenure() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        play.log = []
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], isStrict: true))
        #expect(play.deltas() == [], "nothing is changed before")
        let round = try play.roundAsked(over: Dialogue.link)
        play.hears(.inquired(round: round))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 2)))
    }

    @Test func aStrictCommitOfWhoIsOwnerNoMoreGoesToWhoIs() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], isStrict: true))
        let round = try play.roundAsked(over: Dialogue.link)
        play.log = []
        play.hears(.superseded([SlotTenure(slot: key.slot, tenure: Tenure(term: 99, owner: play.peer))]))
        play.hears(.inquired(round: round))
        play.pass(.milliseconds(50))
        #expect(play.deltas() == [])
        #expect(play.replies[number] == nil)
        let isAsked = play.log.contains { if case .forward(_, .commit(key, let commit)) = $0.message { commit.isStrict } else { false } }
        #expect(isAsked)
    }

    /// Whoever didn't answer may be on the other side of a cut, where somebody took over.
    @Test func aStrictCommitThatNotAllAssentToIsMadeInATenureAboveThoseOfOthers() throws {
        var play = try Dialogue()
        try play.join()
        let thirdLink = LinkID(rawValue: 3)
        play.meets(
            MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41)), over: thirdLink, at: Dialogue.thirdEndpoint)
        play.log = []
        play.pass(.milliseconds(100))
        var next = 0
        while next < play.log.count {
            if case .sync(let ticket, _) = play.log[next].message { play.hears(.ack(ticket: ticket), over: play.log[next].link) }
            next += 1
        }
        play.log = []
        _ = play.deltas()
        let asked = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 9, lower: 9))))
        for entry in play.log {
            if case .delta(_, let ticket, _, _, _) = entry.message { play.hears(.ack(ticket: ticket), over: entry.link) }
        }
        guard case .committed(let made) = play.replies[asked] else { return #expect(Bool(false)) }
        let before = play.core.slots[Int(made.key.slot.rawValue)].tenure
        play.log = []
        _ = play.deltas()
        let number = play.ask(Self.commit(made.key, 1, [.set("a", [1])], isStrict: true))
        play.hears(.inquired(round: try play.roundAsked(over: Dialogue.link)))
        #expect(play.deltas() == [], "two of three are most, and the third may yet say so")
        play.pass(.milliseconds(100))
        #expect(play.deltas() == [])
        let raised = play.core.slots[Int(made.key.slot.rawValue)].tenure
        #expect(raised.owner == before.owner && raised.term > before.term + 1000)
        let questions = play.log.filter {
            if case .inquire(_, false, let asked) = $0.message { asked == [SlotTenure(slot: made.key.slot, tenure: raised)] } else { false }
        }
        #expect(Set(questions.map(\.link)) == [Dialogue.link, thirdLink])
        play.log = []
        play.hears(.inquired(round: try Self.round(questions.last?.message)))
        for entry in play.log {
            if case .delta(_, let ticket, _, _, _) = entry.message { play.hears(.ack(ticket: ticket), over: entry.link) }
        }
        #expect(play.replies[number] == .committed(CommitReceipt(key: made.key, copies: 2)))
    }

    private static func round(_ message: PeerMessage?) throws -> UInt64 {
        guard case .inquire(let round, _, _) = message else { throw Dialogue.Unanswered() }
        return round
    }

    @Test func anAgentAloneIsAMajority() throws {
        var play = try Dialogue()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], isStrict: true))
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 1)))
    }
}
