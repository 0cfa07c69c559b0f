import Testing

@testable import MeshCore

/// One agent, and a peer whose part the test plays word by word.
struct Dialogue {
    var core: AgentCore
    var now = Moment(uptime: 1, wall: 1_795_000_000_000)
    let peer: MemberID
    /// Nothing listens at any of these.
    static let endpoint = Endpoint.loopback(port: 1)
    let peerEndpoint = Endpoint.loopback(port: 2)
    static let thirdEndpoint = Endpoint.loopback(port: 3)
    static let link = LinkID(rawValue: 1)
    private var lastRequest: UInt64 = 0
    /// What was said to the peer and not looked at yet.
    var said: [PeerMessage] = []
    var replies: [UInt64: ClientResponse] = [:]
    var closed: [LinkID] = []
    var dialled: [Endpoint] = []
    /// All that was said, and over which link.
    var log: [(link: LinkID, message: PeerMessage)] = []
    /// What the mirror was asked and has not answered.
    var mirrorRequests: [MirrorRequest] = []
    var mirrorGeneration: UInt64 = 1
    /// Of whatever user.
    var mirrorIndex: [SessionKey] = []
    /// What was left in it last.
    var mirrorVisited: UInt64?

    var events: [AgentEvent] = []

    init(role: Role = .node, mirrorMode: MirrorMode? = nil, memoryMax: Int = 1 << 30, drainTimeout: Duration = .seconds(30)) throws {
        var generator = SeededGenerator(seed: 1)
        let configuration = AgentConfiguration(
            name: try NodeName("n1"), endpoint: Self.endpoint, role: role, mirrorMode: mirrorMode, memoryMax: memoryMax,
            drainTimeout: drainTimeout)
        peer = MemberID(name: try NodeName("n2"), life: Life(rawValue: 1 << 40))
        core = try AgentCore(
            configuration: configuration, keys: KeyFile.generate(using: &generator), seed: 2, secretSeed: [UInt8](repeating: 3, count: 32),
            now: now)
        step(.start)
        pass(.milliseconds(100))
    }

    /// Of the latest timer.
    var houseRound: UInt64 = 0

    mutating func step(_ input: AgentInput) {
        for directive in core.step(input, at: now) {
            switch directive {
            case .linkMessage(let link, let bytes):
                if let message = try? PeerMessage(decoding: bytes) {
                    said.append(message)
                    log.append((link, message))
                }
            case .reply(let request, let response): replies[request.number] = response
            case .closeLink(let link): closed.append(link)
            case .connect(let endpoint): dialled.append(endpoint)
            case .mirror(let request): mirrorRequests.append(request)
            case .event(let event): events.append(event)
            case .timer(.housekeeping(let round), _): houseRound = round
            default: break
            }
        }
    }

    mutating func pass(_ duration: Duration) {
        let end = now.uptime + duration.nanoseconds
        while now.uptime < end {
            now = now.advanced(by: .milliseconds(50))
            step(.timer(.housekeeping(round: houseRound)))
        }
    }

    /// Until nobody goes through the sessions any more, or only waits for copies.
    mutating func passWalk() {
        for _ in 0...Slot.count / Walks.slotsPerStretch where core.walks.isTimed {
            now = now.advanced(by: Walks.pause)
            step(.timer(.walk))
        }
    }

    mutating func hears(_ message: PeerMessage, over link: LinkID = Self.link) { step(.linkMessage(link, message.encoded)) }

    /// The mirror takes what it was given, and has nothing of what it was asked for.
    mutating func mirrorTakesAll() {
        while !mirrorRequests.isEmpty {
            switch mirrorRequests.removeFirst() {
            case .merge(_, let ticket): step(.mirror(.merged(ticket: ticket)))
            case .load(_, let ticket): step(.mirror(.loaded(ticket: ticket, nil)))
            case .sessions(_, let ticket): step(.mirror(.found(ticket: ticket, mirrorIndex)))
            case .visit(let number, _, let ticket):
                step(.mirror(.visited(ticket: ticket, MirrorVisit(generation: mirrorGeneration, last: mirrorVisited))))
                mirrorVisited = number
            }
        }
    }

    /// The peer joins, serves, and takes every copy it is sent.
    mutating func join() throws {
        meets(peer, over: Self.link, at: peerEndpoint)
        acknowledgeSyncs()
        #expect(core.status.underReplicatedSlots == 0)
        said = []
    }

    /// A node that serves comes, over a link of its own.
    mutating func meets(_ node: MemberID, over link: LinkID, at endpoint: Endpoint) {
        step(.linkUp(link, peer: node, endpoint: endpoint))
        hears(of: Member(id: node, stage: .serving, endpoint: endpoint), from: node, over: link)
    }

    mutating func hears(of member: Member, from sender: MemberID, over link: LinkID = Self.link) {
        let state = GossipMessage(
            sender: sender, digest: 0, kind: .state(isLast: true, asking: false), facts: [.member(member, goneFor: 0)])
        hears(.membership(state.encoded), over: link)
    }

    /// Of a session that isn't there.
    static func key(in slot: Slot) throws -> SessionKey {
        try #require(SessionKey(bytes: [UInt8(slot.rawValue >> 4), UInt8(slot.rawValue & 15) << 4] + [UInt8](repeating: 0, count: 30)))
    }

    mutating func acknowledgeSyncs() {
        while let index = said.firstIndex(where: { if case .sync = $0 { true } else { false } }) {
            guard case .sync(let ticket, _) = said.remove(at: index) else { return }
            hears(.ack(ticket: ticket))
        }
    }

    mutating func ask(_ request: ClientRequest) -> UInt64 {
        lastRequest += 1
        step(.request(RequestID(client: ClientID(rawValue: 1), number: lastRequest), request))
        return lastRequest
    }

    /// The tickets of deltas said since the last look.
    mutating func deltas() -> [UInt64] {
        defer { said.removeAll { if case .delta = $0 { true } else { false } } }
        return said.compactMap { if case .delta(_, let ticket, _, _, _) = $0 { ticket } else { nil } }
    }

    mutating func made() throws -> SessionKey {
        let number = ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 9, lower: UInt64(now.uptime)))))
        for ticket in deltas() { hears(.ack(ticket: ticket)) }
        guard case .committed(let receipt) = replies[number] else { throw Unanswered() }
        return receipt.key
    }

    static func increment(_ key: SessionKey, _ number: UInt64) -> ClientRequest {
        .commit(SessionCommit(key: key, id: CommitID(upper: 1, lower: number), changes: [.increment("n", by: 1)]))
    }

    /// The number of the last inquiry over that link.
    func roundAsked(over link: LinkID) throws -> UInt64 {
        for entry in log.reversed() where entry.link == link { if case .inquire(let round, _, _) = entry.message { return round } }
        throw Unanswered()
    }

    struct Unanswered: Error {}
}

@Suite struct AgentCoreTests {
    @Test func anAgentAloneServesAndSaysThatThereIsOneCopy() throws {
        var play = try Dialogue()
        #expect(play.core.status.primarySlots == Slot.count)
        let number = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1))))
        guard case .committed(let receipt) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(receipt.copies == 1)
    }

    /// Whatever state a session is in, a read that is answered at once is answered as any operation would be.
    @Test func whatIsAnsweredAtOnceIsWhatTheLongWayAnswers() throws {
        var play = try Dialogue()
        try play.join()
        var keys = [try #require(SessionKey(bytes: [UInt8](repeating: 9, count: 32)))]
        func commit(_ key: SessionKey, _ changes: [FieldChange], user: String? = nil, idle: UInt32? = nil, acknowledged: Bool = true) {
            let id = CommitID(upper: 2, lower: UInt64(keys.count))
            _ = play.ask(.commit(SessionCommit(key: key, id: id, changes: changes, user: user, idleSeconds: idle)))
            for ticket in play.deltas() where acknowledged { play.hears(.ack(ticket: ticket)) }
            keys.append(key)
        }
        commit(try play.made(), [.set("a", [1]), .increment("n", by: 2), .remove("b")], user: "ann")
        commit(try play.made(), [.set("a", [1])], idle: 1)
        commit(try play.made(), [.set("a", [1])], acknowledged: false)
        let destroyed = try play.made()
        _ = play.ask(.destroy(destroyed, CommitID(upper: 3, lower: 1)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        keys.append(destroyed)
        var atOnce = 0
        for later in [Duration.zero, .seconds(5), .seconds(20), .seconds(3600)] {
            for key in keys {
                for isOpened in [false, true] {
                    let request = RequestID(client: ClientID(rawValue: 7), number: 1)
                    var core = play.core
                    core.now = play.now.advanced(by: later)
                    guard let reading = core.readAtOnce(key, isOpened: isOpened) else { continue }
                    core.begin(isOpened ? .open(key) : .read(key), for: .client(request, cookie: nil))
                    let answer: ClientResponse = isOpened ? .opened(reading.snapshot, cookie: nil) : .session(reading.snapshot)
                    #expect(core.directives == [.reply(request, answer)])
                    var atOnceBytes: [UInt8] = []
                    ClientProtocol.write(reading, to: &atOnceBytes)
                    var bytes: [UInt8] = []
                    ClientProtocol.write(answer, answering: isOpened ? .open : .read, to: &bytes)
                    #expect(atOnceBytes == bytes)
                    atOnce += 1
                }
            }
        }
        #expect(atOnce >= 8)
    }

    @Test func nothingIsAnsweredAtOnceBehindAPause() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        var reply: [UInt8] = []
        #expect(play.core.answerAtOnce(.read(key), at: play.now, to: &reply) && !reply.isEmpty)
        play.now = play.now.advanced(by: .seconds(2))
        reply = []
        #expect(!play.core.answerAtOnce(.read(key), at: play.now, to: &reply) && reply.isEmpty)
        let read = play.ask(.read(key))
        #expect(play.replies[read] == nil)
        play.hears(.inquired(round: try play.roundAsked(over: Dialogue.link)))
        #expect(play.replies[read] != nil)
    }

    @Test func aCommitIsAnsweredOnlyWhenTheBackupHoldsItAndAReadBehindItWaits() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let commit = play.ask(Dialogue.increment(key, 1))
        let repeated = play.ask(Dialogue.increment(key, 1))
        let read = play.ask(.read(key))
        #expect(play.replies[commit] == nil && play.replies[repeated] == nil && play.replies[read] == nil)
        let tickets = play.deltas()
        #expect(tickets.count == 1)
        for ticket in tickets { play.hears(.ack(ticket: ticket)) }
        let counters = [SessionSnapshot.Field(name: "n", value: .integer(1))]
        #expect(play.replies[commit] == .committed(CommitReceipt(key: key, copies: 2, counters: counters)))
        #expect(play.replies[repeated] == play.replies[commit])
        guard case .session(let snapshot?) = play.replies[read] else { return #expect(Bool(false)) }
        #expect(snapshot.fields == counters)
    }

    @Test func aSessionAtRestKeepsNoMarksAndOutlivesACommitThatIsSuperseded() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let index = Int(key.slot.rawValue)
        play.pass(.seconds(100))
        #expect(play.core.slots[index].sessions[key]?.state.commits == [])
        let commit = play.ask(Dialogue.increment(key, 1))
        #expect(play.replies[commit] == nil)
        play.hears(.superseded([SlotTenure(slot: key.slot, tenure: Tenure(term: 8, owner: play.peer))]))
        let left = try #require(play.core.slots[index].leftover?.sessions[key]?.state)
        #expect(left.fields.isEmpty && !left.hasApplied(CommitID(upper: 1, lower: 1)))
    }

    @Test func ofCommitsThatNobodyElseHoldsChangesAndMarksAreTakenBackAndNothingElse() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        let index = Int(key.slot.rawValue)
        _ = play.ask(Dialogue.increment(key, 1))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        let held = try #require(play.core.slots[index].sessions[key]?.state)
        for number in 2...4 as ClosedRange<UInt64> { _ = play.ask(Dialogue.increment(key, number)) }
        #expect(play.core.slots[index].sessions[key]?.state.commits.count == held.commits.count + 3)
        play.hears(.superseded([SlotTenure(slot: key.slot, tenure: Tenure(term: 8, owner: play.peer))]))
        #expect(play.core.slots[index].leftover?.sessions[key]?.state == held)
    }

    @Test func aHandOffThatNobodyTakesEndsWithTheDrainTimeoutAndSaysHowMuchIsLeft() throws {
        var play = try Dialogue(drainTimeout: .seconds(5))
        try play.join()
        // The peer says nothing of this one, so its slot is not granted.
        _ = play.ask(Dialogue.increment(try play.made(), 1))
        play.step(.leave)
        play.pass(.milliseconds(4900))
        let status = play.core.status
        let unfinished = AgentEvent.handOffUnfinished(slots: status.primarySlots + status.backupSlots)
        #expect(status.primarySlots == 1 && play.core.departure?.isAnnounced == false && !play.events.contains(unfinished))
        play.pass(.milliseconds(100))
        #expect(play.core.departure?.isAnnounced == true && play.events.contains(unfinished))
    }

    @Test func aSessionThatCanNotBeMadeLeavesNothingBehind() throws {
        var play = try Dialogue()
        let number = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1), changes: [.set("@user", [1])])))
        guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(failure.code == .invalid)
        #expect(play.core.status.sessions == 0)
    }

    @Test func aGrantFollowsTheSyncOfRankZero() throws {
        var play = try Dialogue()
        play.meets(play.peer, over: Dialogue.link, at: play.peerEndpoint)
        #expect(!play.said.contains { if case .grant = $0 { true } else { false } })
        play.acknowledgeSyncs()
        let messages = play.said.compactMap { message -> [SlotGrant]? in if case .grant(let slots) = message { slots } else { nil } }
        // A thousand or so: a message each was most of what a start cost.
        #expect(messages.count <= 16)
        let grants = messages.flatMap { $0 }
        #expect(grants.count == Slot.count - play.core.status.primarySlots && !grants.isEmpty)
        #expect(grants.allSatisfy { $0.slot.tenure == Tenure(term: 2, owner: play.peer) })
    }

    @Test func aRefusedGrantIsTakenBack() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        play.hears(.claim([slot]))
        #expect(play.core.slots[Int(slot.rawValue)].tenure == Tenure(term: 3, owner: play.core.id))
        #expect(play.core.slots[Int(slot.rawValue)].isOwner)
    }

    @Test func aReplicaRefusesAChangeOfAnOlderTenureAndSaysSo() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        let state = SessionState(createdAt: play.now.wall)
        let old = SlotTenure(slot: slot, tenure: Tenure(term: 1, owner: play.peer))
        play.hears(.delta(old, ticket: 5, key, state, whole: true))
        let known = SlotTenure(slot: slot, tenure: Tenure(term: 2, owner: play.peer))
        #expect(play.said == [.superseded([known])])
        #expect(play.core.status.sessions == 0)
        play.said = []
        play.hears(.delta(known, ticket: 6, key, state, whole: true))
        #expect(play.said == [.ack(ticket: 6)])
        #expect(play.core.status.sessions == 1)
    }

    @Test func aRequestIsForwardedAndFollowsAHintNoFurtherThanItHelps() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        let read = play.ask(.read(key))
        guard case .forward(let id, .read(key)) = play.said.first else { return #expect(Bool(false)) }
        play.said = []
        play.hears(.answer(id: id, .elsewhere(play.core.id)))
        #expect(play.said.isEmpty && play.replies[read] == nil)
        play.pass(.milliseconds(50))
        #expect(play.said.contains(.forward(id: id, .read(key))))
        play.hears(.answer(id: id, .session(nil)))
        #expect(play.replies[read] == .session(nil))
    }

    @Test func afterAPauseNothingIsAnsweredBeforeEverybodyWasAsked() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        _ = play.ask(Dialogue.increment(key, 1))
        let read = play.ask(.read(key))
        let tickets = play.deltas()
        play.now = play.now.advanced(by: .milliseconds(700))
        // The acknowledgement was in the socket all the while: it settles the commit, but what is read then may be old.
        for ticket in tickets { play.hears(.ack(ticket: ticket)) }
        let round = try play.roundAsked(over: Dialogue.link)
        #expect(play.replies[read] == nil)
        play.hears(.inquired(round: round - 1))
        #expect(play.replies[read] == nil, "that was the answer to an earlier question")
        play.hears(.inquired(round: round))
        #expect(play.replies[read] != nil)
    }

    @Test func whatWasAskedOverALostLinkIsAskedAgainOverTheOtherOne() throws {
        var play = try Dialogue()
        try play.join()
        let other = LinkID(rawValue: 2)
        play.step(.linkUp(other, peer: play.peer, endpoint: play.peerEndpoint))
        play.now = play.now.advanced(by: .milliseconds(700))
        play.step(.timer(.housekeeping(round: play.houseRound)))
        play.log = []
        play.step(.linkDown(Dialogue.link))
        let round = try play.roundAsked(over: other)
        play.hears(.inquired(round: round), over: other)
        #expect(play.core.status.isReady)
    }

    @Test func aSpareCopyIsReleasedByItsOwner() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.core.id.name })
        let third = MemberID(name: try NodeName("n3"), life: Life(rawValue: 5))
        let link = LinkID(rawValue: 3)
        play.step(.linkUp(link, peer: third, endpoint: Dialogue.thirdEndpoint))
        play.said = []
        play.hears(.spare([SlotTenure(slot: slot, tenure: .none)]), over: link)
        let present = SlotTenure(slot: slot, tenure: play.core.slots[Int(slot.rawValue)].tenure)
        #expect(play.said == [.superseded([present]), .release([present])])
    }

    @Test func aRequestThatNobodyCanAnswerIsUnavailableAtItsDeadline() throws {
        var play = try Dialogue()
        try play.join()
        let slot = try #require(Slot.all.first { play.core.table.primary(of: $0) == play.peer.name })
        let key = try Dialogue.key(in: slot)
        let read = play.ask(.read(key))
        play.pass(.milliseconds(2900))
        #expect(play.replies[read] == nil)
        play.pass(.milliseconds(200))
        guard case .failure(let failure) = play.replies[read] else { return #expect(Bool(false)) }
        #expect(failure.code == .unavailable)
        #expect(play.core.operations.isEmpty && play.core.parked.isEmpty)
    }

    @Test func moreRequestsThanThereIsRoomForAreToldSo() throws {
        var play = try Dialogue()
        try play.join()
        let key = try play.made()
        _ = play.ask(Dialogue.increment(key, 1))
        var last: UInt64 = 0
        for _ in 0..<AgentCore.operationsMax { last = play.ask(.read(key)) }
        guard case .failure(let failure) = play.replies[last] else { return #expect(Bool(false)) }
        #expect(failure.code == .full)
    }

    @Test func aVisitorKeepsASessionAliveAndSomebodyWhoLooksDoesNot() throws {
        var play = try Dialogue()
        let made = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1))))
        guard case .committed(let receipt) = play.replies[made], let cookie = receipt.cookie else { return #expect(Bool(false)) }
        func accessedAt(_ request: UInt64) -> Int64? {
            if case .session(let snapshot?) = play.replies[request] { snapshot.accessedAt } else { nil }
        }
        let early = play.now.wall
        play.pass(.seconds(100))
        _ = play.ask(.read(receipt.key))
        let looked = play.ask(.read(receipt.key))
        #expect(accessedAt(looked) == early)
        _ = play.ask(.open(cookie: Array(cookie.utf8)))
        let opened = play.ask(.read(receipt.key))
        #expect(accessedAt(opened) == play.now.wall)
    }

    @Test func aCookieThatOpensNothingIsAnsweredWithTheReasonAndCounted() throws {
        var play = try Dialogue()
        func made(idle: UInt32? = nil) throws -> (key: SessionKey, cookie: [UInt8]) {
            let id = CommitID(upper: 1, lower: UInt64(play.now.uptime))
            play.pass(.milliseconds(50))
            let commit = play.ask(.commit(SessionCommit(key: nil, id: id, idleSeconds: idle)))
            guard case .committed(let receipt) = play.replies[commit] else { throw Dialogue.Unanswered() }
            return (receipt.key, Array(try #require(receipt.cookie).utf8))
        }
        /// Both ways of asking, which must agree.
        func open(_ cookie: [UInt8]) throws -> ClientResponse? {
            let asked = play.ask(.open(cookie: cookie))
            var reply: [UInt8] = []
            if play.core.answerAtOnce(.open(cookie: cookie), at: play.now, to: &reply) {
                let value = try #require(try RESPTests.parse(reply).first)
                #expect(try ClientProtocol.decode(value, to: .open) == play.replies[asked])
            }
            return play.replies[asked]
        }
        let (live, destroyed, expired) = (try made(), try made(), try made(idle: 1))
        _ = play.ask(.destroy(destroyed.key, CommitID(upper: 2, lower: 1)))
        guard case .opened(let snapshot, cookie: nil) = try open(live.cookie) else { return #expect(Bool(false)) }
        #expect(snapshot.key == live.key)
        #expect(try open(destroyed.cookie) == .absent(.ended))
        play.pass(.seconds(60))
        #expect(try open(expired.cookie) == .absent(.ended))

        var forged = live.cookie
        forged[3] = forged[3] == 0x41 ? 0x42 : 0x41
        let unknown = live.cookie[..<44] + Array("9".utf8) + live.cookie[45...]
        #expect(try open(forged) == .absent(.badSignature))
        #expect(try open(Array(unknown)) == .absent(.unknownKey))
        #expect(try open(Array(live.cookie.dropLast())) == .absent(.malformed))
        #expect(try open([]) == .absent(.malformed))

        let counters = play.core.status.counters
        // What is refused without looking for a session was asked twice each.
        #expect((counters.cookiesOfBadSignature, counters.cookiesOfUnknownKeys, counters.cookiesMalformed) == (2, 2, 4))
        #expect(counters.cookiesOfEndedSessions == 2)
    }

    @Test func aBalancerHoldsNoSessions() throws {
        var play = try Dialogue(role: .balancer)
        let number = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1))))
        guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
        #expect(failure.code == .invalid)
        #expect(play.core.status.primarySlots == 0)
    }

    @Test func junkClosesItsLinkAndIsCountedAndNothingElse() throws {
        var play = try Dialogue()
        try play.join()
        let other = LinkID(rawValue: 2)
        play.step(.linkUp(other, peer: play.peer, endpoint: play.peerEndpoint))
        play.step(.linkMessage(other, [0xFF, 1, 2]))
        #expect(play.closed == [other])
        play.step(.datagram([1, 2, 3], from: .loopback(port: 9)))
        play.step(.datagram([UInt8](repeating: 0xAA, count: 300), from: .loopback(port: 9)))
        #expect(play.core.status.packetsDropped.values.reduce(0, +) == 3)
        #expect(play.core.status.isReady)
    }
}
