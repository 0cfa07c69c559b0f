import MeshCore
import Testing

@Suite struct PacketSealerTests {
    static func key(_ number: UInt16, _ fill: UInt8) throws -> GossipKey {
        try #require(GossipKey(number: number, secret: [UInt8](repeating: fill, count: 32)))
    }

    static func sealer(sid: UInt64, label: String = "test", fill: UInt8 = 7) throws -> PacketSealer {
        PacketSealer(ring: try #require(GossipKeyRing([try key(1, fill)])), label: label, sid: sid)
    }

    static func seal(_ payload: [UInt8], by sealer: inout PacketSealer) throws -> [UInt8] {
        let packet = sealer.seal(payload)
        return try #require(packet)
    }

    @Test func whatOneSealsAnotherOpens() throws {
        var ann = try Self.sealer(sid: 1)
        var bob = try Self.sealer(sid: 2)
        for length in [0, 1, 100, PacketSealer.payloadBytesMax] {
            let payload = [UInt8](repeating: 42, count: length)
            let packet = try Self.seal(payload, by: &ann)
            #expect(packet.count == length + PacketSealer.overheadBytes)
            #expect(try bob.open(packet) == payload)
        }
        #expect(bob.refusals.isEmpty)
    }

    @Test func aPacketIsNeverLongerThanTheWayAllows() throws {
        var ann = try Self.sealer(sid: 1)
        #expect(ann.seal([UInt8](repeating: 0, count: PacketSealer.payloadBytesMax))?.count == PacketSealer.packetBytesMax)
        #expect(ann.seal([UInt8](repeating: 0, count: PacketSealer.payloadBytesMax + 1)) == nil)
    }

    @Test func everyFlippedBitIsNoticed() throws {
        var ann = try Self.sealer(sid: 1)
        let packet = try Self.seal([1, 2, 3, 4], by: &ann)
        for bit in 0..<packet.count * 8 {
            var bob = try Self.sealer(sid: 2)
            var flipped = packet
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: PacketSealer.Refusal.self) { try bob.open(flipped) }
        }
    }

    @Test func anotherKeyAnotherLabelAndAnUnknownNumberAreRefused() throws {
        var ann = try Self.sealer(sid: 1)
        let packet = try Self.seal([1], by: &ann)
        var stranger = try Self.sealer(sid: 2, fill: 8)
        #expect(throws: PacketSealer.Refusal.badSeal) { try stranger.open(packet) }
        var elsewhere = try Self.sealer(sid: 2, label: "other")
        #expect(throws: PacketSealer.Refusal.badSeal) { try elsewhere.open(packet) }
        var later = PacketSealer(ring: try #require(GossipKeyRing([try Self.key(2, 7)])), label: "test", sid: 2)
        #expect(throws: PacketSealer.Refusal.unknownKey) { try later.open(packet) }
        #expect(later.refusals == [.unknownKey: 1])
        #expect(throws: PacketSealer.Refusal.reflected) { try ann.open(packet) }
        #expect(throws: PacketSealer.Refusal.wrongVersion) { try later.open([9] + packet.dropFirst()) }
        #expect(throws: PacketSealer.Refusal.badLength) { try later.open(Array(packet.prefix(34))) }
        #expect(throws: PacketSealer.Refusal.badLength) { try later.open([UInt8](repeating: 1, count: 1201)) }
    }

    @Test func aPacketOpensOnceInWhateverOrderPacketsCome() throws {
        var ann = try Self.sealer(sid: 1)
        var bob = try Self.sealer(sid: 2)
        let packets = try (0..<1500).map { try Self.seal([UInt8($0 % 256)], by: &ann) }
        #expect(try bob.open(packets[1000]) == [UInt8(truncatingIfNeeded: 1000)])
        #expect(try bob.open(packets[0]) == [0])
        for index in [0, 1000] { #expect(throws: PacketSealer.Refusal.replayed) { try bob.open(packets[index]) } }
        for index in 1..<1000 { #expect(try bob.open(packets[index]) == [UInt8(index % 256)]) }
        #expect(try bob.open(packets[1499]) == [UInt8(1499 % 256)])
        // 1024 before the highest is too old to tell, 1023 before it is not, and was seen.
        #expect(throws: PacketSealer.Refusal.replayed) { try bob.open(packets[475]) }
        #expect(throws: PacketSealer.Refusal.replayed) { try bob.open(packets[476]) }
        #expect(try bob.open(packets[1200]) == [UInt8(1200 % 256)])
        for packet in packets[...1000] { #expect(throws: PacketSealer.Refusal.replayed) { try bob.open(packet) } }
    }

    @Test func aForgedPacketDoesNotMoveTheWindow() throws {
        var ann = try Self.sealer(sid: 1)
        var bob = try Self.sealer(sid: 2)
        let packet = try Self.seal([5], by: &ann)
        var forged = packet
        forged[11] = 0xFF
        #expect(throws: PacketSealer.Refusal.badSeal) { try bob.open(forged) }
        #expect(try bob.open(packet) == [5])
    }

    @Test func aRingRotatesWithoutALostPacket() throws {
        let (old, new) = (try Self.key(1, 7), try Self.key(2, 9))
        var ann = PacketSealer(ring: try #require(GossipKeyRing([old])), label: "test", sid: 1)
        var bob = PacketSealer(ring: try #require(GossipKeyRing([new, old])), label: "test", sid: 2)
        #expect(try bob.open(try Self.seal([1], by: &ann)) == [1])
        ann.replaceRing(try #require(GossipKeyRing([old, new])))
        #expect(try bob.open(try Self.seal([2], by: &ann)) == [2])
        ann.replaceRing(try #require(GossipKeyRing([old])))
        bob.replaceRing(try #require(GossipKeyRing([new])))
        #expect(throws: PacketSealer.Refusal.unknownKey) { try bob.open(try Self.seal([3], by: &ann)) }
    }

    @Test func whoHasBeenForgottenIsHeardAgain() throws {
        var bob = try Self.sealer(sid: 1_000_000)
        var first = try Self.sealer(sid: 1)
        #expect(try bob.open(try Self.seal([1], by: &first)) == [1])
        for sid in 2...UInt64(PacketSealer.sendersMax + 1) {
            var other = try Self.sealer(sid: sid)
            #expect(try bob.open(try Self.seal([1], by: &other)) == [1])
        }
        #expect(try bob.open(try Self.seal([2], by: &first)) == [2])
    }

    @Test func junkIsRefusedAndCounted() throws {
        var random = SeededGenerator(seed: 4)
        var bob = try Self.sealer(sid: 2)
        for _ in 0..<20_000 {
            var junk = (0..<Int.random(in: 0...80, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Most would fail at the version; let them come further.
            if Bool.random(using: &random), junk.count > 3 { junk.replaceSubrange(0..<3, with: [1, 0, 1]) }
            #expect(throws: PacketSealer.Refusal.self) { try bob.open(junk) }
        }
        #expect(bob.refusals.values.reduce(0, +) == 20_000)
    }
}
