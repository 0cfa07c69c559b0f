#if MongoDB
    import MeshCore

    // How a record lies in MongoDB, in the collection `sessionmesh.sessions`:
    //
    //     {_id: key, v: 1, exp: Date, c: {name in hex: {t: version, p: payload}, ...}}
    //     {_id: key, v: 1, exp: Date, c: {}, x: {n: name, t: version, p: payload}}          a tombstone
    //
    // and `u`, the user's key, when one was named: for the index alone.
    //
    // Bytes are BinData of subtype 0. Names are in hex because no path leads to a field whose name has a dot, a dollar or a zero byte.
    //
    // Merging is one update of one document by a pipeline. MongoDB does that as one step, so the law is kept whoever else merges, and a
    // secondary is sent what changed alone. It rests on this:
    // - Binaries of one length and subtype compare as bytes do, and a field that isn't there as less than any.
    // - The filter takes documents of ours alone. Where there is another's under our key, the upsert runs into it and is told of a
    //   duplicate key. So is one of two that make a document at once; it finds the other's when it is tried again.
    // - An expression that can't be computed fails its own update before anything is written, and is named by its index in the batch. So
    //   a pipeline says no.
    enum MongoLaw {
        static let collection = "sessionmesh.sessions"
        private static let format: BSON = 1

        /// What the server repeats of an update that the pipeline refused.
        static let foreignMark = "sessionmesh-foreign"
        static let outgrownMark = "sessionmesh-outgrown"

        /// The statement of an `update` command that merges `record`.
        static func statement(merging record: MirrorRecord) -> BSON {
            [
                "q": [
                    "_id": .binary(record.key.bytes), "v": format,
                    // An array matches when an element does.
                    "exp": ["$type": 9, "$not": ["$type": 4]], "c": ["$type": 3, "$not": ["$type": 4]],
                ],
                "u": record.isTombstone ? [["$set": merged(record)]] : [["$set": merged(record)], bounded],
                // A record without entries leaves nothing where there is nothing.
                "upsert": .bool(!record.entries.isEmpty),
            ]
        }

        /// What a merge makes of `record`, no tombstone, where there is nothing.
        static func document(of record: MirrorRecord) -> BSON {
            let entries = record.entries.map { entry in
                (name: hex(entry.name), value: ["t": .binary(entry.version), "p": .binary(entry.payload)] as BSON)
            }
            let user = record.user.map { [(name: "u", value: BSON.binary($0.bytes))] } ?? []
            return .document(
                [("_id", .binary(record.key.bytes)), ("v", format), ("exp", .date(record.expiresAt)), ("c", .document(entries))] + user)
        }

        /// The statement of a `delete` command that removes what is ours under `key`.
        static func statement(removing key: SessionKey) -> BSON {
            ["q": ["_id": .binary(key.bytes), "v": format, "$expr": isOurs], "limit": 1]
        }

        /// A filter for what lies under these keys and is not ours.
        static func foreign(under keys: some Sequence<SessionKey>) -> BSON {
            ["_id": ["$in": .array(keys.map { .binary($0.bytes) })], "$nor": [["v": format, "$expr": isOurs]]]
        }

        private static func merged(_ record: MirrorRecord) -> BSON {
            let expiry: BSON = ["$max": ["$exp", .date(record.expiresAt)]]
            guard record.isTombstone else {
                let entries = record.entries.map { entry in
                    let name = hex(entry.name)
                    let stored = "$c.\(name)"
                    let given: BSON = ["t": .binary(entry.version), "p": .binary(entry.payload)]
                    return (
                        name: name,
                        value: ["$cond": [["$gt": [.binary(entry.version), .string("\(stored).t")]], given, .string(stored)]] as BSON
                    )
                }
                let user = record.user.map { [(name: "u", value: BSON.binary($0.bytes))] } ?? []
                return .document(
                    [
                        ("v", checked), ("exp", expiry),
                        ("c", ["$cond": [["$lte": ["$x", nil]], ["$mergeObjects": ["$c", .document(entries)]], [:]]]),
                    ] + user)
            }
            let grave = record.entries.map { entry -> BSON in
                let given: BSON = ["n": .binary(entry.name), "t": .binary(entry.version), "p": .binary(entry.payload)]
                return ["$cond": [["$gt": [.binary(entry.version), "$x.t"]], given, "$x"]]
            }
            return ["v": checked, "exp": expiry, "c": ["$literal": [:]], "x": grave.first ?? "$x", "u": "$$REMOVE"]
        }

        /// The format, when what lies there has the form of ours.
        private static let checked: BSON = ["$cond": [isWhole, format, refusal(foreignMark)]]

        private static let isWhole: BSON = [
            "$and": [
                ["$allElementsTrue": [["$map": ["input": entries, "in": isEntry("$$this.v")]]]],
                ["$or": [["$eq": [["$type": "$x"], "missing"]], ["$and": [["$eq": ["$c", [:]]], isEntry("$x")]]]],
            ]
        ]

        /// For a filter, which may be computed for any document: only `$cond` is sure to leave the rest alone when the types are wrong.
        private static let isOurs: BSON = [
            "$cond": [
                ["$and": [["$eq": [["$type": "$c"], "object"]], ["$eq": [["$type": "$exp"], "date"]]]], isWhole, false,
            ]
        ]

        /// The second stage: what the first has made is within its bounds. Adding up all bytes is spared when even BSON, which is always
        /// longer, has no more.
        private static let bounded: BSON = [
            "$set": [
                "v": [
                    "$cond": [
                        [
                            "$and": [
                                ["$lte": [["$size": entries], .int32(Int32(MirrorRecord.entriesMax))]],
                                [
                                    "$or": [
                                        ["$lte": [["$bsonSize": "$c"], bytesMax]],
                                        ["$lte": [["$sum": [["$map": ["input": entries, "in": entryBytes]]]], bytesMax]],
                                    ]
                                ],
                            ]
                        ], format, refusal(outgrownMark),
                    ]
                ]
            ]
        ]

        private static let bytesMax = BSON.int32(Int32(MirrorRecord.bytesMax))
        private static let entries: BSON = ["$objectToArray": ["$ifNull": ["$c", [:]]]]
        private static let entryBytes: BSON = [
            "$add": [
                ["$divide": [["$strLenBytes": "$$this.k"], 2]], ["$binarySize": "$$this.v.t"], ["$binarySize": "$$this.v.p"],
            ]
        ]

        private static func isEntry(_ path: String) -> BSON {
            [
                "$and": [
                    ["$eq": [["$type": .string("\(path).t")], "binData"]], ["$eq": [["$type": .string("\(path).p")], "binData"]],
                    ["$eq": [["$binarySize": .string("\(path).t")], .int32(Int32(MirrorEntry.versionBytes))]],
                ]
            ]
        }

        /// What can't be computed, and isn't a constant, which the server would try to compute for all documents at once.
        private static func refusal(_ mark: String) -> BSON { ["$toInt": ["$concat": [.string(mark), ["$type": "$v"]]]] }

        static func hex(_ bytes: [UInt8]) -> String {
            String(unsafeUninitializedCapacity: bytes.count * 2) { text in
                for (index, byte) in bytes.enumerated() {
                    text[2 * index] = hexDigit(byte >> 4)
                    text[2 * index + 1] = hexDigit(byte & 15)
                }
                return bytes.count * 2
            }
        }

        private static func hexDigit(_ value: UInt8) -> UInt8 {
            value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
        }
    }

    extension MirrorRecord {
        /// A record out of a document of the collection; nil when it isn't a record of ours.
        init?(key: SessionKey, document: BSONDocument) {
            var expiry: Int64?
            var entries: [MirrorEntry]?
            var grave: BSONDocument?
            var isOurs = false
            guard let fields = document.fields else { return nil }
            for (name, value) in fields {
                switch (name, value) {
                case ("v", let value): isOurs = value.integer == 1
                case ("exp", .date(let date)): expiry = date
                case ("c", .document(let cells)): entries = Self.entries(cells)
                case ("x", .document(let document)): grave = document
                case ("c", _), ("exp", _), ("x", _): return nil
                default: continue
                }
            }
            guard isOurs, let expiry, var entries else { return nil }
            if let grave {
                guard entries.isEmpty, let name = grave["n"]?.binary, let entry = MirrorEntry(name: Array(name), document: grave) else {
                    return nil
                }
                entries = [entry]
            }
            entries.sort { $0.name.lexicographicallyPrecedes($1.name) }
            self.init(key: key, entries: entries, expiresAt: expiry, isTombstone: grave != nil)
            guard fault == nil else { return nil }
        }

        private static func entries(_ cells: BSONDocument) -> [MirrorEntry]? {
            guard let fields = cells.fields, fields.count <= entriesMax else { return nil }
            var entries: [MirrorEntry] = []
            for (name, value) in fields {
                guard let name = bytes(hex: name), let entry = value.document.flatMap({ MirrorEntry(name: name, document: $0) }) else {
                    return nil
                }
                entries.append(entry)
            }
            return entries
        }

        private static func bytes(hex text: String) -> [UInt8]? {
            var bytes: [UInt8] = []
            var digits = text.utf8.makeIterator()
            while let high = digits.next() {
                guard let low = digits.next(), let high = value(ofHex: high), let low = value(ofHex: low) else { return nil }
                bytes.append(high << 4 | low)
            }
            return bytes
        }

        private static func value(ofHex digit: UInt8) -> UInt8? {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
            default: nil
            }
        }
    }

    extension MirrorEntry {
        fileprivate init?(name: [UInt8], document: BSONDocument) {
            guard let version = document["t"]?.binary, let payload = document["p"]?.binary else { return nil }
            self.init(name: name, version: Array(version), payload: Array(payload))
        }
    }
#endif
