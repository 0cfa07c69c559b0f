import Testing

@testable import MeshCore

/// What an agent counts of requests and sessions, and what it shows of slots.
@Suite struct CounterTests {
    static func commit(_ key: SessionKey?, _ number: UInt64, _ changes: [FieldChange] = [], if conditions: [FieldCondition] = [])
        -> ClientRequest
    {
        .commit(SessionCommit(key: key, id: CommitID(upper: 7, lower: number), changes: changes, conditions: conditions))
    }

    @Test func everyRequestIsCountedByHowItWasAnswered() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let doomed = try play.made()
        #expect(play.core.status.counters.created == 2 && play.core.status.counters.commitsDone == 2)

        play.now = play.now.advanced(by: .milliseconds(3))
        _ = play.ask(Self.commit(key, 1, [.increment("n", by: 1)]))
        let waits = play.core.status.counters.commitWaits.count
        play.now = play.now.advanced(by: .milliseconds(3))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        let histogram = play.core.status.counters.commitWaits
        let bucket = try #require(DurationHistogram.bounds.firstIndex { $0 >= .milliseconds(3) })
        #expect(histogram.count == waits + 1 && histogram.counts[bucket] == 1)

        _ = play.ask(Self.commit(key, 2, [.set("a", [1])], if: [.holds("a", [9])]))
        _ = play.ask(Self.commit(try Dialogue.key(in: key.slot), 3, [.set("a", [1])]))
        _ = play.ask(Self.commit(key, 4, [.set("@user", [1])]))
        _ = play.ask(.destroy(doomed, CommitID(upper: 7, lower: 5)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        _ = play.ask(.read(key))
        var reply: [UInt8] = []
        #expect(play.core.answerAtOnce(.read(key), at: play.now, to: &reply))

        let foreign = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        _ = play.ask(.read(try Dialogue.key(in: foreign)))
        play.pass(.seconds(4))

        let counters = play.core.status.counters
        #expect(counters.commitsDone == 4)
        #expect((counters.commitsInConflict, counters.commitsWithoutSession, counters.commitsInvalid) == (1, 1, 1))
        #expect((counters.reads, counters.opens, counters.destroyed) == (2, 0, 1))
        #expect(counters.forwards >= 1 && counters.unavailableAtDeadline == 1)
        #expect(counters.slotsSynced > 0)
    }

    @Test func whatExpiresIsCountedOnceAndEndsThatAreForgottenAreNot() throws {
        var play = try Dialogue()
        let mortal = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 8, lower: 1), idleSeconds: 1)))
        let destroyed = try play.made()
        _ = play.ask(.destroy(destroyed, CommitID(upper: 8, lower: 2)))
        guard case .committed = play.replies[mortal] else { return #expect(Bool(false)) }
        play.pass(.seconds(120))
        #expect(play.core.status.counters.expired == 1)
        play.now = play.now.advanced(by: .seconds(2 * 3600))
        play.pass(.seconds(120))
        #expect(play.core.status.counters.expired == 1 && play.core.status.sessions == 0)
    }

    @Test func slotsAreShownWithDigestsThatTellWhetherTwoHoldTheSame() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let before = try #require(play.core.slotReports().first { $0.slot == key.slot })
        #expect(before.part == .owner && before.owner == play.core.id.name && before.sessions == 1)
        #expect(play.core.slotReports().first { $0.slot == key.slot } == before)
        _ = play.ask(Self.commit(key, 1, [.increment("n", by: 1)]))
        let after = try #require(play.core.slotReports().first { $0.slot == key.slot })
        #expect(after.digest != nil && after.digest != before.digest)
        let foreign = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        #expect(play.core.slotReports().filter { $0.slot == foreign }.allSatisfy { $0.part != .owner || $0.owner == play.core.id.name })
    }

    @Test func theEndOfASessionIsKnownToWhoHoldsItsTombstone() throws {
        var play = try Dialogue()
        let (live, destroyed, moved) = (try play.made(), try play.made(), try play.made())
        _ = play.ask(.destroy(destroyed, CommitID(upper: 8, lower: 2)))
        _ = play.ask(.commit(SessionCommit(key: moved, id: CommitID(upper: 8, lower: 3), regenerate: true)))
        #expect(play.core.end(of: live) == nil)
        #expect(play.core.end(of: destroyed)?.isMoved == false)
        #expect(play.core.end(of: moved)?.isMoved == true)
        #expect(try play.core.end(of: Dialogue.key(in: live.slot)) == nil)
    }
}
