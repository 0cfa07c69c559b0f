import Testing

@testable import MeshCore

@Suite struct FieldListTests {
    static let names = ["", "@user", "a", "ab", "b", "n", "zz", "\u{E9}", "e\u{301}", String(repeating: "x", count: 255)]

    @Test func aListHoldsWhatATableOfItsFieldsWould() throws {
        var random = RandomSessions(seed: 1)
        for _ in 0..<200 {
            var list = FieldList()
            var table: [[UInt8]: Cell] = [:]
            for _ in 0..<random.number(0...30) {
                let name = try #require(Self.names.randomElement(using: &random.generator))
                let cell = random.cell()
                if Bool.random(using: &random.generator) {
                    list.set(name, cell)
                    table[Array(name.utf8)] = cell
                } else {
                    var other = FieldList()
                    other.set(name, cell)
                    list.merge(other)
                    table[Array(name.utf8)]?.merge(cell)
                    table[Array(name.utf8)] = table[Array(name.utf8)] ?? cell
                }
            }
            let expected = table.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            #expect(list.map { Array($0.name.utf8) } == expected.map(\.key))
            #expect(list.map(\.cell) == expected.map(\.value))
            #expect(list.count == table.count && list.isEmpty == table.isEmpty)
            for name in Self.names { #expect(list[name] == table[Array(name.utf8)]) }
            try expectWhole(list)
            let few = list.keeping { $0.name.count < 3 }
            #expect(few.map { Array($0.name.utf8) } == expected.map(\.key).filter { $0.count < 3 })
            try expectWhole(few)
        }
    }

    /// It reads as it was written, and takes no more memory than what it says.
    private func expectWhole(_ list: FieldList) throws {
        var writer = ByteWriter()
        writer.write(list)
        var reader = ByteReader(writer.bytes)
        #expect(try reader.readFields() == list)
        try reader.finish()
        #expect(list.bytes.capacity < list.bytes.count + 32)
    }

    @Test func aValueIsWhatItsCellSays() {
        var random = RandomSessions(seed: 2)
        for _ in 0..<200 {
            let cell = random.cell()
            var list = FieldList()
            list.set("f", cell)
            list.set("@f", cell)
            let values = list.places.map(list.value)
            #expect(values.first == .some(nil), "fields of ours are shown to nobody")
            switch cell {
            case .register(_, let bytes): #expect((values.last ?? nil) == bytes.map { .bytes($0) })
            case .counter(let counter): #expect(values.last == .integer(counter.value))
            case .maximum(let maximum): #expect(values.last == .integer(maximum.value))
            case .set(let set): #expect(values.last == .elements(set.present))
            }
            for place in list.places { #expect(list.byteCount(place) == cell.byteCount) }
        }
    }

    @Test func aPlaceForASessionIsSmall() {
        // With its key 96 bytes; of a table's places half are free.
        #expect(MemoryLayout<SessionEntry>.stride == 64)
    }
}
