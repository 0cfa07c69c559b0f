internal import CMeshSystem
import MeshLoop

/// Raw bytes between two connections, each way at the pace of its reader. One side may finish sending while the other goes on (half-close).
extension Connection {
    /// Moves what this connection has to read to `other`, which has no outbox.
    final func pump(to other: Connection, in loop: BalancerLoop) {
        switch receive(into: loop.scratch.base, BalancerLoop.Scratch.room) {
        case .nothing: return
        case .failure: endTunnel(with: other, in: loop)
        case .bytes(let count):
            if case .failure = other.send(UnsafeRawBufferPointer(start: loop.scratch.base, count: count), in: loop) {
                return endTunnel(with: other, in: loop)
            }
            (self as? ClientConnection ?? other as? ClientConnection)?.tunnelMoved(in: loop)
        case .end:
            // The outbox of `other` is empty, so what was read before is on its way.
            hasFinished = true
            mesh_finish_writing(other.descriptor)
            if other.hasFinished { endTunnel(with: other, in: loop) }
        }
    }

    private func endTunnel(with other: Connection, in loop: BalancerLoop) {
        close(in: loop)
        other.close(in: loop)
    }
}
