import MeshCore
import Testing

@Suite struct MirrorRecordTests {
    private static let keyBytes = [UInt8](repeating: 1, count: 32)

    /// Records of one session with few names and versions, so that they collide; a payload follows from its name and version.
    private static func record(using generator: inout SeededGenerator) throws -> MirrorRecord {
        let isTombstone = Int.random(in: 0..<4, using: &generator) == 0
        let names = isTombstone ? [9] : (0..<4).filter { _ in Bool.random(using: &generator) }
        let entries = names.map { name in
            let version = UInt8.random(in: 0..<4, using: &generator)
            return MirrorEntry(name: [UInt8(name)], version: [version] + .init(repeating: 0, count: 15), payload: [UInt8(name), version])
        }
        let key = try #require(SessionKey(bytes: keyBytes))
        return MirrorRecord(key: key, entries: entries, expiresAt: Int64.random(in: 0..<4, using: &generator), isTombstone: isTombstone)
    }

    private static func merged(_ records: MirrorRecord...) -> MirrorRecord {
        records.dropFirst().reduce(into: records[0]) { $0.merge($1) }
    }

    @Test func mergingIsCommutativeAssociativeAndIdempotent() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<2000 {
            let (a, b, c) = (try Self.record(using: &generator), try Self.record(using: &generator), try Self.record(using: &generator))
            #expect(Self.merged(a, b) == Self.merged(b, a))
            #expect(Self.merged(Self.merged(a, b), c) == Self.merged(a, Self.merged(b, c)))
            #expect(Self.merged(a, b, b, a) == Self.merged(a, b))
            #expect(Self.merged(a, b, c).fault == nil)
        }
    }

    @Test func whatIsNoRecordIsToldSo() throws {
        let key = try #require(SessionKey(bytes: Self.keyBytes))
        let good = MirrorEntry(name: [1], version: .init(repeating: 0, count: 16), payload: [])
        var short = good
        short.version = [1]
        var nameless = good
        nameless.name = []
        var long = good
        long.name = .init(repeating: 1, count: 256)
        var heavy = good
        heavy.payload = .init(repeating: 0, count: MirrorRecord.bytesMax)
        for entries in [[short], [nameless], [long], [heavy], [good, good], .init(repeating: good, count: 1025)] {
            #expect(MirrorRecord(key: key, entries: entries, expiresAt: 0).fault != nil)
        }
        for entries in [[], [good, good]] {
            #expect(MirrorRecord(key: key, entries: entries, expiresAt: 0, isTombstone: true).fault != nil)
        }
        for record in [
            MirrorRecord(key: key, entries: [], expiresAt: 0), MirrorRecord(key: key, entries: [nameless], expiresAt: 0, isTombstone: true),
        ] {
            #expect(record.fault == nil)
        }
    }
}
