// The mirror behind the agent, a Redis for one. It holds copies and decides nothing: while it is away the mesh goes on, and what it
// missed is written when it is back.

/// What is left to write, what is under way, and whether the mirror answers.
struct MirrorQueue: Sendable {
    var queue = WriteBehindQueue()
    var breaker: CircuitBreaker
    var batches: [UInt64: Batch] = [:]
    /// One load a session, however many wait for it.
    var loads: [SessionKey: Load] = [:]
    /// Commits that are answered once the mirror has them; as many as there are operations at most.
    var waits: [SessionKey: [MirrorWait]] = [:]
    /// Why the mirror was given up; nil while it answers.
    var loss: String?
    var counters = MirrorCounters()
    var visits = MirrorVisits()

    struct Batch: Sendable {
        var sessions: [MirroredSession]
        var permit: CircuitBreaker.Permit
    }

    struct Load: Sendable {
        var ticket: UInt64
        var permit: CircuitBreaker.Permit
        var operations: [UInt64]
    }

    /// Two keep a pipelined mirror busy; a batch of so many sessions is far less than a second's work, which the breaker would count as slow.
    static let batchesMax = 2
    static let batchSessions = 256
    /// Misses under way at once. Only a cookie that we signed can cause one.
    static let loadsMax = 4096

    init(generator: SeededGenerator) {
        breaker = CircuitBreaker(generator: generator)
    }

    var isLost: Bool { loss != nil }
    var canFlush: Bool { batches.count < Self.batchesMax && queue.hasWaiting }

    func status(at now: Moment) -> MirrorStatus {
        MirrorStatus(
            loss: loss, breaker: breaker.state, dirty: queue.count, lag: queue.oldestAge(at: now) ?? .zero, counters: counters)
    }
}

extension AgentCore {
    // MARK: Writing behind

    mutating func markDirty(_ key: SessionKey) {
        mirror?.queue.mark(key, at: now)
    }

    /// After a takeover: the marks that the last owner left unwritten are ours now.
    mutating func markDirty(_ slot: Slot) {
        guard mirror != nil else { return }
        let state = slots[Int(slot.rawValue)]
        for key in state.sortedKeys {
            if let entry = state.sessions[key], entry.mirrored < entry.state.latest { markDirty(key) }
        }
    }

    /// After a slot was given away: its owner writes now.
    mutating func forgetDirty(_ slot: Slot) {
        guard mirror != nil else { return }
        for key in slots[Int(slot.rawValue)].sortedKeys {
            mirror?.queue.forget(key)
            moveMirrorWaits(of: key)
        }
    }

    mutating func flushMirror() {
        while mirror?.canFlush ?? false {
            guard let permit = mirror?.breaker.admit(at: now) else { return }
            let keys = mirror?.queue.takeBatch(max: MirrorQueue.batchSessions) ?? []
            var records: [MirrorRecord] = []
            var sessions: [MirroredSession] = []
            var gone: [SessionKey] = []
            records.reserveCapacity(keys.count)
            sessions.reserveCapacity(keys.count)
            for key in keys {
                guard slots[Int(key.slot.rawValue)].isOwner, let (record, stamp) = mirrorRecord(of: key) else {
                    gone.append(key)
                    continue
                }
                records.append(record)
                sessions.append(MirroredSession(key: key, stamp: stamp))
            }
            mirror?.queue.succeeded(gone)
            let ticket = nextNumber()
            mirror?.batches[ticket] = .init(sessions: sessions, permit: permit)
            directives.append(.mirror(.merge(records, ticket: ticket)))
        }
    }

    /// With the stamp up to which it tells.
    private mutating func mirrorRecord(of key: SessionKey) -> (MirrorRecord, Stamp)? {
        let policy = configuration.expiry
        // Where it lies: a copy of the session would be one of all its marks.
        return slots[Int(key.slot.rawValue)].update(key) { entry in
            var record = entry.state.mirrorRecord(of: key, policy: policy)
            record.isNew = entry.mirrored == .zero
            return (record, entry.state.latest)
        }
    }

    mutating func receive(_ answer: MirrorAnswer) {
        switch answer {
        case .merged(let ticket): merged(ticket)
        case .loaded(let ticket, let record): loaded(ticket, record)
        case .visited(let ticket, let visit): visited(ticket, visit)
        case .found(let ticket, let keys): indexFound(ticket, keys)
        case .failed(let ticket, let error): mirrorFailed(ticket, error)
        }
    }

    /// - Parameter refused: sessions of the batch that the mirror will not take, whatever is tried: another program's data stands under their key.
    private mutating func merged(_ ticket: UInt64, but refused: [SessionKey] = []) {
        guard let batch = mirror?.batches.removeValue(forKey: ticket) else { return }
        mirror?.counters.merges.record(now.since(batch.permit.startedAt))
        record(.succeeded, of: batch.permit)
        mirror?.queue.succeeded(batch.sessions.map(\.key))
        var told: [NodeName: [MirroredSession]] = [:]
        for session in batch.sessions {
            guard !refused.contains(session.key) else {
                mirror?.counters.refused += 1
                // It won't be there in a second either.
                for wait in mirror?.waits.removeValue(forKey: session.key) ?? [] { finish(wait.number, wait.result) }
                continue
            }
            mirror?.counters.merged += 1
            noteMirrored(session)
            for replica in slots[Int(session.key.slot.rawValue)].ownership?.synced ?? [] {
                told[replica.name, default: []].append(session)
            }
        }
        for (name, sessions) in told.sorted(by: { $0.key < $1.key }) { send(.mirrored(sessions), to: name) }
        flushMirror()
    }

    mutating func receiveMirrored(_ sessions: [MirroredSession]) {
        for session in sessions where configuration.role == .node { noteMirrored(session) }
    }

    private mutating func noteMirrored(_ session: MirroredSession) {
        slots[Int(session.key.slot.rawValue)].update(session.key) { $0.mirrored = max($0.mirrored, session.stamp) }
        settleMirrorWaits(of: session.key, upTo: session.stamp)
    }

    mutating func record(_ outcome: CircuitBreaker.Outcome, of permit: CircuitBreaker.Permit, error: MirrorError? = nil) {
        if outcome == .failed { mirror?.counters.failures += 1 }
        let transition = mirror?.breaker.record(outcome, of: permit, at: now)
        switch transition {
        case .opened where mirror?.isLost == false:
            let reason = error?.description ?? "the mirror answers too slowly"
            mirror?.loss = reason
            directives.append(.event(.mirrorLost(reason)))
            giveUpMirrorWaits(all: true)
        case .closed:
            mirror?.loss = nil
            // It may have come back empty.
            visitMirror()
            directives.append(.event(.mirrorBack))
        case .opened, nil: break
        }
    }

    private mutating func mirrorFailed(_ ticket: UInt64, _ error: MirrorError) {
        if !error.keys.isEmpty, mirror?.batches[ticket] != nil {
            merged(ticket, but: error.keys)
        } else if let batch = mirror?.batches.removeValue(forKey: ticket) {
            mirror?.counters.merges.record(now.since(batch.permit.startedAt))
            record(.failed, of: batch.permit, error: error)
            mirror?.queue.failed(batch.sessions.map(\.key))
        } else if let (key, load) = mirror?.loads.first(where: { $0.value.ticket == ticket }) {
            mirror?.loads[key] = nil
            mirror?.counters.loads.record(now.since(load.permit.startedAt))
            record(error.isFailureOfTheMirror ? .failed : .succeeded, of: load.permit, error: error)
            if !error.isFailureOfTheMirror { mirror?.counters.refused += 1 }
            for number in load.operations { mirrorIsAway(for: number) }
        } else {
            visitFailed(ticket, error)
            indexFailed(ticket, error)
        }
    }

    // MARK: Loading on a miss

    private mutating func mirrorIsAway(for number: UInt64) {
        counters.unavailableWithoutMirror += 1
        let reason = "the session is not in memory and the mirror that may have it does not answer; try again"
        finish(number, .failed(ClientFailure(.unavailable, reason)))
    }

    mutating func loadFromMirror(_ key: SessionKey, for number: UInt64) {
        if mirror?.loads[key] != nil {
            mirror?.loads[key]?.operations.append(number)
            return
        }
        guard let count = mirror?.loads.count, count < MirrorQueue.loadsMax, let permit = mirror?.breaker.admit(at: now) else {
            return mirrorIsAway(for: number)
        }
        let ticket = nextNumber()
        mirror?.loads[key] = .init(ticket: ticket, permit: permit, operations: [number])
        directives.append(.mirror(.load(key, ticket: ticket)))
    }

    private mutating func loaded(_ ticket: UInt64, _ record: MirrorRecord?) {
        guard let (key, load) = mirror?.loads.first(where: { $0.value.ticket == ticket }) else { return }
        mirror?.loads[key] = nil
        mirror?.counters.loads.record(now.since(load.permit.startedAt))
        self.record(.succeeded, of: load.permit)
        guard slots[Int(key.slot.rawValue)].isOwner else {
            for number in load.operations { park(number) }
            return
        }
        if let record {
            guard record.key == key, let state = try? SessionState(record) else {
                for number in load.operations { mirrorIsAway(for: number) }
                return
            }
            if !state.isExpired(wall: wall, policy: configuration.expiry) {
                merge(SyncedSession(key: key, mirrored: state.latest, state: state))
                tellReplicas(of: key, before: state)
            }
        }
        for number in load.operations {
            let held = slots[Int(key.slot.rawValue)].sessions[key]?.state
            if held.map({ !mayForget($0, wall: wall) }) ?? false || !mayAnswer(for: key.slot) {
                route(number)
            } else {
                isAbsent(number)
            }
        }
    }
}
