/// What sessions are promised; the numbers are those of `Docs/ARCHITECTURE.md`.
public enum SessionPromise: String, Hashable, Sendable, CaseIterable {
    /// 1: what two nodes hold survives the kill of any one.
    case survives
    /// 2: nobody is shown less than what he wrote or was shown before.
    case ownOrder
    /// 3: a destroyed session never comes back.
    case staysDestroyed
    /// 4: changes to different fields are all kept, and a counter is the sum of its increments.
    case merges
    /// 5: at rest all copies are equal.
    case copiesAgree
    /// 6: no session shows what belongs to another.
    case noMixUp
    /// 7: a session expires neither early nor late.
    case expiry
    /// 9: a former id opens nothing once its grace is over, and changes nothing from the move on.
    case formerId
    /// 10: of strict changes that rest on the same, one at most is made, on whichever side of a cut.
    case exclusive
    /// 11: whoever follows is told of every session that begins or ends.
    case told
    /// The mesh is whole soon after a fault is over.
    case whole
    /// Whoever goes on asking is answered.
    case answered
    /// One that a test put there.
    case planted
}

/// A promise as a judge of histories. It is given what clients saw and knows nothing else.
public protocol Check: Sendable {
    var promise: SessionPromise { get }
    /// How a history breaks it; nil while it holds.
    func counterexample(in history: History) -> Counterexample?
}

/// A broken promise, and the least of its history that shows it: the same check finds it in those operations alone.
public struct Counterexample: Hashable, Sendable, CustomStringConvertible {
    public var promise: SessionPromise
    public var text: String
    public var operations: [History.Operation]
    public var sighting: History.Sighting?

    public init(_ promise: SessionPromise, _ text: String, _ operations: [History.Operation] = [], sighting: History.Sighting? = nil) {
        self.promise = promise
        self.text = text
        self.operations = operations
        self.sighting = sighting
    }

    /// So many operations are printed of one that needs more, as the sum of a counter may.
    private static let linesMax = 20

    public var description: String {
        var lines = operations.prefix(Self.linesMax).map { "\n    \($0)" }.joined()
        if operations.count > Self.linesMax { lines += "\n    and \(operations.count - Self.linesMax) more" }
        for copy in sighting?.copies ?? [] {
            lines += "\n    \(copy.agent)\(copy.isOwners ? ", owner" : ""): \(copy.digest.map { String($0, radix: 16) } ?? "nothing")"
        }
        return "\(promise.rawValue): \(text)\(lines)"
    }
}

extension History {
    /// All that is promised of sessions.
    public static let checks: [any Check] = [
        SurvivalCheck(), OwnOrderCheck(), DestroyedCheck(), MergeCheck(), CopiesCheck(), MixUpCheck(), ExpiryCheck(), FormerIdCheck(),
        ExclusiveCheck(), FollowingCheck(),
    ]

    /// How this history breaks each promise that it breaks.
    public var counterexamples: [Counterexample] { Self.checks.compactMap { $0.counterexample(in: self) } }

    /// The same history with nothing but these operations in it.
    public func only(_ kept: [Operation]) -> History {
        var history = History()
        history.interruptions = interruptions
        history.restedAt = restedAt
        history.followings = followings
        for operation in kept.sorted(by: { $0.number < $1.number }) { history.begin(operation) }
        return history
    }
}

// MARK: What checks look at

/// Everything that was asked of one session, by whichever of its ids.
struct Story {
    let history: History
    let number: Int
    let operations: [History.Operation]

    /// One for each session, in the order of their numbers.
    static func all(of history: History) -> [Story] {
        Dictionary(grouping: history.operations, by: \.session.number).sorted { $0.key < $1.key }
            .map { Story(history: history, number: $0.key, operations: $0.value) }
    }

    /// Reads that were shown something, by an id that was the session's own at the time.
    var shown: [(History.Operation, History.Contents)] {
        operations.compactMap { operation in
            guard case .shown(let contents) = operation.outcome, !mayBeMoved(operation) else { return nil }
            return (operation, contents)
        }
    }

    var idle: Duration? {
        for operation in operations { if case .create(let idle?) = operation.action { return idle } }
        return nil
    }

    /// Whether the id that was asked for may have been a former one by the time of the answer.
    func mayBeMoved(_ operation: History.Operation) -> Bool {
        operations.contains { move in
            move.action == .regenerate && move.session == operation.session && move.mayHaveEffect && move.number != operation.number
                && operation.completed.map { move.invoked < $0 } ?? true
        }
    }

    /// Whether an operation has moved the session itself when it was first sent, and was then sent to where that is not heard of.
    func mayHaveMoved(_ operation: History.Operation) -> Bool {
        operation.action == .regenerate && operation.repeats > 0 && history.interruptions.contains { history.touches($0, operation) }
    }

    func mayBeDestroyed(_ operation: History.Operation) -> Bool {
        operations.contains { other in
            other.action == .destroy && other.mayHaveEffect && operation.completed.map { other.invoked < $0 } ?? true
        }
    }

    /// Whether an operation that was done shows that the session is there under that id. That it went on under it is known by the move alone.
    func shows(_ operation: History.Operation, _ session: History.SessionName) -> Bool {
        switch operation.action {
        case .create, .write, .increment, .take: operation.session == session
        case .regenerate: operation.session.id + 1 == session.id
        case .read, .destroy: false
        }
    }

    /// Whether the session was given the id that one of them went by while whoever went by the other may not have heard of it.
    func isMovedUnheard(between one: History.Operation, _ other: History.Operation) -> Bool {
        let ids = min(one.session.id, other.session.id)..<max(one.session.id, other.session.id)
        return operations.contains { move in
            guard move.action == .regenerate, ids.contains(move.session.id) else { return false }
            return history.interruptions.contains { history.touches($0, move) && (history.touches($0, one) || history.touches($0, other)) }
        }
    }

    // MARK: Fields

    /// Whether `shown` of a client's field was overwritten by the time of `read`, and by what; nil for a field that is not shown at all.
    func overwriter(of shown: History.Mark?, _ client: Int, at read: History.Operation, needsCopies: Bool = true) -> History.Operation? {
        let writer = shown.flatMap(writer)
        return operations.last { write in
            guard write.client == client, let count = write.count, count > shown?.count ?? -1,
                write.isAcknowledged(needsCopies: needsCopies), history.precedes(write, read)
            else { return false }
            return writer.map { history.precedes($0, write) } ?? (shown == nil)
        }
    }

    /// A write of a client's own field that `read` is owed and doesn't show: whose it is, and what proves that.
    func lostWrite(_ read: History.Operation, showing contents: History.Contents) -> (client: Int, witness: [History.Operation])? {
        for client in clients {
            let shown = contents.marks[client]
            if let write = overwriter(of: shown, client, at: read) { return (client, witness(shown, write, read)) }
        }
        return nil
    }

    var clients: [Int] { Set(operations.lazy.filter { $0.count != nil }.map(\.client)).sorted() }

    // MARK: The counter

    /// Increments that a read must show, and those that it may show.
    func increments(at read: History.Operation) -> (owed: [History.Operation], possible: [History.Operation]) {
        let all = operations.filter { $0.amount != nil && ($0.mayHaveEffect || mayBeSentElsewhere($0)) }
        return (
            all.filter { $0.isAcknowledged(needsCopies: true) && history.precedes($0, read) },
            all.filter { increment in read.completed.map { increment.invoked < $0 } ?? true }
        )
    }

    /// Whether the agent that was asked may itself have asked two sides of a cut: the owner that it sent this on to fell out of reach, and it went to
    /// another. What that one answered, a failure too, says nothing of the first.
    private func mayBeSentElsewhere(_ operation: History.Operation) -> Bool {
        let lasted = operation.completed.map { $0 - operation.invoked } ?? .seconds(Int64.max)
        return lasted > History.reachTime && history.interruptions.contains { history.touches($0, operation) }
    }

    /// How often an increment may count at most. One that was repeated to another side of a cut, or later than a commit is remembered, may have
    /// counted each time.
    func timesMax(_ increment: History.Operation) -> Int64 {
        if mayBeSentElsewhere(increment) { return Int64(2 * (1 + increment.repeats)) }
        guard increment.repeats > 0 else { return 1 }
        let isLate = increment.repeated.map { $0 - increment.invoked > History.repeatAge } ?? false
        return isLate || history.interruptions.contains { history.touches($0, increment) } ? Int64(1 + increment.repeats) : 1
    }
}

extension History.Operation {
    /// The count that it gives to its client's own field.
    var count: Int? {
        switch action {
        case .create: 0
        case .write(let count): count
        case .increment, .take, .read, .destroy, .regenerate: nil
        }
    }

    var amount: Int64? { if case .increment(let amount) = action { amount } else { nil } }

    /// Of one that was repeated an earlier try may have had it, whatever the last was told.
    var mayHaveEffect: Bool {
        switch outcome {
        case .unknown, .done, .shown: true
        case .failed, .absent: repeats > 0
        }
    }

    /// One that a single node holds, because nobody else was there, is promised nothing.
    func isAcknowledged(needsCopies: Bool) -> Bool {
        if case .done(let copies) = outcome { copies >= 2 || !needsCopies } else { false }
    }
}
