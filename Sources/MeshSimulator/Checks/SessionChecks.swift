import MeshCore

// One check for each promise.

extension History {
    /// So long after the first try a repeat is sure to be known, whosever clock gave the stamps.
    static let repeatAge = Duration.milliseconds(SessionState.commitAgeMilliseconds - 2 * MeshClock.leeway)
    /// Two clocks that the mesh goes by differ by no more.
    static let skew = Duration.milliseconds(2 * MeshClock.leeway)
    /// Nobody is held to be out of reach before.
    static let reachTime = Duration.milliseconds(150)
    static let grace = Duration.milliseconds(SessionState.graceMilliseconds)

    func isLast(_ operation: Operation) -> Bool { restedAt.map { operation.invoked >= $0 } ?? true }
}

/// Promise 1. A session that was acknowledged is there, whenever it is asked for; and in the end it shows what was acknowledged last.
public struct SurvivalCheck: Check {
    public init() {}
    public var promise: SessionPromise { .survives }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            if let lost = lostSession(story) { return lost }
            for (read, contents) in story.shown where history.isLast(read) {
                if let (client, witness) = story.lostWrite(read, showing: contents) {
                    return Counterexample(promise, "a write of c\(client) is lost", witness)
                }
                let owed = story.increments(at: read).owed
                if owed.sum > contents.counter {
                    return Counterexample(promise, "increments are lost", owed + [read])
                }
            }
        }
        return nil
    }

    /// Those that expire within the run are ``ExpiryCheck``'s.
    private func lostSession(_ story: Story) -> Counterexample? {
        guard story.idle == nil else { return nil }
        for read in story.operations where read.outcome == .absent && !story.mayBeMoved(read) && !story.mayBeDestroyed(read) {
            if story.mayHaveMoved(read) { continue }
            let proof = story.operations.last {
                $0.isAcknowledged(needsCopies: true) && story.shows($0, read.session) && story.history.precedes($0, read)
            }
            if let proof { return Counterexample(promise, "\(read.session) is lost", [proof, read]) }
        }
        return nil
    }
}

/// Promise 2. Each client sees its own writes, and nothing goes back that it has seen.
public struct OwnOrderCheck: Check {
    public init() {}
    public var promise: SessionPromise { .ownOrder }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for (client, reads) in Dictionary(grouping: story.shown, by: \.0.client).sorted(by: { $0.key < $1.key }) {
                for (position, (read, contents)) in reads.enumerated() {
                    if let write = story.overwriter(of: contents.marks[client], client, at: read, needsCopies: false) {
                        return Counterexample(
                            promise, "c\(client) doesn't see what it wrote", story.witness(contents.marks[client], write, read))
                    }
                    for (former, before) in reads[..<position] where history.precedes(former, read) {
                        if let (back, writes) = wentBack(from: before, to: contents, story) {
                            return Counterexample(promise, "c\(client) saw more of \(back) before", (writes + [former, read]).unique)
                        }
                    }
                }
            }
        }
        return nil
    }

    private func wentBack(from before: History.Contents, to after: History.Contents, _ story: Story) -> (String, [History.Operation])? {
        for (client, mark) in before.marks.sorted(by: { $0.key < $1.key }) where after.marks[client]?.count ?? -1 < mark.count {
            guard let later = story.writer(of: mark) else { continue }
            let earlier = after.marks[client].flatMap(story.writer)
            if earlier.map({ story.history.precedes($0, later) }) ?? true {
                return ("c\(client)'s field", [earlier, later].compactMap(\.self))
            }
        }
        return before.counter > after.counter ? ("the counter", []) : nil
    }
}

/// Promise 3. Whoever asks after a destroy was acknowledged is shown nothing, and changes nothing. A former id, which has a grace of its own, is
/// ``FormerIdCheck``'s.
public struct DestroyedCheck: Check {
    public init() {}
    public var promise: SessionPromise { .staysDestroyed }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for destroy in story.operations where destroy.action == .destroy && destroy.isAcknowledged(needsCopies: true) {
                for later in story.operations where later.session.id >= destroy.session.id && history.precedes(destroy, later) {
                    switch later.outcome {
                    case .done where later.action == .destroy: break
                    case .shown, .done: return Counterexample(promise, "s\(story.number) came back", [destroy, later])
                    case .unknown, .failed, .absent: break
                    }
                }
            }
        }
        return nil
    }
}

/// Promise 4. What clients wrote at the same time is all there, and the counter is what they added, no less and no more.
public struct MergeCheck: Check {
    public init() {}
    public var promise: SessionPromise { .merges }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for (read, contents) in story.shown {
                if let (client, witness) = story.lostWrite(read, showing: contents) {
                    return Counterexample(promise, "c\(client)'s field lacks a write", witness)
                }
                let (owed, possible) = story.increments(at: read)
                if owed.sum > contents.counter {
                    return Counterexample(promise, "the counter lacks increments", owed + [read])
                }
                if contents.counter > possible.reduce(0, { $0 + ($1.amount ?? 0) * story.timesMax($1) }) {
                    return Counterexample(promise, "something counted twice", possible + [read])
                }
            }
        }
        return nil
    }
}

/// Promise 5. Once all have come to rest a session has one owner, and whoever holds it holds the same. One that expires within the run is let go of
/// by each holder at a time of its own.
public struct CopiesCheck: Check {
    public init() {}
    public var promise: SessionPromise { .copiesAgree }

    public func counterexample(in history: History) -> Counterexample? {
        let expiring = Set(Story.all(of: history).lazy.filter { $0.idle != nil }.map(\.number))
        for sighting in history.sightings where !expiring.contains(sighting.session.number) {
            let owners = sighting.copies.filter(\.isOwners)
            if owners.count != 1 {
                return Counterexample(promise, "\(sighting.session) has \(owners.count) owners", sighting: sighting)
            }
            // An owner lets go of what has expired before others do.
            guard let digest = owners[0].digest else { continue }
            if sighting.copies.contains(where: { $0.digest != digest }) {
                return Counterexample(promise, "the copies of \(sighting.session) differ", sighting: sighting)
            }
        }
        return nil
    }
}

/// Promise 6. A session shows what its own clients wrote into it, by then, and nothing else.
public struct MixUpCheck: Check {
    public init() {}
    public var promise: SessionPromise { .noMixUp }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for read in story.operations {
                guard case .shown(let contents) = read.outcome else { continue }
                if let strange = contents.strange.first { return Counterexample(promise, "nobody wrote \(strange)", [read]) }
                for (client, mark) in contents.marks.sorted(by: { $0.key < $1.key }) {
                    guard mark.session == story.number, mark.client == client else {
                        return Counterexample(promise, "\(mark) is not of c\(client) in s\(story.number)", [read])
                    }
                    let isBegun = story.operations.contains { write in
                        write.client == client && write.count == mark.count && read.completed.map { write.invoked < $0 } ?? true
                    }
                    if !isBegun { return Counterexample(promise, "nobody had written \(mark) yet", [read]) }
                }
            }
        }
        return nil
    }
}

/// Promise 7. A session is there for as long as it may be idle, and not much longer.
public struct ExpiryCheck: Check {
    public init() {}
    public var promise: SessionPromise { .expiry }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            guard let idle = story.idle else { continue }
            for read in story.operations {
                switch read.outcome {
                case .absent where !story.mayBeMoved(read) && !story.mayBeDestroyed(read):
                    if let early = early(read, idle, story) { return early }
                case .shown: if let late = late(read, idle, story) { return late }
                case .absent, .unknown, .failed, .done: break
                }
            }
        }
        return nil
    }

    private func early(_ read: History.Operation, _ idle: Duration, _ story: Story) -> Counterexample? {
        guard let answered = read.completed else { return nil }
        let access = story.operations.last { isAccess($0, before: read, story) && answered - $0.invoked < idle }
        return access.map {
            Counterexample(
                promise, "\(read.session) expired \(answered - $0.invoked) after it was asked for",
                [story.creation, $0, read].compactMap(\.self).unique)
        }
    }

    /// Whether it reached the session, and `read` is owed that.
    private func isAccess(_ operation: History.Operation, before read: History.Operation, _ story: Story) -> Bool {
        switch operation.outcome {
        case .shown, .done: story.history.precedes(operation, read)
        case .unknown, .failed, .absent: false
        }
    }

    private func late(_ read: History.Operation, _ idle: Duration, _ story: Story) -> Counterexample? {
        let accesses = story.operations.filter { $0.mayHaveEffect && $0.number != read.number && $0.invoked <= read.invoked }
        guard let last = accesses.max(by: { ($0.completed ?? .seconds(Int64.max)) < ($1.completed ?? .seconds(Int64.max)) }),
            let over = last.completed, read.invoked - over > idle + ExpiryPolicy.accessSlack(idle: idle) + ExpiryPolicy.skew + History.skew
        else { return nil }
        return Counterexample(
            promise, "\(read.session) is there \(read.invoked - over) after it was last asked for",
            [story.creation, last, read].compactMap(\.self).unique)
    }
}

/// Promise 9. From a move on nothing is changed by the former id, nor does it show anything newer; when its grace is over it opens nothing.
public struct FormerIdCheck: Check {
    public init() {}
    public var promise: SessionPromise { .formerId }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for move in story.operations where move.action == .regenerate && move.isAcknowledged(needsCopies: true) {
                for later in story.operations where later.session.id == move.session.id && later.number != move.number {
                    if let broken = broken(by: later, after: move, story) { return broken }
                }
            }
        }
        return nil
    }

    private func broken(by later: History.Operation, after move: History.Operation, _ story: Story) -> Counterexample? {
        switch later.outcome {
        case .shown(let contents):
            for mark in contents.marks.values.sorted(by: { $0.client < $1.client }) {
                if let newer = story.writer(of: mark), newer.session.id > move.session.id {
                    return Counterexample(promise, "\(later.session) shows what was written after its move", [move, newer, later])
                }
            }
            guard let moved = move.completed, story.history.precedes(move, later), later.invoked - moved > History.grace + History.skew
            else { return nil }
            return Counterexample(promise, "\(later.session) is good \(later.invoked - moved) after its move", [move, later])
        case .done where later.action != .destroy && story.history.precedes(move, later):
            return Counterexample(promise, "\(later.session) was changed after its move", [move, later])
        case .done, .unknown, .failed, .absent: return nil
        }
    }
}

/// Promise 10. A turn is taken once. That holds for those too who could not hear each other, as long as they go by one id.
public struct ExclusiveCheck: Check {
    public init() {}
    public var promise: SessionPromise { .exclusive }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            var taken: [Int: [History.Operation]] = [:]
            for operation in story.operations {
                guard case .take(let turn) = operation.action, case .done = operation.outcome else { continue }
                if let first = taken[turn]?.first(where: { !story.isMovedUnheard(between: $0, operation) }) {
                    return Counterexample(promise, "turn \(turn) of s\(story.number) was taken twice", [first, operation])
                }
                taken[turn, default: []].append(operation)
            }
        }
        return nil
    }
}

extension Story {
    func writer(of mark: History.Mark) -> History.Operation? {
        operations.first { $0.client == mark.client && $0.count == mark.count && $0.mayHaveEffect }
    }

    var creation: History.Operation? { operations.first { if case .create = $0.action { true } else { false } } }

    /// Of a read that shows too little: what wrote that, what should be seen instead, and the read.
    func witness(_ shown: History.Mark?, _ write: History.Operation, _ read: History.Operation) -> [History.Operation] {
        ([shown.flatMap(writer)].compactMap(\.self) + [write, read]).unique
    }
}

extension [History.Operation] {
    /// What these increments add up to.
    fileprivate var sum: Int64 { reduce(0) { $0 + ($1.amount ?? 0) } }

    fileprivate var unique: Self {
        var seen: Set<Int> = []
        return filter { seen.insert($0.number).inserted }
    }
}
