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
        var play = try Dialogue(mirrors: true)
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
        var play = try Dialogue(mirrors: true)
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

    @Test func anAgentAloneIsAMajority() throws {
        var play = try Dialogue()
        let key = try play.made()
        let number = play.ask(Self.commit(key, 1, [.set("a", [1])], isStrict: true))
        #expect(play.replies[number] == .committed(CommitReceipt(key: key, copies: 1)))
    }
}
