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
                if let touch = primary.touch(wall: wall + 20_000 * Int64(number), policy: ExpiryPolicy(idle: .seconds(60))) {
                    deltas.append(touch)
                }
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

    @Test func setsMergeByTheSameLaws() {
        var chance = RandomSessions(seed: 11)
        for _ in 0..<500 {
            let sets = (0..<3).map { _ in chance.set(of: UInt8(ElementSet.removalsMax), versions: 1...600) }
            let (a, b, c) = (sets[0], sets[1], sets[2])
            func merged(_ sets: ElementSet...) -> Cell {
                var cell = Cell.set(sets[0])
                for set in sets.dropFirst() { cell.merge(.set(set)) }
                return cell
            }
            #expect(merged(a, b) == merged(b, a))
            #expect(merged(a, a) == merged(a))
            #expect(merged(a, b, c) == merged(c, b, a))
        }
    }

    @Test func elementsAddedOnTwoSidesOfACutAreBothThereAndTheLaterWordOnOneCounts() throws {
        var left = SessionState(createdAt: 1)
        _ = try left.apply(Self.commit(1, .insert("roles", [1]), .insert("roles", [2])), life: Self.life, wall: 1)
        var right = left
        _ = try left.apply(Self.commit(2, .insert("roles", [3]), .erase("roles", [1])), life: Self.life, wall: 10)
        _ = try right.apply(Self.commit(3, .insert("roles", [4]), .erase("roles", [2])), life: Life(rawValue: 8), wall: 20)
        _ = try right.apply(Self.commit(4, .insert("roles", [2])), life: Life(rawValue: 8), wall: 30)
        left.merge(right)
        #expect(left.visibleFields == [.init(name: "roles", value: .elements([[2], [3], [4]]))])
    }

    @Test func aMaximumOnlyRises() throws {
        var state = SessionState(createdAt: 1)
        for value in [3, 9, 4, -1] as [Int64] { _ = try state.apply(Self.commit(1, .raise("seen", to: value)), life: Self.life, wall: 1) }
        #expect(state.visibleFields == [.init(name: "seen", value: .integer(9))])
    }

    @Test func aFieldOfAnotherKindTakesThePlaceOfWhatWasThere() throws {
        var state = SessionState(createdAt: 1)
        var replica = state
        let changes: [(FieldChange, FieldValue)] = [
            (.insert("f", [1]), .elements([[1]])), (.increment("f", by: 2), .integer(2)), (.raise("f", to: 1), .integer(1)),
            (.set("f", [7]), .bytes([7])), (.raise("f", to: -5), .integer(-5)), (.insert("f", [2]), .elements([[2]])),
            (.set("f", []), .bytes([])), (.increment("f", by: 4), .integer(4)),
        ]
        for (number, (change, value)) in changes.enumerated() {
            replica.merge(try state.apply(Self.commit(UInt64(number), change), life: Self.life, wall: 1))
            #expect(state.visibleFields == [.init(name: "f", value: value)])
            #expect(replica == state)
        }
    }

    @Test func elementsThatComeAndGoDoNotPileUp() throws {
        var state = SessionState(createdAt: 1)
        for number in 0..<1000 as Range<UInt64> {
            let element = Array(String(number).utf8)
            _ = try state.apply(Self.commit(number, .insert("seen", element), .erase("seen", element)), life: Self.life, wall: 1)
        }
        guard case .set(let set) = state["seen"] else { return #expect(Bool(false)) }
        #expect(set.present.isEmpty)
        #expect(set.elements.count <= ElementSet.removalsMax)
    }

    @Test func setsOfASessionTogetherHoldAsMuchAsTheyMay() throws {
        var state = SessionState(createdAt: 1)
        for number in 0..<SessionLimits.elementsMax {
            let change = FieldChange.insert("s\(number % 3)", [UInt8(number & 255), UInt8(number >> 8)])
            _ = try state.apply(Self.commit(UInt64(number), change), life: Self.life, wall: 1)
        }
        let before = state
        let long = [UInt8](repeating: 1, count: SessionLimits.elementBytesMax + 1)
        for change in [FieldChange.insert("s3", [1]), .insert("s0", long)] {
            #expect(throws: ClientFailure.self) { try state.apply(Self.commit(9999, change), life: Self.life, wall: 1) }
            #expect(state == before)
        }
        _ = try state.apply(Self.commit(9999, .erase("s0", [0, 0]), .insert("s3", [1])), life: Self.life, wall: 1)
    }

    @Test func whatIsSoAlreadyIsNoChange() throws {
        var state = SessionState(createdAt: 1)
        var first = Self.commit(1, .set("a", [1]), .insert("s", [1]), .raise("m", to: 5), .increment("n", by: 1))
        first.user = "ann"
        first.idleSeconds = 60
        _ = try state.apply(first, life: Self.life, wall: 1)
        var same = Self.commit(
            2, .set("a", [1]), .remove("none"), .insert("s", [1]), .erase("s", [9]), .raise("m", to: 5), .increment("n", by: 0),
            .drop("a", [2]), .drop("none", []))
        same.user = "ann"
        same.idleSeconds = 60
        #expect(!state.isChanged(by: same))
        let changes: [FieldChange] = [
            .set("a", [2]), .remove("a"), .set("s", []), .insert("s", [2]), .erase("s", [1]), .raise("m", to: 6), .increment("n", by: 1),
            .drop("a", [1]), .raise("none", to: .min),
        ]
        for change in changes { #expect(state.isChanged(by: Self.commit(3, change)), "\(change)") }
        let delta = try state.apply(Self.commit(4, .set("a", [1]), .increment("n", by: 1)), life: Self.life, wall: 1)
        #expect(delta.fields.map(\.name) == ["n"], "what changes nothing isn't sent")
    }

    @Test func aConditionComparesByValueAndAConflictTellsWhatIsThere() throws {
        var state = SessionState(createdAt: 1)
        _ = try state.apply(Self.commit(1, .set("a", [1]), .increment("n", by: 1), .set("gone", [1])), life: Self.life, wall: 1)
        _ = try state.apply(Self.commit(2, .remove("gone")), life: Self.life, wall: 1)
        func conflict(_ conditions: FieldCondition...) -> [SessionSnapshot.Field]? {
            state.conflict(with: SessionCommit(key: nil, id: CommitID(upper: 1, lower: 1), conditions: conditions))
        }
        #expect(conflict(.holds("a", [1]), .isAbsent("gone"), .isAbsent("never")) == nil)
        #expect(conflict(.holds("a", [1]), .isAbsent("a")) == [.init(name: "a", value: .bytes([1]))])
        #expect(conflict(.holds("gone", [1])) == [])
        let present: [SessionSnapshot.Field] = [.init(name: "a", value: .bytes([1])), .init(name: "n", value: .integer(1))]
        #expect(conflict(.holds("n", [1]), .holds("a", [2])) == present)
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

    // Ancestors' scenario 47: a copy from before the removal comes late, and again.
    @Test func aRemovedFieldStaysSoWhicheverCopyComesLastUntilItIsWrittenAgain() throws {
        for change in [FieldChange.set("a", [1]), .increment("a", by: 1), .raise("a", to: 1), .insert("a", [1])] {
            var state = SessionState(createdAt: 1)
            _ = try state.apply(Self.commit(1, change), life: Self.life, wall: 1)
            let old = state
            // By a lesser life: the stamp decides.
            _ = try state.apply(Self.commit(2, .remove("a")), life: Life(rawValue: 3), wall: 1)
            let removed = state
            _ = try state.apply(Self.commit(3, change), life: Life(rawValue: 2), wall: 1)
            let new = state
            #expect(!old.visibleFields.isEmpty && old.visibleFields == new.visibleFields, "\(change)")
            for merged in [old.merged(with: removed), removed.merged(with: old)] {
                #expect(merged.visibleFields.isEmpty && merged.merged(with: old).visibleFields.isEmpty, "\(change)")
            }
            for merged in [new.merged(with: removed), removed.merged(with: new)] {
                #expect(merged["a"] == new["a"] && merged.merged(with: removed).merged(with: old)["a"] == new["a"], "\(change)")
            }
        }
    }

    // Ancestors' scenario 47.
    @Test func ofARemovalAndAValueOnTwoSidesOfACutTheLaterCounts() throws {
        var base = SessionState(createdAt: 1)
        _ = try base.apply(Self.commit(1, .set("a", [1])), life: Self.life, wall: 1)
        for (removedAt, isThere) in [(10, true), (30, false)] as [(Int64, Bool)] {
            var (left, right) = (base, base)
            _ = try left.apply(Self.commit(2, .remove("a")), life: Life(rawValue: 9), wall: removedAt)
            _ = try right.apply(Self.commit(3, .set("a", [2])), life: Life(rawValue: 8), wall: 20)
            let expected: [SessionSnapshot.Field] = isThere ? [.init(name: "a", value: .bytes([2]))] : []
            for merged in [left.merged(with: right), right.merged(with: left)] {
                #expect(merged.visibleFields == expected && merged.merged(with: base).visibleFields == expected)
            }
        }
    }

    // Ancestors' scenario 47.
    @Test func aDestroyedSessionStaysDestroyedWhateverIsMerged() throws {
        var chance = RandomSessions(seed: 4)
        for _ in 0..<500 {
            var state = chance.session(destroyedIn: 0)
            _ = state.destroy(CommitID(upper: 5, lower: 5), wall: 10)
            for _ in 0..<3 { state.merge(chance.session()) }
            #expect(state.isDestroyed && state.fields.isEmpty && state.user.isEmpty)
        }
    }

    @Test func aMovedSessionIsReadForTenSecondsAndAtRestKnowsOnlyWhereItWent() throws {
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
        #expect(state.isDestroyed && state.isBuried && state.moved == move && state.fields.isEmpty && state.commits.isEmpty)
    }

    @Test func aSessionHasBegunUnderTheIdThatItWasMadeWithAndUnderNoneThatItWasMovedTo() throws {
        let life = Life(rawValue: 1)
        var made = SessionState(createdAt: 1000)
        _ = try made.apply(SessionCommit(key: nil, id: CommitID(upper: 0, lower: 1)), life: life, wall: 1000)
        #expect(made.hasBegunHere)
        _ = try made.apply(
            SessionCommit(key: nil, id: CommitID(upper: 0, lower: 2), changes: [.increment("n", by: 1)]), life: life, wall: 5000)
        #expect(made.hasBegunHere)
        // Within the millisecond of its beginning, and later.
        for wall: Int64 in [1000, 9000] {
            var taken = made
            taken.commits = []
            var moved = SessionState(createdAt: wall)
            moved.merge(taken)
            _ = try moved.apply(SessionCommit(key: nil, id: CommitID(upper: 0, lower: 3)), life: life, wall: wall)
            #expect(!moved.hasBegunHere)
        }
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
        let policy = ExpiryPolicy(idle: .seconds(60))
        #expect(!state.isExpired(wall: 1_060_000, policy: policy))
        let early = state.touch(wall: 1_009_999, policy: policy)
        #expect(early == nil)
        #expect(!state.isExpired(wall: 1_009_999 + 60_000, policy: policy))
        let late = state.touch(wall: 1_010_000, policy: policy)
        #expect(late != nil)
        #expect(!state.isExpired(wall: 1_089_999, policy: policy), "by another owner's clock it may be ten seconds earlier")
        #expect(state.isExpired(wall: 1_090_000, policy: policy))
        #expect(!state.isExpired(wall: 1_090_000, policy: ExpiryPolicy(idle: .seconds(1 << 40))))
    }

    @Test func anActiveSessionIsWrittenDownOnceInNinetySeconds() {
        var state = SessionState(createdAt: 0)
        let policy = ExpiryPolicy(idle: .seconds(1800))
        let touches = (1...3600).count { state.touch(wall: Int64($0) * 1000, policy: policy) != nil }
        #expect(touches == 40)
    }

    @Test func aSessionEndsAtItsGreatestAgeOrItsDateWhateverItIsAskedFor() throws {
        let policy = ExpiryPolicy(idle: .seconds(60), absolute: .seconds(100))
        var state = SessionState(createdAt: 1000)
        for wall in stride(from: 1000, through: 100_000, by: 10_000) { _ = state.touch(wall: Int64(wall), policy: policy) }
        #expect(!state.isExpired(wall: 100_999, policy: policy) && state.isExpired(wall: 101_000, policy: policy))

        var commit = Self.commit(1)
        commit.absoluteSeconds = 150
        _ = try state.apply(commit, life: Self.life, wall: 100_000)
        #expect(!state.isExpired(wall: 150_999, policy: policy) && state.isExpired(wall: 151_000, policy: policy))

        commit = Self.commit(2)
        commit.until = 120_000
        _ = try state.apply(commit, life: Self.life, wall: 100_001)
        #expect(!state.isExpired(wall: 119_999, policy: policy) && state.isExpired(wall: 120_000, policy: policy))

        commit.until = 0
        #expect(state.isChanged(by: commit))
        _ = try state.apply(commit, life: Self.life, wall: 100_002)
        #expect(state.terms.until == nil && !state.isChanged(by: commit))
    }

    @Test func aSessionThatDoesNotRollLivesFromItsLastCommitOn() throws {
        let policy = ExpiryPolicy(idle: .seconds(60), isRolling: false)
        var state = SessionState(createdAt: 1000)
        let touch = state.touch(wall: 50_000, policy: policy)
        #expect(touch == nil)
        #expect(state.isExpired(wall: 71_000, policy: policy))
        _ = try state.apply(Self.commit(1, .set("a", [1])), life: Self.life, wall: 50_000)
        #expect(!state.isExpired(wall: 119_999, policy: policy) && state.isExpired(wall: 120_000, policy: policy))
        var commit = Self.commit(2)
        commit.isRolling = true
        _ = try state.apply(commit, life: Self.life, wall: 60_000)
        #expect(state.touch(wall: 75_000, policy: policy) != nil)
        #expect(!state.isExpired(wall: 135_000, policy: policy))
    }

    @Test func aMirrorsRecordIsTheSessionAgain() throws {
        var chance = RandomSessions(seed: 5)
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        for _ in 0..<300 {
            var state = SessionState(createdAt: 1000)
            for number in 0..<chance.number(1...40) {
                _ = try state.apply(chance.commit(number), life: Life(rawValue: chance.number(1...30)), wall: 1000)
            }
            let record = state.mirrorRecord(of: key, policy: ExpiryPolicy(idle: .seconds(60)))
            #expect(record.fault == nil)
            #expect(try SessionState(record) == state)
            _ = state.destroy(CommitID(upper: 0, lower: 0), wall: 1000)
            #expect(try SessionState(state.mirrorRecord(of: key, policy: ExpiryPolicy(idle: .seconds(60)))).isDestroyed)
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
            var record = late.mirrorRecord(of: key, policy: ExpiryPolicy(idle: .seconds(60)))
            record.merge(early.mirrorRecord(of: key, policy: ExpiryPolicy(idle: .seconds(60))))
            #expect(try SessionState(record) == late)
        }
    }
}
