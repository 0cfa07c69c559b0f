import Testing

@testable import MeshCore

/// When a key is accepted, used and refused.
@Suite struct KeyRotationTests {
    static func key(_ number: UInt16, secret fill: UInt8? = nil) throws -> GossipKey {
        try #require(GossipKey(number: number, secret: [UInt8](repeating: fill ?? UInt8(number), count: 32)))
    }

    static func ring(_ numbers: UInt16...) throws -> GossipKeyRing { try #require(GossipKeyRing(try numbers.map { try key($0) })) }

    /// A member that accepts these keys and seals with the last.
    static func member(_ name: String, _ numbers: UInt16...) throws -> Member {
        Member(
            id: MemberID(name: try NodeName(name), life: Life(rawValue: 1)), endpoint: .loopback(port: 1),
            keys: try numbers.map { try key($0).mark })
    }

    static func rotation(from old: GossipKeyRing, to new: GossipKeyRing, force: Bool = false, among others: [Member]) throws -> KeyRotation
    {
        var rotation = KeyRotation(old)
        try rotation.load(new, force: force)
        _ = rotation.consider(others)
        return rotation
    }

    @Test func aNewKeyIsAcceptedAtOnceAndUsedWhenAllAcceptIt() throws {
        var rotation = try Self.rotation(
            from: Self.ring(1), to: Self.ring(1, 2), among: [Self.member("n2", 1, 2), Self.member("n3", 1)])
        #expect(rotation.ring == (try Self.ring(2, 1)))
        let unchanged = rotation.consider([try Self.member("n2", 1, 2), try Self.member("n3", 1)])
        #expect(!unchanged)
        let changed = rotation.consider([try Self.member("n2", 1, 2), try Self.member("n3", 2, 1)])
        #expect(changed)
        #expect(rotation.ring == (try Self.ring(1, 2)))
    }

    @Test func aMemberThatComesWithoutTheKeyIsStillSpokenTo() throws {
        var rotation = KeyRotation(try Self.ring(1, 2))
        #expect(rotation.ring.sealing.number == 2)
        _ = rotation.consider([try Self.member("n2", 1, 2), try Self.member("late", 1)])
        #expect(rotation.ring.sealing.number == 1)
        _ = rotation.consider([try Self.member("n2", 1, 2), try Self.member("late", 1, 2)])
        #expect(rotation.ring.sealing.number == 2)
    }

    @Test func aKeyTakenOutIsRefusedAtOnceWhenNobodySealsWithIt() throws {
        let rotation = try Self.rotation(
            from: Self.ring(1, 2), to: Self.ring(2), among: [Self.member("n2", 1, 2), Self.member("n3", 2)])
        #expect(rotation.ring == (try Self.ring(2)))
        #expect(rotation.kept.isEmpty)
    }

    @Test func aKeyTakenOutIsKeptWhileAMemberSealsWithIt() throws {
        var rotation = try Self.rotation(
            from: Self.ring(1, 2), to: Self.ring(2), among: [Self.member("n2", 2, 1), Self.member("n3", 2)])
        #expect(rotation.ring == (try Self.ring(1, 2)))
        #expect(rotation.kept.map(\.number) == [1])
        _ = rotation.consider([try Self.member("n2", 1, 2), try Self.member("n3", 2)])
        #expect(rotation.ring == (try Self.ring(2)))
    }

    @Test func aFileThatWasReplacedWholeCutsNobodyOff() throws {
        var rotation = try Self.rotation(from: Self.ring(1), to: Self.ring(2), among: [Self.member("n2", 1)])
        #expect(rotation.ring == (try Self.ring(2, 1)))
        _ = rotation.consider([try Self.member("n2", 2, 1)])
        // It accepts the new one; it still seals with the old one.
        #expect(rotation.ring == (try Self.ring(1, 2)))
        _ = rotation.consider([try Self.member("n2", 1, 2)])
        #expect(rotation.ring == (try Self.ring(2)))
    }

    @Test func forcedTheFileIsFollowedAtOnce() throws {
        var rotation = try Self.rotation(from: Self.ring(1), to: Self.ring(2), force: true, among: [Self.member("n2", 1)])
        #expect(rotation.ring == (try Self.ring(2)))
        let changed = rotation.consider([try Self.member("n2", 1)])
        #expect(!changed)
    }

    @Test func aNumberThatNamesAnotherSecretAtAnotherMemberIsNotTheSameKey() throws {
        var stranger = try Self.member("n2", 1)
        stranger.keys.append(try Self.key(2, secret: 99).mark)
        let rotation = try Self.rotation(from: Self.ring(1), to: Self.ring(1, 2), among: [stranger])
        #expect(rotation.ring.sealing.number == 1)
    }

    @Test func aNumberIsNeverGivenToAnotherSecret() throws {
        var rotation = KeyRotation(try Self.ring(1))
        let other = try #require(GossipKeyRing([try Self.key(1, secret: 99)]))
        #expect(throws: KeyRotation.Problem.numberReused(1)) { try rotation.load(other, force: false) }
        #expect(throws: KeyRotation.Problem.numberReused(1)) { try rotation.load(other, force: true) }
        _ = rotation.consider([Member]())
        #expect(rotation.ring == (try Self.ring(1)))
    }

    @Test func aloneTheFileIsFollowedAtOnce() throws {
        #expect(try Self.rotation(from: Self.ring(1), to: Self.ring(2), among: []).ring == Self.ring(2))
    }

    @Test func keysKeptAreBounded() throws {
        let (old, new) = ((1...16).map { UInt16($0) }, (17...32).map { UInt16($0) })
        var rotation = KeyRotation(try #require(GossipKeyRing(try old.map { try Self.key($0) })))
        let members = try old.map { try Self.member("n\($0)", $0) }
        try rotation.load(try #require(GossipKeyRing(try new.map { try Self.key($0) })), force: false)
        _ = rotation.consider(members)
        #expect(rotation.ring.keys.count == 32)
        try rotation.load(try Self.ring(33), force: false)
        _ = rotation.consider(members)
        #expect(rotation.ring.keys.count <= Member.keysMax)
    }

    @Test func theSummaryNamesWhoHoldsItUp() throws {
        func holder(_ name: String, _ numbers: UInt16...) throws -> KeyReport.Holder {
            KeyReport.Holder(name: try NodeName(name), keys: try numbers.map { try Self.key($0).mark })
        }
        let report = KeyReport(
            members: [try holder("n1", 2, 1), try holder("n2", 1)], wanted: try Self.key(2).mark, used: try Self.key(1).mark, kept: [])
        #expect(report.summary == "gossip key 2 is accepted by 1 of 2 members; key 1 is used until all do (missing at n2)")
        let done = KeyReport(
            members: [try holder("n1", 1, 2)], wanted: try Self.key(2).mark, used: try Self.key(2).mark, kept: [try Self.key(1).mark])
        #expect(done.summary == "gossip key 2 is used; kept, as a member seals with it: 1")
    }

    // MARK: In a mesh

    /// Three members whose packets reach each other at once, told of each other by their states.
    private struct Mesh {
        var members: [Gossip] = []
        var now = Moment(uptime: 0, wall: 0)
        private var timers: [(at: Int64, of: Int, SWIM.Timer)] = []
        private var wire: [(from: Int, to: Int, packet: [UInt8])] = []
        var suspicions = 0
        var deaths = 0

        init(_ count: Int, ring: GossipKeyRing) throws {
            for index in 0..<count { try add(index, ring: ring) }
            for index in members.indices {
                for other in members.indices where other != index { introduce(other, to: index) }
            }
        }

        mutating func add(_ index: Int, ring: GossipKeyRing) throws {
            let id = MemberID(name: try NodeName("n\(index)"), life: Life(rawValue: 1))
            members.append(
                try Gossip(
                    local: Member(id: id, stage: .serving, endpoint: .loopback(port: UInt16(index + 1))), seeds: [], seed: UInt64(index),
                    ring: ring, label: "play", sid: UInt64(index + 1)))
            perform(members[index].step(.membership(.start), at: now), of: index)
        }

        mutating func introduce(_ other: Int, to index: Int) {
            for page in members[other].swim.statePages(asking: false) {
                perform(members[index].step(.membership(.state(page, from: members[other].swim.local.id)), at: now), of: index)
            }
        }

        mutating func load(_ ring: GossipKeyRing, at index: Int) throws {
            perform(try members[index].load(ring, cookies: [], force: false, at: now), of: index)
        }

        mutating func run(for duration: Duration) {
            let end = now.uptime + duration.nanoseconds
            while let next = timers.indices.min(by: { timers[$0].at < timers[$1].at }), timers[next].at <= end {
                let timer = timers.remove(at: next)
                now = Moment(uptime: timer.at, wall: timer.at / 1_000_000)
                perform(members[timer.of].step(.membership(.timer(timer.2)), at: now), of: timer.of)
            }
            now = Moment(uptime: end, wall: end / 1_000_000)
        }

        private mutating func perform(_ directives: [Gossip.Directive], of index: Int) {
            enqueue(directives, of: index)
            while !wire.isEmpty {
                let (from, to, packet) = wire.removeFirst()
                enqueue(members[to].step(.packet(packet, from: .loopback(port: UInt16(from + 1))), at: now), of: to)
            }
        }

        private mutating func enqueue(_ directives: [Gossip.Directive], of index: Int) {
            for directive in directives {
                switch directive {
                case .packet(let packet, let endpoint): wire.append((index, Int(endpoint.port) - 1, packet))
                case .membership(.startTimer(let timer, let wait)): timers.append((now.uptime + wait.nanoseconds, index, timer))
                case .membership(.memberChanged(let member, _)):
                    if member.status == .suspect { suspicions += 1 }
                    if member.status == .dead { deaths += 1 }
                case .membership: break
                }
            }
        }
    }

    @Test func filesChangedOneAfterTheOtherMoveTheMeshToTheNewKey() throws {
        var mesh = try Mesh(3, ring: Self.ring(1))
        mesh.run(for: .seconds(3))
        for index in 0..<3 {
            try mesh.load(Self.ring(1, 2), at: index)
            mesh.run(for: .seconds(2))
            #expect(mesh.members.map(\.ring.sealing.number) == (index == 2 ? [2, 2, 2] : [1, 1, 1]))
        }
        for index in 0..<3 {
            try mesh.load(Self.ring(2), at: index)
            mesh.run(for: .seconds(2))
        }
        #expect(try mesh.members.allSatisfy { try $0.ring == Self.ring(2) })
        #expect(mesh.members.allSatisfy { $0.keyReport.lacking.isEmpty })
        #expect((mesh.suspicions, mesh.deaths) == (0, 0))
        #expect(mesh.members.allSatisfy { Set($0.packetsDropped.keys).isSubset(of: ["unproven"]) })
    }

    @Test func aFileReplacedInOneStepMovesTheMeshAsWell() throws {
        var mesh = try Mesh(3, ring: Self.ring(1))
        mesh.run(for: .seconds(1))
        for index in 0..<3 {
            try mesh.load(Self.ring(2), at: index)
            mesh.run(for: .seconds(2))
        }
        #expect(try mesh.members.allSatisfy { try $0.ring == Self.ring(2) })
        #expect((mesh.suspicions, mesh.deaths) == (0, 0))
    }

    @Test func whoLacksTheKeyIsRefusedAndCounted() throws {
        var mesh = try Mesh(2, ring: Self.ring(2))
        try mesh.add(2, ring: Self.ring(1))
        // Only by a link could it have heard of the others, and none takes it.
        mesh.introduce(0, to: 2)
        mesh.run(for: .seconds(5))
        #expect(mesh.members[0].swim.others.count == 1)
        #expect(mesh.members[0].packetsDropped["unknownKey"] ?? 0 > 0)
        #expect(Set(mesh.members[0].packetsDropped.keys).isSubset(of: ["unproven", "unknownKey"]))
    }
}
