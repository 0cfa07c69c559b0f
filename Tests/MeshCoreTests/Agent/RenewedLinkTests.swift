import Testing

@testable import MeshCore

/// A process that goes on in a new life keeps its links: both ends set them apart until each knows the other.
@Suite struct RenewedLinkTests {
    private func later(_ member: MemberID) -> MemberID {
        MemberID(name: member.name, life: Life(rawValue: member.life.rawValue + 1))
    }

    private func isAdopted(_ play: Dialogue) -> Bool { play.core.hasLink(to: play.peer.name) }

    @Test func whoIsBelievedDeadKeepsItsLinksAndUsesThemOnceItsNewLifeIsKnown() throws {
        var play = try Dialogue()
        try play.join()
        let former = play.core.id
        play.hears(of: Member(id: former, status: .dead, stage: .serving, endpoint: Dialogue.endpoint), from: play.peer)
        let life = play.core.id.life
        #expect(life > former.life)
        #expect(play.said.first == .renewed(life))
        #expect(play.closed.isEmpty)

        play.said = []
        play.hears(.claim(Slot.all))
        play.hears(.welcomed(former.life))
        play.pass(.milliseconds(500))
        #expect(!isAdopted(play))
        #expect(!play.said.contains { if case .claimAnswer = $0 { true } else { false } }, "that was asked of the former life")
        play.hears(.welcomed(life))
        #expect(isAdopted(play))
        #expect(play.said.contains { if case .inquire = $0 { true } else { false } })
    }

    @Test func whoIsWelcomedByNobodyIsDialledAnew() throws {
        var play = try Dialogue()
        try play.join()
        play.hears(of: Member(id: play.core.id, status: .dead, stage: .serving, endpoint: Dialogue.endpoint), from: play.peer)
        play.pass(.milliseconds(900))
        #expect(play.dialled == [])
        play.pass(.milliseconds(300))
        #expect(play.dialled == [play.peerEndpoint])
        play.pass(.seconds(5))
        #expect(play.closed == [Dialogue.link])
    }

    /// It may have been introduced in the former life: then what is said on it means nothing to the peer.
    @Test func aLinkThatComesUpSoonAfterANewLifeIsRenewedBeforeItIsUsed() throws {
        var play = try Dialogue()
        try play.join()
        play.hears(of: Member(id: play.core.id, status: .dead, stage: .serving, endpoint: Dialogue.endpoint), from: play.peer)
        let life = play.core.id.life
        let late = LinkID(rawValue: 7)
        play.log = []
        play.step(.linkUp(late, peer: play.peer, endpoint: play.peerEndpoint))
        #expect(play.log.filter { $0.link == late }.map(\.message) == [.renewed(life)])
        #expect(!isAdopted(play))
        play.hears(.welcomed(life), over: late)
        #expect(isAdopted(play))
        play.pass(.seconds(10))
        play.log = []
        play.step(.linkUp(LinkID(rawValue: 8), peer: play.peer, endpoint: play.peerEndpoint))
        #expect(!play.log.contains { $0.message == .renewed(life) })
    }

    @Test func aPeerThatGoesOnInANewLifeIsWelcomed() throws {
        var play = try Dialogue()
        try play.join()
        let life = later(play.peer).life
        play.hears(.renewed(life))
        #expect(play.said.first == .welcomed(life))
        #expect(isAdopted(play))
        #expect(play.closed.isEmpty)
    }

    @Test func whenTheViewKnowsOfANewLifeFirstTheLinkWaitsForItsWord() throws {
        var play = try Dialogue()
        try play.join()
        let peer = later(play.peer)
        play.hears(of: Member(id: peer, stage: .serving, endpoint: play.peerEndpoint), from: play.peer)
        #expect(!isAdopted(play))
        #expect(play.closed.isEmpty)
        play.said = []
        play.hears(.claim(Slot.all))
        #expect(play.said.isEmpty, "that was said in the former life")
        play.hears(.renewed(peer.life))
        #expect(play.said.first == .welcomed(peer.life))
        #expect(isAdopted(play))
    }

    @Test func whoIsNotTheMemberYetIsWelcomedWhenItIs() throws {
        var play = try Dialogue()
        try play.join()
        let (link, endpoint) = (LinkID(rawValue: 2), Dialogue.thirdEndpoint)
        let other = later(play.peer)
        play.step(.linkUp(link, peer: other, endpoint: endpoint))
        let renewed = later(other)
        play.said = []
        play.hears(.renewed(renewed.life), over: link)
        play.hears(.claim(Slot.all), over: link)
        #expect(play.said.isEmpty)
        let claimant = Member(id: renewed, stage: .serving, endpoint: endpoint)
        play.hears(of: claimant, from: renewed, over: link)
        #expect(play.said.isEmpty, "its name is another's, who may live")
        play.hears(of: Member(id: play.peer, status: .left, stage: .serving, endpoint: play.peerEndpoint), from: play.peer)
        play.said = []
        play.hears(of: claimant, from: renewed, over: link)
        let welcome = try #require(play.said.firstIndex(of: .welcomed(renewed.life)))
        let answer = try #require(play.said.firstIndex { if case .claimAnswer = $0 { true } else { false } })
        #expect(welcome < answer)
    }

    /// What was said on it meanwhile was not listened to.
    @Test func whatWasUnderWayOnALinkThatIsRenewedIsBegunAgainOnTheNext() throws {
        var play = try Dialogue()
        play.meets(play.peer, over: Dialogue.link, at: play.peerEndpoint)
        let next = LinkID(rawValue: 7)
        play.step(.linkUp(next, peer: play.peer, endpoint: play.peerEndpoint))
        func synced(over link: LinkID) -> Set<Slot> {
            var slots: Set<Slot> = []
            for entry in play.log where entry.link == link {
                if case .sync(_, let chunks) = entry.message { slots.formUnion(chunks.map(\.slot.slot)) }
            }
            return slots
        }
        let underWay = synced(over: Dialogue.link)
        #expect(!underWay.isEmpty && synced(over: next).isEmpty)
        play.hears(.renewed(play.peer.life))
        #expect(synced(over: next) == underWay)
        #expect(play.log.contains { $0.link == Dialogue.link && $0.message == .welcomed(play.peer.life) })
    }

    /// It may have welcomed us on that link and answered over it.
    @Test func whatWasUnderWayIsBegunAgainWhenThePeerGoesOnWithAnotherThanTheLinkThatEndedApart() throws {
        var play = try Dialogue()
        try play.join()
        play.hears(of: Member(id: play.core.id, status: .dead, stage: .serving, endpoint: Dialogue.endpoint), from: play.peer)
        play.step(.linkDown(Dialogue.link))
        let next = LinkID(rawValue: 7)
        play.step(.linkUp(next, peer: play.peer, endpoint: play.peerEndpoint))
        play.hears(.welcomed(play.core.id.life), over: next)
        play.pass(.milliseconds(100))
        func syncs() -> Int { play.log.count { if case .sync = $0.message { $0.link == next } else { false } } }
        let before = syncs()
        #expect(before > 0)
        play.hears(.clock(play.now.wall), over: next)
        #expect(syncs() > before)
        let after = syncs()
        play.hears(.clock(play.now.wall), over: next)
        #expect(syncs() == after)
    }

    @Test func nobodyGoesBackToAFormerLife() throws {
        var play = try Dialogue()
        try play.join()
        play.hears(.renewed(Life(rawValue: play.peer.life.rawValue - 1)))
        #expect(play.closed == [Dialogue.link])
    }

    @Test func whatIsPublishedIsHeardByWhoeverIsBetweenLives() throws {
        var play = try Dialogue()
        try play.join()
        let channel = try #require((0...).lazy.map { "c\($0)" }.first { play.core.slots[Int(Slot(channel: $0).rawValue)].isOwner })
        play.hears(of: Member(id: later(play.peer), stage: .serving, endpoint: play.peerEndpoint), from: play.peer)
        play.said = []
        _ = play.ask(.publish(channel: channel, payload: [1]))
        #expect(play.said.contains { if case .message(let message) = $0 { message.payload == [1] } else { false } })
    }
}
