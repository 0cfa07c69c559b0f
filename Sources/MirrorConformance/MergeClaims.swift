import MeshCore

extension MirrorClaim.NonDestructive {
    /// Where merges end, in any order and from anybody at once.
    static let ofMerges = [
        Self("the greater version wins in any order, and an equal one changes nothing") { store in
            try await withMirror(on: store) { mirror in
                // The versions differ at both ends and in bytes above 127, where comparing text would go wrong.
                let old = MirrorEntry(name: [1], version: [0x7F] + .init(repeating: 0xFF, count: 15), payload: Array("old".utf8))
                let new = MirrorEntry(name: [1], version: [0x80] + .init(repeating: 0x00, count: 15), payload: Array("new".utf8))
                let newest = MirrorEntry(
                    name: [1], version: [0x80] + .init(repeating: 0x00, count: 14) + [1], payload: Array("newest".utf8))
                let impostor = MirrorEntry(name: [1], version: newest.version, payload: Array("impostor".utf8))
                for order in [
                    [old, new, newest, impostor], [newest, old, impostor, new], [new, newest, impostor, old], [newest, impostor, new, old],
                ] {
                    let (key, later) = (SessionKey.random(), inHalfAnHour())
                    for entry in order { try await mirror.merge([MirrorRecord(key: key, entries: [entry], expiresAt: later)]) }
                    try expect(await mirror.load(key), is: MirrorRecord(key: key, entries: [newest], expiresAt: later))
                }
            }
        },
        Self("a record that is said to be new is merged all the same where there is one") { store in
            try await withMirror(on: store) { mirror in
                let later = inHalfAnHour()
                var records = (0..<3).map { _ in MirrorRecord(key: .random(), entries: [.entry("a", 5)], expiresAt: later, isNew: true) }
                let tombstone = MirrorRecord(key: records[2].key, entries: [.entry("gone", 3)], expiresAt: later, isTombstone: true)
                try await mirror.merge([records[0], tombstone])
                try await mirror.merge(records)
                for index in records.indices { records[index].isNew = false }
                try expect(await mirror.load(records[0].key), is: records[0])
                try expect(await mirror.load(records[1].key), is: records[1])
                try expect(await mirror.load(tombstone.key), is: tombstone)
                let newer = MirrorRecord(key: records[1].key, entries: [.entry("a", 6), .entry("b", 1)], expiresAt: later, isNew: true)
                try await mirror.merge([newer])
                try expect(
                    await mirror.load(newer.key), is: MirrorRecord(key: newer.key, entries: newer.entries, expiresAt: later))
            }
        },
        Self("a tombstone buries what is there and what comes late, and stays as long as that would have") { store in
            try await withMirror(on: store) { mirror in
                let (key, later) = (SessionKey.random(), inHalfAnHour())
                let live = MirrorRecord(key: key, entries: [.entry("a", 900), .entry("b", 900)], expiresAt: later + 5000)
                let tombstone = MirrorRecord(key: key, entries: [.entry("gone", 3, "why")], expiresAt: later, isTombstone: true)
                try await mirror.merge([live, tombstone])
                var expected = tombstone
                expected.expiresAt = live.expiresAt
                try expect(await mirror.load(key), is: expected)
                try await mirror.merge([live])
                try expect(await mirror.load(key), is: expected)
                let older = MirrorRecord(key: key, entries: [.entry("older", 2)], expiresAt: later, isTombstone: true)
                let newer = MirrorRecord(key: key, entries: [.entry("newer", 4)], expiresAt: later, isTombstone: true)
                try await mirror.merge([older])
                try expect(await mirror.load(key), is: expected)
                try await mirror.merge([newer])
                expected.entries = newer.entries
                try expect(await mirror.load(key), is: expected)
            }
        },
        Self("a tombstone may come first") { store in
            try await withMirror(on: store) { mirror in
                let (key, later) = (SessionKey.random(), inHalfAnHour())
                let entry = MirrorEntry(name: [], version: .version(1), payload: [])
                let tombstone = MirrorRecord(key: key, entries: [entry], expiresAt: later, isTombstone: true)
                try await mirror.merge([tombstone, MirrorRecord(key: key, entries: [.entry("late", 9)], expiresAt: later)])
                try expect(await mirror.load(key), is: tombstone)
            }
        },
        Self("two agents may merge one session at once, and everything newest of both is kept") { store in
            try await withMirror(on: store) { left in
                try await withMirror(on: store) { right in
                    let (key, later) = (SessionKey.random(), inHalfAnHour())
                    func changes(_ own: String, _ parity: UInt64) -> [MirrorRecord] {
                        (0..<200).map {
                            MirrorRecord(key: key, entries: [.entry(own, $0), .entry("shared", 2 * $0 + parity)], expiresAt: later)
                        }
                    }
                    async let first: Void = { for change in changes("left", 0) { try await left.merge([change]) } }()
                    async let second: Void = { for change in changes("right", 1) { try await right.merge([change]) } }()
                    _ = try await (first, second)
                    let entries = [MirrorEntry.entry("left", 199), .entry("right", 199), .entry("shared", 399)]
                    let expected = MirrorRecord(key: key, entries: entries, expiresAt: later)
                    try expect(await left.load(key), is: expected)
                    try expect(await right.load(key), is: expected)
                }
            }
        },
        Self("a batch of 10,000 records is merged whole") { store in
            try await withMirror(on: store) { mirror in
                let later = inHalfAnHour()
                let records = (0..<10_000).map {
                    MirrorRecord(key: .random(), entries: [.entry("meta", UInt64($0)), .entry("n", 1, "\($0)")], expiresAt: later)
                }
                try await mirror.merge(records)
                for index in stride(from: 0, to: records.count, by: 97) {
                    try expect(await mirror.load(records[index].key), is: records[index])
                }
            }
        },
        Self("any sequence of merges ends where the law says") { store in
            try await withMirror(on: store) { mirror in
                var generator = SeededGenerator(seed: 2024)
                let (keys, later) = ((0..<6).map { _ in SessionKey.random() }, inHalfAnHour())
                var model: [SessionKey: MirrorRecord] = [:]
                for _ in 0..<60 {
                    var batch: [MirrorRecord] = []
                    for _ in 0..<Int.random(in: 1...6, using: &generator) {
                        guard let key = keys.randomElement(using: &generator) else { continue }
                        let isTombstone = Int.random(in: 0..<60, using: &generator) == 0
                        let names = (0..<(isTombstone ? 1 : 5)).filter { _ in isTombstone || Bool.random(using: &generator) }
                        let entries = names.map { name in
                            let version = UInt64.random(in: 0..<1000, using: &generator)
                            return MirrorEntry.entry("f\(name)", version, "\(name) at \(version)")
                        }
                        let expiresAt = later + Int64.random(in: 0..<1_000_000, using: &generator)
                        batch.append(MirrorRecord(key: key, entries: entries, expiresAt: expiresAt, isTombstone: isTombstone))
                    }
                    try await mirror.merge(batch)
                    // A record without entries leaves nothing where there is nothing.
                    for record in batch where model[record.key]?.merge(record) == nil {
                        model[record.key] = record.entries.isEmpty ? nil : record
                    }
                }
                for key in keys { try expect(await mirror.load(key), is: model[key]) }
            }
        },
        Self("many calls at once each get their own answer") { store in
            try await withMirror(on: store) { mirror in
                let later = inHalfAnHour()
                let records = (0..<store.callsAtOnce).map {
                    MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0), "\($0)")], expiresAt: later)
                }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for record in records {
                        group.addTask {
                            try await mirror.merge([record])
                            try expect(await mirror.load(record.key), is: record)
                        }
                    }
                    try await group.waitForAll()
                }
            }
        },
    ]
}
