import Testing

@testable import MeshCore

/// Copies that should be equal.
@Suite struct AntiEntropyTests {
    private static func digests(in play: Dialogue) -> [SlotDigest] {
        play.said.flatMap { message -> [SlotDigest] in if case .digests(let digests) = message { digests } else { [] } }
    }

    private static func sums(in play: Dialogue) -> [(range: SlotRange, sum: UInt64)] {
        play.said.compactMap { message in if case .compare(let range, let sum) = message { (range, sum) } else { nil } }
    }

    @Test func anOwnerComparesAllItsSlotsWithACopyInOneMessageWhileLittleIsHeld() throws {
        var play = try Dialogue()
        try play.join()
        _ = try play.made()
        play.said = []
        play.pass(.seconds(20))
        let sums = Self.sums(in: play)
        #expect((2...4).contains(sums.count), "one each six seconds, not \(sums.count)")
        #expect(Set(sums.map(\.sum)).count == 1)
        #expect(sums.allSatisfy { $0.range.indices == 0..<Slot.count })
        _ = try play.made()
        play.said = []
        play.pass(.seconds(7))
        #expect(Self.sums(in: play).allSatisfy { $0.sum != sums[0].sum })
    }

    @Test func aCopyThatIsStaleIsBroughtUpAnewAndCounted() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        play.said = []
        play.pass(.seconds(7))
        let range = try #require(Self.sums(in: play).first).range
        play.hears(.differs(range))
        let mine = try #require(Self.digests(in: play).first { $0.slot.slot == key.slot })
        #expect(Self.digests(in: play).count == play.core.status.primarySlots)
        play.said = []
        play.hears(.stale([mine.slot]))
        #expect(play.core.status.underReplicatedSlots == 1 && play.core.status.staleCopies == 1)
        play.acknowledgeSyncs()
        #expect(play.core.status.underReplicatedSlots == 0)
        // A word on another tenure is late.
        play.hears(.stale([SlotTenure(slot: key.slot, tenure: Tenure(term: mine.slot.tenure.term - 1, owner: play.core.id))]))
        #expect(play.core.status.staleCopies == 1)
    }

    @Test func aCopySaysWhatDiffersAndNothingWhileAllIsTheSame() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let tenure = SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: play.peer))
        let session = SyncedSession(key: try Dialogue.key(in: slot), mirrored: .zero, state: SessionState(createdAt: play.now.wall))
        play.hears(.sync(ticket: 5, [SyncChunk(slot: tenure, isFirst: true, isLast: true, sessions: [session])]))
        var owners = SlotState()
        owners.sessions[session.key] = SessionEntry(state: session.state)
        let range = SlotRange(first: slot, last: slot)
        play.said = []
        play.hears(.compare(range, sum: owners.digest(in: slot)))
        play.hears(.digests([SlotDigest(slot: tenure, digest: owners.digest(in: slot))]))
        #expect(play.said == [])

        // What the owner noted here never came: no ticket asked for a word on it.
        _ = owners.sessions[session.key]?.state.touch(wall: play.now.wall + 600_000, policy: ExpiryPolicy())
        play.hears(.compare(range, sum: owners.digest(in: slot)))
        #expect(play.said == [.differs(range)])
        play.hears(.digests([SlotDigest(slot: tenure, digest: owners.digest(in: slot))]))
        #expect(play.said == [.differs(range), .stale([tenure])])
    }

    @Test func aDigestFollowsEveryChangeAndNoMark() throws {
        let slot = Slot(masking: 7)
        let key = try Dialogue.key(in: slot)
        var state = SessionState(createdAt: 1_795_000_000_000)
        var held = SlotState()
        var seen: Set<UInt64> = [held.digest(in: slot)]
        func differs() -> Bool { seen.insert(held.digest(in: slot)).inserted }
        let commit = SessionCommit(key: key, id: CommitID(upper: 1, lower: 1), changes: [.set("a", [1])])
        _ = try state.apply(commit, life: Life(rawValue: 1), wall: 1_795_000_001_000)
        held.sessions[key] = SessionEntry(state: state)
        #expect(differs())
        held.sessions[key]?.state.forgetMarksAtRest(wall: 1_795_000_900_000)
        #expect(!differs())
        _ = held.sessions[key]?.state.touch(wall: 1_795_000_900_000, policy: ExpiryPolicy())
        #expect(differs())
        _ = held.sessions[key]?.state.destroy(CommitID(upper: 1, lower: 2), wall: 1_795_000_901_000)
        #expect(differs())
        held.sessions[key] = nil
        #expect(!differs(), "as it was before")
    }

    @Test func anExpiredSessionIsDroppedFromItsCopyByItsOwnerAndByNobodyElse() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        play.said = []
        play.now = Moment(uptime: play.now.uptime + 400_000_000, wall: play.now.wall + 4_000_000)
        let read = play.ask(.read(key))
        #expect(play.replies[read] == .session(nil))
        let slot = SlotTenure(slot: key.slot, tenure: play.core.slots[Int(key.slot.rawValue)].tenure)
        #expect(play.said.contains(.drop([DroppedSession(slot: slot, key: key)])))

        let others = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let tenure = SlotTenure(slot: others, tenure: Tenure(term: 8, owner: play.peer))
        let old = SyncedSession(key: try Dialogue.key(in: others), mirrored: .zero, state: SessionState(createdAt: 1))
        play.hears(.sync(ticket: 5, [SyncChunk(slot: tenure, isFirst: true, isLast: true, sessions: [old])]))
        play.pass(.seconds(60))
        #expect(play.core.status.sessions == 1)
        play.hears(.drop([DroppedSession(slot: tenure, key: old.key)]))
        #expect(play.core.status.sessions == 0)
    }
}
