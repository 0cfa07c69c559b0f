import Testing

@testable import MeshCore

/// When a whole mesh starts at once, links and slots wait until its members have heard of each other.
@Suite struct ArrivalsTests {
    var arrivals = Arrivals()

    static func at(_ milliseconds: Int64) -> Moment { Moment(uptime: 60_000_000_000 + milliseconds * 1_000_000, wall: 0) }

    @Test mutating func aFewNewcomersHoldNothingUp() {
        for _ in 0..<15 {
            #expect(!arrivals.areUnderWay(isLate: true, at: Self.at(0)))
            arrivals.note(at: Self.at(0))
        }
        #expect(!arrivals.areUnderWay(isLate: true, at: Self.at(1)))
        arrivals.note(at: Self.at(1))
        #expect(arrivals.areUnderWay(isLate: false, at: Self.at(2)))
    }

    @Test mutating func aHundredAreWaitedForUntilHalfASecondAfterTheLast() {
        for number in 0..<100 { arrivals.note(at: Self.at(Int64(number) * 10)) }
        #expect(arrivals.areUnderWay(isLate: false, at: Self.at(990 + 490)))
        #expect(!arrivals.areUnderWay(isLate: false, at: Self.at(990 + 510)))
    }

    @Test mutating func aBusyHostHoldsThemUpButNotForEver() {
        for _ in 0..<20 { arrivals.note(at: Self.at(0)) }
        #expect(arrivals.areUnderWay(isLate: true, at: Self.at(9_900)))
        #expect(!arrivals.areUnderWay(isLate: true, at: Self.at(10_100)))
    }

    @Test mutating func newcomersThatNeverEndHoldNothingUpForEver() {
        for number in 0..<2000 {
            arrivals.note(at: Self.at(Int64(number) * 10))
            if number >= 1000 { #expect(!arrivals.areUnderWay(isLate: false, at: Self.at(Int64(number) * 10 + 1))) }
        }
    }

    @Test mutating func afterACalmTheNextBurstCountsAnew() {
        for number in 0..<100 { arrivals.note(at: Self.at(Int64(number) * 10)) }
        for _ in 0..<20 { arrivals.note(at: Self.at(20_000)) }
        #expect(arrivals.areUnderWay(isLate: false, at: Self.at(20_090)))
        #expect(!arrivals.areUnderWay(isLate: false, at: Self.at(20_110)))
    }
}
