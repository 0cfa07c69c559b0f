import DequeModule

/// Keeps the replies of one client in the order of its requests, in whatever order they are answered.
///
/// A reply carries no number on the wire, so an early one is held back until every older request has its own.
struct ReplyQueue<Question> {
    private enum Place {
        case waiting(Question)
        case answered([UInt8])
    }

    private var places: Deque<Place> = []
    /// The number of the oldest place.
    private var oldest: UInt64 = 1

    /// Requests without a reply sent, whether or not it is here already.
    var count: Int { places.count }

    /// Opens a place for the reply of a request that has just come.
    mutating func admit(_ question: Question) -> UInt64 {
        places.append(.waiting(question))
        return oldest + UInt64(places.count) - 1
    }

    /// A reply that is here as soon as its request: written to `output` when nothing older waits, else kept in its place.
    mutating func pass(into output: inout [UInt8], _ write: (inout [UInt8]) -> Void) {
        _ = offer(into: &output) { bytes in
            write(&bytes)
            return true
        }
    }

    /// The same for one that may not be here after all: then `write` writes nothing and says so, and nothing is changed.
    mutating func offer(into output: inout [UInt8], _ write: (inout [UInt8]) -> Bool) -> Bool {
        guard !places.isEmpty else {
            guard write(&output) else { return false }
            oldest += 1
            return true
        }
        var reply: [UInt8] = []
        guard write(&reply) else { return false }
        places.append(.answered(reply))
        return true
    }

    /// Writes the reply to `output` when it is its turn, and those behind it that waited for it; else keeps it. It is made from what was asked,
    /// since its form depends on that. A second answer, or one to nothing, is ignored.
    mutating func answer(_ number: UInt64, into output: inout [UInt8], with write: (Question, inout [UInt8]) -> Void) {
        guard number >= oldest, number - oldest < UInt64(places.count) else { return }
        let index = Int(number - oldest)
        guard case .waiting(let question) = places[index] else { return }
        guard index == 0 else {
            var reply: [UInt8] = []
            write(question, &reply)
            places[index] = .answered(reply)
            return
        }
        write(question, &output)
        drop()
        while case .answered(let reply)? = places.first {
            output += reply
            drop()
        }
    }

    private mutating func drop() {
        places.removeFirst()
        oldest += 1
    }
}
