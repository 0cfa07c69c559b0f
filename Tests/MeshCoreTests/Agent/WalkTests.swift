import Testing

@testable import MeshCore

/// All sessions of the mesh gone through: what is asked of whom, and when an answer is whole.
@Suite struct WalkTests {
    private struct Asked {
        let id: UInt64
        let purpose: WalkPurpose
        let slots: SlotSet
    }

    private static func asked(_ play: inout Dialogue) -> Asked? {
        defer { play.said.removeAll { if case .walk = $0 { true } else { false } } }
        return play.said.lazy.compactMap {
            if case .walk(let id, let purpose, let slots) = $0 { Asked(id: id, purpose: purpose, slots: slots) } else { nil }
        }
        .first
    }

    private static func owned(by play: Dialogue) -> SlotSet {
        var slots = SlotSet()
        for slot in Slot.all where play.core.slots[Int(slot.rawValue)].isOwner { slots.insert(slot) }
        return slots
    }

    private static func summary(_ key: SessionKey) -> SessionSummary {
        SessionSummary(key: key, createdAt: 1, accessedAt: 2, expiresAt: 3, fields: 0, bytes: 0)
    }

    /// A session of `user`, on a slot of this agent.
    private static func made(_ play: inout Dialogue, user: String, _ number: UInt64) throws -> SessionKey {
        let made = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 8, lower: number), user: user)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        guard case .committed(let receipt) = play.replies[made] else { throw Dialogue.Unanswered() }
        return receipt.key
    }

    @Test func aListIsAnsweredWhenEverySlotIsInItAndNotBefore() throws {
        var play = try Dialogue()
        try play.join()
        let mine = try Self.made(&play, user: "ann", 1)
        _ = try Self.made(&play, user: "bob", 2)
        let request = play.ask(.list(user: "ann", after: nil))
        let asked = try #require(Self.asked(&play))
        #expect(asked.purpose == .list(user: "ann", after: nil) && asked.slots == .all)

        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let theirs = try Dialogue.key(in: slot)
        var covered = SlotSet.all
        covered.subtract(Self.owned(by: play))
        let late = try #require(Slot.all.last { covered.contains($0) })
        covered.remove(late)
        play.hears(.walked(id: asked.id, covered, [Self.summary(theirs)], count: 0))
        play.passWalk()
        #expect(play.replies[request] == nil, "a slot of theirs is missing")

        play.pass(.milliseconds(200))
        let again = try #require(Self.asked(&play))
        var missing = SlotSet()
        missing.insert(late)
        #expect(again.slots == missing)
        play.hears(.walked(id: again.id, missing, [], count: 0))
        play.passWalk()
        guard case .listed(let page) = play.replies[request] else { return #expect(Bool(false)) }
        #expect(page.sessions.map(\.key) == [mine, theirs].sorted() && page.next == nil)
    }

    @Test func whatNobodyAnswersForInTimeIsUnavailable() throws {
        var play = try Dialogue()
        try play.join()
        _ = play.ask(.list(user: "ann", after: nil))
        let request = play.ask(.revoke(user: "ann", except: nil))
        play.passWalk()
        play.pass(.seconds(9))
        guard case .failure(let failure) = play.replies[request] else { return #expect(Bool(false)) }
        #expect(failure.code == .unavailable)
        #expect(play.core.walks.asked.isEmpty && play.core.walks.given.isEmpty)
    }

    @Test func aRevokeEndsWhatIsBoundToTheUserAndSparesTheOne() throws {
        var play = try Dialogue()
        let keys = try (0..<5 as Range<UInt64>).map { try Self.made(&play, user: $0 == 4 ? "bob" : "ann", $0) }
        let request = play.ask(.revoke(user: "ann", except: keys[0]))
        play.passWalk()
        #expect(play.replies[request] == .revoked(3))
        let again = play.ask(.revoke(user: "ann", except: keys[0]))
        play.passWalk()
        #expect(play.replies[again] == .revoked(0))
        for (number, key) in keys.enumerated() {
            let read = play.ask(.read(key))
            guard case .session(let session) = play.replies[read] else { return #expect(Bool(false)) }
            #expect((session != nil) == [0, 4].contains(number))
        }
        let all = play.ask(.revoke(user: nil, except: nil))
        play.passWalk()
        #expect(play.replies[all] == .revoked(2))
    }

    @Test func aLongListComesInPages() throws {
        var play = try Dialogue()
        let keys = try (0..<1200 as Range<UInt64>).map { try Self.made(&play, user: "ann", $0) }.sorted()
        var found: [SessionKey] = []
        var after: SessionKey?
        repeat {
            let request = play.ask(.list(user: "ann", after: after))
            play.passWalk()
            guard case .listed(let page) = play.replies[request] else { return #expect(Bool(false)) }
            found += page.sessions.map(\.key)
            after = page.next
        } while after != nil
        #expect(found == keys)
    }

    @Test func aRevokeWaitsForTheSecondCopyOfEachEnd() throws {
        var play = try Dialogue()
        try play.join()
        _ = try Self.made(&play, user: "ann", 1)
        let request = play.ask(.revoke(user: "ann", except: nil))
        let asked = try #require(Self.asked(&play))
        var theirs = SlotSet.all
        theirs.subtract(Self.owned(by: play))
        play.hears(.walked(id: asked.id, theirs, [], count: 2))
        play.passWalk()
        #expect(play.replies[request] == nil)
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        play.passWalk()
        #expect(play.replies[request] == .revoked(3))
    }
}
