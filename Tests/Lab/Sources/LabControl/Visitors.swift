import Foundation

/// Visitors who count without a pause while the lab is harmed, and remember what they were told.
public final class Visitors: Sendable {
    private let visitors: [Visitor]
    private let threads: [Worker]
    private let isOver = Guarded(false)

    public init(_ count: Int, at front: Place) {
        visitors = (1...count).map { Visitor($0, at: front) }
        let isOver = isOver
        threads = visitors.map { visitor in
            Worker {
                while !isOver.value {
                    visitor.visit()
                    // As fast as people aren't, and slow enough that two cores have time for everybody else.
                    usleep(useconds_t.random(in: 20_000...60_000))
                }
            }
        }
    }

    /// Every visitor was served `times` in a row, counted from now, without a failure in between.
    public func untilServed(_ times: Int = 5, within bound: Duration) throws {
        let start = visitors.map(\.story.value.requests)
        try eventually("every visitor is served \(times) times in a row", within: bound) {
            zip(visitors, start).allSatisfy { visitor, start in
                let story = visitor.story.value
                return story.inARow >= times && story.requests >= start + times
            }
        }
    }

    /// Ends the visits, asks each visitor's session a last time, and tells what they saw.
    public func end() -> Report {
        isOver.change { $0 = true }
        for thread in threads { thread.join() }
        for visitor in visitors { visitor.look() }
        return Report(stories: visitors.map(\.story.value))
    }

    /// The same visitors come back later, with their cookies, and look at what is left; who is told to try again does, for half a minute at most,
    /// and is counted as unserved then.
    public func comeBack() -> Report {
        let deadline = ContinuousClock.now + .seconds(30)
        var unserved = visitors
        repeat {
            for visitor in unserved { visitor.look() }
            unserved = unserved.filter { $0.story.value.inARow == 0 }
        } while !unserved.isEmpty && .now < deadline
        return Report(stories: visitors.map(\.story.value))
    }

    public struct Failure: Sendable, CustomStringConvertible {
        public var method: String
        /// Nil when the connection broke or no answer came.
        public var status: Int?
        public var hasRetryAfter = false
        /// When it was asked, and when it had failed.
        public var asked: ContinuousClock.Instant
        public var at: ContinuousClock.Instant
        public var reason: String

        public var description: String { "\(method) \(status.map(String.init) ?? "broken") after \(at - asked): \(reason)" }
    }

    /// What one visitor did and saw.
    public struct Story: Sendable {
        var requests = 0
        var inARow = 0
        /// Increments that were acknowledged, and those of which nobody can say whether they count.
        var acknowledged: Int64 = 0
        var uncertain: Int64 = 0
        /// The greatest count that was shown.
        var shown: Int64 = 0
        var failures: [Failure] = []
        var lost: [String] = []
        var servedLast = ContinuousClock.now
        var longestPause = Duration.zero
    }

    public struct Report: Sendable {
        public var stories: [Story]

        public var requests: Int { stories.reduce(0) { $0 + $1.requests } }
        public var failures: [Failure] { stories.flatMap(\.failures) }
        /// Promises that were broken: what was acknowledged or shown and is no more, or counts twice.
        public var lost: [String] { stories.flatMap(\.lost) }
        /// The longest that a visitor waited from one good answer to the next.
        public var longestPause: Duration { stories.map(\.longestPause).max() ?? .zero }

        /// Visitors whose last request failed: what became of their sessions nobody has seen.
        public var unserved: Int { stories.count(where: { $0.inARow == 0 }) }
    }
}

/// One visitor: a cookie, a kept connection, and a thread.
private final class Visitor: @unchecked Sendable {
    let number: Int
    let story = Guarded(Visitors.Story())
    /// Used by the visitor's own thread alone, and by whoever has joined it.
    private let connection: HTTPConnection
    private var cookie: String?

    init(_ number: Int, at front: Place) {
        self.number = number
        connection = HTTPConnection(front, seconds: 15)
    }

    func visit() {
        ask("POST")
        ask("GET")
    }

    func look() {
        // Between the visits nobody waited.
        story.change { $0.servedLast = .now }
        ask("GET")
    }

    private struct Count: Decodable { var count: Int64 }

    private func ask(_ method: String) {
        let asked = ContinuousClock.now
        let headers = cookie.map { ["Cookie: \($0)"] } ?? []
        do {
            let answer = try connection.ask(method, "/counter", headers: headers)
            guard answer.status == 200 else {
                return fail(
                    Visitors.Failure(
                        method: method, status: answer.status, hasRetryAfter: answer.headers["retry-after"] != nil, asked: asked,
                        at: .now, reason: String(answer.text.prefix(120))))
            }
            if let set = answer.headers["set-cookie"] { cookie = String(set.prefix { $0 != ";" }) }
            let count = try answer.json(Count.self).count
            story.change { $0.take(count, method, of: number) }
        } catch {
            fail(Visitors.Failure(method: method, status: nil, asked: asked, at: .now, reason: "\(error)"))
        }
    }

    private func fail(_ failure: Visitors.Failure) {
        story.change {
            $0.requests += 1
            $0.inARow = 0
            if failure.method == "POST" { $0.uncertain += 1 }
            $0.failures.append(failure)
        }
        // Retry-After says a second; visitors who press the button at once make no outage shorter.
        usleep(200_000)
    }
}

extension Visitors.Story {
    /// Judges an answer: what it shows must follow from what this visitor was told before.
    mutating func take(_ count: Int64, _ method: String, of number: Int) {
        requests += 1
        inARow += 1
        if method == "POST" { acknowledged += 1 }
        let least = method == "POST" ? shown + 1 : shown
        if count < least { lost.append("visitor \(number): \(method) shows \(count) after \(shown) had been shown") }
        if count > acknowledged + uncertain {
            lost.append("visitor \(number): \(method) shows \(count), and only \(acknowledged) + \(uncertain) were asked for")
        }
        shown = max(shown, count)
        let now = ContinuousClock.now
        longestPause = max(longestPause, now - servedLast)
        servedLast = now
    }
}
