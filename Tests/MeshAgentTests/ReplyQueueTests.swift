import Testing

@testable import MeshAgent

struct ReplyQueueTests {
    @Test func anEarlyAnswerIsHeldBack() {
        var queue = ReplyQueue<String, String>()
        let (first, second, third) = (queue.admit("a"), queue.admit("b"), queue.admit("c"))
        queue.answer(third) { $0 + "3" }
        queue.answer(second) { $0 + "2" }
        #expect(queue.popReady() == nil)
        #expect(queue.count == 3)
        queue.answer(first) { $0 + "1" }
        #expect([queue.popReady(), queue.popReady(), queue.popReady(), queue.popReady()] == ["a1", "b2", "c3", nil])
        #expect(queue.count == 0)
    }

    @Test func anAnswerToNothingIsIgnored() {
        var queue = ReplyQueue<Int, Int>()
        let number = queue.admit(1)
        queue.answer(number + 1) { $0 }
        queue.answer(0) { $0 }
        queue.answer(.max) { $0 }
        #expect(queue.popReady() == nil)
        queue.answer(number) { $0 + 1 }
        queue.answer(number) { $0 + 2 }
        #expect(queue.popReady() == 2)
        queue.answer(number) { $0 + 3 }
        #expect(queue.popReady() == nil)
    }
}
