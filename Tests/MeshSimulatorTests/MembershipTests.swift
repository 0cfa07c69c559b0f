import MeshCore
import MeshSimulator
import Testing

/// Members of the gossip alone, under faults.
@Suite struct MembershipTests {
    /// A world of members that have found each other.
    private static func world(
        seed: UInt64, nodes: Int, balancers: Int = 0, loss: Double = 0, links: MembershipWorld.PeerLinks = .all
    ) throws -> MembershipWorld {
        var settings = MembershipWorld.Configuration()
        settings.network.loss = loss
        settings.peerLinks = links
        var world = MembershipWorld(seed: seed, configuration: settings)
        for number in 1...nodes { world.start(try name(number), role: number > nodes - balancers ? .balancer : .node) }
        try #require(agree(&world, within: .seconds(10)), "\(world.disagreement ?? "")")
        return world
    }

    private static func name(_ number: Int) throws -> NodeName { try NodeName("n\(number)") }

    private static func agree(_ world: inout MembershipWorld, within limit: Duration) -> Bool {
        world.run(for: limit, lookingEvery: .milliseconds(50)) { $0.disagreement == nil }
    }

    private static func status(of subject: Int, at observer: Int, in world: MembershipWorld) throws -> Status? {
        world.gossip(of: try name(observer))?.swim.member(named: try name(subject))?.status
    }

    @Test func aKilledMemberIsDeadForAllWithinTwoSeconds() throws {
        var world = try Self.world(seed: 1, nodes: 10)
        try world.crash(Self.name(4))
        #expect(Self.agree(&world, within: .seconds(2)))
        #expect(try Self.status(of: 4, at: 1, in: world) == .dead)
        #expect(world.violations.isEmpty)
    }

    @Test func aPauseOfOneAndAHalfSecondsIsSurvived() throws {
        var world = try Self.world(seed: 2, nodes: 10)
        for number in 1...5 {
            try world.pause(Self.name(number))
            world.run(for: MembershipWorld.pauseTolerated)
            try world.wake(Self.name(number))
            #expect(Self.agree(&world, within: .seconds(5)), "\(world.disagreement ?? "")")
        }
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    @Test func aClockSetBackOverARestartDoesNoHarm() throws {
        var world = try Self.world(seed: 3, nodes: 5)
        try world.crash(Self.name(2))
        world.run(for: .seconds(1))
        try world.start(Self.name(2), clockError: -3_600_000)
        #expect(Self.agree(&world, within: .seconds(10)), "\(world.disagreement ?? "")")
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    @Test func aMemberThatMovedIsFoundUnderItsName() throws {
        var world = try Self.world(seed: 4, nodes: 8)
        let before = world.gossip(of: try Self.name(6))?.swim.local.endpoint
        try world.crash(Self.name(6))
        try world.start(Self.name(6), moved: true)
        #expect(Self.agree(&world, within: .seconds(5)), "\(world.disagreement ?? "")")
        #expect(world.gossip(of: try Self.name(1))?.swim.member(named: try Self.name(6))?.endpoint != before)
    }

    @Test func twoSidesOfASplitAreOneAgainAfterIt() throws {
        var world = try Self.world(seed: 5, nodes: 10, balancers: 2, links: .watchers)
        try world.split(after: Self.name(5))
        world.run(for: .seconds(60))
        #expect(try Self.status(of: 9, at: 1, in: world) == .dead)
        try world.join(after: Self.name(5))
        #expect(Self.agree(&world, within: .seconds(20)), "\(world.disagreement ?? "")")
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    @Test func whoeverSaysGoodbyeHasLeftForAll() throws {
        var world = try Self.world(seed: 6, nodes: 10)
        try world.leave(Self.name(3))
        world.run(for: .milliseconds(200))
        for observer in [1, 2, 4, 5, 6, 7, 8, 9, 10] { #expect(try Self.status(of: 3, at: observer, in: world) == .left) }
    }

    /// Half of a mesh misses a newcomer and all that was told of it.
    @Test func whatASplitKeptFromHalfTheMeshIsRepairedByPacketsToo() throws {
        var repairs: UInt64 = 0
        for seed in 1...8 as ClosedRange<UInt64> {
            var world = try Self.world(seed: seed, nodes: 12)
            try world.split(after: Self.name(6))
            try world.start(Self.name(13))
            world.run(for: .seconds(1))
            try world.join(after: Self.name(6))
            #expect(Self.agree(&world, within: .seconds(5)), "seed \(seed): \(world.disagreement ?? "")")
            #expect(world.violations.isEmpty, "seed \(seed): \(world.violations)")
            repairs += world.running.reduce(0) { $0 + (world.gossip(of: $1)?.swim.counters.repairsByPackets ?? 0) }
        }
        print("eight newcomers in eight splits: \(repairs) repairs by packets")
        #expect(repairs > 0)
    }

    @Test(arguments: 1...UInt64(12))
    func aSeedOfFaultsBreaksNoPromise(seed: UInt64) {
        var settings = MembershipOrdeal.Configuration()
        settings.nodes = 5 + Int(seed) * 2
        settings.balancers = settings.nodes / 8
        var ordeal = MembershipOrdeal(seed: seed, configuration: settings)
        let report = ordeal.run()
        #expect(report.violations.isEmpty, "seed \(seed): \(report.violations) with \(report.plan)")
    }

    @Test func twoHundredMembersAreOneMeshWithinASecondOfTheLastStart() throws {
        var settings = MembershipOrdeal.Configuration()
        settings.nodes = 200
        settings.balancers = 8
        settings.loss = 0
        settings.length = .seconds(6)
        settings.faults = [.kill]
        settings.rounds = 2
        settings.quiet = .seconds(3)
        var ordeal = MembershipOrdeal(seed: 3, configuration: settings)
        let report = ordeal.run()
        #expect(report.violations.isEmpty, "\(report.violations)")
        #expect(try #require(report.joinedAfter) <= .seconds(2))
    }

    @Test func theSameSeedGivesTheSameTraceOfMembers() {
        var settings = MembershipOrdeal.Configuration()
        settings.length = .seconds(40)
        var (one, two) = (MembershipOrdeal(seed: 8, configuration: settings), MembershipOrdeal(seed: 8, configuration: settings))
        let (first, second) = (one.run(), two.run())
        #expect(first.traceHash == second.traceHash)
        var other = MembershipOrdeal(seed: 9, configuration: settings)
        #expect(other.run().traceHash != first.traceHash)
    }
}

/// Plans as text, and shrinking.
@Suite struct MembershipPlanTests {
    @Test(arguments: [
        "1.5:crash:n3:2,4:cut:n1:n2:8", "0:kill:n5", "2.05:pause:n1:0.125,3:split:n2:1,9.5:lossy:n4:0.05", "",
        "1:restart:n1:1,2:rewind:n1:1,3:move:n1:1,4:leave:n1:1,5:clock:n1:1,6:deaf:n1:1",
    ])
    func aPlanIsReadAsItIsWritten(text: String) {
        #expect(MembershipPlan(text)?.description == text)
    }

    @Test(arguments: [
        "crash", "1:crash", "1:crash:n1", "1:crash:3:2", "1:kill:n1:2", "1:cut:n1:n1:2", "1:cut:n1:2", "x:crash:n1:2", "-1:crash:n1:2",
        "1:fall:n1:2",
        "1.2345:crash:n1:2", "1.:crash:n1:2", "1:crash:n0:2", "1:crash:n1:9999999999", "1:crash:n1:2:3", "1.-5:crash:n1:2",
    ])
    func whatIsNoPlanIsRefused(text: String) {
        #expect(MembershipPlan(text) == nil)
    }

    /// A planted bug: somebody is afraid of two being away at once.
    @Test func aFailingSeedShrinksToTheLeastThatStillFails() throws {
        let promise: MembershipOrdeal.Promise = { world in
            let away = world.names.count - world.running.count
            return away >= 2 ? "\(away) are away at once" : nil
        }
        var settings = MembershipOrdeal.Configuration()
        settings.nodes = 12
        settings.rounds = 14
        settings.length = .seconds(45)
        var failing: MembershipOrdeal.Report?
        for seed in 1...UInt64(20) where failing == nil {
            var ordeal = MembershipOrdeal(seed: seed, configuration: settings, promise: promise)
            let report = ordeal.run()
            if report.violations.first?.promise == .planted, report.plan.faults.count > 8 { failing = report }
        }
        let broken = try #require(failing)
        let shrunk = MembershipOrdeal.shrink(broken, promise: promise)
        #expect(shrunk.report.violations.first?.promise == .planted)
        #expect(shrunk.report.plan.faults.count == 2, "\(shrunk.report.plan)")
        #expect(shrunk.report.configuration.nodes == 2)
        #expect(shrunk.report.configuration.loss == 0)
        #expect(shrunk.report.plan.end < broken.plan.end)
        // What is printed repeats it.
        let plan = try #require(MembershipPlan(shrunk.report.plan.description))
        var again = MembershipOrdeal(seed: broken.seed, configuration: shrunk.report.configuration, plan: plan, promise: promise)
        #expect(again.run().traceHash == shrunk.report.traceHash)
    }
}
