import Testing

@testable import MeshCore

@Suite struct RumourQueueTests {
    /// The same queue, written down as it is described: all are sorted for each packet.
    private struct Model {
        var rumours: [(subject: RumourQueue.Subject, fact: Fact, sends: Int, order: Int)] = []
        var order = 0

        mutating func add(_ fact: Fact, about subject: RumourQueue.Subject) {
            order += 1
            rumours.removeAll { $0.subject == subject }
            rumours.append((subject, fact, 0, order))
        }

        mutating func take(bytes budget: Int, sendsMax: Int) -> [Fact] {
            rumours.sort { ($0.sends, $1.order) < ($1.sends, $0.order) }
            var left = budget
            var facts: [Fact] = []
            for index in rumours.indices where rumours[index].fact.encodedBytes <= left {
                left -= rumours[index].fact.encodedBytes
                facts.append(rumours[index].fact)
                rumours[index].sends += 1
            }
            rumours.removeAll { $0.sends >= sendsMax }
            return facts
        }

        mutating func countAsSent(sendsMax: Int) {
            for index in rumours.indices where rumours[index].subject.isInDigest { rumours[index].sends += 1 }
            rumours.removeAll { $0.sends >= sendsMax && $0.subject.isInDigest }
        }
    }

    private static func rumour(_ number: Int) throws -> (Fact, RumourQueue.Subject) {
        let member = try SWIMTests.other(number)
        guard number.isMultiple(of: 3) else { return (.member(member), .member(member.name)) }
        let word = Testimony(subject: member.id, incarnation: 0, witness: member.name, finding: .silent)
        return (.testimony(word), .testimony(of: member.name, on: member.name))
    }

    @Test func theLeastToldGoFirstAndOfThoseTheNewest() throws {
        var random = SeededGenerator(seed: 1)
        var queue = RumourQueue()
        var model = Model()
        for _ in 0..<4000 {
            let (fact, subject) = try Self.rumour(Int.random(in: 1...60, using: &random))
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                queue.add(fact, about: subject, isUrgent: true)
                model.add(fact, about: subject)
            case 5:
                queue.remove(subject)
                model.rumours.removeAll { $0.subject == subject }
            case 6:
                queue.countAsSent(sendsMax: 5)
                model.countAsSent(sendsMax: 5)
            default:
                let bytes = Int.random(in: 0...400, using: &random)
                #expect(queue.take(bytes: bytes, sendsMax: 5) == model.take(bytes: bytes, sendsMax: 5))
            }
            #expect(queue.count == model.rumours.count)
            #expect(queue.urgentCount == queue.count)
        }
    }

    @Test func ofTooManyTheMostToldGoes() throws {
        var queue = RumourQueue()
        let old = try Self.rumour(1)
        queue.add(old.0, about: old.1, isUrgent: false)
        _ = queue.take(bytes: 1000, sendsMax: 10)
        for number in 2...RumourQueue.rumoursMax + 1 {
            let (fact, subject) = try Self.rumour(number)
            queue.add(fact, about: subject, isUrgent: false)
        }
        #expect(queue.count == RumourQueue.rumoursMax)
        #expect(!queue.take(bytes: 1 << 20, sendsMax: 1).contains(old.0))
        #expect(queue.isEmpty)
    }
}
