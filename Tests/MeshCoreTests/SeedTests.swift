import Testing

@testable import MeshCore

/// Seeds that are looked up while the agent runs.
@Suite struct SeedTests {
    typealias Play = SWIMTests.Play

    private static func seed(_ port: UInt16) -> Endpoint { .loopback(port: port) }

    private static func dialled(_ directives: [SWIM.Directive]) -> [Endpoint] {
        directives.compactMap { if case .syncWith(let endpoint) = $0 { endpoint } else { nil } }
    }

    @Test func aSeedThatTurnsUpLaterIsTriedAtOnceAndFromThenOn() throws {
        var play = try Play()
        #expect(play.step(.seeds([], isComplete: true)) == [])
        let directives = play.step(.seeds([Self.seed(2)], isComplete: true))
        #expect(Self.dialled(directives) == [Self.seed(2)])
        let round = try #require(
            directives.lazy.compactMap { if case .startTimer(.seeds(let round), _) = $0 { round } else { nil } }.first)
        #expect(Self.dialled(play.step(.timer(.seeds(round: round)))) == [Self.seed(2)])
    }

    @Test func whatIsKnownOfASeedThatStaysIsKept() throws {
        var play = try Play(seeds: [Self.seed(2), Self.seed(3)])
        _ = play.step(.syncFailed(Self.seed(2), refused: true))
        #expect(play.step(.seeds([Self.seed(2)], isComplete: true)) == [], "nothing new to try")
        #expect(play.swim.seedsSettled, "it has refused, and the silent one is no seed any more")
        _ = play.step(.seeds([Self.seed(2), Self.seed(4)], isComplete: true))
        #expect(!play.swim.seedsSettled)
    }

    @Test func seedsThatAreYetToBeLookedUpHaveNotSpoken() throws {
        var play = try Play()
        _ = play.step(.seeds([], isComplete: false))
        #expect(!play.swim.seedsSettled)
        _ = play.step(.seeds([], isComplete: true))
        #expect(play.swim.seedsSettled)
    }

    @Test func aSeedIsMissingWhileNobodyWithinReachStandsBehindIt() throws {
        let peer = try SWIMTests.other(1)
        let alias = Self.seed(90)
        var play = try Play(seeds: [Self.seed(1), peer.endpoint, alias])
        #expect(play.swim.seedsMissing == [peer.endpoint, alias], "our own address is no missing seed")
        _ = play.step(.syncOpened(alias, peer: peer.id))
        _ = play.step(.state(SWIMTests.page([.member(peer)], from: peer.id), from: peer.id))
        #expect(play.swim.seedsMissing == [])
        var dead = peer
        dead.status = .dead
        let witness = try SWIMTests.other(2)
        _ = play.step(.state(SWIMTests.page([.member(witness), .member(dead)], from: witness.id), from: witness.id))
        #expect(play.swim.seedsMissing == [peer.endpoint, alias])
    }

    @Test func ofTooManySeedsTheFirstCount() throws {
        var play = try Play()
        let many = (1000..<2000).map { Self.seed($0) }
        #expect(Self.dialled(play.step(.seeds(many + many, isComplete: true))) == Array(many.prefix(SWIM.seedsMax)))
    }

    @Test(arguments: [
        ("[::ffff:10.0.0.1]:7946", "10.0.0.1:7946"), ("[::ffff:a00:1]:7946", "10.0.0.1:7946"), ("[::1]:1", "[0:0:0:0:0:0:0:1]:1"),
        ("[64:ff9b::192.0.2.1]:1", "[64:ff9b:0:0:0:0:c000:201]:1"),
    ])
    func anAddressIsTakenForWhatItIs(text: String, means: String) {
        #expect(Endpoint(text: text)?.description == means)
    }

    @Test(arguments: ["[fe80::1%eth0]:1", "[::ffff:10.0.0.256]:1", "[::1.2.3.4.5]:1", "[1.2.3.4]:1", "[::1.2.3.4:5]:1"])
    func whatIsNoAddressIsNone(text: String) {
        #expect(Endpoint(text: text) == nil)
    }
}
