import DequeModule
public import MeshCore
import Synchronization

/// A mirror in this process: the same answers as a real one, and faults at the turn of a switch. For tests and trials.
public final class InMemoryMirror: MeshCore.Mirror {
    /// What is wrong with the mirror at the moment.
    public enum Fault: Hashable, Sendable {
        /// It can't be reached.
        case down
        /// It does what it is asked, but its answer takes this long.
        case slow(Duration)
        /// It answers with this error.
        case refusing(String)
    }

    private struct State {
        var records: [SessionKey: MirrorRecord] = [:]
        var users: [UserKey: [SessionKey: Int64]] = [:]
        var generation = UInt64.random(in: 1 ... .max)
        var visits: [NodeName: UInt64] = [:]
        var logs: [Slot: Log] = [:]
        var foreign: Set<SessionKey> = []
        var fault: Fault?
    }

    fileprivate struct Log {
        let generation = UInt64.random(in: 1 ... .max)
        var items: Deque<ChannelItem> = []
        var end = UInt64(0)
    }

    private let state = Mutex(State())
    private let wakeups = Wakeups()
    private let commandTimeout: Duration
    private let recordsMax: Int
    private let wall: @Sendable () -> Int64

    /// - Parameters:
    ///   - commandTimeout: how long a call waits for a slow answer.
    ///   - recordsMax: sessions it holds; one more is refused, as by a store that is out of memory.
    ///   - wall: the time that expiry is judged by, in Unix milliseconds.
    public init(commandTimeout: Duration = .milliseconds(500), recordsMax: Int = 100_000, wall: @escaping @Sendable () -> Int64) {
        self.commandTimeout = commandTimeout
        self.recordsMax = recordsMax
        self.wall = wall
    }

    public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
        let now = wall()
        return try await answer { state throws(MirrorError) in
            if state.foreign.contains(key) {
                throw MirrorError(.foreignData, "what is stored under session \(key) is not a session", keys: [key])
            }
            state.records.removeExpired(key, at: now)
            return state.records[key]
        }
    }

    public func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
        let now = wall()
        try await answer { state throws(MirrorError) in
            var rejections = Rejections()
            for record in records {
                if let error = self.merge(record, into: &state, at: now) { rejections.note(error) }
            }
            try rejections.finish()
        }
    }

    public func remove(_ keys: [SessionKey]) async throws(MirrorError) {
        try await answer { state throws(MirrorError) in
            var rejections = Rejections()
            for key in keys {
                if state.foreign.contains(key) { rejections.note(.foreign(key)) } else { state.records[key] = nil }
            }
            try rejections.finish()
        }
    }

    public func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] {
        let now = wall()
        return try await answer { state in
            let living = (state.users[user] ?? [:]).filter { $0.value > now }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
            return living.prefix(MirrorRecord.sessionsOfUserMax).map(\.key)
        }
    }

    public func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
        try await answer { state in MirrorVisit(generation: state.generation, last: state.visits.updateValue(number, forKey: name)) }
    }

    public func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark {
        if let error = MirrorError(tooLongIn: items) { throw error }
        let mark = try await answer { state in
            var log = state.logs[slot] ?? Log()
            for payload in items {
                log.end += 1
                log.items.append(ChannelItem(mark: ChannelMark(generation: log.generation, offset: log.end), payload: payload))
            }
            log.items.removeFirst(max(0, log.items.count - ChannelTail.keptMin))
            state.logs[slot] = log
            return ChannelMark(generation: log.generation, offset: log.end)
        }
        wakeups.announce(slot)
        return mark
    }

    public func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
        try await wakeups.tail(slot, after: mark, waiting: patience) { () async throws(MirrorError) in
            try await answer { state in state.logs[slot].tail(after: mark) }
        }
    }

    /// Forgets everything, as a store that was flushed.
    public func flush() {
        state.withLock { $0 = State(foreign: $0.foreign, fault: $0.fault) }
        wakeups.announce(nil)
    }

    public func inspect() async throws(MirrorError) -> MirrorInspection {
        try await answer { _ throws(MirrorError) in
            MirrorInspection(server: "memory of this process", findings: [.init(.lacks, "ends with this process")])
        }
    }

    /// Nothing runs: there is no connection.
    public func run() async {
        let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
        // A stream that is never fed ends when its task is cancelled.
        for await _ in stream {}
        continuation.finish()
    }

    /// Turns a fault on, or off with nil.
    public func setFault(_ fault: Fault?) {
        state.withLock { $0.fault = fault }
    }

    /// Puts something that is no session under `key`.
    public func plantForeignData(under key: SessionKey) {
        _ = state.withLock { $0.foreign.insert(key) }
    }

    private func merge(_ record: MirrorRecord, into state: inout State, at now: Int64) -> MirrorError? {
        let key = record.key
        if let fault = record.fault { return .unusable(record, fault) }
        if state.foreign.contains(key) { return .foreign(key) }
        if let user = record.user {
            let known = state.users[user]?[key] ?? .min
            state.users[user, default: [:]][key] = max(known, record.expiresAt)
        }
        var record = record
        record.user = nil
        record.isNew = false
        state.records.removeExpired(key, at: now)
        guard var merged = state.records[key] else {
            // Stores keep entries, so a record without any leaves nothing behind.
            if record.entries.isEmpty { return nil }
            guard state.records.count < recordsMax else {
                return MirrorError(.refused, "the mirror in memory holds \(recordsMax) sessions and takes no more")
            }
            state.records[key] = record
            state.records.removeExpired(key, at: now)
            return nil
        }
        merged.merge(record)
        if let fault = merged.fault { return .unusable(record, fault) }
        state.records[key] = merged
        return nil
    }

    /// Runs `body` and answers as the fault has it. A slow mirror has done its work even when nobody waits for the answer any more, as a
    /// real one does.
    private func answer<Answer: Sendable>(
        _ body: (inout sending State) throws(MirrorError) -> sending Answer
    ) async throws(MirrorError) -> Answer {
        let fault = state.withLock(\.fault)
        switch fault {
        case .down: throw MirrorError(.unreachable, "the mirror in memory is switched off")
        case .refusing(let reason): throw MirrorError(.refused, reason)
        case .slow, nil: break
        }
        let outcome: Result<Answer, MirrorError>
        do throws(MirrorError) { outcome = .success(try state.withLock(body)) } catch { outcome = .failure(error) }
        if case .slow(let delay) = fault {
            try? await Task.sleep(for: min(delay, commandTimeout))
            if delay >= commandTimeout { throw MirrorError(.timedOut, "the mirror in memory did not answer within \(commandTimeout)") }
        }
        return try outcome.get()
    }
}

extension [SessionKey: MirrorRecord] {
    fileprivate mutating func removeExpired(_ key: SessionKey, at now: Int64) {
        if let record = self[key], record.expiresAt <= now { self[key] = nil }
    }
}

extension InMemoryMirror.Log? {
    fileprivate func tail(after mark: ChannelMark?) -> ChannelTail {
        guard let log = self else {
            return ChannelTail(items: [], mark: .beginning, isGapped: mark.map { $0 != .beginning } ?? false)
        }
        let end = ChannelMark(generation: log.generation, offset: log.end)
        guard let mark else { return ChannelTail(items: [], mark: end, isGapped: false) }
        let isOther = mark.generation != log.generation
        let from = isOther ? 0 : mark.offset
        var (items, bytes) = ([ChannelItem](), 0)
        for item in log.items.lazy.drop(while: { $0.mark.offset <= from }).prefix(ChannelTail.itemsMax) {
            bytes += item.payload.count
            if bytes > ChannelTail.bytesMax { break }
            items.append(item)
        }
        let isCut = items.first.map { $0.mark.offset != from + 1 } ?? false
        return ChannelTail(
            items: items, mark: items.last?.mark ?? ChannelMark(generation: log.generation, offset: from),
            isGapped: isCut || isOther && mark != .beginning)
    }
}
