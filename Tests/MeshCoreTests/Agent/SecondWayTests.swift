import Testing

@testable import MeshCore

/// What an owner does when a replica says nothing.
@Suite struct SecondWayTests {
    private static let thirdLink = LinkID(rawValue: 3)

    /// n1 owns the session, n2 holds its synced copy, n3 could.
    private struct Scene {
        var play: Dialogue
        let key: SessionKey
        let third: MemberID

        init() throws {
            third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 1 << 41))
            var play = try Dialogue()
            try play.join()
            play.meets(third, over: SecondWayTests.thirdLink, at: Dialogue.thirdEndpoint)
            play.pass(.milliseconds(200))
            play.acknowledgeSyncs()
            let peer = play.peer
            let slot = try #require(
                Slot.all.first { slot in
                    play.core.slots[Int(slot.rawValue)].ownership?.replicas.map(\.member) == [peer]
                        && play.core.slots[Int(slot.rawValue)].ownership?.synced == [peer]
                })
            key = try Dialogue.key(in: slot)
            self.play = play
            let made = ask(1, [.set("a", [1])], makesSession: true)
            for ticket in deltas(over: Dialogue.link) { self.play.hears(.ack(ticket: ticket)) }
            #expect(self.play.replies[made] == .committed(CommitReceipt(key: key, copies: 2)))
        }

        mutating func ask(_ number: UInt64, _ changes: [FieldChange], makesSession: Bool = false) -> UInt64 {
            play.log = []
            let id = CommitID(upper: 1, lower: number)
            return play.ask(.commit(SessionCommit(key: key, id: id, changes: changes, makesSession: makesSession)))
        }

        /// The tickets of changes sent over a link since the last commit.
        func deltas(over link: LinkID) -> [UInt64] {
            play.log.compactMap { entry in
                if entry.link == link, case .delta(_, let ticket, key, _, _) = entry.message { ticket } else { nil }
            }
        }

        var replicas: [SlotState.ReplicaProgress] { play.core.slots[Int(key.slot.rawValue)].ownership?.replicas ?? [] }

        func isReleased() -> Bool {
            play.log.contains { entry in
                if entry.link == SecondWayTests.thirdLink, case .release(let slots) = entry.message {
                    slots.contains { $0.slot == key.slot }
                } else {
                    false
                }
            }
        }
    }

    @Test func aCommitGoesASecondWayAfterFiftyMillisecondsAndTheFirstWordAnswersIt() throws {
        var scene = try Scene()
        let number = scene.ask(2, [.set("a", [2])])
        #expect(scene.deltas(over: Dialogue.link).count == 1 && scene.deltas(over: Self.thirdLink).isEmpty)
        scene.play.pass(.milliseconds(50))
        let second = try #require(scene.deltas(over: Self.thirdLink).first)
        #expect(second == scene.deltas(over: Dialogue.link).first)
        #expect(scene.play.replies[number] == nil)
        scene.play.hears(.ack(ticket: second), over: Self.thirdLink)
        #expect(scene.play.replies[number] == .committed(CommitReceipt(key: scene.key, copies: 2)))
        let read = scene.play.ask(.read(scene.key))
        guard case .session(let snapshot?) = scene.play.replies[read] else { return #expect(Bool(false)) }
        #expect(snapshot.fields.first?.value == .bytes([2]))
    }

    @Test func whileAReplicaIsLateCommitsGoBothWaysAtOnceAndTheOtherIsReleasedWhenItHasCaughtUp() throws {
        var scene = try Scene()
        _ = scene.ask(2, [.set("a", [2])])
        scene.play.pass(.milliseconds(50))
        let late = scene.deltas(over: Dialogue.link)
        scene.play.hears(.ack(ticket: late[0]), over: Self.thirdLink)
        let number = scene.ask(3, [.set("b", [3])])
        let ticket = try #require(scene.deltas(over: Self.thirdLink).first)
        #expect(scene.deltas(over: Dialogue.link) == [ticket])
        scene.play.hears(.ack(ticket: ticket), over: Self.thirdLink)
        #expect(scene.play.replies[number] == .committed(CommitReceipt(key: scene.key, copies: 2)))
        #expect(scene.replicas.count == 2 && !scene.isReleased())
        for ticket in late + [ticket] { scene.play.hears(.ack(ticket: ticket)) }
        #expect(scene.replicas.map(\.member) == [scene.play.peer] && scene.isReleased())
    }

    @Test func aReplicaThatIsLostBeforeItSaidThatItHasACommitIsWholeNoMoreThoughTheCommitIsAnswered() throws {
        var scene = try Scene()
        let number = scene.ask(2, [.set("a", [2])])
        scene.play.pass(.milliseconds(50))
        let ticket = try #require(scene.deltas(over: Self.thirdLink).first)
        scene.play.hears(.ack(ticket: ticket), over: Self.thirdLink)
        #expect(scene.play.replies[number] == .committed(CommitReceipt(key: scene.key, copies: 2)))
        scene.play.step(.linkDown(Dialogue.link))
        let peer = scene.play.peer
        #expect(!scene.replicas.contains { $0.member == peer && $0.progress == .synced })
        #expect(scene.replicas.contains { $0.member == scene.third }, "the only whole copy of the session beside ours is kept")
    }

    @Test func whoStandsAsideAndIsLostIsWaitedForNoLonger() throws {
        var scene = try Scene()
        let number = scene.ask(2, [.set("a", [2])])
        scene.play.pass(.milliseconds(50))
        scene.play.step(.linkDown(Self.thirdLink))
        #expect(scene.replicas.map(\.member) == [scene.play.peer])
        #expect(scene.play.replies[number] == nil)
        for ticket in scene.deltas(over: Dialogue.link) { scene.play.hears(.ack(ticket: ticket)) }
        #expect(scene.play.replies[number] == .committed(CommitReceipt(key: scene.key, copies: 2)))
    }

    @Test func whatASecondNodeHasIsNotTakenBackWhenAnotherTurnsOutToBeOwner() throws {
        var scene = try Scene()
        _ = scene.ask(2, [.set("a", [2])])
        scene.play.pass(.milliseconds(50))
        let ticket = try #require(scene.deltas(over: Self.thirdLink).first)
        scene.play.hears(.ack(ticket: ticket), over: Self.thirdLink)
        let unheld = scene.ask(3, [.set("a", [3])])
        let greater = SlotTenure(slot: scene.key.slot, tenure: Tenure(term: 99, owner: scene.play.peer))
        scene.play.log = []
        scene.play.hears(.superseded([greater]))
        let given = scene.play.log.compactMap { entry -> SessionState? in
            guard case .push(_, let sessions) = entry.message else { return nil }
            return sessions.first { $0.key == scene.key }?.state
        }
        #expect(given.first?.visibleFields.first?.value == .bytes([2]))
        #expect(scene.play.replies[unheld] == nil)
        let isAsked = scene.play.log.contains { if case .forward(_, .commit(scene.key, _)) = $0.message { true } else { false } }
        scene.play.pass(.milliseconds(50))
        let isAskedLater = scene.play.log.contains { if case .forward(_, .commit(scene.key, _)) = $0.message { true } else { false } }
        #expect(isAsked || isAskedLater, "what nobody else had is asked of the new owner")
    }
}
