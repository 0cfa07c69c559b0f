import Testing

@testable import MeshCore

/// Which copies count.
@Suite struct CopyTests {
    private func third(life: UInt64) throws -> MemberID { MemberID(name: try NodeName("n3"), life: Life(rawValue: life << 40)) }

    private static let thirdLink = LinkID(rawValue: 3)

    @Test func aBackupThatRestartedEmptyBetweenSyncAndGrantIsNotCountedAsACopy() throws {
        var play = try Dialogue()
        try play.join()
        play.meets(try third(life: 2), over: Self.thirdLink, at: Dialogue.thirdEndpoint)
        play.pass(.milliseconds(100))
        play.acknowledgeSyncs()
        let slot = try #require(Slot.all.first { play.core.table.ranking(of: $0).prefix(2).map(\.description) == ["n1", "n3"] })
        // n2 is owner for a while, syncs n1, and then grants. It has not heard yet that n3 began anew.
        let before = SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: play.peer))
        play.hears(.superseded([before]))
        play.hears(.sync(ticket: 5, [SyncChunk(slot: before, isFirst: true, isLast: true, sessions: [])]))
        play.log = []
        let granted = SlotTenure(slot: slot, tenure: Tenure(term: 9, owner: play.core.id))
        play.hears(.grant([SlotGrant(slot: granted, synced: [play.peer, try third(life: 1)])]))
        #expect(play.core.slots[Int(slot.rawValue)].ownership?.synced == [play.peer])
        #expect(play.log.contains { $0.link == Dialogue.link && $0.message == .lead([granted]) })
        #expect(!play.log.contains { $0.link == Self.thirdLink && $0.message == .lead([granted]) })
        let sync = try #require(play.log.first { if case .sync = $0.message { $0.link == Self.thirdLink } else { false } })
        guard case .sync(let ticket, let chunks) = sync.message else { return }
        #expect(chunks.map(\.slot) == [granted])
        play.hears(.ack(ticket: ticket), over: Self.thirdLink)
        #expect(play.core.slots[Int(slot.rawValue)].ownership?.synced == [try third(life: 2)])
    }

    /// Who uses sessions meanwhile comes first; only where there would be no second copy without it a node is sent all it takes.
    @Test(arguments: [true, false]) func aNodeThatJoinsIsSentOneMessageAtATime(othersServe: Bool) throws {
        var play = try Dialogue()
        if othersServe { try play.join() }
        for _ in 0..<40 {
            play.now = play.now.advanced(by: .milliseconds(1))
            let value = [UInt8](repeating: 1, count: 15_000)
            let commit = SessionCommit(key: try play.made(), id: CommitID(upper: 1, lower: 1), changes: [.set("a", value)])
            _ = play.ask(.commit(commit))
            for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        }
        let joiner = try third(life: 2)
        play.step(.linkUp(Self.thirdLink, peer: joiner, endpoint: Dialogue.thirdEndpoint))
        play.hears(of: Member(id: joiner, stage: .syncing, endpoint: Dialogue.thirdEndpoint), from: joiner, over: Self.thirdLink)
        play.log = []
        play.hears(.pull(Array(Slot.all)), over: Self.thirdLink)
        func syncs() -> [UInt64] {
            play.log.compactMap { entry in
                if entry.link == Self.thirdLink, case .sync(let ticket, _) = entry.message { ticket } else { nil }
            }
        }
        guard othersServe else { return #expect(syncs().count == SyncStream.messagesInFlightMax) }
        #expect(syncs().count == 1)
        for count in 2...4 {
            play.hears(.ack(ticket: try #require(syncs().last)), over: Self.thirdLink)
            #expect(syncs().count == count - 1)
            play.now = play.now.advanced(by: SyncStream.pause)
            play.step(.timer(.sync))
            #expect(syncs().count == count)
        }
    }

    /// An answer may have come when nobody listened, in a former life say, and would be waited for for ever.
    @Test func whatIsNotAnsweredForLongIsBegunAnew() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        _ = play.ask(Dialogue.increment(key, 1))
        #expect(play.deltas().count == 1)
        func syncs() -> Int {
            play.said.count { if case .sync(_, let chunks) = $0 { chunks.contains { $0.slot.slot == key.slot } } else { false } }
        }
        play.pass(.seconds(4))
        #expect(syncs() == 0 && play.core.status.underReplicatedSlots == 0)
        play.pass(.seconds(2))
        #expect(syncs() == 1 && play.core.status.underReplicatedSlots == 1)
        play.acknowledgeSyncs()
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.core.commits.isEmpty && play.core.status.underReplicatedSlots == 0)
    }

    @Test func theMemoryOfACopyThatIsReleasedIsGivenBackLittleByLittle() throws {
        var play = try Dialogue()
        try play.join()
        let slots = Slot.all.filter { play.core.table.primary(of: $0) == play.peer.name }.prefix(300)
        let state = SessionState(createdAt: play.now.wall)
        for slot in slots {
            let present = SlotTenure(slot: slot, tenure: Tenure(term: 5, owner: play.peer))
            for number in 1...4 as ClosedRange<UInt8> {
                let bytes = [UInt8(slot.rawValue >> 4), UInt8(slot.rawValue & 15) << 4] + [UInt8](repeating: number, count: 30)
                play.hears(.delta(present, ticket: 6, try #require(SessionKey(bytes: bytes)), state, whole: true))
            }
        }
        #expect(play.core.status.sessions == 1200)
        play.hears(.release(slots.map { SlotTenure(slot: $0, tenure: Tenure(term: 6, owner: play.peer)) }))
        #expect(play.core.status.sessions == 0)
        var left = [play.core.discarded.reduce(0) { $0 + $1.count }]
        while left.last != 0, left.count < 10 {
            play.step(.timer(.discard))
            left.append(play.core.discarded.reduce(0) { $0 + $1.count })
        }
        #expect(left == [1200, 688, 176, 0])
    }

    @Test func aCopyThatIsNotWholeRefusesLessThanTheWholeAndDoesNotBecomeWholeByIt() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        let present = SlotTenure(slot: slot, tenure: Tenure(term: 5, owner: play.peer))
        for ticket in [6, 0] as [UInt64] {
            play.said = []
            play.hears(.delta(present, ticket: ticket, key, SessionState(createdAt: 1), whole: false))
            #expect(play.said == [.refuse(present, ticket: ticket, .copyNotWhole)])
        }
        #expect(play.core.status.sessions == 0)
        #expect(!play.core.slots[Int(slot.rawValue)].isSyncedReplica)
    }

    /// A link that broke may bring what was said on it after what was said on the next.
    @Test func aSyncThatWasOvertakenByAChangeTakesNothingBack() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        let present = SlotTenure(slot: slot, tenure: Tenure(term: 5, owner: play.peer))
        let older = SessionState(createdAt: 1)
        var newer = older
        let commit = SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1), changes: [.increment("n", by: 1)])
        _ = try newer.apply(commit, life: Life(rawValue: 5), wall: 2)
        let index = Int(slot.rawValue)
        play.hears(.delta(present, ticket: 6, key, newer, whole: true))
        for sessions in [[SyncedSession(key: key, mirrored: .zero, state: older)], []] {
            play.hears(.sync(ticket: 5, [SyncChunk(slot: present, isFirst: true, isLast: true, sessions: sessions)]))
            #expect(play.core.slots[index].sessions[key]?.state == newer)
            #expect(!play.core.slots[index].isSyncedReplica)
        }
        play.hears(.delta(present, ticket: 4, key, older, whole: true))
        #expect(play.core.slots[index].sessions[key]?.state == newer)
        // Begun anew it counts.
        let session = SyncedSession(key: key, mirrored: .zero, state: newer)
        play.hears(.sync(ticket: 7, [SyncChunk(slot: present, isFirst: true, isLast: true, sessions: [session])]))
        #expect(play.core.slots[index].isSyncedReplica)
        // Of another tenure it counts as it is: what was held may never have been acknowledged.
        let next = SlotTenure(slot: slot, tenure: Tenure(term: 6, owner: play.peer))
        play.hears(.delta(next, ticket: 9, key, older, whole: true))
        #expect(play.core.slots[Int(slot.rawValue)].sessions[key]?.state == older)
    }

    /// Another owner has put its copy in the place of the granter's, who did not hear of that.
    @Test func aGrantIsDeclinedByWhoHoldsAnothersCopyByNow() throws {
        var play = try Dialogue()
        try play.join()
        play.meets(try third(life: 2), over: Self.thirdLink, at: Dialogue.thirdEndpoint)
        play.pass(.milliseconds(100))
        let slot = try #require(Slot.all.first { play.core.table.ranking(of: $0).first == play.core.id.name })
        let theirs = SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: play.peer))
        let other = SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: try third(life: 2)))
        #expect(theirs.tenure < other.tenure)
        play.hears(.sync(ticket: 5, [SyncChunk(slot: theirs, isFirst: true, isLast: true, sessions: [])]))
        play.hears(.sync(ticket: 5, [SyncChunk(slot: other, isFirst: true, isLast: true, sessions: [])]), over: Self.thirdLink)
        play.log = []
        play.hears(.grant([SlotGrant(slot: SlotTenure(slot: slot, tenure: Tenure(term: 9, owner: play.core.id)), synced: [play.peer])]))
        #expect(!play.core.slots[Int(slot.rawValue)].isOwner)
        #expect(play.log.contains { $0.link == Dialogue.link && $0.message == .claim([slot]) })
    }

    /// n1 holds synced copies of two slots for n2, and ranks for the second alone.
    private struct Spare {
        var play: Dialogue
        let spare: SlotTenure
        let ranked: SlotTenure

        init() throws {
            play = try Dialogue()
            try play.join()
            play.meets(
                MemberID(name: try NodeName("n3"), life: Life(rawValue: 2 << 40)), over: CopyTests.thirdLink, at: Dialogue.thirdEndpoint)
            play.pass(.milliseconds(100))
            let table = play.core.table
            let tenure = Tenure(term: 8, owner: play.peer)
            // Its turn in the round over all slots is far.
            func last(_ holders: [String]) -> Slot? { Slot.all.last { table.ranking(of: $0).prefix(2).map(\.description) == holders } }
            spare = SlotTenure(slot: try #require(last(["n2", "n3"])), tenure: tenure)
            ranked = SlotTenure(slot: try #require(last(["n2", "n1"])), tenure: tenure)
            play.hears(.superseded([spare, ranked]))
            play.hears(.sync(ticket: 5, [spare, ranked].map { SyncChunk(slot: $0, isFirst: true, isLast: true, sessions: []) }))
            play.log = []
        }

        var isOffered: Bool {
            play.log.contains { if case .spare(let slots) = $0.message { slots.contains(spare) } else { false } }
        }
    }

    /// Its owner may have dropped it and gone on with another.
    @Test func aCopyThatDoesNotRankIsGivenAndNotCalledWhole() throws {
        var scene = try Spare()
        let tenure = Tenure(term: 9, owner: try third(life: 2))
        let taken = [scene.spare, scene.ranked].map { SlotTenure(slot: $0.slot, tenure: tenure) }
        scene.play.hears(.inquire(round: 4, isTakeover: true, taken), over: Self.thirdLink)
        let whole = scene.play.log.filter { if case .whole = $0.message { true } else { false } }
        #expect(whole.map(\.message) == [.whole([scene.ranked.slot])])
        #expect(whole.map(\.link) == [Self.thirdLink])
    }

    /// An owner that has changes under way keeps it.
    @Test func aCopyThatDoesNotRankIsOfferedUntilItIsReleased() throws {
        var scene = try Spare()
        for _ in 1...2 {
            scene.play.pass(.seconds(4))
            #expect(scene.isOffered)
            scene.play.log = []
        }
        scene.play.hears(.release([scene.spare]))
        scene.play.pass(.seconds(4))
        #expect(!scene.isOffered)
    }

    /// The owner's first message may come before the word that it is back.
    @Test func whoHearsOfAnOwnerThatIsHeldToBeOutOfReachNeverHoldsACopyForItself() throws {
        var play = try Dialogue()
        play.step(.linkUp(Dialogue.link, peer: play.peer, endpoint: play.peerEndpoint))
        let slot = Slot.all[7]
        let other = SlotTenure(slot: slot, tenure: Tenure(term: 50, owner: play.peer))
        play.hears(.sync(ticket: 5, [SyncChunk(slot: other, isFirst: true, isLast: true, sessions: [])]))
        let state = play.core.slots[Int(slot.rawValue)]
        #expect(state.isOwner == (state.tenure.owner == play.core.id))
    }

    @Test func aCommitThatItsBackupRefusesWaitsUntilTheBackupHoldsTheWholeSession() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let slot = SlotTenure(slot: key.slot, tenure: play.core.slots[Int(key.slot.rawValue)].tenure)
        let (first, second) = (play.ask(Dialogue.increment(key, 1)), play.ask(Dialogue.increment(key, 2)))
        let tickets = play.deltas()
        for ticket in tickets { play.hears(.refuse(slot, ticket: ticket, .copyNotWhole)) }
        #expect(play.replies[first] == nil && play.replies[second] == nil)
        #expect(play.core.status.underReplicatedSlots == 1)
        let again = play.said.compactMap { message -> UInt64? in
            if case .delta(slot, let ticket, key, _, whole: true) = message { ticket } else { nil }
        }
        #expect(Set(again) == Set(tickets))
        for ticket in again { play.hears(.ack(ticket: ticket)) }
        for request in [first, second] {
            guard case .committed(let receipt) = play.replies[request] else { return #expect(Bool(false)) }
            #expect(receipt.copies == 2)
        }
        #expect(play.core.status.underReplicatedSlots == 1, "one session of the slot is there, not the others")
        play.acknowledgeSyncs()
        #expect(play.core.status.underReplicatedSlots == 0)
    }
}
