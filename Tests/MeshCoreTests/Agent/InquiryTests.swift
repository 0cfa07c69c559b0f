import Testing

@testable import MeshCore

/// What is asked before an owner answers after a takeover.
@Suite struct InquiryTests {
    private static let thirdLink = LinkID(rawValue: 3)

    /// n2 owns a slot that n1 ranks first for, and n1 has its synced copy: a session that was counted once. n3 is there.
    private struct Scene {
        var play: Dialogue
        let slot: Slot
        let key: SessionKey
        let state: SessionState
        let former: SlotTenure

        init() throws {
            var play = try Dialogue()
            try play.join()
            let third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41))
            play.meets(third, over: InquiryTests.thirdLink, at: Dialogue.thirdEndpoint)
            play.pass(.milliseconds(100))
            let core = play.core
            let slot = try #require(Slot.all.first { core.table.primary(of: $0) == core.id.name })
            key = try Dialogue.key(in: slot)
            former = SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: play.peer))
            state = try Self.counted(SessionState(createdAt: play.now.wall), 1)
            play.hears(.superseded([former]))
            let session = SyncedSession(key: key, mirrored: .zero, state: state)
            play.hears(.sync(ticket: 5, [SyncChunk(slot: former, isFirst: true, isLast: true, sessions: [session])]))
            play.log = []
            self.play = play
            self.slot = slot
        }

        static func counted(_ state: SessionState, _ number: UInt64) throws -> SessionState {
            var state = state
            let commit = SessionCommit(key: nil, id: CommitID(upper: 7, lower: number), changes: [.increment("n", by: 1)])
            _ = try state.apply(commit, life: Life(rawValue: 5), wall: state.created.milliseconds)
            return state
        }

        /// The owner's process is gone: nobody listens at its port.
        mutating func killOwner() {
            play.step(.linkDown(Dialogue.link))
            play.step(.connectFailed(play.peerEndpoint, .refused))
        }

        func count(_ request: UInt64) -> Int64? {
            guard case .session(let snapshot?) = play.replies[request], case .integer(let value) = snapshot.fields.first?.value
            else { return nil }
            return value
        }
    }

    @Test func whoTakesOverAnswersOnlyAfterEverybodyGaveWhatTheyHold() throws {
        var scene = try Scene()
        scene.killOwner()
        let taken = SlotTenure(slot: scene.slot, tenure: Tenure(term: 9, owner: scene.play.core.id))
        let question = try #require(scene.play.log.last { if case .inquire(_, true, _) = $0.message { true } else { false } })
        guard question.link == Self.thirdLink, case .inquire(let round, _, let tenures) = question.message else {
            return #expect(Bool(false))
        }
        #expect(tenures.contains(taken))
        let read = scene.play.ask(.read(scene.key))
        #expect(scene.play.replies[read] == nil)
        // The owner had gone on without us, and n3 has what it acknowledged last.
        let newer = SyncedSession(key: scene.key, mirrored: .zero, state: try Scene.counted(scene.state, 2))
        scene.play.hears(.push(ticket: 0, [newer]), over: Self.thirdLink)
        #expect(scene.play.replies[read] == nil)
        scene.play.hears(.inquired(round: round), over: Self.thirdLink)
        #expect(scene.count(read) == 2)
    }

    @Test func nothingIsSyncedToOthersBeforeTheyGaveWhatTheyHold() throws {
        var scene = try Scene()
        scene.killOwner()
        func isSynced(_ play: Dialogue) -> Bool {
            play.log.contains {
                if case .sync(_, let chunks) = $0.message { chunks.contains { $0.slot.slot == scene.slot } } else { false }
            }
        }
        #expect(!isSynced(scene.play))
        let round = try scene.play.roundAsked(over: Self.thirdLink)
        scene.play.hears(.inquired(round: round), over: Self.thirdLink)
        #expect(isSynced(scene.play))
    }

    @Test func whoSaysNothingHoldsATakeoverUpForAQuarterOfASecond() throws {
        var scene = try Scene()
        scene.killOwner()
        let read = scene.play.ask(.read(scene.key))
        scene.play.pass(.milliseconds(200))
        #expect(scene.play.replies[read] == nil)
        scene.play.pass(.milliseconds(100))
        #expect(scene.count(read) == 1)
    }

    @Test func whoIsStillGivingIsNotSilent() throws {
        var scene = try Scene()
        scene.killOwner()
        let read = scene.play.ask(.read(scene.key))
        for _ in 0..<5 {
            scene.play.pass(.milliseconds(200))
            scene.play.hears(.push(ticket: 0, []), over: Self.thirdLink)
        }
        #expect(scene.play.replies[read] == nil)
    }

    @Test func aLinkThatComesUpDuringATakeoverIsAskedOver() throws {
        var scene = try Scene()
        let (lost, other) = (Self.thirdLink, LinkID(rawValue: 4))
        let third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41))
        scene.play.step(.linkDown(lost))
        scene.killOwner()
        let read = scene.play.ask(.read(scene.key))
        scene.play.step(.linkUp(other, peer: third, endpoint: Dialogue.thirdEndpoint))
        let round = try scene.play.roundAsked(over: other)
        #expect(scene.play.replies[read] == nil)
        scene.play.hears(.inquired(round: round), over: other)
        #expect(scene.count(read) == 1)
    }

    /// Its answer may be the only one that counts, and it comes into the view a moment before it is within reach.
    @Test func whoIsBackIsAskedBeforeASlotIsBegunAnew() throws {
        var play = try Dialogue()
        try play.join()
        let third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41))
        play.meets(third, over: Self.thirdLink, at: Dialogue.thirdEndpoint)
        play.pass(.milliseconds(100))
        let core = play.core
        let slot = try #require(
            Slot.all.first { core.table.ranking(of: $0).first == core.id.name && core.table.backup(of: $0) == third.name })
        play.hears(.superseded([SlotTenure(slot: slot, tenure: Tenure(term: 8, owner: play.peer))]))
        play.hears(
            of: Member(id: play.peer, status: .dead, stage: .serving, endpoint: play.peerEndpoint), from: third, over: Self.thirdLink)
        func isClaimed(over link: LinkID) -> Bool {
            play.log.contains { if case .claim(let slots) = $0.message { $0.link == link && slots.contains(slot) } else { false } }
        }
        #expect(isClaimed(over: Self.thirdLink))
        let life = Life(rawValue: play.peer.life.rawValue + 1)
        let back = Member(
            id: MemberID(name: play.peer.name, life: life), stage: .syncing, endpoint: play.peerEndpoint)
        play.hears(of: back, from: third, over: Self.thirdLink)
        play.hears(.claimAnswer(nothing: [slot], held: []), over: Self.thirdLink)
        #expect(!play.core.slots[Int(slot.rawValue)].isOwner)
        play.pass(.milliseconds(100))
        #expect(!play.core.slots[Int(slot.rawValue)].isOwner)
        play.log = []
        play.hears(.renewed(life))
        #expect(isClaimed(over: Dialogue.link))
        play.hears(.claimAnswer(nothing: [slot], held: []))
        #expect(play.core.slots[Int(slot.rawValue)].isOwner)
        #expect(play.core.slots[Int(slot.rawValue)].doubt == nil)
    }

    @Test func whoIsAskedGivesACopyThatIsNotWholeAndWhatItHadAsOwnerAndThenSaysSo() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        play.said = []
        let index = Int(key.slot.rawValue)
        // Ours until somebody else takes over: what we have goes to it.
        let taken = SlotTenure(slot: key.slot, tenure: Tenure(term: 7, owner: play.peer))
        play.hears(.inquire(round: 4, isTakeover: true, [taken]))
        #expect(play.core.slots[index].tenure == taken.tenure)
        guard case .push(let ticket, let sessions) = play.said.first else { return #expect(Bool(false)) }
        #expect(ticket != 0 && sessions.map(\.key) == [key])
        #expect(play.said.last == .inquired(round: 4))
        play.hears(.ack(ticket: ticket))
        #expect(play.core.status.leftoverSlots == 0)
        // Now a copy of ours that came in part.
        let session = SyncedSession(key: key, mirrored: .zero, state: SessionState(createdAt: 5))
        play.hears(.sync(ticket: 9, [SyncChunk(slot: taken, isFirst: true, isLast: false, sessions: [session])]))
        play.said = []
        let later = SlotTenure(slot: key.slot, tenure: Tenure(term: 8, owner: play.peer))
        play.hears(.inquire(round: 5, isTakeover: true, [later]))
        #expect(play.said == [.push(ticket: 0, [session]), .inquired(round: 5)])
    }

    /// Without a link to the owner it was given to rank 0, who may not have it either.
    @Test func whatIsLeftOverGoesToTheOwnerOnceThatCanBeTold() throws {
        var play = try Dialogue()
        try play.join()
        let third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41))
        play.meets(third, over: Self.thirdLink, at: Dialogue.thirdEndpoint)
        play.pass(.milliseconds(100))
        let slot = try #require(
            Slot.all.first { play.core.table.primary(of: $0) == third.name && play.core.slots[Int($0.rawValue)].isOwner })
        let session = SyncedSession(key: try Dialogue.key(in: slot), mirrored: .zero, state: SessionState(createdAt: 5))
        play.hears(.push(ticket: 0, [session]))
        let (owner, link) = (MemberID(name: try NodeName("n4"), life: Life(rawValue: 1 << 41)), LinkID(rawValue: 9))
        let taken = SlotTenure(slot: slot, tenure: Tenure(term: 50, owner: owner))
        func isGiven(over link: LinkID) -> Bool {
            play.log.contains {
                guard $0.link == link, case .push(let ticket, let given) = $0.message else { return false }
                return ticket != 0 && given.map(\.key) == [session.key]
            }
        }
        play.hears(.superseded([taken]))
        #expect(isGiven(over: Self.thirdLink))
        play.meets(owner, over: link, at: .loopback(port: 4))
        play.hears(.inquire(round: 4, isTakeover: true, [taken]), over: link)
        #expect(isGiven(over: link))
    }

    @Test func whoIsAloneAnswersAtOnceAfterAPause() throws {
        var play = try Dialogue()
        let key = try play.made()
        play.now = play.now.advanced(by: .seconds(2))
        let read = play.ask(.read(key))
        #expect(play.core.status.isReady && play.replies[read] != nil)
    }

    @Test func whoAsksInALesserTenureIsToldTheGreaterAndGivenNothing() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let present = SlotTenure(slot: key.slot, tenure: play.core.slots[Int(key.slot.rawValue)].tenure)
        play.said = []
        play.hears(.inquire(round: 4, isTakeover: true, [SlotTenure(slot: key.slot, tenure: .none)]))
        #expect(play.said == [.superseded([present]), .inquired(round: 4)])
    }
}
