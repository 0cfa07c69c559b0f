import Testing

@testable import MeshCore

/// How a sender proves that it speaks now.
@Suite struct ChallengeTests {
    /// The whole of a first contact.
    static let acquaintance = [
        "ann to bob: ping",
        "bob to ann: question",
        "ann to bob: question answer ping",
        "bob hears ping",
        "bob to ann: answer ack",
        "ann hears ack",
    ]

    @Test func aFirstContactTakesOneMoreRoundTripAndALaterOneNone() throws {
        var play = try SealPlay()
        try play.say("ann", "ping", to: "bob")
        try play.say("bob", "ping", to: "ann")
        #expect(play.transcript == Self.acquaintance + ["bob to ann: ping", "ann hears ping", "ann to bob: ack", "bob hears ack"])
        #expect(play.recording.map(\.packet.count) == [67, 51, 99, 83, 67, 67])
    }

    @Test func twoWhoSpeakAtOnceBothComeThrough() throws {
        var play = try SealPlay()
        try play.whisper("ann", "ping", to: "bob")
        try play.whisper("bob", "ping", to: "ann")
        try play.run()
        #expect(
            play.transcript == [
                "ann to bob: ping", "bob to ann: ping",
                "bob to ann: question", "ann to bob: question",
                "ann to bob: question answer ping", "bob hears ping",
                "bob to ann: question answer ping", "ann hears ping",
                "bob to ann: answer ack", "ann hears ack",
                "ann to bob: answer ack", "bob hears ack",
            ])
    }

    @Test func whatNeedsNoReplyIsAnsweredAllTheSame() throws {
        var play = try SealPlay()
        try play.say("ann", "news", to: "bob")
        try play.say("ann", "more", to: "bob")
        #expect(
            play.transcript == [
                "ann to bob: news", "bob to ann: question", "ann to bob: question answer news", "bob hears news", "bob to ann: answer",
                "ann to bob: more", "bob hears more",
            ])
    }

    @Test(arguments: acquaintance.filter { $0.contains("to") })
    func whicheverPacketIsLostTheNextWordMakesUpForIt(line: String) throws {
        var play = try SealPlay()
        play.losing = [line]
        try play.say("ann", "ping", to: "bob")
        try play.say("ann", "ping", to: "bob")
        #expect(play.losing.isEmpty)
        #expect(play.transcript.contains("bob hears ping"))
        #expect(play.transcript.suffix(2) == ["bob to ann: answer ack", "ann hears ack"] || play.transcript.last == "ann hears ack")
        try play.say("bob", "hello", to: "ann")
        #expect(play.transcript.last == "ann hears hello")
    }

    @Test func severalWordsSaidAtOnceAreAllRepeated() throws {
        var play = try SealPlay()
        for word in ["one", "two", "three"] { try play.whisper("ann", word, to: "bob") }
        try play.run()
        #expect(play.transcript.filter { $0.contains("hears") } == ["bob hears one", "bob hears two", "bob hears three"])
    }

    @Test func whatWasRecordedBeforeAReceiverRestartedIsRefused() throws {
        var play = try SealPlay()
        try play.say("ann", "ping", to: "bob")
        try play.say("ann", "bob is dead", to: "bob")
        let recording = play.recording.filter { $0.to == "bob" }
        let ann = try #require(play.addresses["ann"])

        play.now = play.now.advanced(by: .seconds(5))
        try play.start("bob")
        var before = play.transcript.count
        for old in recording { try play.play(old.packet, from: ann, to: "bob") }
        // Ann is asked, and has long forgotten what she said; she owes an answer, which is fresh, to a process that she doesn't know.
        #expect(!play.transcript[before...].contains { $0.hasPrefix("bob hears") })
        #expect(play.refusals(of: "bob").keys.allSatisfy { [.unproven, .staleAnswer].contains($0) })

        before = play.transcript.count
        try play.say("ann", "ping", to: "bob")
        #expect(play.transcript[before...].contains("bob hears ping"))
        // Now that she is known, what she said before is old by its counter alone.
        before = play.transcript.count
        for old in recording { try play.play(old.packet, from: ann, to: "bob") }
        #expect(play.transcript[before...] == ["bob refuses: replayed", "bob refuses: replayed", "bob refuses: replayed"])
    }

    @Test func theDeadCanNotBeMadeToSpeak() throws {
        var play = try SealPlay()
        try play.say("ann", "ping", to: "bob")
        let recording = play.recording.filter { $0.from == "ann" }
        try play.start("ann")
        try play.start("bob")
        let before = play.transcript.count
        // Ann's former run is over. The new one at her address is asked, has nothing held under that number, and is silent.
        for old in recording { try play.play(old.packet, from: try #require(play.addresses["ann"]), to: "bob") }
        #expect(!play.transcript[before...].contains { $0.contains("hears") || $0.contains("answer") })
    }

    @Test func anAnswerIsGoodForOneProcessOneSenderOneAddressAndOneMoment() throws {
        let secret = PacketSealer.derive(from: try #require(SealPlay.ring).sealing, sid: 1, label: [], use: "challenge")
        let challenge = Challenge(secret: secret)
        let other = Challenge(secret: PacketSealer.derive(from: try #require(SealPlay.ring).sealing, sid: 2, label: [], use: "challenge"))
        let (here, elsewhere) = (Endpoint.loopback(port: 1), Endpoint.loopback(port: 2))
        let start = Moment(uptime: 0, wall: 0)
        let answer = challenge.question(to: 5, about: 9, at: here, now: start)[...]
        func good(
            _ answer: ArraySlice<UInt8>, by challenge: Challenge = challenge, sid: UInt64 = 5, at source: Endpoint = here, after: Int64 = 0
        )
            -> Bool
        {
            challenge.recognises(answer, from: sid, at: source, now: start.advanced(by: .seconds(after)))
        }
        #expect(good(answer))
        #expect(good(answer, after: 19))
        #expect(!good(answer, after: 20))
        #expect(!good(answer, sid: 6))
        #expect(!good(answer, at: elsewhere))
        #expect(!good(answer, by: other))
        for bit in 0..<answer.count * 8 {
            var flipped = Array(answer)
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!good(flipped[...]))
        }
    }

    @Test func aRecordedAnswerIsRefusedAndItsSenderAskedAgain() throws {
        var play = try SealPlay()
        try play.say("ann", "ping", to: "bob")
        let answer = try #require(play.recording.first { $0.packet[0] & 0x40 != 0 })
        let ann = try #require(play.addresses["ann"])
        try play.start("bob")
        try play.play(answer.packet, from: ann, to: "bob")
        #expect(play.refusals(of: "bob") == [.staleAnswer: 1])
        #expect(!play.transcript.suffix(2).contains("bob hears ping"))
    }

    @Test func whoMovesIsAskedAgainUntilItIsKnownAndNotAfter() throws {
        var play = try SealPlay()
        play.losing = ["bob to ann: question"]
        try play.say("ann", "ping", to: "bob")
        // She has another address by the time of her next word.
        play.addresses["ann"] = .loopback(port: 77)
        try play.say("ann", "ping", to: "bob")
        #expect(play.transcript.last == "ann hears ack")
        play.addresses["ann"] = .loopback(port: 78)
        let before = play.transcript.count
        try play.say("ann", "ping", to: "bob")
        #expect(play.transcript[before...] == ["ann to bob: ping", "bob hears ping", "bob to ann: ack", "ann hears ack"])
    }

    @Test func aHostThatSpeaksFromAnotherAddressThanItIsSpokenToIsUnderstood() throws {
        // Bob is dialled at 50, but his own packets leave from 2.
        let (bobDialled, bobSpeaks, ann) = (Endpoint.loopback(port: 50), Endpoint.loopback(port: 2), Endpoint.loopback(port: 1))
        let now = Moment(uptime: 0, wall: 0)
        var (a, b) = (try PacketSealerTests.sealer(sid: 1), try PacketSealerTests.sealer(sid: 2))
        let words = [UInt8](repeating: 1, count: 40)
        let ping = try present(a.seal(words, to: bobDialled, at: now))
        let question = try present(try b.open(ping, from: ann, at: now).reply)
        let answer = try present(try a.open(question.packet, from: bobSpeaks, at: now).reply)
        #expect(answer.endpoint == bobDialled)
        #expect(try b.open(answer.packet, from: ann, at: now).payload == words)
        let ack = try present(b.seal([2], to: ann, at: now))
        #expect(try a.open(ack, from: bobSpeaks, at: now).payload == [2])
    }

    // MARK: Bounds

    @Test func anAddressIsAskedTenTimesASecond() throws {
        var bob = try PacketSealerTests.sealer(sid: 2)
        var ann = try PacketSealerTests.sealer(sid: 1)
        let packet = try present(
            ann.seal([1, 2, 3, 4] + [UInt8](repeating: 0, count: 40), to: .loopback(port: 2), at: Moment(uptime: 0, wall: 0)))
        var asked = 0
        for millisecond in 0..<3000 {
            let now = Moment(uptime: Int64(millisecond) * 1_000_000, wall: 0)
            guard let opened = try? bob.open(packet, from: .loopback(port: 1), at: now) else { continue }
            #expect(opened.payload == nil)
            let reply = try #require(opened.reply)
            #expect(reply.packet.count < packet.count)
            asked += 1
        }
        #expect(asked == 30)
        #expect(bob.refusals == [.unproven: 30, .unasked: 2970])
    }

    @Test func noMoreAddressesAreAskedThanThereArePlaces() throws {
        var bob = try PacketSealerTests.sealer(sid: 2)
        var ann = try PacketSealerTests.sealer(sid: 1)
        let packet = try present(ann.seal([UInt8](repeating: 0, count: 40), to: .loopback(port: 2), at: Moment(uptime: 0, wall: 0)))
        func asked(at now: Moment) -> Int {
            (1...2000).count { (try? bob.open(packet, from: .loopback(port: UInt16($0)), at: now))?.reply != nil }
        }
        #expect(asked(at: Moment(uptime: 0, wall: 0)) == Challenge.sourcesMax)
        #expect(asked(at: Moment(uptime: 1_000_000_000, wall: 0)) == Challenge.sourcesMax)
    }

    @Test func whatIsNotLongerThanAQuestionIsNotAsked() throws {
        var bob = try PacketSealerTests.sealer(sid: 2)
        var ann = try PacketSealerTests.sealer(sid: 1)
        let now = Moment(uptime: 0, wall: 0)
        for length in 0...16 {
            let packet = try present(ann.seal([UInt8](repeating: 0, count: length), to: .loopback(port: 2), at: now))
            #expect(throws: PacketSealer.Refusal.unasked) { try bob.open(packet, from: .loopback(port: 1), at: now) }
        }
    }

    @Test func aQuestionPlayedTwiceRepeatsNothingTwice() throws {
        var play = try SealPlay()
        play.losing = ["ann to bob: question answer ping"]
        try play.say("ann", "ping", to: "bob")
        let question = try #require(play.recording.first { $0.from == "bob" })
        let before = play.transcript.count
        try play.play(question.packet, from: try #require(play.addresses["bob"]), to: "ann")
        #expect(play.transcript[before...] == ["ann refuses: unasked"])
    }

    @Test func aWordTooOldToMatterIsNotRepeated() throws {
        var play = try SealPlay()
        play.losing = ["bob to ann: question"]
        try play.say("ann", "ping", to: "bob")
        let question = try #require(play.recording.last)
        play.now = play.now.advanced(by: .seconds(3))
        try play.play(question.packet, from: try #require(play.addresses["bob"]), to: "ann")
        #expect(play.transcript.last == "ann refuses: unasked")
    }

    @Test func aFlagWithoutItsTokenIsRefused() throws {
        let ring = try #require(SealPlay.ring)
        let key = PacketSealer.derive(from: ring.sealing, sid: 1, label: Array("play".utf8))
        var bob = PacketSealer(ring: ring, label: "play", sid: 2)
        for flags: UInt8 in [0x40, 0x80, 0xC0] {
            for length in [0, 15, flags == 0xC0 ? 31 : 15] {
                let header: [UInt8] = [flags | 1, 0, 1] + [0, 0, 0, 0, 0, 0, 0, 1] + [0, 0, 0, 0, 0, 0, 0, 9]
                var packet = ByteWriter()
                packet.write(raw: header)
                let associated = header + Array("play".utf8)
                #expect(AEAD.seal([UInt8](repeating: 0, count: length), key: key, counter: 9, associated: associated, to: &packet))
                #expect(throws: PacketSealer.Refusal.badLength) {
                    try bob.open(packet.bytes, from: .loopback(port: 1), at: Moment(uptime: 0, wall: 0))
                }
            }
        }
    }

    // MARK: With membership

    @Test func twoMembersMeetByPacketsAlone() throws {
        func gossip(_ name: String, port: UInt16, seeds: [Endpoint]) throws -> Gossip {
            let id = MemberID(name: try NodeName(name), life: Life(rawValue: 1))
            return try Gossip(
                local: Member(id: id, stage: .serving, endpoint: .loopback(port: port)), seeds: seeds, seed: UInt64(port),
                ring: try #require(SealPlay.ring), label: "play", sid: UInt64(port))
        }
        var members = [try gossip("ann", port: 1, seeds: []), try gossip("bob", port: 2, seeds: [])]
        let now = Moment(uptime: 0, wall: 0)
        for index in members.indices { _ = members[index].step(.membership(.start), at: now) }
        // Ann learns of bob over a peer link, and greets him.
        let page = members[1].swim.statePages(asking: false)[0]
        var wire = members[0].step(.membership(.state(page, from: members[1].swim.local.id)), at: now).map { (0, $0) }
        wire += members[0].step(.membership(.setStage(.draining)), at: now).map { (0, $0) }
        var packets = 0
        while !wire.isEmpty, packets < 20 {
            let (from, directive) = wire.removeFirst()
            guard case .packet(let packet, let endpoint) = directive else { continue }
            packets += 1
            let to = Int(endpoint.port) - 1
            wire += members[to].step(.packet(packet, from: .loopback(port: UInt16(from + 1))), at: now).map { (to, $0) }
        }
        #expect(members[1].swim.member(named: try NodeName("ann"))?.status == .alive)
        #expect(members[1].packetsDropped.keys.sorted() == ["unproven"])
        #expect(packets < 20)
    }
}
