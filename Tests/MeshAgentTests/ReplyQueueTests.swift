import Testing

@testable import MeshAgent

struct ReplyQueueTests {
    @Test func anEarlyAnswerIsHeldBack() {
        var queue = ReplyQueue<UInt8>()
        var output: [UInt8] = []
        let (first, second, third) = (queue.admit(10), queue.admit(20), queue.admit(30))
        queue.answer(third, into: &output) { $1 += [$0, 3] }
        queue.answer(second, into: &output) { $1 += [$0, 2] }
        #expect(output == [])
        #expect(queue.count == 3)
        queue.answer(first, into: &output) { $1 += [$0, 1] }
        #expect(output == [10, 1, 20, 2, 30, 3])
        #expect(queue.count == 0)
    }

    @Test func aReplyThatComesWithItsRequestKeepsItsPlace() {
        var queue = ReplyQueue<UInt8>()
        var output: [UInt8] = []
        queue.pass(into: &output) { $0.append(10) }
        #expect(output == [10])
        let waiting = queue.admit(20)
        queue.pass(into: &output) { $0.append(30) }
        #expect(output == [10])
        queue.answer(waiting, into: &output) { $1.append($0) }
        queue.pass(into: &output) { $0.append(40) }
        #expect(output == [10, 20, 30, 40])
        #expect(queue.count == 0)
    }

    @Test func whatIsNotHereAfterAllTakesNoPlace() {
        var queue = ReplyQueue<UInt8>()
        var output: [UInt8] = []
        #expect(!queue.offer(into: &output) { _ in false })
        let waiting = queue.admit(10)
        #expect(!queue.offer(into: &output) { _ in false })
        queue.answer(waiting, into: &output) { $1.append($0) }
        #expect(output == [10])
        #expect(queue.count == 0)
    }

    @Test func anAnswerToNothingIsIgnored() {
        var queue = ReplyQueue<UInt8>()
        var output: [UInt8] = []
        let number = queue.admit(1)
        queue.answer(number + 1, into: &output) { $1.append($0) }
        queue.answer(0, into: &output) { $1.append($0) }
        queue.answer(.max, into: &output) { $1.append($0) }
        #expect(output == [])
        queue.answer(number, into: &output) { $1.append($0 + 1) }
        queue.answer(number, into: &output) { $1.append($0 + 2) }
        #expect(output == [2])
        queue.answer(number, into: &output) { $1.append($0 + 3) }
        #expect(output == [2])
    }
}
