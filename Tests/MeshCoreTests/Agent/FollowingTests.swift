import Testing

@testable import MeshCore

/// How an owner tells of sessions, and how an agent whose clients follow hears of them.
@Suite struct FollowingTests {
    /// n1 owns all slots, n2 holds their copies and has clients that follow.
    private struct Scene {
        var play: Dialogue

        init(isFollowed: Bool = true) throws {
            play = try Dialogue()
            try play.join()
            guard isFollowed else { return }
            play.hears(.following(.begins))
            let told = takeTold()
            #expect(told.map(\.events) == [[]], "that it is known here is told, though there is nothing else to tell")
            for message in told { play.hears(.ack(ticket: message.ticket)) }
        }

        typealias Told = (ticket: UInt64, isGapped: Bool, events: [SessionEvent])

        mutating func takeTold() -> [Told] {
            defer { play.said.removeAll { if case .events = $0 { true } else { false } } }
            return play.said.compactMap {
                if case .events(let ticket, let isGapped, let events) = $0 { (ticket, isGapped, events) } else { nil }
            }
        }

        mutating func takeDrops() -> [SessionKey] {
            defer { play.said.removeAll { if case .drop = $0 { true } else { false } } }
            return play.said.flatMap { message -> [SessionKey] in
                if case .drop(let drops) = message { drops.map(\.key) } else { [] }
            }
        }

        mutating func made(idle: UInt32? = nil) throws -> SessionKey {
            let id = CommitID(upper: 9, lower: UInt64(play.now.uptime))
            let number = play.ask(.commit(SessionCommit(key: nil, id: id, idleSeconds: idle)))
            #expect(takeTold().isEmpty, "what a kill may take back is not told")
            for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
            guard case .committed(let receipt) = play.replies[number] else { throw Dialogue.Unanswered() }
            return receipt.key
        }
    }

    @Test func whatIsHeldTwiceIsToldOneMessageAtATime() throws {
        var scene = try Scene()
        let first = try scene.made()
        let begun = try #require(scene.takeTold().first)
        #expect(begun.events.map(\.key) == [first] && begun.events.map(\.kind) == [.created] && !begun.isGapped)
        scene.play.pass(.milliseconds(50))
        let second = try scene.made()
        _ = scene.play.ask(.destroy(first, CommitID(upper: 3, lower: 1)))
        for ticket in scene.play.deltas() { scene.play.hears(.ack(ticket: ticket)) }
        #expect(scene.takeTold().isEmpty, "the first is not acknowledged yet")
        scene.play.hears(.ack(ticket: begun.ticket))
        let rest = try #require(scene.takeTold().first)
        #expect(rest.events.map(\.key) == [second, first] && rest.events.map(\.kind) == [.created, .destroyed])
    }

    @Test func aSessionThatExpiredIsKeptUntilItsEndIsKnownAndShownToNobody() throws {
        var scene = try Scene()
        let key = try scene.made(idle: 1)
        for told in scene.takeTold() { scene.play.hears(.ack(ticket: told.ticket)) }
        scene.play.pass(.seconds(30))
        let read = scene.play.ask(.read(key))
        #expect(scene.play.replies[read] == .session(nil))
        // Again and again, since nothing was answered.
        let ended = try #require(scene.takeTold().last)
        #expect(ended.events.map(\.key) == [key] && ended.events.map(\.kind) == [.expired])
        _ = scene.play.ask(.read(key))
        #expect(scene.takeTold().isEmpty && scene.takeDrops().isEmpty)
        #expect(scene.play.core.slots[Int(key.slot.rawValue)].sessions[key] != nil)
        scene.play.hears(.ack(ticket: ended.ticket))
        #expect(scene.takeDrops() == [key])
        #expect(scene.play.core.status.sessions == 0 && scene.play.core.events.expiring.isEmpty)
    }

    @Test func oneThatIsMadeAnewUnderTheKeyOfAnExpiredSessionHasNothingOfIt() throws {
        var scene = try Scene()
        let key = try scene.made(idle: 1)
        scene.play.pass(.seconds(30))
        _ = scene.play.ask(.read(key))
        let id = CommitID(upper: 5, lower: 5)
        let number = scene.play.ask(.commit(SessionCommit(key: key, id: id, changes: [.set("a", [1])], makesSession: true)))
        for ticket in scene.play.deltas() { scene.play.hears(.ack(ticket: ticket)) }
        #expect(scene.play.replies[number] == .committed(CommitReceipt(key: key, copies: 2)))
        for told in scene.takeTold() { scene.play.hears(.ack(ticket: told.ticket)) }
        for told in scene.takeTold() { scene.play.hears(.ack(ticket: told.ticket)) }
        let read = scene.play.ask(.read(key))
        guard case .session(let snapshot?) = scene.play.replies[read] else { return #expect(Bool(false), "it lives") }
        #expect(snapshot.fields.map(\.name) == ["a"])
    }

    @Test func withNobodyWhoFollowsNothingIsKeptToBeTold() throws {
        var scene = try Scene(isFollowed: false)
        let key = try scene.made(idle: 1)
        scene.play.pass(.seconds(30))
        _ = scene.play.ask(.read(key))
        #expect(scene.takeDrops() == [key] && scene.takeTold().isEmpty)
    }

    @Test func whoFollowsNoMoreIsWaitedForNoMore() throws {
        var scene = try Scene()
        let key = try scene.made(idle: 1)
        scene.play.pass(.seconds(30))
        _ = scene.play.ask(.read(key))
        #expect(scene.takeDrops().isEmpty)
        scene.play.hears(.following(.ended))
        #expect(scene.takeDrops() == [key])
        #expect(!scene.play.core.events.areFollowed)
    }

    @Test func whatIsUnderWayOverALostLinkIsToldAgainOverTheNext() throws {
        var scene = try Scene()
        let key = try scene.made()
        #expect(scene.takeTold().count == 1)
        scene.play.step(.linkDown(Dialogue.link))
        scene.play.pass(.seconds(5))
        let link = LinkID(rawValue: 8)
        scene.play.step(.linkUp(link, peer: scene.play.peer, endpoint: scene.play.peerEndpoint))
        let again = try #require(scene.takeTold().first)
        #expect(again.events.map(\.key) == [key] && !again.isGapped)
    }

    @Test func aLinkThatIsDownForLongIsAGap() throws {
        var scene = try Scene()
        scene.play.step(.linkDown(Dialogue.link))
        _ = try? scene.made()
        scene.play.pass(.seconds(17))
        #expect(scene.play.core.events.recipients[scene.play.peer.name]?.queue.isEmpty ?? false)
        scene.play.step(.linkUp(LinkID(rawValue: 8), peer: scene.play.peer, endpoint: scene.play.peerEndpoint))
        let told = try #require(scene.takeTold().first)
        #expect(told.isGapped && told.events.isEmpty)
    }

    @Test func aQueueThatIsFullIsAGap() throws {
        var scene = try Scene()
        let key = try scene.made()
        let first = try #require(scene.takeTold().first)
        for _ in 0..<SessionEvents.queueMax { scene.play.core.tellWhoFollows(.created, of: key) }
        #expect(scene.play.core.events.recipients[scene.play.peer.name]?.queue.count == 1)
        // Of what was under way nobody waits for a word any more.
        scene.play.hears(.ack(ticket: first.ticket))
        scene.play.pass(.milliseconds(50))
        #expect(scene.play.core.events.recipients[scene.play.peer.name]?.isGapped ?? false)
    }

    // MARK: At who follows

    @Test func aClientBeginsToFollowWhenEveryNodeKnows() throws {
        var scene = try Scene(isFollowed: false)
        scene.play.said = []
        let number = scene.play.ask(.follow)
        #expect(scene.play.said == [.following(.begins)])
        #expect(scene.play.replies[number] == nil)
        scene.play.hears(.events(ticket: 4, isGapped: false, []))
        #expect(scene.play.replies[number] == .done)
        #expect(scene.play.said.contains(.ack(ticket: 4)))
        // The second need not wait, and the last who goes says so.
        let second = scene.play.ask(.follow)
        #expect(scene.play.replies[second] == .done)
        scene.play.said = []
        _ = scene.play.ask(.unfollow)
        #expect(scene.play.said == [.following(.ended)])
    }

    @Test func aNodeThatSaysNothingDoesNotKeepAClientFromFollowing() throws {
        var scene = try Scene(isFollowed: false)
        let number = scene.play.ask(.follow)
        scene.play.pass(.seconds(1))
        #expect(scene.play.replies[number] == nil)
        scene.play.pass(.milliseconds(1100))
        #expect(scene.play.replies[number] == .done)
    }

    @Test func whoHasNobodyThatFollowsSaysSoAgain() throws {
        var scene = try Scene(isFollowed: false)
        scene.play.said = []
        scene.play.hears(.events(ticket: 4, isGapped: false, []))
        #expect(scene.play.said == [.following(.ended)])
    }

    @Test func atABalancerNobodyFollows() throws {
        var play = try Dialogue(role: .balancer)
        let number = play.ask(.follow)
        guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(failure.code == .invalid)
    }
}
