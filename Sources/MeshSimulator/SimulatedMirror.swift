public import MeshCore

/// A store that all agents of a world share, with the merge rules of ``Mirror``.
public struct SimulatedMirror: Sendable {
    public internal(set) var isDown = false
    public private(set) var records: [SessionKey: MirrorRecord] = [:]
    private var generation: UInt64 = 1
    private var visits: [NodeName: UInt64] = [:]
    private var users: [UserKey: Set<SessionKey>] = [:]

    mutating func answer(_ request: MirrorRequest) -> MirrorAnswer {
        if isDown { return .failed(ticket: request.ticket, MirrorError(.unreachable, "the simulated mirror is down")) }
        switch request {
        case .load(let key, let ticket): return .loaded(ticket: ticket, records[key])
        case .merge(let records, let ticket):
            for record in records {
                if self.records[record.key]?.merge(record) == nil { self.records[record.key] = record }
                if let user = record.user { users[user, default: []].insert(record.key) }
            }
            return .merged(ticket: ticket)
        case .sessions(let user, let ticket): return .found(ticket: ticket, (users[user] ?? []).sorted())
        case .visit(let number, let name, let ticket):
            return .visited(ticket: ticket, MirrorVisit(generation: generation, last: visits.updateValue(number, forKey: name)))
        }
    }

    /// As a store that was flushed.
    mutating func empty() { self = SimulatedMirror(isDown: isDown, generation: generation + 1) }

    private init(isDown: Bool, generation: UInt64) {
        self.isDown = isDown
        self.generation = generation
    }

    init() {}
}
