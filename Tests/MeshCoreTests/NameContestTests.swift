import Testing

@testable import MeshCore

/// One name at two addresses: who keeps it, and that exactly one does.
@Suite struct NameContestTests {
    typealias Play = SWIMTests.Play

    // MARK: Directive by directive

    /// A later life of the member at another address.
    static func newcomer(_ member: Member, port: UInt16 = 900) -> Member {
        var newcomer = member
        newcomer.id = MemberID(name: member.name, life: Life(rawValue: member.id.life.rawValue + 5))
        newcomer.endpoint = .loopback(port: port)
        return newcomer
    }

    static func contestTimer(_ directives: [SWIM.Directive]) throws -> SWIM.Timer {
        for (timer, _) in SWIMTests.timers(directives) { if case .contest = timer { return timer } }
        throw SWIMTests.Missing()
    }

    static func knock(_ play: inout Play, _ newcomer: Member) -> [SWIM.Directive] {
        play.step(.state(SWIMTests.page([.member(newcomer)], from: newcomer.id, asking: true), from: newcomer.id))
    }

    @Test func aNewcomerAtAnotherAddressIsAskedAboutBeforeItIsBelieved() throws {
        let others = try SWIMTests.others(5)
        var play = try Play(others: others)
        let newcomer = Self.newcomer(others[0])
        let digest = play.swim.digest
        let asked = Self.knock(&play, newcomer)
        let sends = SWIMTests.sends(asked)
        guard case .ping(let number, others[0].id) = try #require(sends.first).kind else { throw SWIMTests.Missing() }
        #expect(sends[0].to == others[0].endpoint)
        #expect(sends.count { $0.kind == .pingRequest(number: number, target: others[0].id, at: others[0].endpoint) } == 3)
        #expect(asked.contains(.checkPort(of: others[0].id, at: others[0].endpoint)))
        #expect(!asked.contains(.sendState(to: newcomer.id, asking: false)), "nothing is told to it yet")
        #expect(play.swim.digest == digest)

        // Nothing that it says counts, by link or by packet, and its pings are not answered.
        let claim = Fact.claim(others[2].id, incarnation: 0, .dead, accuser: newcomer.name)
        #expect(SWIMTests.sends(play.hear(claim, from: newcomer, kind: .ping(number: 1, target: play.swim.local.id))).isEmpty)
        #expect(play.status(others[2]) == .alive)
        #expect(play.swim.member(named: newcomer.name) == others[0])

        // Silence.
        let timer = try Self.contestTimer(asked)
        for _ in 0..<2 { #expect(!play.step(.timer(timer), after: .milliseconds(100)).contains(.memberChanged(newcomer, from: nil))) }
        let won = play.step(.timer(timer), after: .milliseconds(100))
        #expect(won.contains(.memberChanged(newcomer, from: nil)))
        #expect(won.contains(.syncWith(newcomer.endpoint)))
        #expect(SWIMTests.sends(won).count { $0.kind == .gossip && $0.facts.contains(.member(newcomer)) } == 3)
        #expect(play.step(.timer(timer), after: .milliseconds(100)) == [])
    }

    @Test func aSignOfTheHolderRefusesTheNewcomer() throws {
        let others = try SWIMTests.others(5)
        var play = try Play(others: others)
        let newcomer = Self.newcomer(others[0])
        let asked = Self.knock(&play, newcomer)
        guard case .ping(let number, _) = try #require(SWIMTests.sends(asked).first).kind else { throw SWIMTests.Missing() }
        // By way of a helper.
        let answer = play.hear(from: others[3], kind: .relayedAck(number: number, subject: others[0].id))
        let told = SWIMTests.sends(answer)
        #expect(told.map(\.kind) == [.taken(others[0].id)])
        #expect(told[0].to == newcomer.endpoint && told[0].facts == [.member(others[0])])
        let timer = try Self.contestTimer(asked)
        let again = (0..<4).flatMap { _ in SWIMTests.sends(play.step(.timer(timer), after: .milliseconds(100))) }
        #expect(again.map(\.kind) == [.taken(others[0].id), .taken(others[0].id)], "three times in all, since packets are lost")
        #expect(SWIMTests.sends(Self.knock(&play, newcomer)).map(\.kind) == [.taken(others[0].id)], "and whenever it knocks")
        #expect(play.swim.member(named: newcomer.name) == others[0])
    }

    @Test func aRefusingPortEndsTheContestSoonerAndAnOpenOneProlongsIt() throws {
        let others = try SWIMTests.others(3)
        let newcomer = Self.newcomer(others[0])
        var gone = try Play(others: others)
        let timer = try Self.contestTimer(Self.knock(&gone, newcomer))
        _ = gone.step(.linkDown(others[0].id, refused: true))
        #expect(gone.step(.timer(timer), after: .milliseconds(100)).contains(.memberChanged(newcomer, from: nil)))

        // Its packets are lost, its process is there.
        var open = try Play(others: others)
        let second = try Self.contestTimer(Self.knock(&open, newcomer))
        _ = open.step(.linkUp(others[0].id))
        var told: [GossipMessage.Kind] = []
        for round in 0..<10 {
            // Time must not stand still for the probes, or it would look like a pause.
            if round % 2 == 1 { _ = open.probeTick() }
            told += SWIMTests.sends(open.step(.timer(second), after: .milliseconds(100))).map(\.kind)
        }
        #expect(told.last == .taken(others[0].id))
        #expect(open.swim.member(named: newcomer.name)?.id == others[0].id)
    }

    @Test func aRestartAtTheSameAddressAndOneAfterADeathAreBelievedAtOnce() throws {
        let others = try SWIMTests.others(3)
        var play = try Play(others: others)
        var restarted = Self.newcomer(others[0])
        restarted.endpoint = others[0].endpoint
        #expect(Self.knock(&play, restarted).contains(.memberChanged(restarted, from: nil)))

        for status in [Status.dead, .left] {
            var play = try Play(others: others)
            _ = play.hear(.claim(others[0].id, incarnation: 0, status, accuser: others[1].name), from: others[1])
            let newcomer = Self.newcomer(others[0])
            #expect(Self.knock(&play, newcomer).contains(.memberChanged(newcomer, from: nil)))
        }
    }

    @Test func whatAMemberSaysOfAnothersNewLifeIsBelieved() throws {
        let others = try SWIMTests.others(3)
        var play = try Play(others: others)
        let newcomer = Self.newcomer(others[0])
        #expect(play.hear(.member(newcomer), from: others[1]).contains(.memberChanged(newcomer, from: nil)))
    }

    @Test func whoIsToldThatItsNameIsTakenEndsUnlessItHasPromisedToLive() throws {
        let peer = try SWIMTests.other(1)
        var holder = peer
        holder.id = try SWIMTests.id("me", life: 50)
        let refusal = GossipMessage(sender: peer.id, digest: 0, kind: .taken(holder.id), facts: [.member(holder)])

        var play = try Play()
        #expect(play.step(.message(refusal, from: peer.endpoint)) == [.nameTaken(by: holder)])
        #expect(play.hear(from: peer, kind: .ping(number: 1, target: play.swim.local.id)) == [], "the dead don't answer")
        #expect(play.step(.leave) == [.departed], "nor say goodbye")

        var promised = try Play(others: [peer])
        _ = promised.hear(from: peer, kind: .ping(number: 1, target: promised.swim.local.id))
        #expect(promised.step(.message(refusal, from: peer.endpoint)) == [])
    }

    @Test func whoHearsOfALaterLifeOfItsNameElsewhereAsksItFirst() throws {
        let peer = try SWIMTests.other(1)
        let later = Member(id: try SWIMTests.id("me", life: 500), endpoint: .loopback(port: 900))
        var play = try Play(others: [peer])
        let asked = play.hear(.member(later), from: peer, kind: .stale(later.id))
        guard case .ping(let number, later.id) = try #require(SWIMTests.sends(asked).first { $0.to == later.endpoint }).kind else {
            throw SWIMTests.Missing()
        }
        var beaten = play
        let answer = GossipMessage(sender: later.id, digest: 0, kind: .ack(number: number))
        #expect(beaten.step(.message(answer, from: later.endpoint)) == [.nameTaken(by: later)])

        let timer = try Self.contestTimer(asked)
        for _ in 0..<2 { #expect(!play.step(.timer(timer), after: .milliseconds(100)).contains(.becameStale(known: later.id.life))) }
        #expect(play.step(.timer(timer), after: .milliseconds(100)) == [.becameStale(known: later.id.life)])
    }

    @Test func ofTwoThatMeetTheEarlierStandsItsGroundUnlessTheMeshKnowsTheLater() throws {
        var play = try Play()
        let rival = Member(id: try SWIMTests.id("me", life: 500), endpoint: .loopback(port: 900))
        #expect(SWIMTests.sends(Self.knock(&play, rival)).map(\.kind) == [.taken(play.swim.local.id)])
        // The rival has promised somebody to live, and says so: it is asked.
        let refusal = GossipMessage(sender: rival.id, digest: 0, kind: .taken(rival.id), facts: [.member(rival)])
        let asked = SWIMTests.sends(play.step(.message(refusal, from: rival.endpoint)))
        guard asked.count == 1, case .ping(let number, rival.id) = asked[0].kind else { throw SWIMTests.Missing() }
        let answer = GossipMessage(sender: rival.id, digest: 0, kind: .ack(number: number))
        #expect(play.step(.message(answer, from: rival.endpoint)) == [.nameTaken(by: rival)])

        // An earlier one is told so.
        play = try Play()
        let earlier = Member(id: try SWIMTests.id("me", life: 5), endpoint: .loopback(port: 900))
        #expect(SWIMTests.sends(Self.knock(&play, earlier)).map(\.kind) == [.stale(play.swim.local.id)])
        let ping = GossipMessage(sender: earlier.id, digest: 0, kind: .ping(number: 7, target: play.swim.local.id))
        #expect(SWIMTests.sends(play.step(.message(ping, from: earlier.endpoint))).map(\.kind) == [.ack(number: 7)])
        let taken = GossipMessage(sender: earlier.id, digest: 0, kind: .taken(earlier.id), facts: [.member(earlier)])
        #expect(SWIMTests.sends(play.step(.message(taken, from: earlier.endpoint))).map(\.kind) == [.taken(play.swim.local.id)])
    }

    // MARK: Together

    /// Whether everybody up has the name at that node, and nobody at another.
    private static func holds(_ world: GossipWorld, _ index: Int) -> Bool {
        let name = world.nodes[index].swim.local.name
        return world.up.allSatisfy { observer in
            let member = world.nodes[observer].swim.member(named: name)
            return member?.endpoint == GossipWorld.endpoint(index) && member?.status == .alive
        }
    }

    @Test(arguments: [UInt64](1...6), [0, 0.2]) func aKilledNodeComesBackElsewhereWithinASecond(seed: UInt64, loss: Double) throws {
        var slowest = Duration.zero
        for (count, victim, hostIsUp) in [(3, 2, true), (5, 2, true), (5, 2, false), (5, 0, true), (32, 7, false)] {
            var world = try SWIMMeshTests.joined(count, seed: seed)
            world.loss = loss
            world.kill(victim, hostIsUp: hostIsUp)
            world.run(for: .milliseconds(50))
            try world.add(named: "n\(victim)", seeds: [1, 3 % count])
            let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { Self.holds($0, count) })
            slowest = max(slowest, took)
            #expect(world.nodes.allSatisfy { $0.refusedBy == nil })
        }
        print("back elsewhere, loss \(loss): in all views within \(slowest)")
        if loss == 0 { #expect(slowest <= .seconds(1)) }
    }

    @Test func aClockBehindTheFormerOnesIsHarmless() throws {
        var world = try SWIMMeshTests.joined(5, seed: 3)
        world.kill(2, hostIsUp: true)
        try world.add(named: "n2", clockBehind: 3_600_000)
        let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { Self.holds($0, 5) })
        print("back elsewhere with its clock an hour behind: \(took)")
    }

    @Test(arguments: [UInt64](1...6), [0, 0.2]) func aTrueDuplicateIsRefusedAndNobodyElseEverSawIt(seed: UInt64, loss: Double) throws {
        var slowest = Duration.zero
        for (count, name, behind) in [(1, 0, 0), (2, 0, 0), (3, 2, 0), (5, 2, 0), (5, 0, 0), (5, 2, 60_000), (32, 7, 0)]
            as [(Int, Int, Int64)]
        {
            var world = try SWIMMeshTests.joined(count, seed: seed)
            world.loss = loss
            world.run(for: .seconds(3))
            let digest = world.nodes[0].swim.digest
            let lives = world.nodes.map(\.swim.local.id)
            try world.add(named: "n\(name)", clockBehind: behind, seeds: [1 % count, 0])
            let took = try GossipWorld.within(world.run(atMost: .seconds(6)) { $0.nodes[count].refusedBy != nil })
            slowest = max(slowest, took)
            #expect(world.nodes[count].refusedBy?.id == lives[name])
            #expect(world.nodes[count].refusedBy?.endpoint == GossipWorld.endpoint(name))
            world.run(for: .seconds(2))
            #expect(world.nodes.prefix(count).map(\.swim.local.id) == lives)
            #expect(world.sightings.allSatisfy { $0.observer == count || $0.member.endpoint != GossipWorld.endpoint(count) })
            if loss == 0 { #expect(world.nodes[0].swim.digest == digest) }
            #expect(world.nodes.prefix(count).allSatisfy { $0.refusedBy == nil })
        }
        print("a duplicate, loss \(loss): refused within \(slowest)")
        if loss == 0 { #expect(slowest <= .seconds(1)) }
    }

    @Test(arguments: [UInt64](1...6), [0, 0.2]) func theWokenOldLifeEnds(seed: UInt64, loss: Double) throws {
        for asleep in [Duration.milliseconds(200), .seconds(20)] {
            var world = try SWIMMeshTests.joined(5, seed: seed)
            world.loss = loss
            world.nodes[2].state = .paused
            world.run(for: asleep)
            try world.add(named: "n2")
            _ = try GossipWorld.within(world.run(atMost: .seconds(5)) { Self.holds($0, 5) })
            world.run(for: .seconds(3))
            let life = world.nodes[5].swim.local.id
            world.wake(2)
            let took = try GossipWorld.within(world.run(atMost: .seconds(10)) { $0.nodes[2].refusedBy != nil })
            print("woken after \(asleep), loss \(loss): ended within \(took)")
            world.run(for: .seconds(3))
            #expect(world.nodes[2].refusedBy?.id == life && world.nodes[5].swim.local.id == life)
            #expect(Self.holds(world, 5) && world.nodes[5].refusedBy == nil)
        }
    }

    @Test(arguments: [UInt64](1...40), [0, 0.2]) func ofTwoThatStartAtOneMomentExactlyOneStays(seed: UInt64, loss: Double) throws {
        var world = try SWIMMeshTests.joined(5, seed: seed)
        world.loss = loss
        var random = SeededGenerator(seed: seed)
        let first = world.nodes.count
        let count = 2 + Int(random.next() % 2)
        for index in 0..<count {
            // Some know each other.
            let seeds = [index % 5, random.next() % 3 == 0 ? first + (index + 1) % count : (index + 2) % 5]
            try world.add(named: "x", clockBehind: Int64(random.next() % 3) * 1000, seeds: seeds)
            world.run(for: .milliseconds(Int64(random.next() % 4)))
        }
        world.run(for: .seconds(8))
        let left = (first..<first + count).filter { world.nodes[$0].refusedBy == nil }
        #expect(left.count == 1, "seed \(seed)")
        if let stayed = left.first { _ = try GossipWorld.within(world.run(atMost: .seconds(5)) { Self.holds($0, stayed) }) }
        #expect(world.nodes.prefix(5).allSatisfy { $0.refusedBy == nil })
    }

    @Test func twoSidesOfAPartitionThatGaveOneNameToTwoAgreeOnOne() throws {
        for seed in 1...10 as ClosedRange<UInt64> {
            var world = try SWIMMeshTests.joined(5, seed: seed)
            world.split([3, 4])
            world.run(for: .seconds(20))
            try world.add(named: "n1", seeds: [4])
            world.nodes[5].side = 1
            _ = try GossipWorld.within(
                world.run(atMost: .seconds(5)) {
                    $0.nodes[4].swim.member(named: $0.nodes[1].swim.local.name)?.endpoint == GossipWorld.endpoint(5)
                })
            world.split([])
            world.run(for: .seconds(20))
            let left = [1, 5].filter { world.nodes[$0].refusedBy == nil }
            #expect(left.count == 1)
            if let stayed = left.first { #expect(Self.holds(world, stayed)) }
        }
    }
}
