import Testing

@testable import MeshCore

@Suite struct SessionStateTests {
    static let life = Life(rawValue: 7)

    @Test func mergingIsCommutativeAssociativeAndIdempotent() {
        var chance = RandomSessions(seed: 1)
        for _ in 0..<2000 {
            let (a, b, c) = (chance.session(), chance.session(), chance.session())
            #expect(a.merged(with: b) == b.merged(with: a))
            #expect(a.merged(with: b).merged(with: c) == a.merged(with: b.merged(with: c)))
            #expect(a.merged(with: a) == a)
        }
    }

    @Test func marksOfCommitsMergeByTheSameLawsWhetherAgeOrCountEndsThem() {
        var chance = RandomSessions(seed: 7)
        for _ in 0..<100 {
            let (a, b, c) = (chance.session(marksMax: 1600), chance.session(marksMax: 1600), chance.session(marksMax: 1600))
            #expect(a.merged(with: b) == b.merged(with: a))
            #expect(a.merged(with: b).merged(with: c) == a.merged(with: b.merged(with: c)))
            #expect(a.merged(with: a) == a)
        }
    }

    @Test func cellsMergeByTheSameLawsAlsoARemovalAndAnEmptyValueOfOneVersion() {
        var chance = RandomSessions(seed: 2)
        let removed = Cell.register(RandomSessions.version(1), nil)
        let empty = Cell.register(RandomSessions.version(1), [])
        for _ in 0..<2000 {
            var (a, b) = (chance.cell(), chance.cell())
            if Bool.random(using: &chance.generator) { (a, b) = (removed, empty) }
            var (left, right) = (a, b)
            left.merge(b)
            right.merge(a)
            #expect(left == right)
        }
    }

    @Test func deltasInAnyOrderAndMoreThanOnceGiveWhatThePrimaryHas() throws {
        var chance = RandomSessions(seed: 3)
        for _ in 0..<200 {
            var primary = SessionState(createdAt: 1000)
            var replica = primary
            var deltas: [SessionState] = []
            var life = Self.life
            for number in 0..<chance.number(1...30) {
                // Primaries take turns.
                if chance.number(0...3) == 0 { life = Life(rawValue: chance.number(1...40)) }
                let wall = Int64(chance.number(900...1100))
                deltas.append(try primary.apply(chance.commit(number), life: life, wall: wall))
                if let touch = primary.touch(wall: wall + 20_000 * Int64(number)) { deltas.append(touch) }
            }
            if chance.number(0...5) == 0 { deltas.append(primary.destroy(CommitID(upper: 2, lower: 2), wall: 1000)) }
            for delta in (deltas + deltas).shuffled(using: &chance.generator) { replica.merge(delta) }
            #expect(replica == primary)
        }
    }

    @Test func aCounterIsExactHoweverOftenItsPrimaryChangesAndWhoeverLivedLongest() throws {
        var primary = SessionState(createdAt: 1)
        var replica = primary
        var sum: Int64 = 0
        for number in 0..<200 as Range<UInt64> {
            // The oldest life comes back to it again and again while others come and go.
            let life = Life(rawValue: number.isMultiple(of: 3) ? 1 : number + 10)
            let amount = Int64(number % 7) - 3
            sum += amount
            let commit = SessionCommit(key: nil, id: CommitID(upper: 0, lower: number), changes: [.increment("n", by: amount)])
            replica.merge(try primary.apply(commit, life: life, wall: 1))
            #expect(primary.visibleFields == [.init(name: "n", value: .integer(sum))])
            #expect(replica == primary)
        }
        guard case .counter(let counter) = primary["n"] else { return #expect(Bool(false)) }
        #expect(counter.parts.count <= Counter.partsMax)
    }

    @Test func aCounterThatWouldLeaveItsRangeRefusesAndKeepsItsValue() throws {
        var state = SessionState(createdAt: 1)
        _ = try state.apply(Self.commit(1, .increment("n", by: .max)), life: Self.life, wall: 1)
        let before = state
        #expect(throws: ClientFailure.self) { try state.apply(Self.commit(2, .increment("n", by: 1)), life: Self.life, wall: 1) }
        #expect(state == before)
    }

    static func commit(_ number: UInt64, _ changes: FieldChange...) -> SessionCommit {
        SessionCommit(key: nil, id: CommitID(upper: 0, lower: number), changes: changes)
    }

    @Test func aLimitRefusesTheWholeCommitAndChangesNothing() throws {
        var state = SessionState(createdAt: 1)
        for number in 0..<SessionLimits.fieldsMax {
            _ = try state.apply(Self.commit(UInt64(number), .set("f\(number)", [1])), life: Self.life, wall: 1)
        }
        let before = state
        let refused: [FieldChange] = [
            .set("one more", []), .increment("one more", by: 1), .set("f1", [UInt8](repeating: 0, count: SessionLimits.fieldBytesMax + 1)),
            .set("", [1]), .set(String(repeating: "x", count: 65), [1]), .set("@user", [1]), .remove("@idle"),
        ]
        for change in refused {
            #expect(throws: ClientFailure.self) { try state.apply(Self.commit(1000, .set("f0", [2]), change), life: Self.life, wall: 1) }
        }
        let large = [UInt8](repeating: 0, count: SessionLimits.fieldBytesMax)
        #expect(throws: ClientFailure.self) {
            try state.apply(
                Self.commit(1001, .set("f1", large), .set("f2", large), .set("f3", large), .set("f4", large)), life: Self.life, wall: 1)
        }
        var named = Self.commit(1002)
        named.user = String(repeating: "u", count: SessionLimits.userBytesMax + 1)
        #expect(throws: ClientFailure.self) { try state.apply(named, life: Self.life, wall: 1) }
        #expect(state == before)
    }

    @Test func fieldsThatComeAndGoUnderNewNamesDoNotPileUp() throws {
        var state = SessionState(createdAt: 1)
        var replica = state
        for number in 0..<2000 as Range<UInt64> {
            replica.merge(try state.apply(Self.commit(number * 2, .set("flash\(number)", [1])), life: Self.life, wall: 1))
            replica.merge(try state.apply(Self.commit(number * 2 + 1, .remove("flash\(number)")), life: Self.life, wall: 1))
        }
        #expect(state.fields.count <= SessionState.removalsMax + 1)
        #expect(replica == state)
    }

    @Test func commitsOfTheLastThirtySecondsAreKnownAlsoAfterMerging() throws {
        var state = SessionState(createdAt: 1)
        var old = state
        for number in 0..<100 as Range<UInt64> {
            _ = try state.apply(Self.commit(number), life: Self.life, wall: Int64(number) * 1000)
            if number == 60 { old = state }
        }
        state.merge(old)
        for number in 0..<100 as Range<UInt64> {
            #expect(state.hasApplied(CommitID(upper: 0, lower: number)) == (number >= 69))
        }
    }

    @Test func ofMoreCommitsThanThereIsRoomForTheNewestAreKnown() throws {
        var state = SessionState(createdAt: 1)
        let count = UInt64(SessionState.commitsMax) + 100
        for number in 0..<count { _ = try state.apply(Self.commit(number), life: Self.life, wall: 1) }
        #expect(state.commits.count == SessionState.commitsMax)
        #expect(!state.hasApplied(CommitID(upper: 0, lower: 99)) && state.hasApplied(CommitID(upper: 0, lower: 100)))
    }

    @Test func aSessionAtRestRemembersNoCommit() throws {
        var state = SessionState(createdAt: 1)
        _ = try state.apply(Self.commit(1), life: Self.life, wall: 1000)
        state.forgetMarksAtRest(wall: 40_999)
        #expect(state.commits.count == 1)
        state.forgetMarksAtRest(wall: 41_000)
        #expect(state.commits.isEmpty)
    }

    @Test func aDestroyedSessionStaysDestroyedWhateverIsMerged() throws {
        var chance = RandomSessions(seed: 4)
        for _ in 0..<500 {
            var state = chance.session(destroyedIn: 0)
            _ = state.destroy(CommitID(upper: 5, lower: 5), wall: 10)
            for _ in 0..<3 { state.merge(chance.session()) }
            #expect(state.isDestroyed && state.fields.isEmpty && state.user.isEmpty)
        }
    }

    @Test func aMovedSessionIsReadForTenSecondsAndIsAtRestWithoutATraceOfWhereItWent() throws {
        var state = SessionState(createdAt: 1000)
        _ = try state.apply(Self.commit(1, .set("a", [1])), life: Self.life, wall: 1000)
        let to = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        var replica = state
        let move = SessionState.Move(commit: CommitID(upper: 0, lower: 2), to: to, draw: 7)
        replica.merge(state.end(move, wall: 2000))
        #expect(replica == state && state.isDestroyed && state.moved == move)
        #expect(state.isReadable(wall: 11_999) && !state.fields.isEmpty)
        #expect(!state.isReadable(wall: 12_000))
        state.forgetMarksAtRest(wall: 42_000)
        #expect(state.isDestroyed && state.isBuried && state.moved == nil && state.fields.isEmpty && state.commits.isEmpty)
    }

    @Test func aMovedSessionThatIsDestroyedIsReadNoMore() throws {
        let to = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        var state = SessionState(createdAt: 1000)
        _ = state.end(SessionState.Move(commit: CommitID(upper: 0, lower: 2), to: to, draw: 7), wall: 2000)
        var replica = state
        replica.merge(state.destroy(CommitID(upper: 0, lower: 3), wall: 2001))
        #expect(replica == state && !state.isReadable(wall: 2002))
    }

    @Test func expiryIsNeverEarlyAndAnAccessIsToldOnlyWhenItMovedFar() {
        var state = SessionState(createdAt: 1_000_000)
        let idle = Duration.seconds(60)
        #expect(!state.isExpired(wall: 1_060_000, idleDefault: idle))
        let early = state.touch(wall: 1_009_999)
        #expect(early == nil)
        #expect(!state.isExpired(wall: 1_009_999 + 60_000, idleDefault: idle))
        let late = state.touch(wall: 1_010_000)
        #expect(late != nil)
        #expect(!state.isExpired(wall: 1_079_999, idleDefault: idle))
        #expect(state.isExpired(wall: 1_080_000, idleDefault: idle))
        #expect(!state.isExpired(wall: 1_080_000, idleDefault: .seconds(1 << 60)))
    }

    @Test func aMirrorsRecordIsTheSessionAgain() throws {
        var chance = RandomSessions(seed: 5)
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        for _ in 0..<300 {
            var state = SessionState(createdAt: 1000)
            for number in 0..<chance.number(1...40) {
                _ = try state.apply(chance.commit(number), life: Life(rawValue: chance.number(1...30)), wall: 1000)
            }
            let record = state.mirrorRecord(of: key, idleDefault: .seconds(60))
            #expect(record.fault == nil)
            #expect(try SessionState(record) == state)
            _ = state.destroy(CommitID(upper: 0, lower: 0), wall: 1000)
            #expect(try SessionState(state.mirrorRecord(of: key, idleDefault: .seconds(60))).isDestroyed)
        }
    }

    @Test func mergingInAMirrorIsMergingSessions() throws {
        var chance = RandomSessions(seed: 6)
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        for _ in 0..<300 {
            var early = SessionState(createdAt: 1000)
            for number in 0..<chance.number(1...20) {
                _ = try early.apply(chance.commit(number), life: Life(rawValue: chance.number(1...30)), wall: 1000)
            }
            var late = early
            for number in 20..<chance.number(21...40) {
                _ = try late.apply(chance.commit(number), life: Life(rawValue: chance.number(1...30)), wall: 1000)
            }
            var record = late.mirrorRecord(of: key, idleDefault: .seconds(60))
            record.merge(early.mirrorRecord(of: key, idleDefault: .seconds(60)))
            #expect(try SessionState(record) == late)
        }
    }
}
