#if MongoDB
    import MeshCore
    import Testing

    @testable import MeshMirrors

    @Suite struct BSONTests {
        static let sample: BSON = [
            "text": "né\u{0}l", "bytes": .binary([0, 255]), "yes": true, "date": .date(-1), "none": nil, "small": -7,
            "large": .int64(1 << 40),
            "inner": ["a": ["b": 1]], "list": [1, "two", [:]], "": "",
        ]

        @Test func itIsWrittenAsTheSpecificationHasIt() {
            // The specification's own examples.
            #expect((["hello": "world"] as BSON).bytes == Array("\u{16}\0\0\0\u{2}hello\0\u{6}\0\0\0world\0\0".utf8))
            #expect((["a": [1]] as BSON).bytes == [20, 0, 0, 0, 4, 97, 0, 12, 0, 0, 0, 0x10, 48, 0, 1, 0, 0, 0, 0, 0])
        }

        @Test func whatWasWrittenIsRead() {
            let document = BSONDocument(Self.sample.bytes)
            #expect(document.fields?.map(\.name) == ["text", "bytes", "yes", "date", "none", "small", "large", "inner", "list", ""])
            #expect(document["text"] == .string("né\u{0}l") && document["bytes"] == .binary([0, 255]) && document["yes"] == .bool(true))
            #expect(document["date"] == .date(-1) && document["none"] == .null && document["small"]?.integer == -7)
            #expect(document["large"]?.integer == 1 << 40 && document["inner"]?.document?["a"]?.document?["b"] == .int32(1))
            #expect(document["list"]?.array?.values?.count == 3 && document["missing"] == nil)
        }

        @Test func noBytesHoweverBrokenTrapOrAreReadPastTheirEnd() {
            var generator = SeededGenerator(seed: 5)
            let whole = Self.sample.bytes
            for length in 0..<whole.count { #expect(BSONDocument(whole.prefix(length)).fields == nil) }
            for _ in 0..<20_000 {
                var bytes = whole
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
                }
                Self.visit(BSONDocument(bytes))
            }
        }

        private static func visit(_ document: BSONDocument) {
            for (_, value) in document.fields ?? [] {
                if let inner = value.document ?? value.array { visit(inner) }
                _ = (value.integer, value.string, value.date, value.binary?.count)
            }
        }

        @Test func noDocumentHoweverBrokenTrapsARecord() {
            var generator = SeededGenerator(seed: 6)
            let key = SessionKey.random()
            let cell: BSON = ["t": .binary(.version(1)), "p": .binary([1, 2])]
            let whole = (["_id": .binary(key.bytes), "v": 1, "exp": .date(7), "c": ["61": cell, "6162": cell]] as BSON).bytes
            #expect(MirrorRecord(key: key, document: BSONDocument(whole))?.entries.map(\.name) == [Array("a".utf8), Array("ab".utf8)])
            for _ in 0..<20_000 {
                var bytes = whole
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
                if let record = MirrorRecord(key: key, document: BSONDocument(bytes)) { #expect(record.fault == nil) }
            }
        }
    }
#endif
