import Logging
import MeshCore
import Synchronization

/// The file in which an agent keeps whom it knew; see ``MeshCore/Snapshot``.
final class SnapshotFile: Sendable {
    let path: String
    private let label: String
    /// Also keeps two writers from being at the file at once.
    private let state = Mutex(State())

    private struct State {
        /// Whom the file knew at the start. They stay in it until somebody of the mesh is found, or a run that found nobody would forget them all.
        var former: [Member] = []
        var epoch: UInt64 = 0
    }

    init(path: String, label: String) {
        self.path = path
        self.label = label
    }

    /// Whom an earlier run knew. A file that is damaged, or another's, is told of in one line and counts as none.
    func read(_ logger: Logger) -> [Member] {
        let problem: String
        switch SmallFile.read(path, bytesMax: Snapshot.bytesMax) {
        case .missing: return []
        case .failed(let reason): problem = reason
        case .tooLarge: problem = "it is too large"
        case .bytes(let bytes):
            do throws(WireError) {
                let snapshot = try Snapshot(decoding: bytes)
                if snapshot.label == label {
                    state.withLock { $0.former = snapshot.members }
                    return snapshot.members
                }
                problem = "it is of the mesh \"\(snapshot.label)\""
            } catch {
                problem = error == .wrongVersion ? "it is of another program or version" : "it is damaged"
            }
        }
        logger.warning("the snapshot \(path) is not used: \(problem)")
        return []
    }

    /// Blocks until the disk has it. A view that is older than the last one written is not.
    /// - Returns: why it could not be written; nil when it was.
    func write(_ view: MeshView, of observer: NodeName) -> String? {
        state.withLock { state in
            guard view.epoch >= state.epoch else { return nil }
            if view.members.contains(where: { $0.name != observer && $0.status.isReachable }) { state.former = [] }
            let names = Set(view.members.map(\.name))
            let members = (view.members + state.former.filter { !names.contains($0.name) }).prefix(SWIM.membersMax)
            if let failure = SmallFile.replace(path, with: Snapshot(label: label, members: Array(members)).encoded) { return failure }
            state.epoch = view.epoch
            return nil
        }
    }
}
