import Testing

@testable import MeshSimulator

/// Each check on made-up histories: it lets the good one pass and finds what is wrong with the bad one, in that and in the least of it.
@Suite struct CheckTests {
    /// A history with a line for each operation, in the order of their beginnings.
    struct Told {
        var history = History()
        private var lastCount: [Int: Int] = [:]

        /// One that takes from `begin` to `end`, in milliseconds; nil: it is never answered.
        mutating func tell(
            _ client: Int, _ session: History.SessionName, _ action: History.Action, _ begin: Int, _ end: Int?,
            _ outcome: History.Outcome = .done(copies: 2)
        ) {
            history.begin(
                .init(
                    client: client, session: session, action: action, invoked: .milliseconds(begin),
                    completed: end.map { .milliseconds($0) },
                    outcome: end == nil ? .unknown : outcome))
        }

        /// Shown: counts by client, and the counter.
        mutating func read(_ client: Int, _ session: History.SessionName, _ begin: Int, _ counts: [Int: Int], counter: Int64 = 0) {
            var contents = History.Contents(counter: counter)
            for (writer, count) in counts {
                contents.marks[writer] = .init(session: session.number, client: writer, count: count)
            }
            tell(client, session, .read, begin, begin + 5, .shown(contents))
        }
    }

    private static let s1 = History.SessionName(1)

    private func expectHolds(_ told: Told, sourceLocation: SourceLocation = #_sourceLocation) {
        for broken in told.history.counterexamples { Issue.record("\(broken)", sourceLocation: sourceLocation) }
    }

    /// The check of that promise finds it, gives so many operations, and finds it in those alone.
    private func expect(
        _ promise: SessionPromise, brokenIn told: Told, by count: Int, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let check = try #require(History.checks.first { $0.promise == promise })
        let found = try #require(check.counterexample(in: told.history), sourceLocation: sourceLocation)
        #expect(found.operations.count == count, "\(found)", sourceLocation: sourceLocation)
        #expect(check.counterexample(in: told.history.only(found.operations)) != nil, "\(found)", sourceLocation: sourceLocation)
        #expect("\(found)".contains(promise.rawValue), sourceLocation: sourceLocation)
    }

    private static func made() -> Told {
        var told = Told()
        told.tell(1, s1, .create(idle: nil), 0, 10)
        told.tell(1, s1, .write(1), 20, 30)
        told.tell(2, s1, .write(1), 20, 32)
        told.tell(2, s1, .increment(2), 40, 50)
        return told
    }

    @Test func aHistoryWithoutFaultBreaksNothing() {
        var told = Self.made()
        told.read(1, Self.s1, 60, [1: 1, 2: 1], counter: 2)
        told.tell(3, Self.s1, .increment(1), 70, nil)
        told.read(2, Self.s1, 80, [1: 1, 2: 1], counter: 2)
        told.read(2, Self.s1, 90, [1: 1, 2: 1], counter: 3)
        expectHolds(told)
    }

    // MARK: 1

    @Test func aLostWriteIsFound() throws {
        var told = Self.made()
        told.read(3, Self.s1, 60, [1: 0, 2: 1], counter: 2)
        try expect(.survives, brokenIn: told, by: 3)
    }

    @Test func aLostFieldIsFound() throws {
        var told = Self.made()
        told.read(3, Self.s1, 60, [1: 1], counter: 2)
        try expect(.survives, brokenIn: told, by: 2)
    }

    @Test func aLostIncrementIsFound() throws {
        var told = Self.made()
        told.tell(1, Self.s1, .increment(1), 60, 70)
        told.read(3, Self.s1, 80, [1: 1, 2: 1], counter: 2)
        try expect(.survives, brokenIn: told, by: 3)
    }

    @Test func aLostSessionIsFound() throws {
        var told = Self.made()
        told.tell(3, Self.s1, .read, 60, 65, .absent)
        try expect(.survives, brokenIn: told, by: 2)
        // A commit that is told so is as bad.
        told = Self.made()
        told.tell(3, Self.s1, .write(1), 60, 65, .absent)
        try expect(.survives, brokenIn: told, by: 2)
    }

    @Test func whatOneNodeHeldOrNobodyAcknowledgedMayBeLost() {
        var told = Self.made()
        told.tell(1, Self.s1, .write(2), 60, 70, .done(copies: 1))
        told.tell(2, Self.s1, .write(2), 60, nil)
        told.tell(2, Self.s1, .increment(2), 60, 70, .done(copies: 1))
        told.read(3, Self.s1, 80, [1: 1, 2: 1], counter: 2)
        expectHolds(told)
    }

    @Test func theOtherSideOfACutNeedNotKnowAnIdUntilItIsOver() throws {
        var told = Self.made()
        told.history.interruptions = [.init(began: .milliseconds(55), ended: .milliseconds(100))]
        let next = History.SessionName(1, id: 1)
        told.tell(1, Self.s1, .regenerate, 60, 70)
        told.tell(1, next, .write(2), 71, 75)
        told.tell(2, next, .read, 80, 85, .absent)
        expectHolds(told)
        told.tell(2, next, .read, 101, 105, .absent)
        try expect(.survives, brokenIn: told, by: 2)
        // Nor does what was done by a former id make a new one.
        told = Self.made()
        told.tell(2, next, .read, 60, 65, .absent)
        expectHolds(told)
    }

    @Test func aSessionThatWasDestroyedIsNotLost() {
        var told = Self.made()
        told.tell(1, Self.s1, .destroy, 60, nil)
        told.tell(2, Self.s1, .read, 61, 70, .absent)
        expectHolds(told)
    }

    // MARK: 2

    @Test func whoeverDoesNotSeeItsOwnWriteIsFound() throws {
        var told = Self.made()
        told.history.restedAt = .seconds(1)
        told.read(1, Self.s1, 60, [1: 0, 2: 1], counter: 2)
        try expect(.ownOrder, brokenIn: told, by: 3)
    }

    @Test func aReadThatGoesBackIsFound() throws {
        var told = Self.made()
        told.history.restedAt = .seconds(1)
        // It was never acknowledged, and so is promised to nobody who hasn't seen it.
        told.tell(2, Self.s1, .write(2), 60, nil)
        told.read(1, Self.s1, 70, [1: 1, 2: 2], counter: 2)
        told.read(1, Self.s1, 80, [1: 1, 2: 1], counter: 2)
        try expect(.ownOrder, brokenIn: told, by: 4)
        var counted = Self.made()
        counted.read(1, Self.s1, 70, [1: 1, 2: 1], counter: 2)
        counted.read(1, Self.s1, 80, [1: 1, 2: 1], counter: 1)
        let found = try #require(OwnOrderCheck().counterexample(in: counted.history))
        #expect(found.text.contains("the counter"))
    }

    @Test func readsOfTwoClientsMayGoEitherWay() {
        var told = Self.made()
        told.tell(2, Self.s1, .write(2), 60, nil)
        told.read(1, Self.s1, 70, [1: 1, 2: 2], counter: 2)
        told.read(3, Self.s1, 71, [1: 1, 2: 1], counter: 2)
        expectHolds(told)
    }

    // MARK: 3

    @Test func aDestroyedSessionThatComesBackIsFound() throws {
        var told = Self.made()
        told.tell(1, Self.s1, .destroy, 60, 70)
        told.read(2, Self.s1, 71, [1: 1, 2: 1], counter: 2)
        try expect(.staysDestroyed, brokenIn: told, by: 2)
        told = Self.made()
        told.tell(1, Self.s1, .destroy, 60, 70)
        told.tell(2, Self.s1, .write(2), 71, 80)
        try expect(.staysDestroyed, brokenIn: told, by: 2)
    }

    @Test func whatWasAskedBeforeADestroyWasAcknowledgedMayBeShown() {
        var told = Self.made()
        told.tell(1, Self.s1, .destroy, 60, 70)
        told.tell(1, Self.s1, .destroy, 61, 72)
        told.read(2, Self.s1, 68, [1: 1, 2: 1], counter: 2)
        told.tell(2, Self.s1, .read, 80, 85, .absent)
        expectHolds(told)
    }

    @Test func aFormerIdHasItsGraceAlsoWhenTheSessionIsDestroyed() throws {
        var told = Self.moved()
        told.tell(1, .init(1, id: 1), .destroy, 200, 210)
        told.read(3, Self.s1, 300, [1: 1, 2: 1], counter: 2)
        expectHolds(told)
        told.tell(3, .init(1, id: 1), .write(1), 310, 320)
        try expect(.staysDestroyed, brokenIn: told, by: 2)
    }

    @Test func theOtherSideOfACutNeedNotKnowOfADestroyUntilItIsOver() throws {
        var told = Self.made()
        told.history.interruptions = [.init(began: .milliseconds(55), ended: .milliseconds(100))]
        told.tell(1, Self.s1, .destroy, 60, 70)
        told.read(2, Self.s1, 80, [1: 1, 2: 1], counter: 2)
        expectHolds(told)
        told.read(2, Self.s1, 101, [1: 1, 2: 1], counter: 2)
        try expect(.staysDestroyed, brokenIn: told, by: 2)
    }

    // MARK: 4

    @Test func aFieldThatAnotherWriteTookAwayIsFound() throws {
        var told = Self.made()
        told.history.restedAt = .seconds(1)
        told.tell(1, Self.s1, .write(2), 60, 70)
        told.tell(2, Self.s1, .write(2), 61, 71)
        told.read(3, Self.s1, 80, [1: 1, 2: 2], counter: 2)
        try expect(.merges, brokenIn: told, by: 3)
    }

    @Test func anIncrementThatCountedTwiceIsFound() throws {
        var told = Self.made()
        told.read(1, Self.s1, 60, [1: 1, 2: 1], counter: 4)
        try expect(.merges, brokenIn: told, by: 2)
    }

    @Test func anIncrementRepeatedToTheOtherSideOfACutMayCountTwice() throws {
        var told = Self.made()
        told.history.interruptions = [.init(began: .milliseconds(55), ended: .milliseconds(100))]
        told.tell(1, Self.s1, .increment(3), 60, 90)
        told.history.sent(told.history.operations.count - 1, to: "n1", at: .milliseconds(60))
        told.history.sent(told.history.operations.count - 1, to: "n2", at: .milliseconds(80))
        told.read(2, Self.s1, 120, [1: 1, 2: 1], counter: 8)
        expectHolds(told)
        told.read(2, Self.s1, 130, [1: 1, 2: 1], counter: 9)
        try expect(.merges, brokenIn: told, by: 3)
    }

    @Test func anIncrementWhoseOwnerFellOutOfReachMayCountTwice() throws {
        var told = Self.made()
        told.history.interruptions = [.init(began: .milliseconds(55), ended: .milliseconds(1000))]
        told.tell(1, Self.s1, .increment(3), 60, 400)
        told.read(2, Self.s1, 1200, [1: 1, 2: 1], counter: 8)
        expectHolds(told)
        // One that was answered before anybody can have been missed counts once.
        told.tell(1, Self.s1, .increment(3), 500, 600)
        told.read(2, Self.s1, 1300, [1: 1, 2: 1], counter: 14)
        try expect(.merges, brokenIn: told, by: 4)
    }

    // MARK: 5

    @Test(
        arguments: [
            ([("n1", true, 7), ("n2", false, 7)], true), ([("n1", true, nil), ("n2", false, 7)], true),
            ([("n1", true, 7), ("n2", false, 8)], false), ([("n1", true, 7), ("n2", false, nil)], false),
            ([("n1", false, 7), ("n2", false, 7)], false), ([("n1", true, 7), ("n2", true, 7)], false),
        ] as [([(String, Bool, UInt64?)], Bool)])
    func copiesAgreeOrAreFound(copies: [(String, Bool, UInt64?)], isGood: Bool) {
        var history = History()
        history.sightings = [
            .init(at: .zero, session: Self.s1, copies: copies.map { .init(agent: $0.0, isOwners: $0.1, digest: $0.2) })
        ]
        let found = CopiesCheck().counterexample(in: history)
        #expect((found == nil) == isGood)
        #expect(found?.sighting?.copies.count == (isGood ? nil : 2))
    }

    // MARK: 6

    @Test func whatBelongsToAnotherSessionIsFound() throws {
        var told = Self.made()
        told.tell(3, Self.s1, .read, 60, 65, .shown(.init([1: .init(session: 2, client: 1, count: 1)], counter: 2)))
        try expect(.noMixUp, brokenIn: told, by: 1)
        told = Self.made()
        told.tell(3, Self.s1, .read, 60, 65, .shown(.init([1: .init(session: 1, client: 2, count: 1)], counter: 2)))
        try expect(.noMixUp, brokenIn: told, by: 1)
        told = Self.made()
        told.tell(3, Self.s1, .read, 60, 65, .shown(.init(strange: ["x"])))
        try expect(.noMixUp, brokenIn: told, by: 1)
    }

    @Test func aValueThatNobodyHadWrittenYetIsFound() throws {
        var told = Self.made()
        told.read(3, Self.s1, 60, [1: 2, 2: 1], counter: 2)
        told.tell(1, Self.s1, .write(2), 70, 80)
        try expect(.noMixUp, brokenIn: told, by: 1)
    }

    // MARK: 7

    private static func visited(again: Int) -> Told {
        var told = Told()
        told.tell(1, s1, .create(idle: .seconds(5)), 0, 10)
        told.read(1, s1, again, [1: 0])
        return told
    }

    @Test func aSessionThatExpiresInTimeIsFine() {
        var told = Self.visited(again: 4000)
        told.read(1, Self.s1, 8900, [1: 0])
        told.tell(1, Self.s1, .read, 8905 + 5000, 8905 + 5001, .absent)
        expectHolds(told)
        told = Self.visited(again: 4000)
        told.read(1, Self.s1, 4005 + 35_000, [1: 0])
        expectHolds(told)
    }

    @Test func aSessionThatExpiresEarlyIsFound() throws {
        var told = Self.visited(again: 4000)
        told.tell(1, Self.s1, .read, 8900, 8950, .absent)
        try expect(.expiry, brokenIn: told, by: 3)
    }

    @Test func aSessionThatIsThereLongAfterIsFound() throws {
        var told = Self.visited(again: 4000)
        told.read(1, Self.s1, 4005 + 35_001, [1: 0])
        try expect(.expiry, brokenIn: told, by: 3)
    }

    // MARK: 9

    private static func moved() -> Told {
        var told = made()
        told.tell(1, s1, .regenerate, 60, 70)
        told.tell(1, .init(1, id: 1), .write(2), 80, 90)
        told.read(2, .init(1, id: 1), 100, [1: 2, 2: 1], counter: 2)
        return told
    }

    @Test func aFormerIdShowsWhatWasForAWhileAndThenNothing() {
        var told = Self.moved()
        told.read(3, Self.s1, 110, [1: 1, 2: 1], counter: 2)
        told.tell(3, Self.s1, .write(1), 110, 115, .absent)
        told.tell(3, Self.s1, .read, 31_000, 31_005, .absent)
        expectHolds(told)
    }

    @Test func aFormerIdThatIsGoodForLongIsFound() throws {
        var told = Self.moved()
        told.read(3, Self.s1, 20_071, [1: 1, 2: 1], counter: 2)
        try expect(.formerId, brokenIn: told, by: 2)
    }

    @Test func aFormerIdThatShowsWhatIsNewIsFound() throws {
        var told = Self.moved()
        told.read(3, Self.s1, 110, [1: 2, 2: 1], counter: 2)
        try expect(.formerId, brokenIn: told, by: 3)
    }

    @Test func aFormerIdThatChangesSomethingIsFound() throws {
        var told = Self.moved()
        told.tell(3, Self.s1, .write(1), 110, 115)
        try expect(.formerId, brokenIn: told, by: 2)
    }

    @Test func whatWasWrittenBeforeAMoveIsOwedByTheNewId() throws {
        var told = Self.moved()
        told.read(3, .init(1, id: 1), 120, [1: 2], counter: 2)
        try expect(.survives, brokenIn: told, by: 2)
    }

    // MARK: 10

    @Test func aTurnThatTwoTookIsFoundAlsoOverACut() throws {
        var told = Told()
        told.tell(1, Self.s1, .create(idle: nil), 0, 5)
        told.tell(1, Self.s1, .take(1), 10, 15)
        told.tell(2, Self.s1, .take(1), 11, 16, .failed("taken"))
        told.tell(2, Self.s1, .take(2), 20, nil)
        told.tell(1, Self.s1, .take(2), 21, 25)
        expectHolds(told)
        told.history.interruptions = [.init(began: .milliseconds(30))]
        told.tell(2, Self.s1, .take(2), 40, 45)
        try expect(.exclusive, brokenIn: told, by: 2)
    }

    @Test func aTurnMayBeTakenByAFormerIdWhoseMoveIsNotHeardOf() throws {
        let next = History.SessionName(1, id: 1)
        var told = Self.made()
        told.tell(1, Self.s1, .regenerate, 60, 70)
        told.tell(2, Self.s1, .take(1), 80, 85)
        told.tell(1, next, .take(1), 200, 205)
        // By who hears of everything it may not.
        try expect(.exclusive, brokenIn: told, by: 2)
        told.history.interruptions = [.init(began: .milliseconds(55), ended: .milliseconds(100))]
        #expect(ExclusiveCheck().counterexample(in: told.history) == nil)
        told.tell(2, next, .take(1), 300, 305)
        try expect(.exclusive, brokenIn: told, by: 2)
    }

    // MARK: 11

    /// An application that follows from the beginning, and was told all that became of a session.
    private static func following() -> (Told, History.Following) {
        let moved = History.SessionName(1, id: 1)
        var told = made()
        told.tell(1, s1, .regenerate, 60, 70)
        told.tell(1, moved, .destroy, 80, 90)
        var following = History.Following(agent: "n1", began: .milliseconds(-1))
        following.told = [.init(s1, .created), .init(s1, .moved), .init(moved, .destroyed)]
        told.history.followings = [following]
        return (told, following)
    }

    @Test func whatAnApplicationWasNotToldIsFoundUnlessItWasToldThatSomethingIsLeftOut() throws {
        var (told, following) = Self.following()
        expectHolds(told)
        for event in following.told {
            var less = following
            less.told.remove(event)
            told.history.followings = [less]
            try expect(.told, brokenIn: told, by: 1)
            var gapped = less
            gapped.isGapped = true
            var gone = less
            gone.ended = .milliseconds(100)
            told.history.followings = [gapped, gone]
            #expect(FollowingCheck().counterexample(in: told.history) == nil)
        }
        // What was over before it followed it is not owed.
        following.told = []
        following.began = .milliseconds(85)
        told.history.followings = [following]
        #expect(FollowingCheck().counterexample(in: told.history) == nil)
    }

    @Test func anEventOfWhatNobodyDidIsFound() throws {
        for strange in [History.Told(.init(2), .created), .init(.init(1, id: 1), .moved), .init(Self.s1, .destroyed)] {
            var (told, following) = Self.following()
            following.told.insert(strange)
            told.history.followings = [following]
            try expect(.told, brokenIn: told, by: 0)
        }
    }

    @Test func anEndByAgeThatWasNotToldIsFound() throws {
        var told = Told()
        told.tell(1, Self.s1, .create(idle: .seconds(5)), 0, 10)
        told.tell(1, Self.s1, .read, 30_000, 30_005, .absent)
        var following = History.Following(agent: "n1", began: .milliseconds(-1))
        following.told = [.init(Self.s1, .created)]
        told.history.followings = [following]
        try expect(.told, brokenIn: told, by: 2)
        following.told.insert(.init(Self.s1, .expired))
        told.history.followings = [following]
        expectHolds(told)
    }

    // MARK: Text

    @Test func aCounterexampleReadsAsAStory() throws {
        var told = Self.made()
        told.read(3, Self.s1, 60, [1: 1], counter: 2)
        let found = try #require(SurvivalCheck().counterexample(in: told.history))
        #expect(
            "\(found)" == """
                survives: a write of c2 is lost
                    c2 s1 write 1: 2 copies  [0.020 to 0.032 s, ]
                    c3 s1 read: c1 = s1.c1.1, n = 2  [0.060 to 0.065 s, ]
                """)
    }

    @Test(arguments: ["s3.c2.17", "s0.c0.0"]) func aMarkIsReadAsItIsWritten(text: String) {
        #expect(History.Mark(text)?.description == text)
    }

    @Test(arguments: ["", "s3.c2", "3.2.1", "s3.c2.x", "s3.c2.1.1", "sx.c2.1"]) func whatIsNoMarkIsNone(text: String) {
        #expect(History.Mark(text) == nil)
    }
}
