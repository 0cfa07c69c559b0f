import Testing

@testable import MeshCore

/// Which cookie key signs, and what becomes of cookies of the others.
@Suite struct CookieRotationTests {
    static func key(_ number: UInt16, secret fill: UInt8? = nil) -> CookieKey {
        CookieKey(number: number, secret: [UInt8](repeating: fill ?? UInt8(number), count: 32))
    }

    static func ring(_ numbers: UInt16...) -> [CookieKey] { numbers.map { key($0) } }

    /// A member that accepts these keys.
    static func member(_ name: String, _ numbers: UInt16...) throws -> Member {
        Member(
            id: MemberID(name: try NodeName(name), life: Life(rawValue: 1)), endpoint: .loopback(port: 1),
            cookieKeys: numbers.map { key($0).mark })
    }

    static func rotation(
        from old: [CookieKey], to new: [CookieKey], force: Bool = false, among others: [Member]
    ) throws -> CookieRotation {
        var rotation = try #require(CookieRotation(old))
        try rotation.load(new, force: force)
        _ = rotation.consider(others)
        return rotation
    }

    @Test func aNewKeySignsWhenAllAcceptIt() throws {
        var rotation = try Self.rotation(
            from: Self.ring(1), to: Self.ring(1, 2), among: [Self.member("n2", 1, 2), Self.member("n3", 1)])
        #expect(rotation.signing == Self.key(1) && rotation.marks == [Self.key(2).mark, Self.key(1).mark])
        let unchanged = rotation.consider([try Self.member("n2", 1, 2), try Self.member("n3", 1)])
        #expect(!unchanged)
        let changed = rotation.consider([try Self.member("n2", 1, 2), try Self.member("n3", 2, 1)])
        #expect(changed && rotation.signing == Self.key(2) && rotation.marks == [Self.key(1).mark, Self.key(2).mark])
    }

    @Test func aMemberThatComesWithoutTheKeyCanReadEveryNewCookie() throws {
        var rotation = try #require(CookieRotation(Self.ring(1, 2, 3)))
        #expect(rotation.signing == Self.key(3))
        _ = rotation.consider([try Self.member("n2", 1, 2, 3), try Self.member("late", 1, 2)])
        #expect(rotation.signing == Self.key(2))
        _ = rotation.consider([try Self.member("n2", 1, 2, 3), try Self.member("late", 1, 2, 3)])
        #expect(rotation.signing == Self.key(3))
    }

    @Test func aKeyTakenOutIsRefusedAtOnceThoughItSigned() throws {
        let rotation = try Self.rotation(from: Self.ring(1), to: Self.ring(2, 3), among: [Self.member("n2", 1)])
        #expect(rotation.signing == Self.key(3) && rotation.file == Self.ring(2, 3))
        let codec = try #require(CookieCodec(ring: rotation.file, signing: rotation.signing))
        let former = try #require(CookieCodec(ring: Self.ring(1)))
        let id = try #require(SessionKeyTests.id)
        #expect(codec.verdict(of: Array(former.value(for: id).utf8)) == .refused(.unknownKey))
    }

    @Test func forcedTheLastKeySignsAtOnce() throws {
        let rotation = try Self.rotation(from: Self.ring(1), to: Self.ring(1, 2), force: true, among: [Self.member("n2", 1)])
        #expect(rotation.signing == Self.key(2))
    }

    @Test func aNumberThatNamesAnotherSecretAtAnotherMemberIsNotTheSameKey() throws {
        var stranger = try Self.member("n2", 1)
        stranger.cookieKeys.append(Self.key(2, secret: 99).mark)
        #expect(try Self.rotation(from: Self.ring(1), to: Self.ring(1, 2), among: [stranger]).signing == Self.key(1))
        let gossip = try #require(GossipKey(number: 2, secret: Self.key(2).secret))
        #expect(gossip.mark != Self.key(2).mark, "one secret in both rings does not show")
    }

    @Test func aNumberIsNeverGivenToAnotherSecret() throws {
        var rotation = try #require(CookieRotation(Self.ring(1, 2)))
        let other = [Self.key(1), Self.key(2, secret: 99)]
        for force in [false, true] {
            #expect(throws: KeyRotation.Problem.cookieNumberReused(2)) { try rotation.load(other, force: force) }
        }
        #expect(rotation == CookieRotation(Self.ring(1, 2)))
    }

    @Test func onlyCookiesOfKeysBeforeTheOneThatSignsAreSignedAnew() throws {
        let id = try #require(SessionKeyTests.id)
        let codec = try #require(CookieCodec(ring: Self.ring(5, 2, 9), signing: Self.key(2)))
        let renewal = try #require(codec.renewal(of: id, signedBy: 5))
        #expect(codec.verdict(of: Array(renewal.utf8)) == .signed(id, by: 2))
        // A member that is back without key 9 must not make cookies of it go back and forth.
        for number: UInt16 in [2, 9, 7] { #expect(codec.renewal(of: id, signedBy: number) == nil) }
    }

    // MARK: At an agent

    private static let oldID = CommitID(upper: 4, lower: 4)

    /// A session made under key 1, and the key file that also has key 2.
    private static func rotated(_ play: inout Dialogue) throws -> (cookie: [UInt8], keys: KeyFile) {
        let number = play.ask(.commit(SessionCommit(key: nil, id: oldID)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        guard case .committed(let receipt) = play.replies[number], let cookie = receipt.cookie else { throw Dialogue.Unanswered() }
        var generator = SeededGenerator(seed: 1)
        var keys = KeyFile.generate(using: &generator)
        keys.cookie.append(key(2))
        return (Array(cookie.utf8), keys)
    }

    private static func renewal(of cookie: [UInt8], _ play: inout Dialogue) -> String? {
        let number = play.ask(.open(cookie: cookie))
        guard case .opened(_, let renewal) = play.replies[number] else { return nil }
        return renewal
    }

    @Test func aVisitorIsGivenACookieOfTheNewKeyAndItsSessionGoesOn() throws {
        var play = try Dialogue()
        let (cookie, file) = try Self.rotated(&play)
        var keys = file
        #expect(Self.renewal(of: cookie, &play) == nil)
        play.step(.reloadKeys(keys, force: false))
        var reply: [UInt8] = []
        #expect(play.core.answerAtOnce(.open(cookie: cookie), at: play.now, to: &reply))
        let renewed = try #require(Self.renewal(of: cookie, &play))
        let value = try #require(try RESPTests.parse(reply).first)
        guard case .opened(let snapshot, cookie: renewed) = try ClientProtocol.decode(value, to: .open) else { return #expect(Bool(false)) }
        #expect(play.core.status.counters.cookiesRenewed == 2)

        keys.cookie.removeFirst()
        play.step(.reloadKeys(keys, force: false))
        let late = play.ask(.open(cookie: cookie))
        #expect(play.replies[late] == .absent(.unknownKey))
        let came = play.ask(.open(cookie: Array(renewed.utf8)))
        #expect(play.replies[came] == .opened(snapshot, cookie: nil))
    }

    @Test func nobodySignsWithAKeyThatAMemberLacks() throws {
        var play = try Dialogue()
        try play.join()
        let (cookie, keys) = try Self.rotated(&play)
        play.step(.reloadKeys(keys, force: false))
        #expect(play.core.swim.local.cookieKeys.map(\.number) == [2, 1], "both are accepted, and others are told")
        #expect(Self.renewal(of: cookie, &play) == nil)
        #expect(
            play.core.keyReport.summary.hasSuffix("cookie key 2 is accepted by 1 of 2 members; key 1 signs until all do (missing at n2)"))

        let known = keys.cookie.map(\.mark)
        let peer = Member(
            id: play.peer, incarnation: 1, stage: .serving, endpoint: play.peerEndpoint, cookieKeys: known)
        play.hears(of: peer, from: play.peer)
        #expect(Self.renewal(of: cookie, &play) != nil)
        #expect(play.core.swim.local.cookieKeys.map(\.number) == [1, 2])
        #expect(play.core.keyReport.summary.hasSuffix("; cookie key 2 signs"))
    }

    @Test func aFileThatGivesACookieKeysNumberToAnotherSecretChangesNothingOfEitherRing() throws {
        var play = try Dialogue()
        let (cookie, file) = try Self.rotated(&play)
        var keys = file
        keys.cookie[0] = Self.key(1, secret: 99)
        let gossip = try #require(GossipKey(number: 2, secret: [UInt8](repeating: 7, count: 32)))
        keys.gossip = try #require(GossipKeyRing(keys.gossip.keys + [gossip]))
        let directives = play.core.step(.reloadKeys(keys, force: true), at: play.now)
        #expect(directives.contains(.keysReloaded(.refused(.cookieNumberReused(1)))))
        #expect(play.core.membership.ring.keys.count == 1)
        let opened = play.ask(.open(cookie: cookie))
        guard case .opened(_, cookie: nil) = play.replies[opened] else { return #expect(Bool(false)) }
    }
}
