import Testing

@testable import MeshCore

@Suite struct ClockTests {
    @Test func stampsOfASessionOnlyRiseAndStayNearTheWallClock() {
        let noon = Stamp(wall: 1_000_000)
        #expect(Stamp(after: noon, wall: 2_000_000) == Stamp(wall: 2_000_000))
        #expect(Stamp(after: noon, wall: 5) == Stamp(rawValue: noon.rawValue + 1))
        #expect(Stamp(after: Stamp(rawValue: .max), wall: 5) == Stamp(rawValue: .max))
        #expect(Stamp(wall: -1) == .zero)
        #expect(noon.milliseconds == 1_000_000)
    }

    @Test func oneWrongClockIsHeldWithinFiveSecondsOfTheMiddle() throws {
        var clock = MeshClock()
        let wrong = Moment(uptime: 9_000_000_000, wall: 3_600_000)
        #expect(clock.wall(at: wrong) == 3_600_000)
        for name in ["n2", "n3"] { clock.heard(try NodeName(name), saying: 1_000_000, at: wrong) }
        #expect(clock.wall(at: wrong) == 1_005_000)
        #expect(clock.wall(at: Moment(uptime: 10_000_000_000, wall: 0)) == 996_000)
        #expect(clock.wall(at: Moment(uptime: 9_000_000_000, wall: 1_002_000)) == 1_002_000)
        // Of two, the earlier: to expire late is the lesser harm.
        clock.keep { $0.description == "n2" }
        #expect(clock.wall(at: wrong) == 1_005_000)
        clock.keep { _ in false }
        #expect(clock.wall(at: wrong) == 3_600_000)
    }

    @Test func theMiddleIsThatOfAllClocksAndOfTwoTheEarlier() throws {
        var generator = SeededGenerator(seed: 11)
        for count in 0..<8 {
            for _ in 0..<50 {
                var clock = MeshClock()
                let now = Moment(uptime: 0, wall: Int64.random(in: 0...9, using: &generator) * 1_000_000)
                let walls = (0..<count).map { _ in Int64.random(in: 0...9, using: &generator) * 1_000_000 }
                for (index, wall) in walls.enumerated() { clock.heard(try NodeName("n\(index)"), saying: wall, at: now) }
                let middle = (walls + [now.wall]).sorted()[count / 2]
                #expect(clock.wall(at: now) == min(max(now.wall, middle - MeshClock.leeway), middle + MeshClock.leeway))
            }
        }
    }

    @Test func theGreaterTermHoldsAndOfTwoOwnersInOneTermTheGreaterMember() throws {
        func member(_ name: String, _ life: UInt64) throws -> MemberID { MemberID(name: try NodeName(name), life: Life(rawValue: life)) }
        let rising = [
            Tenure.none, Tenure(term: 1, owner: nil), Tenure(term: 1, owner: try member("a", 9)),
            Tenure(term: 1, owner: try member("b", 1)),
            Tenure(term: 1, owner: try member("b", 2)), Tenure(term: 2, owner: nil),
        ]
        for (index, tenure) in rising.enumerated() {
            for (other, greater) in rising.enumerated() { #expect((tenure < greater) == (index < other)) }
        }
    }

    @Test func chanceAndMixingAreTheSameInEveryBuild() {
        var generator = SeededGenerator(seed: 0)
        let drawn = [generator.next(), generator.next(), generator.next()]
        #expect(drawn == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F])
        #expect(Mix.finish(1) == 0x5692_161D_100B_05E5)
        #expect(Mix.hash([]) == 0xF52A_15E9_A9B5_E89B)
        #expect(Mix.hash("a".utf8) == 0x02C0_BDBF_4814_20F8)
        #expect(Mix.hash("n1".utf8) == 0xF8E4_6110_455C_6E53)
    }

    @Test func aChannelsOffsetsRiseByOneAndAForgottenChannelOpensANewEpoch() {
        var registry = ChannelRegistry()
        var generator = SeededGenerator(seed: 1)
        let first = registry.next(in: "c", using: &generator)
        let second = registry.next(in: "c", using: &generator)
        #expect(second == ChannelPosition(epoch: first.epoch, offset: 2))
        for number in 0..<ChannelRegistry.positionsMax { _ = registry.next(in: "other\(number)", using: &generator) }
        let again = registry.next(in: "c", using: &generator)
        #expect(again.epoch != first.epoch && again.offset == 1)
    }

    @Test func aClientListensToSoManyChannelsAndItsEndEndsThemAll() {
        var registry = ChannelRegistry()
        let client = ClientID(rawValue: 1)
        for number in 0..<ChannelRegistry.subscriptionsMax {
            let isTaken = registry.subscribe(client, to: "c\(number)")
            #expect(isTaken)
        }
        let (again, more) = (registry.subscribe(client, to: "c0"), registry.subscribe(client, to: "more"))
        #expect(again && !more)
        #expect(registry.subscribers(of: "c0") == [client])
        registry.unsubscribe(client, from: "c1")
        let isTaken = registry.subscribe(client, to: "more")
        #expect(isTaken)
        registry.remove(client)
        #expect(registry.subscribers(of: "c0").isEmpty && registry.subscribers(of: "more").isEmpty)
    }
}
