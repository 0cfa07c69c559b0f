import Testing

@testable import MeshCore

@Suite struct PacketSealerTests {
    static let now = Moment(uptime: 5_000_000_000, wall: 0)
    static let (annAt, bobAt) = (Endpoint.loopback(port: 1), Endpoint.loopback(port: 2))

    /// What is shorter than a question is not asked about.
    static let greeting = [UInt8](repeating: 0, count: 40)

    static func key(_ number: UInt16, _ fill: UInt8) throws -> GossipKey {
        try #require(GossipKey(number: number, secret: [UInt8](repeating: fill, count: 32)))
    }

    static func sealer(sid: UInt64, label: String = "test", fill: UInt8 = 7) throws -> PacketSealer {
        PacketSealer(ring: try #require(GossipKeyRing([try key(1, fill)])), label: label, sid: sid)
    }

    static func seal(_ payload: [UInt8], by sealer: inout PacketSealer, at now: Moment = now) throws -> [UInt8] {
        let packet = sealer.seal(payload, to: bobAt, at: now)
        return try #require(packet)
    }

    static func open(_ packet: [UInt8], by sealer: inout PacketSealer) throws -> [UInt8]? {
        try sealer.open(packet, from: annAt, at: now).payload
    }

    /// Lets `ann` prove herself to `bob`, and him to her. Costs her two counters.
    static func acquaint(_ ann: inout PacketSealer, _ bob: inout PacketSealer, at now: Moment = now) throws {
        let question = try present(try bob.open(try seal(greeting, by: &ann, at: now), from: annAt, at: now).reply)
        let answer = try present(try ann.open(question.packet, from: bobAt, at: now).reply)
        #expect(try bob.open(answer.packet, from: annAt, at: now).payload == greeting)
        let own = bob.settle()
        #expect(try ann.open(try present(own).packet, from: bobAt, at: now) == PacketSealer.Opened())
    }

    static func pair() throws -> (ann: PacketSealer, bob: PacketSealer) {
        var (ann, bob) = (try sealer(sid: 1), try sealer(sid: 2))
        try acquaint(&ann, &bob)
        return (ann, bob)
    }

    @Test func whatOneSealsAnotherOpens() throws {
        var (ann, bob) = try Self.pair()
        let refusals = bob.refusals
        for length in [0, 1, 100, PacketSealer.payloadBytesMax] {
            let payload = [UInt8](repeating: 42, count: length)
            let packet = try Self.seal(payload, by: &ann)
            #expect(packet.count == length + PacketSealer.overheadBytes)
            #expect(try Self.open(packet, by: &bob) == payload)
        }
        #expect(bob.refusals == refusals)
    }

    @Test func aPacketIsNeverLongerThanTheWayAllows() throws {
        var (ann, bob) = (try Self.sealer(sid: 1), try Self.sealer(sid: 2))
        #expect(ann.seal([UInt8](repeating: 0, count: PacketSealer.payloadBytesMax + 1), to: Self.bobAt, at: Self.now) == nil)
        // The longest message still goes out with an answer and a question.
        let longest = try Self.seal([UInt8](repeating: 0, count: PacketSealer.payloadBytesMax), by: &ann)
        let question = try present(try bob.open(longest, from: Self.annAt, at: Self.now).reply)
        let answer = try present(try ann.open(question.packet, from: Self.bobAt, at: Self.now).reply)
        #expect(answer.packet.count == PacketSealer.packetBytesMax)
        #expect(try Self.open(answer.packet, by: &bob)?.count == PacketSealer.payloadBytesMax)
    }

    @Test func everyFlippedBitIsNoticed() throws {
        var (ann, bob) = try Self.pair()
        let stranger = try Self.sealer(sid: 3)
        let packet = try Self.seal([1, 2, 3, 4], by: &ann)
        for bit in 0..<packet.count * 8 {
            var flipped = packet
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: PacketSealer.Refusal.self) { try bob.open(flipped, from: Self.annAt, at: Self.now) }
            var other = stranger
            #expect(throws: PacketSealer.Refusal.self) { try other.open(flipped, from: Self.annAt, at: Self.now) }
        }
        #expect(try Self.open(packet, by: &bob) == [1, 2, 3, 4])
    }

    @Test func everyCutIsNoticed() throws {
        var (ann, bob) = try Self.pair()
        let packet = try Self.seal([1, 2, 3, 4], by: &ann)
        for length in packet.indices {
            #expect(throws: PacketSealer.Refusal.self) { try bob.open(Array(packet[..<length]), from: Self.annAt, at: Self.now) }
        }
        #expect(throws: PacketSealer.Refusal.badSeal) { try bob.open(packet + [0], from: Self.annAt, at: Self.now) }
    }

    @Test func anotherKeyAnotherLabelAndAnUnknownNumberAreRefused() throws {
        var ann = try Self.sealer(sid: 1)
        let packet = try Self.seal([UInt8](repeating: 1, count: 100), by: &ann)
        var stranger = try Self.sealer(sid: 2, fill: 8)
        #expect(throws: PacketSealer.Refusal.badSeal) { try Self.open(packet, by: &stranger) }
        var elsewhere = try Self.sealer(sid: 2, label: "other")
        #expect(throws: PacketSealer.Refusal.badSeal) { try Self.open(packet, by: &elsewhere) }
        var later = PacketSealer(ring: try #require(GossipKeyRing([try Self.key(2, 7)])), label: "test", sid: 2)
        #expect(throws: PacketSealer.Refusal.unknownKey) { try Self.open(packet, by: &later) }
        #expect(later.refusals == [.unknownKey: 1])
        #expect(throws: PacketSealer.Refusal.reflected) { try Self.open(packet, by: &ann) }
        #expect(throws: PacketSealer.Refusal.wrongVersion) { try Self.open([2] + packet.dropFirst(), by: &later) }
        #expect(throws: PacketSealer.Refusal.wrongVersion) { try Self.open([0xC2] + packet.dropFirst(), by: &later) }
        #expect(throws: PacketSealer.Refusal.badLength) { try Self.open(Array(packet.prefix(34)), by: &later) }
        #expect(throws: PacketSealer.Refusal.badLength) { try Self.open([UInt8](repeating: 1, count: 1201), by: &later) }
    }

    @Test func aPacketOpensOnceInWhateverOrderPacketsCome() throws {
        var (ann, bob) = try Self.pair()
        let packets = try (0..<1500).map { try Self.seal([UInt8($0 % 256)], by: &ann) }
        #expect(try Self.open(packets[1000], by: &bob) == [UInt8(truncatingIfNeeded: 1000)])
        #expect(try Self.open(packets[0], by: &bob) == [0])
        for index in [0, 1000] { #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(packets[index], by: &bob) } }
        for index in 1..<1000 { #expect(try Self.open(packets[index], by: &bob) == [UInt8(index % 256)]) }
        #expect(try Self.open(packets[1499], by: &bob) == [UInt8(1499 % 256)])
        // 1024 before the highest is too old to tell, 1023 before it is not, and was seen.
        #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(packets[475], by: &bob) }
        #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(packets[476], by: &bob) }
        #expect(try Self.open(packets[1200], by: &bob) == [UInt8(1200 % 256)])
        for packet in packets[...1000] { #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(packet, by: &bob) } }
    }

    @Test func whatWasSaidBeforeTheProofIsNeverHeardAfterIt() throws {
        var (ann, bob) = (try Self.sealer(sid: 1), try Self.sealer(sid: 2))
        let early = try (0..<5).map { _ in try Self.seal(Self.greeting, by: &ann) }
        try Self.acquaint(&ann, &bob)
        for packet in early { #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(packet, by: &bob) } }
        #expect(try Self.open(try Self.seal([9], by: &ann), by: &bob) == [9])
    }

    @Test func aForgedPacketDoesNotMoveTheWindow() throws {
        var (ann, bob) = try Self.pair()
        let packet = try Self.seal([5], by: &ann)
        var forged = packet
        forged[11] = 0xFF
        #expect(throws: PacketSealer.Refusal.badSeal) { try Self.open(forged, by: &bob) }
        #expect(try Self.open(packet, by: &bob) == [5])
    }

    @Test func aRingRotatesWithoutALostPacket() throws {
        let (old, new) = (try Self.key(1, 7), try Self.key(2, 9))
        var ann = PacketSealer(ring: try #require(GossipKeyRing([old])), label: "test", sid: 1)
        var bob = PacketSealer(ring: try #require(GossipKeyRing([new, old])), label: "test", sid: 2)
        ann.replaceRing(try #require(GossipKeyRing([new, old])))
        try Self.acquaint(&ann, &bob)
        ann.replaceRing(try #require(GossipKeyRing([old, new])))
        #expect(try Self.open(try Self.seal([2], by: &ann), by: &bob) == [2])
        // Whoever is asked under one key may answer under another.
        var cid = PacketSealer(ring: try #require(GossipKeyRing([new, old])), label: "test", sid: 3)
        let question = try present(
            try bob.open(try Self.seal([UInt8](repeating: 0, count: 40), by: &cid), from: Self.annAt, at: Self.now).reply)
        cid.replaceRing(try #require(GossipKeyRing([old, new])))
        let answer = try present(try cid.open(question.packet, from: Self.bobAt, at: Self.now).reply)
        #expect(try Self.open(answer.packet, by: &bob)?.count == 40)

        ann.replaceRing(try #require(GossipKeyRing([old])))
        bob.replaceRing(try #require(GossipKeyRing([new])))
        #expect(throws: PacketSealer.Refusal.unknownKey) { try Self.open(try Self.seal([3], by: &ann), by: &bob) }
    }

    @Test func whoHasBeenForgottenProvesItselfAgain() throws {
        var bob = try Self.sealer(sid: 1_000_000)
        var first = try Self.sealer(sid: 1)
        try Self.acquaint(&first, &bob)
        for sid in 2...UInt64(PacketSealer.sendersMax + 1) {
            var other = try Self.sealer(sid: sid)
            // One question a second to that address.
            try Self.acquaint(&other, &bob, at: Self.now.advanced(by: .seconds(Int64(sid))))
        }
        let old = try Self.seal(Self.greeting, by: &first)
        let question = try present(try bob.open(old, from: Self.annAt, at: Self.now).reply)
        let answer = try present(try first.open(question.packet, from: Self.bobAt, at: Self.now).reply)
        #expect(try Self.open(answer.packet, by: &bob) == Self.greeting)
        #expect(throws: PacketSealer.Refusal.replayed) { try Self.open(old, by: &bob) }
    }

    @Test func junkIsRefusedAndCounted() throws {
        var random = SeededGenerator(seed: 4)
        var bob = try Self.sealer(sid: 2)
        for _ in 0..<20_000 {
            var junk = (0..<Int.random(in: 0...80, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Most would fail at the version; let them come further.
            if Bool.random(using: &random), junk.count > 3 { junk.replaceSubrange(0..<3, with: [1, 0, 1]) }
            #expect(throws: PacketSealer.Refusal.self) { try bob.open(junk, from: Self.annAt, at: Self.now) }
        }
        #expect(bob.refusals.values.reduce(0, +) == 20_000)
    }
}
