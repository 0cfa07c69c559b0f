import Testing

@testable import MeshBalancer

@Suite struct TimerWheelTests {
    static let tick: Int64 = 1 << TimerWheel.tickShift

    /// Everything that comes up until `now`.
    static func due(_ wheel: inout TimerWheel, at now: Int64) -> [UInt64] {
        var all: [UInt64] = []
        while let (_, tags) = wheel.next(at: now) { all += tags }
        return all
    }

    @Test func nothingComesUpEarlyAndNothingIsLost() {
        var wheel = TimerWheel(now: 0)
        for tag in 1...100 as ClosedRange<UInt64> { _ = wheel.insert(tag, at: TimerWheel.tick(of: Int64(tag) * Self.tick)) }
        var seen: [UInt64] = []
        for now in 0...102 {
            let due = Self.due(&wheel, at: Int64(now) * Self.tick)
            #expect(due.allSatisfy { Int64($0) <= Int64(now) })
            seen += due
        }
        #expect(seen.sorted() == Array(1...100))
    }

    @Test func whatIsDueBeyondTheWheelComesUpEarlyToBeFiledAgain() {
        var wheel = TimerWheel(now: 0)
        let far = TimerWheel.tick(of: 1_000_000 * Self.tick)
        let filed = wheel.insert(1, at: far)
        #expect(filed < far)
        #expect(Self.due(&wheel, at: filed * Self.tick) == [1])
        #expect(TimerWheel.tick(of: .max) == .max)
    }

    @Test func theLoopSleepsUntilTheNextEntry() throws {
        var wheel = TimerWheel(now: 0)
        #expect(wheel.millisecondsToNext(at: 0) == nil)
        _ = wheel.insert(1, at: 1500)
        let far = try #require(wheel.millisecondsToNext(at: 0))
        #expect(Int64(far) * 1_000_000 >= 1500 * Self.tick)
        _ = wheel.insert(2, at: 3)
        let near = try #require(wheel.millisecondsToNext(at: 0))
        #expect((100...102).contains(near))
        #expect(Self.due(&wheel, at: Int64(near) * 1_000_000) == [2])
    }

    @Test func buffersComeInSizesAndKeepTheirBytesWhenTheyGrow() {
        var pool = BufferPool()
        for (count, capacity) in [(0, 1024), (1024, 1024), (1025, 2048), (4096, 4096), (100_000, 131_072), (131_072, 131_072)] {
            let buffer = pool.take(count)
            #expect(buffer.capacity == capacity)
            pool.giveBack(buffer)
        }
        var buffer = pool.take(10)
        Array("0123456789".utf8).withUnsafeBytes { buffer.append($0) }
        buffer.removeFirst(3)
        buffer = pool.grow(buffer, by: 5000)
        #expect(buffer.bytes.elementsEqual(Array("3456789".utf8)))
        #expect(buffer.room >= 5000)
        pool.giveBack(buffer)
        pool.releaseAll()
    }

    @Test func aFloodOfComplaintsIsOneLineASecond() {
        final class Lines: @unchecked Sendable {
            // Unchecked because one thread complains.
            var all: [String] = []
        }
        let lines = Lines()
        var complaints = Complaints { lines.all.append($0) }
        for index in 0..<1000 { complaints.complain(.malformedRequest, at: Int64(index) * 1_000_000, "junk") }
        complaints.complain(.instanceRefused, at: 0, "refused")
        complaints.complain(.malformedRequest, at: 1_000_000_000, "junk")
        #expect(lines.all == ["junk", "refused", "junk (and 999 more like it)"])
    }
}
