public import MeshCore

/// A store that all agents of a world share, with the merge rules of ``Mirror``.
public struct SimulatedMirror: Sendable {
    public internal(set) var isDown = false
    public private(set) var records: [SessionKey: MirrorRecord] = [:]

    mutating func answer(_ request: MirrorRequest) -> MirrorAnswer {
        let down = MirrorError(.unreachable, "the simulated mirror is down")
        switch request {
        case .load(let key, let ticket):
            return isDown ? .failed(ticket: ticket, down) : .loaded(ticket: ticket, records[key])
        case .merge(let merged, let ticket):
            if isDown { return .failed(ticket: ticket, down) }
            for record in merged { merge(record) }
            return .merged(ticket: ticket)
        }
    }

    private mutating func merge(_ record: MirrorRecord) {
        guard var known = records[record.key] else {
            records[record.key] = record
            return
        }
        if known.isTombstone { return }
        if record.isTombstone {
            records[record.key] = record
            return
        }
        for entry in record.entries {
            if let index = known.entries.firstIndex(where: { $0.name == entry.name }) {
                if known.entries[index].version.lexicographicallyPrecedes(entry.version) { known.entries[index] = entry }
            } else {
                known.entries.append(entry)
            }
        }
        known.expiresAt = max(known.expiresAt, record.expiresAt)
        records[record.key] = known
    }
}
