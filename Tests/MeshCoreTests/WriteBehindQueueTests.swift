import MeshCore
import Testing

@Suite struct WriteBehindQueueTests {
    private var queue = WriteBehindQueue()

    private func at(_ milliseconds: Int64) -> Moment { Moment(uptime: milliseconds * 1_000_000, wall: milliseconds) }

    private func key(_ number: UInt8) throws -> SessionKey {
        try #require(SessionKey(bytes: [UInt8](repeating: 0, count: 31) + [number]))
    }

    private func numbers(_ keys: [SessionKey]) -> [UInt8] { keys.map { $0.bytes[31] } }

    @Test mutating func manyChangesOfASessionAreOneWriteAsOldAsTheFirst() throws {
        for time in 0..<10 { queue.mark(try key(1), at: at(Int64(time))) }
        #expect(queue.count == 1)
        #expect(queue.oldestAge(at: at(200)) == .milliseconds(200))
        #expect(numbers(queue.takeBatch(max: 10)) == [1])
        #expect(queue.takeBatch(max: 10).isEmpty)
        #expect(queue.count == 1 && !queue.hasWaiting)
        queue.succeeded([try key(1)])
        #expect(queue.isEmpty && queue.oldestAge(at: at(300)) == nil)
    }

    @Test mutating func batchesAreTheNewestAndTheOldestInTurnAndThenByKey() throws {
        for number in [5, 3, 9] as [UInt8] { queue.mark(try key(number), at: at(20)) }
        for number in [8, 2] as [UInt8] { queue.mark(try key(number), at: at(10)) }
        #expect(numbers(queue.takeBatch(max: 3)) == [9, 2, 5])
        #expect(numbers(queue.takeBatch(max: 3)) == [3, 8])
    }

    @Test mutating func aSessionThatChangesInFlightIsDirtyAgainAfterItsWriteSucceeded() throws {
        queue.mark(try key(1), at: at(0))
        let batch = queue.takeBatch(max: 1)
        queue.mark(try key(1), at: at(50))
        queue.mark(try key(1), at: at(60))
        #expect(!queue.hasWaiting && queue.count == 1)
        queue.succeeded(batch)
        #expect(queue.oldestAge(at: at(100)) == .milliseconds(50))
        #expect(numbers(queue.takeBatch(max: 1)) == [1])
    }

    @Test mutating func aFailedWriteLeavesTheSessionAsOldAsItWas() throws {
        queue.mark(try key(1), at: at(0))
        let batch = queue.takeBatch(max: 1)
        queue.mark(try key(1), at: at(50))
        queue.mark(try key(2), at: at(10))
        queue.failed(batch)
        queue.failed(batch)
        #expect(queue.oldestAge(at: at(100)) == .milliseconds(100))
        #expect(numbers(queue.takeBatch(max: 5)) == [2, 1])
    }

    @Test mutating func whatIsForgottenIsNotWrittenAndItsAnswerIsIgnored() throws {
        queue.mark(try key(1), at: at(0))
        queue.mark(try key(2), at: at(1))
        queue.mark(try key(3), at: at(2))
        queue.forget(try key(1))
        #expect(queue.oldestAge(at: at(10)) == .milliseconds(9))
        let batch = queue.takeBatch(max: 1)
        #expect(numbers(batch) == [3])
        queue.forget(try key(3))
        queue.failed(batch)
        #expect(numbers(queue.takeBatch(max: 5)) == [2])
    }

    @Test mutating func aSessionForgottenAndMarkedAgainIsTakenOnce() throws {
        for _ in 0..<1000 {
            queue.mark(try key(1), at: at(0))
            queue.forget(try key(1))
        }
        queue.mark(try key(1), at: at(0))
        #expect(numbers(queue.takeBatch(max: 5)) == [1])
        #expect(queue.takeBatch(max: 5).isEmpty)
    }

    /// Against a list that does the same by brute force.
    @Test mutating func nothingMarkedIsEverLost() throws {
        var generator = SeededGenerator(seed: 11)
        var unwritten: Set<UInt8> = []
        var flights: [(batch: [SessionKey], changedSince: Set<UInt8>)] = []
        for time in 0..<5000 {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0, 1:
                let number = UInt8.random(in: 0..<50, using: &generator)
                queue.mark(try key(number), at: at(Int64(time)))
                unwritten.insert(number)
                for index in flights.indices { flights[index].changedSince.insert(number) }
            case 2:
                let batch = queue.takeBatch(max: Int.random(in: 0...8, using: &generator))
                #expect(Set(batch).isDisjoint(with: flights.flatMap(\.batch)))
                flights.append((batch, []))
            default:
                guard !flights.isEmpty else { continue }
                let flight = flights.remove(at: Int.random(in: 0..<flights.count, using: &generator))
                if Bool.random(using: &generator) {
                    queue.succeeded(flight.batch)
                    unwritten.subtract(Set(numbers(flight.batch)).subtracting(flight.changedSince))
                } else {
                    queue.failed(flight.batch)
                }
            }
            #expect(queue.count == unwritten.count)
            #expect((queue.oldestAge(at: at(Int64(time))) == nil) == unwritten.isEmpty)
        }
    }
}
