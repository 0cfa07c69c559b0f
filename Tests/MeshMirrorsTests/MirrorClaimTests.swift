import MeshCore
import MeshMirrors
import MirrorConformance
import Synchronization
import Testing

/// Whether the suite finds what is broken, and what it leaves behind.
@Suite struct MirrorClaimTests {
    @Test(arguments: BrokenMirror.Flaw.allCases) func aMirrorThatBreaksTheLawIsFoundOut(_ flaw: BrokenMirror.Flaw) async throws {
        let claim = try MirrorClaim.saying(flaw.claim)
        let store = InMemoryStore { BrokenMirror(mirror: $0, flaw: flaw) }
        let broken = await #expect(throws: MirrorClaim.Broken.self) { try await claim.check(on: store) }
        #expect(broken?.claim == claim.text)
        #expect(broken?.expected.contains(flaw.expected) == true, "\(String(describing: broken))")
        #expect(broken?.seen.contains(flaw.seen) == true, "\(String(describing: broken))")
        #expect(broken?.error?.code == (flaw == .losesPatience ? .timedOut : nil))
    }

    @Test func whatIsBrokenIsOneLineThatSaysWhatWasSeenAndWhere() async throws {
        let claim = try #require(MirrorClaim.nonDestructive.first { $0.text == "nothing to merge is merged at once" })
        let store = InMemoryStore()
        store.stop()
        let broken = await #expect(throws: MirrorClaim.Broken.self) { try await claim.check(on: store) }
        #expect(broken?.error?.code == .unreachable)
        let line =
            "\"nothing to merge is merged at once\" doesn't hold: expected no error, "
            + "saw the error unreachable: the mirror in memory is switched off (MirrorConformance/RecordClaims.swift:"
        #expect(broken?.description.hasPrefix(line) == true, "\(String(describing: broken))")
    }

    @Test func noTwoClaimsSayTheSame() {
        let texts = MirrorClaim.all.map(\.text)
        #expect(Set(texts).count == texts.count && Set(texts).isSuperset(of: MirrorClaim.nonDestructive.map(\.text)))
    }

    @Test(arguments: MirrorClaim.nonDestructive)
    func whatIsCheckedOnAStoreInUseLeavesNothingBehind(_ claim: MirrorClaim.NonDestructive) async throws {
        let diary = Diary()
        let store = InMemoryStore { WatchedMirror(mirror: $0, diary: diary) }
        try await claim.check(on: store)
        try await diary.expectNothingLeft(on: store.mirror)
    }

    @Test func aClaimThatIsBrokenLeavesNothingBehindEither() async throws {
        let diary = Diary()
        let store = InMemoryStore { WatchedMirror(mirror: BrokenMirror(mirror: $0, flaw: .forgetsTombstones), diary: diary) }
        let claim = try #require(MirrorClaim.nonDestructive.first { $0.text == BrokenMirror.Flaw.forgetsTombstones.claim })
        await #expect(throws: MirrorClaim.Broken.self) { try await claim.check(on: store) }
        #expect(!diary.merged.isEmpty)
        try await diary.expectNothingLeft(on: store.mirror)
    }
}

/// A mirror that does nearly what it should.
struct BrokenMirror: MeshCore.Mirror {
    enum Flaw: CaseIterable {
        case forgetsTombstones, letsTheLastMergeWin, hasNoRecordWhereItHasNoAnswer, takesALongExpiryForADate, removesNothing, hidesGaps
        case losesPatience, doesNotNoticeThatItWasEmptied

        /// What it breaks, how the claim puts that, and what the claim sees.
        var claim: String { outcome.claim }
        var expected: String { outcome.expected }
        var seen: String { outcome.seen }

        private var outcome: (claim: String, expected: String, seen: String) {
            switch self {
            case .forgetsTombstones:
                ("a tombstone buries what is there and what comes late, and stays as long as that would have", "a tombstone", "a record")
            case .letsTheLastMergeWin:
                ("the greater version wins in any order, and an equal one changes nothing", "with 6 bytes", "with 8 bytes")
            case .hasNoRecordWhereItHasNoAnswer:
                ("a mirror that is gone is unreachable at once, and works again when it is back", "code unreachable", "no error")
            case .takesALongExpiryForADate: ("an expiry more than 30 days ahead is kept", "of 3 entries", "of 3 entries that expires at")
            case .removesNothing: ("what was removed is gone, until it is merged again", "no record", "a record")
            case .hidesGaps:
                ("a reader that comes too late, or whose log was emptied, is told that something is lost", "a gap", "without a gap")
            case .losesPatience: ("a slow answer is an answer, and each call gets its own", "no error", "timedOut")
            case .doesNotNoticeThatItWasEmptied:
                ("a visitor is told what it left last, and that the mirror was emptied", "another generation", "generation: 1")
            }
        }
    }

    let mirror: any MeshCore.Mirror
    let flaw: Flaw

    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
        let start = ContinuousClock.now
        let outcome: Result<MirrorRecord?, MirrorError>
        do throws(MirrorError) { outcome = .success(try await mirror.load(key)) } catch { outcome = .failure(error) }
        if flaw == .losesPatience && ContinuousClock.now - start >= .milliseconds(300) { throw MirrorError(.timedOut, "too slow") }
        if flaw == .hasNoRecordWhereItHasNoAnswer, case .failure = outcome { return nil }
        return try outcome.get()
    }

    func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
        for var record in records {
            if flaw == .forgetsTombstones && record.isTombstone { continue }
            if flaw == .letsTheLastMergeWin { try await mirror.remove([record.key]) }
            if flaw == .takesALongExpiryForADate && record.expiresAt - now() > 30 * 86_400_000 { record.expiresAt = 1 }
            try await mirror.merge([record])
        }
    }

    func remove(_ keys: [SessionKey]) async throws(MirrorError) { if flaw != .removesNothing { try await mirror.remove(keys) } }
    func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] { try await mirror.sessions(of: user) }
    func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark { try await mirror.append(items, to: slot) }
    func inspect() async throws(MirrorError) -> MirrorInspection { try await mirror.inspect() }
    func run() async { await mirror.run() }

    func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
        var visit = try await mirror.visit(number, by: name)
        if flaw == .doesNotNoticeThatItWasEmptied { visit.generation = 1 }
        return visit
    }

    func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
        var tail = try await mirror.tail(slot, after: mark, waiting: patience)
        if flaw == .hidesGaps { tail.isGapped = false }
        return tail
    }
}

/// What was written through mirrors, whatever became of it.
final class Diary: Sendable {
    private let records = Mutex<[SessionKey: Int64]>([:])
    private let others = Mutex<[String]>([])

    var merged: [SessionKey: Int64] { records.withLock { $0 } }

    func note(_ written: [MirrorRecord]) { records.withLock { for record in written { $0[record.key] = record.expiresAt } } }
    func note(_ what: String) { others.withLock { $0.append(what) } }

    func expectNothingLeft(on mirror: InMemoryMirror) async throws {
        #expect(others.withLock { $0 } == [])
        let inAnHour = now() + 3_600_000
        for (key, expiresAt) in merged {
            #expect(expiresAt <= inAnHour)
            #expect(try await mirror.load(key) == nil)
        }
    }
}

struct WatchedMirror: MeshCore.Mirror {
    let mirror: any MeshCore.Mirror
    let diary: Diary

    func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
        diary.note(records)
        try await mirror.merge(records)
    }

    func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark {
        let mark = try await mirror.append(items, to: slot)
        diary.note("\(items.count) items appended to the log of slot \(slot)")
        return mark
    }

    func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
        diary.note("a visit by \(name)")
        return try await mirror.visit(number, by: name)
    }

    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? { try await mirror.load(key) }
    func remove(_ keys: [SessionKey]) async throws(MirrorError) { try await mirror.remove(keys) }
    func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] { try await mirror.sessions(of: user) }
    func inspect() async throws(MirrorError) -> MirrorInspection { try await mirror.inspect() }
    func run() async { await mirror.run() }

    func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
        try await mirror.tail(slot, after: mark, waiting: patience)
    }
}
