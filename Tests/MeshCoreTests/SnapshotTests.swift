import Testing

@testable import MeshCore

/// What is remembered of an earlier run.
@Suite struct SnapshotTests {
    private static func members(_ count: Int, status: Status = .alive) throws -> [Member] {
        try (0..<count).map { number in
            Member(
                id: try SWIMTests.id("m\(number)", life: UInt64(number + 1)), incarnation: 3, status: status, stage: .serving,
                endpoint: .loopback(port: UInt16(20_000 + number)), tags: ["zone": "a"], keys: [KeyMark(number: 1, check: 2)])
        }
    }

    private static func dialled(_ directives: [SWIM.Directive]) -> [Endpoint] {
        directives.compactMap { if case .syncWith(let endpoint) = $0 { endpoint } else { nil } }
    }

    // MARK: Bytes

    @Test func aSnapshotComesBackAsItWas() throws {
        let snapshot = Snapshot(
            label: "shop",
            members: try Self.members(3)
                + Self.members(1, status: .dead).map { member in
                    var member = member
                    member.id = try SWIMTests.id("gone", life: 1)
                    return member
                })
        #expect(try Snapshot(decoding: snapshot.encoded) == snapshot)
        #expect(try Snapshot(decoding: Snapshot(label: "", members: []).encoded).members.isEmpty)
    }

    @Test func aSnapshotThatIsCutOrChangedAnywhereIsRefused() throws {
        let bytes = Snapshot(label: "shop", members: try Self.members(3)).encoded
        for index in bytes.indices {
            #expect(throws: WireError.self) { try Snapshot(decoding: Array(bytes[..<index])) }
            var changed = bytes
            changed[index] ^= 0x10
            #expect(throws: WireError.self) { try Snapshot(decoding: changed) }
        }
        #expect(throws: WireError.self) { try Snapshot(decoding: bytes + [0]) }
        #expect(throws: WireError.tooLarge) { try Snapshot(decoding: Array(repeating: 0, count: Snapshot.bytesMax + 1)) }
        #expect(throws: WireError.wrongVersion) { try Snapshot(decoding: Array("gossip 1 a key file of somebody".utf8)) }
    }

    /// Whoever writes the file can also write the hash.
    @Test func junkBehindARightHashIsRefused() throws {
        var random = SeededGenerator(seed: 1)
        let head = Array(Snapshot(label: "shop", members: []).encoded.dropLast(8))
        for _ in 0..<2000 {
            let junk = (0..<Int.random(in: 1...200, using: &random)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            var writer = ByteWriter()
            writer.write(raw: head + junk)
            writer.write(Mix.hash(writer.bytes))
            #expect((try? Snapshot(decoding: writer.bytes))?.members.isEmpty ?? true)
        }
    }

    @Test func theLargestMeshFits() throws {
        let members = try Self.members(SWIM.membersMax)
        let bytes = Snapshot(label: "shop", members: members).encoded
        #expect(bytes.count <= Snapshot.bytesMax)
        #expect(try Snapshot(decoding: bytes).members == members)
    }

    // MARK: Membership

    private static func swim(remembered: [Member], seeds: [Endpoint] = []) throws -> SWIM {
        let local = Member(id: try SWIMTests.id("me", life: 100), stage: .serving, endpoint: .loopback(port: 1))
        return try SWIM(local: local, seeds: seeds, remembered: remembered, seed: 1)
    }

    @Test func theRememberedAreAskedAndNotBelieved() throws {
        let members = try Self.members(3)
        var swim = try Self.swim(remembered: members)
        let directives = swim.step(.start, at: Moment(uptime: 0, wall: 0))
        #expect(Set(Self.dialled(directives)) == Set(members.map(\.endpoint)))
        #expect(swim.others.isEmpty)
        #expect(!swim.seedsSettled)
    }

    @Test func theyHoldNothingUpForLong() throws {
        let members = try Self.members(2)
        var swim = try Self.swim(remembered: members)
        _ = swim.step(.start, at: Moment(uptime: 0, wall: 0))
        _ = swim.step(.syncFailed(members[0].endpoint, refused: true), at: Moment(uptime: 1_000_000, wall: 1))
        #expect(!swim.seedsSettled, "one of them is silent")
        _ = swim.step(.leave, at: Moment(uptime: 3_000_000_000, wall: 3000))
        #expect(swim.seedsSettled)

        var other = try Self.swim(remembered: members)
        _ = other.step(.start, at: Moment(uptime: 0, wall: 0))
        for member in members { _ = other.step(.syncFailed(member.endpoint, refused: true), at: Moment(uptime: 1_000_000, wall: 1)) }
        #expect(other.seedsSettled, "all have refused")
    }

    @Test func whoIsAloneAsksAFewAtATimeAndAllInTheEnd() throws {
        let members = try Self.members(100) + [Member(id: SWIMTests.id("me", life: 7), endpoint: .loopback(port: 9))]
        var swim = try Self.swim(remembered: members)
        var asked: Set<Endpoint> = []
        var directives = swim.step(.start, at: Moment(uptime: 0, wall: 0))
        for second in 1...8 {
            let dialled = Self.dialled(directives)
            #expect(dialled.count == 8)
            asked.formUnion(dialled)
            let round = try #require(
                directives.lazy.compactMap { if case .startTimer(.seeds(let round), _) = $0 { round } else { nil } }.first)
            let now = Moment(uptime: Int64(second) * 1_000_000_000, wall: Int64(second) * 1000)
            // It has probed meanwhile, rather than stood still.
            swim.probeDue = now.uptime
            directives = swim.step(.timer(.seeds(round: round)), at: now)
        }
        #expect(asked.count == 64)
        #expect(!asked.contains(.loopback(port: 9)), "our own name was us")
    }

    @Test func aMeshFindsTogetherByWhatEachRemembers() throws {
        var world = try GossipWorld(4, seed: 8)
        _ = try GossipWorld.within(world.run(atMost: .seconds(10)) { $0.agrees })
        let snapshots = try world.nodes.map { node in
            try Snapshot(decoding: Snapshot(label: "shop", members: node.swim.view.members).encoded).members
        }
        for index in 0..<4 { world.kill(index, hostIsUp: true) }
        world.run(for: .seconds(60))
        for index in 0..<4 {
            try world.restart(index, remembering: snapshots[index])
            world.run(for: .seconds(20))
        }
        #expect(world.agrees)
        #expect(world.nodes.allSatisfy { $0.swim.others.count == 3 })
    }
}
