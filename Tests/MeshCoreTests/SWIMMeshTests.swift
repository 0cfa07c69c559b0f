import Testing

@testable import MeshCore

/// What several members do together.
@Suite struct SWIMMeshTests {
    static func joined(_ count: Int, seed: UInt64, balancers: Int = 0, loss: Double = 0) throws -> GossipWorld {
        var world = try GossipWorld(count, seed: seed, balancers: balancers, loss: loss)
        let took = world.run(atMost: .seconds(20)) { $0.agrees }
        try #require(took != nil, "never joined, seed \(seed)")
        return world
    }

    @Test(arguments: [2, 3, 5, 32]) func membersJoinWithinAFewSeconds(count: Int) throws {
        var world = try GossipWorld(count, seed: 1)
        let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.agrees })
        print("\(count) joined within \(took), \(world.packets) packets, \(world.syncs) syncs")
        #expect(world.up.allSatisfy { world.nodes[$0].swim.seedsSettled })
        #expect(world.deaths == 0)
    }

    @Test func aLateComerIsSeenByAll() throws {
        var world = try Self.joined(5, seed: 2)
        try world.add()
        let took = try GossipWorld.within(world.run(atMost: .seconds(3)) { $0.agrees })
        print("late comer seen within \(took)")
    }

    @Test func whoFindsNoSeedGoesOnLooking() throws {
        var world = try GossipWorld(5, seed: 14)
        world.split([3, 4])
        world.run(for: .seconds(60))
        #expect(world.nodes[3].swim.others.isEmpty && !world.nodes[3].swim.seedsSettled)
        world.split([])
        let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.agrees })
        #expect(took < .seconds(3))
        #expect(world.deaths == 0 && world.nodes[3].swim.seedsSettled)
    }

    @Test(arguments: [UInt64](1...8)) func aSilentMemberIsDeadInAllViews(seed: UInt64) throws {
        var world = try Self.joined(5, seed: seed)
        world.kill(3, hostIsUp: false)
        let suspected = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.allHold(3, for: .suspect) })
        let died = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.allHold(3, for: .dead) })
        print("silent: suspect within \(suspected), dead within \(suspected + died)")
        #expect(suspected + died < .seconds(5))
    }

    @Test(arguments: [UInt64](1...8)) func aRefusedMemberIsDeadWithinASecond(seed: UInt64) throws {
        for count in [3, 5, 32] {
            var world = try Self.joined(count, seed: seed)
            world.kill(2, hostIsUp: true)
            let took = try GossipWorld.within(world.run(atMost: .seconds(2)) { $0.allHold(2, for: .dead) })
            #expect(took < .seconds(1), "\(count) members")
        }
    }

    @Test func theSurvivorOfTwoDecidesAlone() throws {
        var world = try Self.joined(2, seed: 3)
        world.kill(1, hostIsUp: false)
        let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.allHold(1, for: .dead) })
        #expect(took < .milliseconds(1900))
    }

    @Test func aBalancerDoesNotConfirm() throws {
        // A node and two balancers lose the other node: one voter is left, so nobody can confirm, and the wait is the one for being alone.
        var world = try Self.joined(4, seed: 4, balancers: 2)
        world.kill(1, hostIsUp: false)
        let took = try GossipWorld.within(world.run(atMost: .seconds(12)) { $0.allHold(1, for: .dead) })
        #expect(took < .seconds(3))
        #expect(world.nodes[0].swim.view.placementCandidates.map(\.name.description) == ["n0"])
    }

    @Test func aFifthOfAllPacketsLostKillsNobody() throws {
        var world = try Self.joined(8, seed: 6, loss: 0.2)
        world.portsAnswer = false
        world.run(for: .seconds(300))
        #expect(world.deaths == 0)
        #expect(world.sightings.contains { $0.member.status == .suspect }, "the test is too kind")
        let agrees = world.run(atMost: .seconds(20)) { $0.agrees }
        #expect(agrees != nil)
        print(
            "20 % loss: \(world.packets) packets, \(world.syncs) syncs, \(world.sightings.count { $0.member.status == .suspect }) sightings of suspicion"
        )
    }

    @Test func lossKillsNobodyInALargerMeshEither() throws {
        var world = try Self.joined(32, seed: 6, loss: 0.2)
        world.portsAnswer = false
        world.run(for: .seconds(30))
        #expect(world.deaths == 0)
    }

    @Test(arguments: [UInt64](1...4)) func aPartitionHealsToOneView(seed: UInt64) throws {
        var world = try Self.joined(5, seed: seed)
        world.split([3, 4])
        let parted = world.run(atMost: .seconds(30)) { world in
            [3, 4].allSatisfy { lost in
                [0, 1, 2].allSatisfy { world.nodes[$0].swim.member(named: world.nodes[lost].swim.local.name)?.status == .dead }
            }
        }
        #expect(parted != nil)
        world.run(for: .seconds(60))
        world.split([])
        let took = try GossipWorld.within(world.run(atMost: .seconds(30)) { $0.agrees })
        print("healed within \(took)")
        #expect(took < .seconds(15))
        let lives = world.nodes.map(\.swim.local.id.life)
        world.run(for: .seconds(5))
        #expect(world.agrees && world.nodes.map(\.swim.local.id.life) == lives, "it does not rest")
    }

    @Test func whoLeavesIsSeenToLeaveAtOnceByAll() throws {
        for count in [2, 5, 32] {
            var world = try Self.joined(count, seed: 7)
            world.feed(1, .leave)
            let took = try GossipWorld.within(world.run(atMost: .seconds(1)) { $0.allHold(1, for: .left) })
            #expect(took <= .milliseconds(200))
            world.run(for: .seconds(3))
            #expect(world.nodes[1].departed)
            #expect(world.deaths == 0)
        }
    }

    @Test func aSuspectThatLivesRefutes() throws {
        var world = try Self.joined(5, seed: 8)
        let subject = world.nodes[2].swim.local
        let accuser = world.nodes[0].swim.local
        let claim = GossipMessage(
            sender: accuser.id, digest: 0, kind: .gossip,
            facts: [.claim(subject.id, incarnation: subject.incarnation, .suspect, accuser: accuser.name)])
        world.feed(1, .message(claim, from: accuser.endpoint))
        #expect(world.nodes[1].swim.member(named: subject.name)?.status == .alive, "one word alone is not shown")
        let took = world.run(atMost: .seconds(2)) { $0.agrees && $0.nodes[1].swim.member(named: subject.name)?.incarnation == 1 }
        #expect(took != nil)
        world.run(for: .seconds(12))
        #expect(world.deaths == 0 && world.nodes[2].swim.local.id == subject.id)
        #expect(world.sightings.allSatisfy { $0.member.status == .alive }, "it was never shown")
        #expect(world.nodes[1].swim.verdicts.map(\.outcome) == [.refuted])
        #expect(world.nodes[1].swim.counters.suspicionsRefuted == 1)
    }

    @Test(arguments: [UInt64](1...4)) func whoWakesFromAPauseDeclaresNobodyDead(seed: UInt64) throws {
        var world = try Self.joined(5, seed: seed)
        world.pause(4, for: .milliseconds(1500))
        world.run(for: .seconds(15))
        #expect(world.deaths == 0)
        #expect(world.nodes[4].pauses == 1)
        #expect(world.agrees)

        // Long enough to be held for dead by the others: it holds none of them for dead, and comes back in a new life.
        let life = world.nodes[4].swim.local.id.life
        world.pause(4, for: .seconds(30))
        let took = world.run(atMost: .seconds(15)) { $0.agrees }
        #expect(took != nil)
        #expect(world.sightings.allSatisfy { $0.member.status != .dead || $0.member.name == world.nodes[4].swim.local.name })
        #expect(world.nodes[4].swim.local.id.life > life)
    }

    @Test func anEmptyRestartUnderTheSameNameReplacesTheOldLife() throws {
        var world = try Self.joined(5, seed: 9)
        let life = world.nodes[2].swim.local.id.life
        try world.restart(2)
        let took = try GossipWorld.within(world.run(atMost: .seconds(5)) { $0.agrees })
        print("restart in all views within \(took)")
        #expect(world.nodes[2].swim.local.id.life > life)
        #expect(world.nodes[0].swim.view.members.count == 5)
        #expect(world.deaths == 0)
    }

    @Test func aClockSetBackIsHarmless() throws {
        var world = try Self.joined(5, seed: 10)
        let life = world.nodes[2].swim.local.id.life
        world.kill(2, hostIsUp: true)
        world.run(for: .seconds(3))
        try world.restart(2, clockSetBackBy: 86_400_000)
        let took = world.run(atMost: .seconds(5)) { $0.agrees }
        #expect(took != nil)
        let later = world.nodes[2].swim.local.id.life
        #expect(later > life && later.rawValue <= life.rawValue + 1 << 16)
    }

    @Test func theSameSeedGivesTheSameTrace() throws {
        func trace(_ seed: UInt64) throws -> [UInt64] {
            var world = try GossipWorld(6, seed: seed, loss: 0.1)
            world.run(for: .seconds(5))
            world.kill(1, hostIsUp: false)
            world.run(for: .seconds(10))
            return [world.trace, UInt64(world.packets), world.nodes[0].swim.digest, world.nodes[0].swim.epoch]
        }
        #expect(try trace(1) == trace(1))
        #expect(try trace(1) != trace(2))
    }

    @Test func instancesComeAndGoWithTheirNode() throws {
        var world = try Self.joined(5, seed: 11)
        for number in 1...40 as ClosedRange<UInt32> {
            let instance = Instance(node: world.nodes[0].swim.local.id, number: number, service: "web", address: "127.0.0.1:\(number)")
            world.feed(1, .register(instance))
        }
        _ = try GossipWorld.within(
            world.run(atMost: .seconds(3)) { $0.agrees && $0.nodes.allSatisfy { $0.swim.view.instances.count == 40 } })
        #expect(world.nodes[4].swim.view.instances.allSatisfy { $0.node == world.nodes[1].swim.local.id })
        world.feed(1, .unregister(number: 7))
        _ = try GossipWorld.within(
            world.run(atMost: .seconds(1)) { $0.agrees && $0.nodes.allSatisfy { $0.swim.view.instances.count == 39 } })
        try world.add()
        _ = try GossipWorld.within(world.run(atMost: .seconds(3)) { $0.agrees && $0.nodes[5].swim.view.instances.count == 39 })
        world.kill(1, hostIsUp: true)
        world.run(for: .seconds(2))
        #expect(world.up.allSatisfy { world.nodes[$0].swim.view.instances.isEmpty })
    }

    @Test func aStageIsSeenByAllAtOnce() throws {
        var world = try Self.joined(32, seed: 12)
        world.feed(5, .setStage(.draining))
        let name = world.nodes[5].swim.local.name
        let took = try GossipWorld.within(
            world.run(atMost: .seconds(2)) { world in
                world.nodes.allSatisfy { $0.swim.member(named: name)?.stage == .draining }
            })
        print("stage seen by 32 within \(took)")
        #expect(took < .seconds(1))
    }

    @Test(arguments: [UInt64](1...4)) func aFactThatNobodyHeardIsRepairedByPacketsAlone(seed: UInt64) throws {
        var world = try Self.joined(32, seed: seed)
        world.run(for: .seconds(5))
        let (syncs, bytes) = (world.syncs, world.bytes)
        world.loss = 1
        world.feed(5, .setStage(.draining))
        world.nodes[5].swim.rumours.removeAll()
        world.loss = 0
        let name = world.nodes[5].swim.local.name
        let took = try GossipWorld.within(
            world.run(atMost: .seconds(10)) { world in
                world.agrees && world.nodes.allSatisfy { $0.swim.member(named: name)?.stage == .draining }
            })
        let repairs = world.nodes.reduce(0) { $0 + $1.swim.counters.repairsByPackets }
        print("seen by 32 within \(took) after \(repairs) repairs, \(world.bytes - bytes) bytes of messages in all")
        #expect(repairs > 0 && world.syncs == syncs)
    }

    @Test func aQuietMeshOnlyProbes() throws {
        var world = try Self.joined(5, seed: 13)
        world.run(for: .seconds(10))
        let (packets, bytes, syncs) = (world.packets, world.bytes, world.syncs)
        world.run(for: .seconds(60))
        let perMember = Double(world.packets - packets) / 300
        print("quiet: \(perMember) packets, \((world.bytes - bytes) / 300) bytes per member and second")
        // A ping of ours, and an ack to one of theirs, four times a second.
        #expect((7.5...8.5).contains(perMember))
        #expect(world.syncs == syncs)
    }
}
