import Testing

@testable import MeshCore

/// What an owner answers to commits that rest on something, or change nothing.
@Suite struct CommitTests {
    private static func commit(
        _ key: SessionKey, _ number: UInt64, _ changes: [FieldChange] = [], if conditions: [FieldCondition] = [], makesSession: Bool = false
    ) -> ClientRequest {
        .commit(
            SessionCommit(
                key: key, id: CommitID(upper: 1, lower: number), changes: changes, conditions: conditions, makesSession: makesSession))
    }

    private static func receipt(_ key: SessionKey, copies: UInt8 = 2) -> ClientResponse {
        .committed(CommitReceipt(key: key, copies: copies))
    }

    @Test func aCommitThatChangesNothingIsAnsweredAndSentNowhere() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let first = play.ask(Self.commit(key, 1, [.set("theme", [1])]))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[first] == Self.receipt(key))

        let same = play.ask(Self.commit(key, 2, [.set("theme", [1]), .remove("none")]))
        #expect(play.deltas() == [])
        #expect(play.replies[same] == Self.receipt(key))
    }

    @Test func whatIsSoOnlyByAnUnacknowledgedCommitIsConfirmedWhenThatIs() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let first = play.ask(Self.commit(key, 1, [.set("theme", [1])]))
        let same = play.ask(Self.commit(key, 2, [.set("theme", [1])]))
        let tickets = play.deltas()
        #expect(tickets.count == 1)
        #expect(play.replies[first] == nil && play.replies[same] == nil)
        for ticket in tickets { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[first] == Self.receipt(key) && play.replies[same] == Self.receipt(key))
    }

    @Test func ofTwoCommitsThatRestOnOneValueTheSecondLearnsWhatIsThere() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let first = play.ask(Self.commit(key, 1, [.set("stock", [9])], if: [.isAbsent("stock")]))
        let second = play.ask(Self.commit(key, 2, [.set("stock", [8])], if: [.isAbsent("stock")]))
        #expect(play.replies[second] == nil, "what it would be told may still be taken back by a kill")
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[first] == Self.receipt(key))
        #expect(play.replies[second] == .conflict([.init(name: "stock", value: .bytes([9]))]))
        #expect(play.deltas() == [])
    }

    @Test func aConditionalCommitThatIsSentAgainIsNotItsOwnConflict() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let commit = Self.commit(key, 1, [.remove("token"), .set("used", [1])], if: [.isAbsent("used")])
        let first = play.ask(commit)
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        let again = play.ask(commit)
        #expect(play.replies[first] == Self.receipt(key) && play.replies[again] == Self.receipt(key))
    }

    @Test func aSessionIsMadeUnderItsKeyOnlyWhereThatIsAskedFor() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.slots[Int($0.rawValue)].isOwner })
        let key = try Dialogue.key(in: slot)
        let refused = play.ask(Self.commit(key, 1, [.set("v", [1])]))
        guard case .failure(let failure) = play.replies[refused] else { return #expect(Bool(false)) }
        #expect(failure.code == .notFound)

        let unmet = play.ask(Self.commit(key, 2, [.set("v", [1])], if: [.holds("v", [0])], makesSession: true))
        #expect(play.replies[unmet] == .conflict([]))
        #expect(play.core.status.sessions == 0)

        let made = play.ask(Self.commit(key, 3, [.set("v", [1])], if: [.isAbsent("v")], makesSession: true))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[made] == Self.receipt(key))
        let second = play.ask(Self.commit(key, 4, [.set("v", [2])], if: [.isAbsent("v")], makesSession: true))
        #expect(play.replies[second] == .conflict([.init(name: "v", value: .bytes([1]))]))

        let destroyed = play.ask(.destroy(key, CommitID(upper: 1, lower: 5)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[destroyed] == .done)
        let late = play.ask(Self.commit(key, 6, [.set("v", [2])], makesSession: true))
        guard case .failure(let gone) = play.replies[late] else { return #expect(Bool(false)) }
        #expect(gone.code == .notFound)
    }

    @Test func aRegenerateWhoseConditionDoesNotHoldLeavesTheSessionAsItIs() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        var commit = SessionCommit(key: key, id: CommitID(upper: 1, lower: 1), conditions: [.holds("token", [1])])
        commit.regenerate = true
        let number = play.ask(.commit(commit))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[number] == .conflict([]))
        let read = play.ask(.read(key))
        guard case .session(.some) = play.replies[read] else { return #expect(Bool(false)) }
    }

    @Test func aFullAgentRefusesNewSessionsAndNobodyWhoHasOneIsLoggedOut() throws {
        var play = try Dialogue(memoryMax: 1000)
        let keys = try (0..<3).map { _ in
            play.pass(.milliseconds(50))
            return try play.made()
        }
        let fourth = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 2, lower: 1))))
        guard case .failure(let failure) = play.replies[fourth] else { return #expect(Bool(false)) }
        #expect(failure.code == .full && failure.description.contains("--memory-max"))
        let changed = play.ask(Self.commit(keys[0], 2, [.set("theme", [1])]))
        #expect(play.replies[changed] == Self.receipt(keys[0], copies: 1))
        let login = play.ask(.commit(SessionCommit(key: keys[1], id: CommitID(upper: 2, lower: 3), regenerate: true)))
        guard case .committed = play.replies[login] else { return #expect(Bool(false)) }
        for key in [keys[0], keys[2]] {
            let read = play.ask(.read(key))
            guard case .session(.some) = play.replies[read] else { return #expect(Bool(false)) }
        }
    }

    @Test func whatGrowsIsMeasuredWithinAMinuteAndRoomIsThereAgainWhenItIsGone() throws {
        var play = try Dialogue(memoryMax: 20_000)
        let keys = try (0..<3).map { number in
            play.pass(.milliseconds(50))
            let key = try play.made()
            _ = play.ask(Self.commit(key, UInt64(number), [.set("big", [UInt8](repeating: 1, count: 8000))]))
            return key
        }
        play.pass(.seconds(60))
        let refused = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 2, lower: 1))))
        guard case .failure(let failure) = play.replies[refused] else { return #expect(Bool(false)) }
        #expect(failure.code == .full)
        #expect((24_000...27_000).contains(play.core.status.memoryBytes))
        for (number, key) in keys.enumerated() { _ = play.ask(.destroy(key, CommitID(upper: 3, lower: UInt64(number)))) }
        play.pass(.seconds(60))
        let made = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 2, lower: 2))))
        guard case .committed = play.replies[made] else { return #expect(Bool(false)) }
    }

    @Test func aCommitOutOfBoundsIsRefusedEvenWhereItWouldChangeNothing() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        for change in [FieldChange.remove("@idle"), .erase("", [1])] {
            let number = play.ask(Self.commit(key, 1, [change]))
            guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
            #expect(failure.code == .invalid)
        }
    }

    /// Whoever was asked first may have made it, where the next one has yet to hear of that.
    @Test func thatThereIsNoSessionIsNotToldOfACommitThatAnotherMayHaveMade() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        func forwarded() -> UInt64? {
            play.said.lazy.compactMap { if case .forward(let id, .commit(key, _)) = $0 { id } else { nil } }.last
        }
        let missing = OperationResult.failed(AgentCore.noSuchSession)
        let plain = play.ask(Dialogue.increment(key, 1))
        play.hears(.answer(id: try #require(forwarded()), missing))
        #expect(play.replies[plain] == .failure(AgentCore.noSuchSession))

        let repeated = play.ask(Dialogue.increment(key, 2))
        play.step(.linkDown(Dialogue.link))
        let next = LinkID(rawValue: 7)
        play.said = []
        play.step(.linkUp(next, peer: play.peer, endpoint: play.peerEndpoint))
        play.hears(.answer(id: try #require(forwarded()), missing), over: next)
        guard case .failure(let failure) = play.replies[repeated] else { return #expect(Bool(false)) }
        #expect(failure.code == .unavailable)
    }
}
