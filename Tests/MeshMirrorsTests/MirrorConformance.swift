import Foundation
import Logging
import MeshCore
import Testing

/// A store under test: mirrors onto it, and a hand on its power switch.
protocol MirrorBackend: Sendable {
    /// Another client of the one store.
    func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror
    /// Takes calls and doesn't answer.
    func stall()
    func resume()
    /// Gone, and with it perhaps what it held.
    func stop()
    func start() async throws
    /// Empties it while it runs.
    func flush() async throws
    /// Calls that a mirror takes while others wait.
    var callsAtOnce: Int { get }
    /// Whether a mirror that nobody runs can do nothing.
    var needsRunning: Bool { get }
    func plantForeignData(under key: SessionKey) throws
    func checkForeignDataIsUntouched(under key: SessionKey) throws
}

extension MirrorBackend {
    var callsAtOnce: Int { 400 }
    var needsRunning: Bool { true }
}

/// What every mirror keeps, whatever store it is made on. Each claim is one test, run on a store of its own.
struct MirrorClaim: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let check: @Sendable (any MirrorBackend) async throws -> Void

    static let all: [MirrorClaim] = [
        MirrorClaim("what was never stored is nil") { backend in
            try await withMirror(on: backend) { mirror in
                let loaded = try await mirror.load(.random())
                #expect(loaded == nil)
            }
        },
        MirrorClaim("what was merged is loaded, in the order of its names") { backend in
            try await withMirror(on: backend) { mirror in
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 1), .entry("b", 2, "two")], expiresAt: later)
                try await mirror.merge([record])
                expect(try await mirror.load(record.key), is: record)
            }
        },
        MirrorClaim("nothing to merge is merged at once") { backend in
            try await withMirror(on: backend) { try await $0.merge([]) }
        },
        MirrorClaim("the greater version wins in any order, and an equal one changes nothing") { backend in
            try await withMirror(on: backend) { mirror in
                // The versions differ at both ends and in bytes above 127, where comparing text would go wrong.
                let old = MirrorEntry(name: [1], version: [0x7F] + .init(repeating: 0xFF, count: 15), payload: Array("old".utf8))
                let new = MirrorEntry(name: [1], version: [0x80] + .init(repeating: 0x00, count: 15), payload: Array("new".utf8))
                let newest = MirrorEntry(
                    name: [1], version: [0x80] + .init(repeating: 0x00, count: 14) + [1], payload: Array("newest".utf8))
                let impostor = MirrorEntry(name: [1], version: newest.version, payload: Array("impostor".utf8))
                for order in [
                    [old, new, newest, impostor], [newest, old, impostor, new], [new, newest, impostor, old], [newest, impostor, new, old],
                ] {
                    let key = SessionKey.random()
                    for entry in order { try await mirror.merge([MirrorRecord(key: key, entries: [entry], expiresAt: later)]) }
                    #expect(try await mirror.load(key)?.entries == [newest])
                }
            }
        },
        MirrorClaim("names and payloads may be any bytes") { backend in
            try await withMirror(on: backend) { mirror in
                let bytes: [UInt8] = [0x00, 0x01, 0xFF, 0x0A, 0x0D, 0x00]
                let entries = [
                    MirrorEntry(name: [0], version: .version(1), payload: []),
                    MirrorEntry(name: bytes, version: .init(repeating: 0, count: 16), payload: bytes),
                    MirrorEntry(name: [0x0D, 0x0A], version: .init(repeating: 0xFF, count: 16), payload: [0x0D, 0x0A]),
                    MirrorEntry(name: .init(repeating: 0xFF, count: 255), version: .version(3), payload: Array(0...255)),
                ]
                let record = MirrorRecord(key: .random(), entries: entries, expiresAt: later)
                try await mirror.merge([record])
                expect(try await mirror.load(record.key), is: record)
            }
        },
        MirrorClaim("a record may have as many entries as its bound, and not one more") { backend in
            try await withMirror(on: backend) { mirror in
                let key = SessionKey.random()
                let entries = (0..<MirrorRecord.entriesMax).map {
                    MirrorEntry(name: [UInt8($0 >> 8), UInt8($0 & 255)], version: .version(7), payload: [1])
                }
                let record = MirrorRecord(key: key, entries: entries, expiresAt: later)
                try await mirror.merge([record])
                expect(try await mirror.load(key), is: record)
                let error = await errorOf {
                    try await mirror.merge([MirrorRecord(key: key, entries: [.entry("straw", 1)], expiresAt: later)])
                }
                #expect(error?.code == .refused && error?.keys == [key], "\(String(describing: error))")
                expect(try await mirror.load(key), is: record)
            }
        },
        MirrorClaim("a payload of 64 KiB, and of ten times as much, comes back whole") { backend in
            try await withMirror(on: backend) { mirror in
                var generator = SeededGenerator(seed: 7)
                for size in [65536, 655_360] {
                    let payload = (0..<size).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                    let record = MirrorRecord(
                        key: .random(), entries: [MirrorEntry(name: [1], version: .version(1), payload: payload)], expiresAt: later)
                    try await mirror.merge([record])
                    let loaded = try await mirror.load(record.key)
                    #expect(loaded?.entries == record.entries, "\(size) bytes")
                }
            }
        },
        MirrorClaim("a tombstone buries what is there and what comes late, and stays as long as that would have") { backend in
            try await withMirror(on: backend) { mirror in
                let key = SessionKey.random()
                let live = MirrorRecord(key: key, entries: [.entry("a", 900), .entry("b", 900)], expiresAt: later + 5000)
                let tombstone = MirrorRecord(key: key, entries: [.entry("gone", 3, "why")], expiresAt: later, isTombstone: true)
                try await mirror.merge([live, tombstone])
                var expected = tombstone
                expected.expiresAt = live.expiresAt
                expect(try await mirror.load(key), is: expected)
                try await mirror.merge([live])
                expect(try await mirror.load(key), is: expected)
                let older = MirrorRecord(key: key, entries: [.entry("older", 2)], expiresAt: later, isTombstone: true)
                let newer = MirrorRecord(key: key, entries: [.entry("newer", 4)], expiresAt: later, isTombstone: true)
                try await mirror.merge([older])
                expect(try await mirror.load(key), is: expected)
                try await mirror.merge([newer])
                #expect(try await mirror.load(key)?.entries == newer.entries)
            }
        },
        MirrorClaim("a tombstone may come first") { backend in
            try await withMirror(on: backend) { mirror in
                let tombstone = MirrorRecord(
                    key: .random(), entries: [MirrorEntry(name: [], version: .version(1), payload: [])], expiresAt: later, isTombstone: true
                )
                try await mirror.merge([tombstone, MirrorRecord(key: tombstone.key, entries: [.entry("late", 9)], expiresAt: later)])
                expect(try await mirror.load(tombstone.key), is: tombstone)
            }
        },
        MirrorClaim("a record is gone at its expiry, which a merge moves later and never earlier") { backend in
            try await withMirror(on: backend) { mirror in
                let soon = now() + 400
                let short = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: soon)
                let extended = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: soon)
                var longer = extended
                longer.expiresAt = later
                try await mirror.merge([short, extended, longer, extended])
                try await eventually("it expires") { try await mirror.load(short.key) == nil }
                #expect(now() >= soon)
                expect(try await mirror.load(extended.key), is: longer)
                let past = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() - 1000)
                try await mirror.merge([past])
                #expect(try await mirror.load(past.key) == nil)
            }
        },
        MirrorClaim("two agents may merge one session at once, and everything newest of both is kept") { backend in
            try await withMirror(on: backend) { left in
                try await withMirror(on: backend) { right in
                    let key = SessionKey.random()
                    func changes(_ own: String, _ parity: UInt64) -> [MirrorRecord] {
                        (0..<200).map {
                            MirrorRecord(key: key, entries: [.entry(own, $0), .entry("shared", 2 * $0 + parity)], expiresAt: later)
                        }
                    }
                    async let first: Void = { for change in changes("left", 0) { try await left.merge([change]) } }()
                    async let second: Void = { for change in changes("right", 1) { try await right.merge([change]) } }()
                    _ = try await (first, second)
                    let expected = [MirrorEntry.entry("left", 199), .entry("right", 199), .entry("shared", 399)]
                    #expect(try await left.load(key)?.entries == expected)
                    #expect(try await right.load(key)?.entries == expected)
                }
            }
        },
        MirrorClaim("a batch of 10,000 records is merged whole") { backend in
            try await withMirror(on: backend) { mirror in
                let records = (0..<10_000).map {
                    MirrorRecord(key: .random(), entries: [.entry("meta", UInt64($0)), .entry("n", 1, "\($0)")], expiresAt: later)
                }
                try await mirror.merge(records)
                for index in stride(from: 0, to: records.count, by: 97) {
                    expect(try await mirror.load(records[index].key), is: records[index])
                }
            }
        },
        MirrorClaim("any sequence of merges ends where the law says") { backend in
            try await withMirror(on: backend) { mirror in
                var generator = SeededGenerator(seed: 2024)
                let keys = (0..<6).map { _ in SessionKey.random() }
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
                for key in keys { expect(try await mirror.load(key), is: model[key]) }
            }
        },
        MirrorClaim("what isn't ours is reported, left alone, and doesn't hold up the rest of its batch") { backend in
            try await withMirror(on: backend) { mirror in
                let foreign = SessionKey.random()
                try backend.plantForeignData(under: foreign)
                let before = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                let bad = MirrorRecord(key: foreign, entries: [.entry("a", 1)], expiresAt: later)
                let grave = MirrorRecord(key: foreign, entries: [.entry("a", 1)], expiresAt: later, isTombstone: true)
                let after = MirrorRecord(key: .random(), entries: [.entry("b", 1)], expiresAt: later)
                let error = await errorOf { try await mirror.merge([before, bad, grave, after]) }
                #expect(error?.code == .foreignData)
                #expect(error?.keys == [foreign, foreign])
                #expect(error?.isFailureOfTheMirror == false)
                expect(try await mirror.load(before.key), is: before)
                expect(try await mirror.load(after.key), is: after)
                #expect(await errorOf { _ = try await mirror.load(foreign) }?.code == .foreignData)
                try backend.checkForeignDataIsUntouched(under: foreign)
            }
        },
        MirrorClaim("what was removed is gone, until it is merged again; what isn't ours stays") { backend in
            try await withMirror(on: backend) { mirror in
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 5)], expiresAt: later)
                let grave = MirrorRecord(key: .random(), entries: [.entry("t", 5)], expiresAt: later, isTombstone: true)
                let foreign = SessionKey.random()
                try backend.plantForeignData(under: foreign)
                try await mirror.merge([record, grave])
                let error = await errorOf { try await mirror.remove([record.key, foreign, grave.key, .random()]) }
                #expect(error?.code == .foreignData && error?.keys == [foreign], "\(String(describing: error))")
                try backend.checkForeignDataIsUntouched(under: foreign)
                expect(try await mirror.load(record.key), is: nil)
                expect(try await mirror.load(grave.key), is: nil)
                let older = MirrorRecord(key: record.key, entries: [.entry("a", 4)], expiresAt: later)
                try await mirror.merge([older])
                expect(try await mirror.load(record.key), is: older)
                try await mirror.remove([])
            }
        },
        MirrorClaim("a user's sessions are found, those that expire last first, and nobody else's") { backend in
            try await withMirror(on: backend) { mirror in
                let (ann, bob) = (UserKey(of: "ann"), UserKey(of: "böb \u{0}"))
                func record(_ user: UserKey?, _ expiresAt: Int64) -> MirrorRecord {
                    MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: expiresAt, user: user)
                }
                let records = [record(ann, later + 2000), record(ann, later + 4000), record(bob, later), record(nil, later)]
                try await mirror.merge(records)
                #expect(try await mirror.sessions(of: ann) == [records[1].key, records[0].key])
                #expect(try await mirror.sessions(of: bob) == [records[2].key])
                #expect(try await mirror.sessions(of: UserKey(of: "nobody")) == [])
                // One that lives longer now is found first; a merge that comes late doesn't put it back.
                var longer = records[0]
                longer.expiresAt = later + 6000
                try await mirror.merge([longer])
                try await mirror.merge([records[0]])
                #expect(try await mirror.sessions(of: ann) == [records[0].key, records[1].key])
                // What a loaded record says doesn't hold whose it is.
                #expect(try await mirror.load(records[0].key)?.user == nil)
            }
        },
        MirrorClaim("a visitor is told what it left last, and that the mirror was emptied") { backend in
            try await withMirror(on: backend) { mirror in
                let (n1, n2) = (try NodeName("n1"), try NodeName("n2.example"))
                let first = try await mirror.visit(7, by: n1)
                #expect(first.last == nil && first.generation != 0)
                #expect(try await mirror.visit(1_800_000_000_000, by: n1) == MirrorVisit(generation: first.generation, last: 7))
                #expect(try await mirror.visit(9, by: n2) == MirrorVisit(generation: first.generation, last: nil))
                // Older data came back, or an older self: both see it.
                #expect(try await mirror.visit(3, by: n1).last == 1_800_000_000_000)
                #expect(try await mirror.visit(8, by: n1).last == 3)
                try await backend.flush()
                let after = try await mirror.visit(10, by: n2)
                #expect(after.generation != first.generation && after.last == nil)
            }
        },
        MirrorClaim("what is appended to a slot's log is read once and in order, by whoever reads it") { backend in
            try await withMirror(on: backend) { mirror in
                let (slot, other) = (Slot(masking: 7), Slot(masking: 4095))
                let empty = try await mirror.tail(slot, after: nil, waiting: .zero)
                #expect(empty.items.isEmpty && !empty.isGapped)
                let payloads: [[UInt8]] = [[], [0, 13, 10, 255], Array("three".utf8)]
                let mark = try await mirror.append(payloads, to: slot)
                try await mirror.append([[9]], to: other)
                let tail = try await mirror.tail(slot, after: empty.mark, waiting: .zero)
                #expect(tail.items.map(\.payload) == payloads && tail.mark == mark && !tail.isGapped, "\(tail)")
                let rest = try await mirror.tail(slot, after: tail.items.first?.mark, waiting: .zero)
                #expect(rest.items.map(\.payload) == Array(payloads.dropFirst()) && rest.mark == mark && !rest.isGapped)
                let end = try await mirror.tail(slot, after: nil, waiting: .seconds(60))
                #expect(end.items.isEmpty && end.mark == mark && !end.isGapped)
                let nothing = try await mirror.tail(slot, after: mark, waiting: .milliseconds(20))
                #expect(nothing.items.isEmpty && nothing.mark == mark && !nothing.isGapped)
            }
        },
        MirrorClaim("a reader that waits is given what two writers append, each item once") { backend in
            try await withMirror(on: backend) { left in
                try await withMirror(on: backend) { right in
                    let slot = Slot(masking: 99)
                    let start = try await left.append([[0, 0]], to: slot)
                    async let read = {
                        var (mark, payloads) = (start, [[UInt8]]())
                        while payloads.count < 400 {
                            let tail = try await right.tail(slot, after: mark, waiting: .seconds(60))
                            #expect(!tail.isGapped)
                            if tail.items.isEmpty { break }
                            payloads += tail.items.map(\.payload)
                            mark = tail.mark
                        }
                        return payloads
                    }()
                    async let first: Void = { for n in 0..<200 { try await left.append([[1, UInt8(n)]], to: slot) } }()
                    async let second: Void = { for n in 0..<200 { try await right.append([[2, UInt8(n)]], to: slot) } }()
                    _ = try await (first, second)
                    let payloads = try await read
                    #expect(payloads.filter { $0.first == 1 } == (0..<200).map { [1, UInt8($0)] })
                    #expect(payloads.filter { $0.first == 2 } == (0..<200).map { [2, UInt8($0)] })
                }
            }
        },
        MirrorClaim("a reader that comes too late, or whose log was emptied, is told that something is lost") { backend in
            try await withMirror(on: backend) { mirror in
                let slot = Slot(masking: 3)
                let start = try await mirror.append([[1]], to: slot)
                for _ in 0..<40 { try await mirror.append(Array(repeating: [2], count: 256), to: slot) }
                let late = try await mirror.tail(slot, after: start, waiting: .zero)
                #expect(late.isGapped && !late.items.isEmpty)
                var (mark, count) = (late.mark, late.items.count)
                while true {
                    let tail = try await mirror.tail(slot, after: mark, waiting: .zero)
                    #expect(!tail.isGapped)
                    if tail.items.isEmpty { break }
                    (mark, count) = (tail.mark, count + tail.items.count)
                }
                #expect(count >= ChannelTail.keptMin && mark.offset == 1 + 40 * 256)
                try await backend.flush()
                let emptied = try await mirror.tail(slot, after: mark, waiting: .seconds(60))
                #expect(emptied.isGapped && emptied.items.isEmpty)
                try await mirror.append([[3]], to: slot)
                let anew = try await mirror.tail(slot, after: emptied.mark, waiting: .zero)
                #expect(anew.items.map(\.payload) == [[3]] && !anew.isGapped && anew.mark.generation != mark.generation)
            }
        },
        MirrorClaim("an item of a log may be 64 KiB and not a byte more") { backend in
            try await withMirror(on: backend) { mirror in
                let slot = Slot(masking: 0)
                let payload = (0..<ChannelItem.payloadMax).map { UInt8(truncatingIfNeeded: $0 * 7) }
                try await mirror.append([payload], to: slot)
                let error = await errorOf { _ = try await mirror.append([[1], payload + [0]], to: slot) }
                #expect(error?.code == .refused)
                let tail = try await mirror.tail(slot, after: .beginning, waiting: .zero)
                #expect(tail.items.map(\.payload) == [payload] && !tail.isGapped)
                // However many there are, none is left out and no answer is too large.
                for _ in 0..<20 { try await mirror.append([payload, payload], to: slot) }
                var (mark, count) = (tail.mark, 0)
                while true {
                    let more = try await mirror.tail(slot, after: mark, waiting: .zero)
                    #expect(!more.isGapped && more.items.reduce(0) { $0 + $1.payload.count } <= ChannelTail.bytesMax)
                    if more.items.isEmpty { break }
                    (mark, count) = (more.mark, count + more.items.count)
                }
                #expect(count == 40)
            }
        },
        MirrorClaim("many calls at once each get their own answer") { backend in
            try await withMirror(on: backend) { mirror in
                let records = (0..<backend.callsAtOnce).map {
                    MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0), "\($0)")], expiresAt: later)
                }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for record in records {
                        group.addTask {
                            try await mirror.merge([record])
                            expect(try await mirror.load(record.key), is: record)
                        }
                    }
                    try await group.waitForAll()
                }
            }
        },
        MirrorClaim("a mirror that nobody runs any more says so, and does what it did when it is run again") { backend in
            let mirror = try backend.makeMirror(commandTimeout: .seconds(30))
            let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
            let slot = Slot(masking: 1)
            let mark = try await running(mirror) { mirror in
                try await mirror.merge([record])
                return try await mirror.append([[1]], to: slot)
            }
            if backend.needsRunning { #expect(await errorOf { try await mirror.merge([record]) }?.code == .unreachable) }
            try await running(mirror) { mirror in
                try await eventually("it runs again") { await errorOf { expect(try await mirror.load(record.key), is: record) } == nil }
                async let tail = mirror.tail(slot, after: mark, waiting: .seconds(60))
                try await mirror.append([[2]], to: slot)
                #expect(try await tail.items.map(\.payload) == [[2]])
            }
        },
        MirrorClaim("a stalled mirror times out, and the answers after it are its own") { backend in
            try await withMirror(on: backend, commandTimeout: .milliseconds(500)) { mirror in
                let records = (0..<8).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0), "\($0)")], expiresAt: later) }
                try await eventually("the mirror takes records") { await errorOf { try await mirror.merge(records) } == nil }
                backend.stall()
                let start = ContinuousClock.now
                let errors = await withTaskGroup(of: MirrorError?.self) { group in
                    for record in records.prefix(4) { group.addTask { await errorOf { _ = try await mirror.load(record.key) } } }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                let elapsed = ContinuousClock.now - start
                #expect(errors.allSatisfy { $0?.code == .timedOut }, "\(errors)")
                // How much later a loaded machine notices says nothing about the mirror.
                #expect(elapsed > .milliseconds(400), "\(elapsed)")
                backend.resume()
                try await eventually("the mirror answers again") { await errorOf { _ = try await mirror.load(records[7].key) } == nil }
                for _ in 0..<20 {
                    for record in records.reversed() {
                        // A loaded machine may well time out here; what must never happen is another's answer.
                        guard let loaded = try? await mirror.load(record.key) else { continue }
                        expect(loaded, is: record)
                    }
                }
            }
        },
        MirrorClaim("a mirror that is gone is unreachable at once, and works again when it is back") { backend in
            try await withMirror(on: backend) { mirror in
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                try await mirror.merge([record])
                backend.stop()
                let code = await errorOf { try await mirror.merge([record]) }?.code
                #expect(code == .unreachable)
                #expect(await errorOf { _ = try await mirror.load(record.key) }?.code == .unreachable)
                try await backend.start()
                try await eventually("it is back") { await errorOf { try await mirror.merge([record]) } == nil }
                expect(try await mirror.load(record.key), is: record)
            }
        },
    ]

    init(_ text: String, _ check: @escaping @Sendable (any MirrorBackend) async throws -> Void) {
        testDescription = text
        self.check = check
    }
}

/// Runs a mirror for as long as `body` takes, and checks that it ends when it is told to.
func withMirror(
    on backend: any MirrorBackend, commandTimeout: Duration = .seconds(30),
    _ body: @escaping @Sendable (any MeshCore.Mirror) async throws -> Void
) async throws {
    try await running(try backend.makeMirror(commandTimeout: commandTimeout), body)
}

@discardableResult
func running<Answer>(_ mirror: any MeshCore.Mirror, _ body: (any MeshCore.Mirror) async throws -> Answer) async throws -> Answer {
    let run = Task { await mirror.run() }
    let outcome: Result<Answer, any Error>
    do { outcome = .success(try await body(mirror)) } catch { outcome = .failure(error) }
    run.cancel()
    await run.value
    return try outcome.get()
}

/// The error of a mirror's call, nil when there was none. Anything else that is thrown breaks the port's promise.
func errorOf(sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void) async -> MirrorError? {
    do {
        try await body()
        return nil
    } catch let error as MirrorError {
        return error
    } catch {
        Issue.record(error, sourceLocation: sourceLocation)
        return nil
    }
}

func eventually(_ what: Comment, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while try await !condition() {
        try #require(ContinuousClock.now < deadline, what)
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Equal but for an expiry that a store may know only to some milliseconds.
func expect(_ loaded: MirrorRecord?, is expected: MirrorRecord?, sourceLocation: SourceLocation = #_sourceLocation) {
    var aligned = loaded
    if let expected, let loaded, (0...2000).contains(loaded.expiresAt - expected.expiresAt) { aligned?.expiresAt = expected.expiresAt }
    #expect(aligned == expected, sourceLocation: sourceLocation)
}

func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

/// An hour from the start of the tests.
let later = now() + 3_600_000

extension Logger {
    static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
}

extension SessionKey {
    static func random() -> SessionKey {
        SessionKey(bytes: (0..<byteCount).map { _ in UInt8.random(in: 0...255) }) ?? random()
    }
}

extension [UInt8] {
    static func version(_ number: UInt64) -> [UInt8] {
        stride(from: 120, through: 0, by: -8).map { $0 >= 64 ? 0 : UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }
}

extension MirrorEntry {
    static func entry(_ name: String, _ version: UInt64, _ payload: String = "") -> MirrorEntry {
        MirrorEntry(name: Array(name.utf8), version: .version(version), payload: Array(payload.utf8))
    }
}
