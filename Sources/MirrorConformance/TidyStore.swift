import MeshCore
import Synchronization

/// Another's store, on which nothing is left behind: it knows what was merged through its mirrors.
final class TidyStore: MirrorStore {
    private let store: any MirrorStore
    private let keys = Mutex<Set<SessionKey>>([])

    init(_ store: any MirrorStore) { self.store = store }

    var callsAtOnce: Int { store.callsAtOnce }

    func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
        TidyMirror(mirror: try store.makeMirror(commandTimeout: commandTimeout), store: self)
    }

    fileprivate func note(_ records: [MirrorRecord]) { keys.withLock { $0.formUnion(records.map(\.key)) } }

    func removeRecords() async throws {
        let keys = keys.withLock { Array($0) }
        if keys.isEmpty { return }
        try await store.makeMirror(commandTimeout: .seconds(30)).whileRunning { try await $0.remove(keys) }
    }
}

private struct TidyMirror: MeshCore.Mirror {
    let mirror: any MeshCore.Mirror
    let store: TidyStore

    func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
        // Noted first: one whose answer never came may be there.
        store.note(records)
        try await mirror.merge(records)
    }

    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? { try await mirror.load(key) }
    func remove(_ keys: [SessionKey]) async throws(MirrorError) { try await mirror.remove(keys) }
    func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] { try await mirror.sessions(of: user) }
    func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit { try await mirror.visit(number, by: name) }
    func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark { try await mirror.append(items, to: slot) }
    func inspect() async throws(MirrorError) -> MirrorInspection { try await mirror.inspect() }
    func run() async { await mirror.run() }

    func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
        try await mirror.tail(slot, after: mark, waiting: patience)
    }
}
