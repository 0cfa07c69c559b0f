import Testing

@testable import MeshCore

/// A session that is given another id.
@Suite struct MovingTests {
    private static func login(_ key: SessionKey) -> ClientRequest {
        .commit(SessionCommit(key: key, id: CommitID(upper: 3, lower: 3), user: "ann", regenerate: true))
    }

    @Test func aMoveWaitsForCommitsUnderWayAndCommitsWaitForTheMove() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let before = play.ask(Dialogue.increment(key, 1))
        let tickets = play.deltas()
        let move = play.ask(Self.login(key))
        let behind = play.ask(Dialogue.increment(key, 2))
        #expect(play.deltas().isEmpty, "nothing is made before the first has its copy")
        for ticket in tickets { play.hears(.ack(ticket: ticket)) }
        guard case .committed = play.replies[before] else { return #expect(Bool(false)) }
        // The new session, then the end of the old one.
        for _ in 0..<2 {
            #expect(play.replies[move] == nil)
            for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        }
        guard case .committed(let receipt) = play.replies[move], case .failure(let failure) = play.replies[behind] else {
            return #expect(Bool(false))
        }
        #expect(receipt.copies == 2 && failure.code == .notFound)
        let state = try #require(play.core.slots[Int(receipt.key.slot.rawValue)].sessions[receipt.key]?.state)
        #expect(state.user == "ann" && state.visibleFields == [.init(name: "n", value: .integer(1))])
        #expect(play.core.moves.isEmpty && play.core.operations.isEmpty)
    }

    /// Two sides of a cut may meet just then.
    @Test func whatIsHandedInDuringAMoveGoesWhereTheSessionGoes() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        var other = try #require(play.core.slots[Int(key.slot.rawValue)].sessions[key]?.state)
        let commit = SessionCommit(key: key, id: CommitID(upper: 7, lower: 7), changes: [.increment("n", by: 1)])
        _ = try other.apply(commit, life: Life(rawValue: 5), wall: play.now.wall)
        let move = play.ask(Self.login(key))
        let making = play.deltas()
        #expect(!making.isEmpty)
        play.hears(.push(ticket: 90, [SyncedSession(key: key, mirrored: .zero, state: other)]))
        for ticket in making { play.hears(.ack(ticket: ticket)) }
        for _ in 0..<3 { for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) } }
        guard case .committed(let receipt) = play.replies[move] else { return #expect(Bool(false)) }
        let state = try #require(play.core.slots[Int(receipt.key.slot.rawValue)].sessions[receipt.key]?.state)
        #expect(state.visibleFields == [.init(name: "n", value: .integer(1))])
        #expect(play.said.contains(.ack(ticket: 90)))
    }

    @Test func aSessionThatTheOtherSideOfACutHadMovedIsNotMovedAgain() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        _ = play.ask(Dialogue.increment(key, 1))
        let pending = play.deltas()
        // It waits for the commit before it; meanwhile the other side hands in what it made of the same request.
        _ = play.ask(Self.login(key))
        guard case .commit(let login) = Self.login(key) else { return #expect(Bool(false)) }
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let there = try Dialogue.key(in: slot)
        var other = try #require(play.core.slots[Int(key.slot.rawValue)].sessions[key]?.state)
        _ = other.end(.init(commit: login.id, to: there, draw: 5), wall: play.now.wall)
        play.hears(.push(ticket: 90, [SyncedSession(key: key, mirrored: .zero, state: other)]))
        for ticket in pending { play.hears(.ack(ticket: ticket)) }
        for _ in 0..<3 { for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) } }
        #expect(play.core.status.sessions == 1, "no other was made, which would have been born ended")
        #expect(play.said.contains { if case .forward(_, .commit(there, _)) = $0 { true } else { false } })
    }

    @Test func whatIsSupersededHalfWayIsAskedOfTheNewOwnerAndTheOldIdStaysGood() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let move = play.ask(Self.login(key))
        let behind = play.ask(Dialogue.increment(key, 2))
        play.said = []
        play.hears(.superseded([SlotTenure(slot: key.slot, tenure: Tenure(term: 8, owner: play.peer))]))
        play.pass(.milliseconds(50))
        let forwarded = play.said.compactMap { message -> SessionOperation? in
            if case .forward(_, let operation) = message { operation } else { nil }
        }
        #expect(forwarded.count == 2)
        #expect(play.replies[move] == nil && play.replies[behind] == nil && play.core.moves.isEmpty)
        let left = play.core.slots[Int(key.slot.rawValue)].leftover?.sessions[key]?.state
        #expect(left?.isDestroyed == false)
    }

    @Test func onlyACookieKeyMakesTheNewIdAndItMakesTheSameOneEverywhere() throws {
        var generator = SeededGenerator(seed: 5)
        let (ours, theirs) = (KeyFile.generate(using: &generator).cookie, KeyFile.generate(using: &generator).cookie)
        let (codec, other) = (try #require(CookieCodec(ring: ours)), try #require(CookieCodec(ring: theirs)))
        let key = try #require(SessionKey(bytes: Array(0..<32)))
        let commit = CommitID(upper: 1, lower: 2)
        let id = try #require(codec.successor(of: key, by: commit, draw: 3))
        #expect(codec.successor(of: key, by: commit, draw: 4) != id)
        #expect(other.successor(of: key, by: commit, draw: 3) != id)
        #expect(codec.value(ofSuccessor: SessionKey(of: id), of: key, by: commit, draw: 3) == codec.value(for: id))
        #expect(other.value(ofSuccessor: SessionKey(of: id), of: key, by: commit, draw: 3) == nil)
    }
}
