import MeshCore

extension MirrorClaim.NonDestructive {
    /// What a record is, and when it is there.
    static let ofRecords = [
        Self("what was never stored is nil") { store in
            try await withMirror(on: store) { mirror in
                try expect(await mirror.load(.random()), is: nil)
            }
        },
        Self("what was merged is loaded, in the order of its names") { store in
            try await withMirror(on: store) { mirror in
                let record = MirrorRecord(
                    key: .random(), entries: [.entry("a", 1), .entry("b", 2, "two")], expiresAt: inHalfAnHour())
                try await mirror.merge([record])
                try expect(await mirror.load(record.key), is: record)
            }
        },
        Self("nothing to merge is merged at once") { store in
            try await withMirror(on: store) { try await $0.merge([]) }
        },
        Self("names and payloads may be any bytes") { store in
            try await withMirror(on: store) { mirror in
                let bytes: [UInt8] = [0x00, 0x01, 0xFF, 0x0A, 0x0D, 0x00]
                let entries = [
                    MirrorEntry(name: [0], version: .version(1), payload: []),
                    MirrorEntry(name: bytes, version: .init(repeating: 0, count: 16), payload: bytes),
                    MirrorEntry(name: [0x0D, 0x0A], version: .init(repeating: 0xFF, count: 16), payload: [0x0D, 0x0A]),
                    MirrorEntry(name: .init(repeating: 0xFF, count: 255), version: .version(3), payload: Array(0...255)),
                ]
                let record = MirrorRecord(key: .random(), entries: entries, expiresAt: inHalfAnHour())
                try await mirror.merge([record])
                try expect(await mirror.load(record.key), is: record)
            }
        },
        Self("a record may have as many entries as its bound, and not one more") { store in
            try await withMirror(on: store) { mirror in
                let (key, later) = (SessionKey.random(), inHalfAnHour())
                let entries = (0..<MirrorRecord.entriesMax).map {
                    MirrorEntry(name: [UInt8($0 >> 8), UInt8($0 & 255)], version: .version(7), payload: [1])
                }
                let record = MirrorRecord(key: key, entries: entries, expiresAt: later)
                try await mirror.merge([record])
                try expect(await mirror.load(key), is: record)
                let error = try await expect(.refused) {
                    try await mirror.merge([MirrorRecord(key: key, entries: [.entry("straw", 1)], expiresAt: later)])
                }
                try expect(error.keys, is: [key])
                try expect(await mirror.load(key), is: record)
            }
        },
        Self("a payload of 64 KiB, and of ten times as much, comes back whole") { store in
            try await withMirror(on: store) { mirror in
                var generator = SeededGenerator(seed: 7)
                for size in [65536, 655_360] {
                    let payload = (0..<size).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                    let entry = MirrorEntry(name: [1], version: .version(1), payload: payload)
                    let record = MirrorRecord(key: .random(), entries: [entry], expiresAt: inHalfAnHour())
                    try await mirror.merge([record])
                    try expect(await mirror.load(record.key), is: record)
                }
            }
        },
        Self("a record is gone at its expiry, which a merge moves later and never earlier") { store in
            try await withMirror(on: store) { mirror in
                let soon = now() + 1500
                let short = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: soon)
                let extended = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: soon)
                var longer = extended
                longer.expiresAt = inHalfAnHour()
                try await mirror.merge([short, extended, longer, extended])
                try await eventually("a record that is gone at its expiry") { try expect(await mirror.load(short.key), is: nil) }
                let seen = now()
                try expect(seen >= soon, "a record that stays until its expiry at \(soon)", saw: "it gone at \(seen)")
                try expect(await mirror.load(extended.key), is: longer)
                let past = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() - 10_000)
                try await mirror.merge([past])
                try expect(await mirror.load(past.key), is: nil)
            }
        },
        Self("what was removed is gone, until it is merged again") { store in
            try await withMirror(on: store) { mirror in
                let later = inHalfAnHour()
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 5)], expiresAt: later)
                let grave = MirrorRecord(key: .random(), entries: [.entry("t", 5)], expiresAt: later, isTombstone: true)
                try await mirror.merge([record, grave])
                try await mirror.remove([record.key, grave.key, .random()])
                try expect(await mirror.load(record.key), is: nil)
                try expect(await mirror.load(grave.key), is: nil)
                let older = MirrorRecord(key: record.key, entries: [.entry("a", 4)], expiresAt: later)
                try await mirror.merge([older])
                try expect(await mirror.load(record.key), is: older)
                try await mirror.remove([])
            }
        },
        Self("a user's sessions are found, those that expire last first, and nobody else's") { store in
            try await withMirror(on: store) { mirror in
                let (ann, bob, later) = (UserKey.random(), UserKey.random(), inHalfAnHour())
                func record(_ user: UserKey?, _ expiresAt: Int64) -> MirrorRecord {
                    MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: expiresAt, user: user)
                }
                let records = [record(ann, later + 2000), record(ann, later + 4000), record(bob, later), record(nil, later)]
                try await mirror.merge(records)
                try expect(await mirror.sessions(of: ann), is: [records[1].key, records[0].key])
                try expect(await mirror.sessions(of: bob), is: [records[2].key])
                try expect(await mirror.sessions(of: .random()), is: [])
                // One that lives longer now is found first; a merge that comes late doesn't put it back.
                var longer = records[0]
                longer.expiresAt = later + 6000
                try await mirror.merge([longer])
                try await mirror.merge([records[0]])
                try expect(await mirror.sessions(of: ann), is: [records[0].key, records[1].key])
                // What a loaded record says doesn't hold whose it is.
                try expect(await mirror.load(records[0].key)?.user, is: nil)
            }
        },
    ]
}

extension MirrorClaim {
    /// What of records can't be asked of a store in use: a foreign record would be in its way, and one that is kept for long would stay there if
    /// it could not be removed.
    static let ofRecords = [
        Self("an expiry more than 30 days ahead is kept") { store in
            try await withMirror(on: store) { mirror in
                let day: Int64 = 86_400_000
                for days: Int64 in [29, 31, 400] {
                    let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() + days * day)
                    try await mirror.merge([record])
                    try expect(await mirror.load(record.key), is: record)
                    // The way of a record that is there already, and of one that has to stay as long again.
                    let change = MirrorRecord(key: record.key, entries: [.entry("b", 1)], expiresAt: now() + day)
                    let longer = MirrorRecord(key: record.key, entries: [.entry("c", 1)], expiresAt: record.expiresAt + days * day)
                    var expected = record
                    for change in [change, longer] {
                        expected.merge(change)
                        try await mirror.merge([change])
                        try expect(await mirror.load(record.key), is: expected)
                    }
                }
            }
        },
        Self("what isn't ours is reported, left alone, and doesn't hold up the rest of its batch") { store in
            try await withMirror(on: store) { mirror in
                let (foreign, later) = (SessionKey.random(), inHalfAnHour())
                try await store.plantForeignData(under: foreign)
                let before = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                let bad = MirrorRecord(key: foreign, entries: [.entry("a", 1)], expiresAt: later)
                let grave = MirrorRecord(key: foreign, entries: [.entry("a", 1)], expiresAt: later, isTombstone: true)
                let after = MirrorRecord(key: .random(), entries: [.entry("b", 1)], expiresAt: later)
                let error = try await expect(.foreignData) { try await mirror.merge([before, bad, grave, after]) }
                try expect(error.keys, is: [foreign, foreign])
                try expect(await mirror.load(before.key), is: before)
                try expect(await mirror.load(after.key), is: after)
                try await expect(.foreignData) { _ = try await mirror.load(foreign) }
                try await store.checkForeignDataIsUntouched(under: foreign)
            }
        },
        Self("what isn't ours is not removed, and doesn't hold up what is") { store in
            try await withMirror(on: store) { mirror in
                let foreign = SessionKey.random()
                try await store.plantForeignData(under: foreign)
                let records = (0..<2).map { _ in MirrorRecord(key: .random(), entries: [.entry("a", 5)], expiresAt: inHalfAnHour()) }
                try await mirror.merge(records)
                let error = try await expect(.foreignData) { try await mirror.remove([records[0].key, foreign, records[1].key]) }
                try expect(error.keys, is: [foreign])
                try await store.checkForeignDataIsUntouched(under: foreign)
                for record in records { try expect(await mirror.load(record.key), is: nil) }
            }
        },
    ]
}
