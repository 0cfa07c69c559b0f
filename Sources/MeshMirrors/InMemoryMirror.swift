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
        var foreign: Set<SessionKey> = []
        var fault: Fault?
    }

    private let state = Mutex(State())
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
