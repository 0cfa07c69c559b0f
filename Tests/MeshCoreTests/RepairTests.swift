import Testing

@testable import MeshCore

/// Members whose views differ, and what it takes to make them one.
@Suite struct RepairTests {
    /// Members that know each other, a clock that stands still unless told, and a way between them that loses what it is told to.
    struct Room {
        var members: [SWIM]
        var now = Moment(uptime: 5_000_000_000, wall: 1_700_000_000_000)
        var loses: (GossipMessage) -> Bool = { _ in false }
        /// What was said to mend a difference, in order, whether it arrived or not.
        private(set) var said: [(from: String, message: GossipMessage)] = []
        /// Who asked for an exchange over a peer link.
        private(set) var linked: [String] = []

        init(_ names: [String]) throws {
            members = try names.enumerated().map { number, name in
                let id = MemberID(name: try NodeName(name), life: Life(rawValue: 10))
                return try SWIM(
                    local: Member(id: id, stage: .serving, endpoint: .loopback(port: UInt16(100 + number))), seeds: [], seed: UInt64(number)
                )
            }
            for index in members.indices {
                _ = members[index].step(.start, at: now)
                for other in members where other.local.id != members[index].local.id { teach(index, .member(other.local)) }
            }
        }

        subscript(_ name: String) -> SWIM {
            get { members.first { $0.local.name.description == name } ?? members[0] }
            set { if let index = members.firstIndex(where: { $0.local.name.description == name }) { members[index] = newValue } }
        }

        /// The one learns of it, and tells nobody.
        mutating func teach(_ index: Int, _ facts: Fact...) {
            let teller =
                facts.compactMap { if case .member(let member, _) = $0 { member.id } else { nil } }.first ?? members[index].local.id
            let other = members.first { $0.local.id != members[index].local.id }?.local.id ?? teller
            let sender = teller == members[index].local.id ? other : teller
            let page = GossipMessage(sender: sender, digest: 0, kind: .state(isLast: true, asking: false), facts: facts)
            _ = members[index].step(.state(page, from: sender), at: now)
            members[index].rumours.removeAll()
        }

        mutating func pass(_ time: Duration) {
            now = now.advanced(by: time)
            // Nobody stood still meanwhile.
            for index in members.indices { members[index].probeDue = now.uptime }
        }

        /// A ping and what comes of it.
        mutating func ping(_ from: Int, _ to: Int) {
            let (sender, target) = (members[from].local.id, members[to].local)
            let message = GossipMessage(sender: sender, digest: members[from].digest, kind: .ping(number: 0, target: target.id))
            perform([(from, .send(message, to: target.endpoint))])
        }

        /// Long enough apart to be a lasting difference.
        mutating func pingTwice(_ from: Int, _ to: Int) {
            ping(from, to)
            pass(.milliseconds(250))
            ping(from, to)
        }

        mutating func hear(_ message: GossipMessage, at index: Int, from endpoint: Endpoint) -> [SWIM.Directive] {
            members[index].step(.message(message, from: endpoint), at: now)
        }

        mutating func perform(_ directives: [(Int, SWIM.Directive)]) {
            var waiting = directives
            while !waiting.isEmpty {
                let (from, directive) = waiting.removeFirst()
                switch directive {
                case .send(let message, let endpoint):
                    if message.isRepair { said.append((members[from].local.name.description, message)) }
                    guard !loses(message), let to = members.firstIndex(where: { $0.local.endpoint == endpoint }) else { continue }
                    guard let read = try? GossipMessage(decoding: message.encoded) else { return }
                    waiting += members[to].step(.message(read, from: members[from].local.endpoint), at: now).map { (to, $0) }
                case .syncWith: linked.append(members[from].local.name.description)
                default: break
                }
            }
        }

        /// As "bob: digests", "ann: delta, asking".
        var transcript: [String] { said.map { "\($0.from): \($0.message.word)" } }
        var agree: Bool { Set(members.map(\.digest)).count == 1 }
    }

    private static let repaired = ["bob: digests", "ann: delta, asking"]

    private static func later(_ member: Member, incarnation: UInt32 = 1) -> Member {
        var later = member
        later.incarnation = incarnation
        later.tags = ["zone": "b"]
        return later
    }

    private static func instances(_ count: UInt32, of node: MemberID) -> [Fact] {
        (1...count).map {
            .instance(Instance(node: node, number: $0, service: "web", address: "127.0.0.1:\(10_000 + $0)"), version: $0)
        }
    }

    // MARK: By packets

    @Test func aLostFactIsRepairedByPacketsAlone() throws {
        var room = try Room(["ann", "bob", "cid"])
        try #require(room.agree)
        let news = Self.later(room["cid"].local)
        room.teach(0, .member(news))
        #expect(room["ann"].digest != room["bob"].digest)
        room.pingTwice(0, 1)
        #expect(room.transcript == Self.repaired)
        #expect(room["bob"].member(named: news.name) == news)
        #expect(room["ann"].digest == room["bob"].digest)
        #expect(room.linked == [])
        #expect(room["bob"].counters.repairsByPackets == 1 && room["bob"].counters.repairsByLink == 0)
        print("a lost fact among three: \(room.said.map(\.message.encoded.count)) bytes")
    }

    @Test func eachTellsTheOtherWhatItLacks() throws {
        var room = try Room(["ann", "bob", "cid", "dot"])
        let (cid, dot) = (room["cid"].local, room["dot"].local)
        room.teach(0, .member(Self.later(cid)))
        room.teach(1, .member(Self.later(dot)))
        room.teach(1, .claim(cid.id, incarnation: 0, .suspect, accuser: dot.name))
        room.pingTwice(0, 1)
        #expect(room.transcript == Self.repaired + ["bob: delta"])
        #expect(room["ann"].digest == room["bob"].digest)
        #expect(room["ann"].member(named: dot.name)?.incarnation == 1 && room["bob"].member(named: cid.name)?.incarnation == 1)
        #expect(room.linked == [])
    }

    @Test func aDeathAndInstancesComeWhole() throws {
        var room = try Room(["ann", "bob", "cid", "dot"])
        let (cid, dot) = (room["cid"].local.id, room["dot"].local.id)
        for fact in Self.instances(40, of: cid) { room.teach(0, fact) }
        room.teach(0, .instanceRemoved(node: cid, number: 7, version: 41))
        for fact in Self.instances(8, of: cid) { room.teach(1, fact) }
        room.teach(0, .claim(dot, incarnation: 0, .dead, accuser: room["ann"].local.name))
        room.pingTwice(0, 1)
        #expect(room["ann"].digest == room["bob"].digest)
        #expect(room["bob"].view.instances == room["ann"].view.instances && room["bob"].view.instances.count == 39)
        #expect(room["bob"].member(named: dot.name)?.status == .dead)
        #expect(room.said.count <= 1 + 2 * SWIM.deltasMax && room.linked == [])
        for (_, message) in room.said { #expect(message.encoded.count <= PacketSealer.payloadBytesMax) }
    }

    @Test func aDifferenceInAThousandMembersTakesAFewPackets() throws {
        var room = try Room(["ann", "bob"])
        for number in 1...1000 {
            let id = MemberID(name: try NodeName("n\(number)"), life: Life(rawValue: 10))
            let member = Member(id: id, stage: .serving, endpoint: .loopback(port: UInt16(1000 + number)))
            room.teach(0, .member(member))
            room.teach(1, .member(number == 500 ? Self.later(member) : member))
        }
        room.pingTwice(0, 1)
        #expect(room["ann"].digest == room["bob"].digest && room.linked == [])
        let pages = room["ann"].statePages(asking: false)
        print(
            "a lost fact among 1000: \(room.said.map(\.message.encoded.count)) bytes in packets,",
            "\(2 * pages.reduce(0) { $0 + $1.encoded.count }) bytes in two states of \(pages.count) pages each")
    }

    @Test func anOldLifeInADeltaDoesNotUndoALaterOne() throws {
        var room = try Room(["ann", "bob", "cid"])
        let former = Self.later(room["cid"].local, incarnation: 9)
        var later = room["cid"].local
        later.id = MemberID(name: later.name, life: Life(rawValue: 20))
        room.teach(0, .member(former))
        room.teach(1, .member(later))
        room.pingTwice(0, 1)
        #expect(room.transcript == Self.repaired + ["bob: delta"], "bob is told of the old life, and answers")
        #expect(room.said[1].message.facts.contains(.member(former)))
        for name in ["ann", "bob"] { #expect(room[name].member(named: later.name)?.id == later.id) }
        #expect(room["ann"].digest == room["bob"].digest)
    }

    @Test func aRosterCountsInADeltaOfItsOwner() throws {
        var room = try Room(["ann", "bob", "cid"])
        let cid = room["cid"].local
        for fact in Self.instances(3, of: cid.id) { room.teach(0, fact) }
        let roster = Fact.roster(node: cid.id, version: 5, span: 0...UInt32.max, numbers: [3])
        func tell(_ sender: Member, _ kind: GossipMessage.Kind) -> [UInt32] {
            _ = room.hear(GossipMessage(sender: sender.id, digest: 0, kind: kind, facts: [roster]), at: 0, from: sender.endpoint)
            return room["ann"].view.instances.map(\.number)
        }
        #expect(tell(room["bob"].local, .delta(asking: nil)) == [1, 2, 3])
        #expect(tell(cid, .gossip) == [1, 2, 3])
        #expect(tell(cid, .delta(asking: nil)) == [3])
        // A page that was held up says nothing of what came later.
        room.teach(0, .instance(Instance(node: cid.id, number: 9, service: "web", address: "a"), version: 6))
        #expect(tell(cid, .delta(asking: nil)) == [3, 9])
    }

    @Test func whatTheOwnerNoLongerRemembersToHaveRemovedGoesWithItsRoster() throws {
        var room = try Room(["ann", "bob"])
        let ann = room["ann"].local.id
        for fact in Self.instances(2, of: ann) { room.teach(1, fact) }
        room["ann"].instanceVersion = 600
        room.pingTwice(0, 1)
        #expect(room["bob"].view.instances.isEmpty && room.agree && room.linked == [])
    }

    // MARK: Over a link

    @Test(arguments: [0, 1]) func aDifferenceTooLargeForFourPacketsTakesTheLink(holder: Int) throws {
        var room = try Room(["ann", "bob", "cid"])
        for fact in Self.instances(200, of: room["cid"].local.id) { room.teach(holder, fact) }
        room.pingTwice(0, 1)
        let holding = ["ann", "bob"][holder]
        #expect(room.transcript == Array(["bob: digests", "ann: delta, asking"].prefix(holder + 1)))
        #expect(room.linked == [holding], "who holds too much asks for the link")
        #expect(room[holding].counters.repairsByLink == 1)
    }

    @Test(arguments: ["digests", "delta"]) func twoRepairsLostInARowTakeTheLink(lost: String) throws {
        var room = try Room(["ann", "bob", "cid"])
        room.teach(0, .member(Self.later(room["cid"].local)))
        room.loses = { $0.word.hasPrefix(lost) }
        var asked: [String] = []
        for _ in 0..<6 {
            let (before, links) = (room.said.count, room.linked.count)
            // Apart by more than the longest pace. Only bob hears pings, and no ack comes through to ann.
            room.pass(.milliseconds(1300))
            let ann = room["ann"].local
            let ping = GossipMessage(sender: ann.id, digest: room["ann"].digest, kind: .ping(number: 0, target: room["bob"].local.id))
            for _ in 0..<2 {
                room.pass(.milliseconds(250))
                let directives = room.hear(ping, at: 1, from: ann.endpoint).filter {
                    if case .send(let message, _) = $0 { message.isRepair } else { true }
                }
                room.perform(directives.map { (1, $0) })
            }
            asked.append(room.linked.count > links ? "link" : room.said.count > before ? "packets" : "nothing")
        }
        #expect(asked == ["packets", "packets", "link", "packets", "packets", "link"])
        #expect(room["bob"].counters.repairsByPackets == 4 && room["bob"].counters.repairsByLink == 2)
    }

    @Test func oneRepairLostIsTriedAgainAndForgottenOnceTheyAgree() throws {
        var room = try Room(["ann", "bob", "cid"])
        for round in 1...3 as ClosedRange<UInt32> {
            room.teach(0, .member(Self.later(room["cid"].local, incarnation: round)))
            var left = 1
            room.loses = { message in
                guard message.word == "digests", left > 0 else { return false }
                left -= 1
                return true
            }
            for _ in 0..<5 where room["ann"].digest != room["bob"].digest {
                room.pass(.milliseconds(1300))
                room.pingTwice(0, 1)
            }
            #expect(room["ann"].digest == room["bob"].digest)
            room.pass(.milliseconds(1300))
            room.ping(0, 1)
        }
        #expect(room.linked == [])
    }

    // MARK: Bounds

    @Test func whoAskEachOtherAtOneMomentAreAnsweredOnce() throws {
        var room = try Room(["ann", "bob", "cid", "dot"])
        room.teach(0, .member(Self.later(room["cid"].local)))
        room.teach(1, .member(Self.later(room["dot"].local)))
        var asked: [(Int, SWIM.Directive)] = []
        for _ in 0..<2 {
            room.pass(.milliseconds(250))
            for (index, other) in [(0, 1), (1, 0)] {
                let peer = room.members[other]
                let ack = GossipMessage(sender: peer.local.id, digest: peer.digest, kind: .ack(number: 0))
                asked += room.hear(ack, at: index, from: peer.local.endpoint).map { (index, $0) }
            }
        }
        room.perform(asked)
        #expect(room.transcript == ["ann: digests", "bob: digests", "bob: delta, asking", "ann: delta"])
        #expect(room["ann"].digest == room["bob"].digest)
    }

    @Test func anAnswerGoesToWhereTheMemberIsKnownToBe() throws {
        var room = try Room(["ann", "bob", "cid"])
        room.teach(0, .member(Self.later(room["cid"].local)))
        let question = GossipMessage(sender: room["bob"].local.id, digest: room["bob"].digest, kind: .digests(room["bob"].buckets))
        let answers = SWIMTests.sends(room.hear(question, at: 0, from: .loopback(port: 9)))
        #expect(answers.map(\.to) == [room["bob"].local.endpoint])
    }

    @Test func whoAsksTooOftenIsNotAnswered() throws {
        let names = (1...30).map { "n\($0)" }
        var room = try Room(["ann"] + names)
        func answers(to index: Int) -> Int {
            let asker = room.members[index].local
            let question = GossipMessage(sender: asker.id, digest: 1, kind: .digests(ViewBuckets()))
            return SWIMTests.sends(room.hear(question, at: 0, from: asker.endpoint)).count
        }
        #expect(answers(to: 1) == 2, "all buckets differ")
        #expect(answers(to: 1) == 0)
        room.pass(.milliseconds(300))
        #expect(answers(to: 1) == 0)
        room.pass(.milliseconds(350))
        #expect(answers(to: 1) == 2, "it may ask once more in the second in which all its packets are lost")
        #expect((2...30).filter { answers(to: $0) > 0 }.count == SWIM.repairsMax - 1)
        #expect(room.linked == [])
    }

    @Test func aDeltaIsAnsweredOnceAndOnlyWhenItWasAskedFor() throws {
        var room = try Room(["ann", "bob", "cid", "dot"])
        let news = Self.later(room["dot"].local)
        room.teach(1, .member(Self.later(room["cid"].local)))
        let ann = room["ann"].local
        let delta = GossipMessage(
            sender: ann.id, digest: 1, kind: .delta(asking: room["ann"].buckets), facts: [.member(news)])
        #expect(SWIMTests.sends(room.hear(delta, at: 1, from: ann.endpoint)).filter { $0.kind != .gossip }.isEmpty)
        #expect(room["bob"].member(named: news.name) == news, "what it says is heard all the same")

        room.loses = { $0.isRepair }
        room.pingTwice(0, 1)
        #expect(room.transcript.contains("bob: digests"))
        let kinds = (0..<2).map { _ in SWIMTests.sends(room.hear(delta, at: 1, from: ann.endpoint)).map(\.kind) }
        #expect(kinds == [[.delta(asking: nil)], []])
    }

    /// Its packet is sealed with the key, and might be a recording.
    @Test func aStrangersDigestsGetNothingBeforeItHasBeenChallenged() throws {
        let ring = try #require(SealPlay.ring)
        let (here, there, now) = (Endpoint.loopback(port: 1), Endpoint.loopback(port: 2), Moment(uptime: 1_000_000_000, wall: 0))
        func member(_ name: String, at endpoint: Endpoint) throws -> Member {
            Member(id: MemberID(name: try NodeName(name), life: Life(rawValue: 1)), stage: .serving, endpoint: endpoint)
        }
        let (ann, bob) = (try member("ann", at: here), try member("bob", at: there))
        var gossip = try Gossip(local: ann, seeds: [], seed: 1, ring: ring, label: "play", sid: 1)
        _ = gossip.step(.membership(.start), at: now)
        let page = GossipMessage(sender: bob.id, digest: 0, kind: .state(isLast: true, asking: false), facts: [.member(bob)])
        _ = gossip.step(.membership(.state(page, from: bob.id)), at: now)

        var stranger = PacketSealer(ring: ring, label: "play", sid: 2)
        func heard(_ packet: [UInt8]) -> [[UInt8]] {
            gossip.step(.packet(packet, from: there), at: now).compactMap {
                if case .packet(let packet, there) = $0 { packet } else { nil }
            }
        }
        let question = GossipMessage(sender: bob.id, digest: 1, kind: .digests(ViewBuckets()))
        let packet = try present(stranger.seal(question.encoded, to: here, at: now))
        let asked = heard(packet)
        #expect(asked.count == 1 && asked[0].count < packet.count)
        #expect(heard(packet).allSatisfy { $0.count < packet.count }, "a recording gets no further")

        let opened = try stranger.open(asked[0], from: here, at: now)
        #expect(opened.payload == nil, "a question and nothing else")
        let answers = heard(try present(opened.reply?.packet))
        let kinds = try answers.compactMap { answer in
            try stranger.open(answer, from: here, at: now).payload.map { try GossipMessage(decoding: $0).kind }
        }
        #expect(kinds.contains { if case .delta(.some) = $0 { true } else { false } }, "\(kinds)")
    }

    // MARK: Buckets

    @Test func theBucketsAddUpToTheDigest() throws {
        var random = SeededGenerator(seed: 4)
        var room = try Room(["ann", "bob"])
        for round in 1...400 as ClosedRange<UInt32> {
            var member = Member(
                id: MemberID(name: try NodeName("n\(random.next() % 60)"), life: Life(rawValue: 10 + random.next() % 3)),
                incarnation: UInt32(random.next() % 3), endpoint: .loopback(port: 5))
            member.status = random.next() % 4 == 0 ? .dead : .alive
            room.teach(0, .member(member))
            let instance = Instance(node: member.id, number: UInt32(random.next() % 3), service: "s", address: "a")
            room.teach(0, .instance(instance, version: round))
            let sum = room["ann"].buckets.sums.reduce(0, &+)
            #expect(sum == UInt32(truncatingIfNeeded: room["ann"].digest))
        }
        #expect(room["ann"].buckets.differing(from: room["bob"].buckets).count > ViewBuckets.count / 2)
    }

    /// Two builds must agree.
    @Test func aNamesBucketIsTheSameEverywhere() throws {
        let names = ["n1", "n2", "n3", "balancer-1", "a.example_org"]
        let buckets = try names.map { ViewBuckets.bucket(of: Watchers.seed(of: try NodeName($0))) }
        #expect(buckets == [15, 12, 3, 9, 15])
    }
}

extension GossipMessage {
    fileprivate var isRepair: Bool { word != "" }

    fileprivate var word: String {
        switch kind {
        case .digests: "digests"
        case .delta(.some): "delta, asking"
        case .delta(.none): "delta"
        default: ""
        }
    }
}
