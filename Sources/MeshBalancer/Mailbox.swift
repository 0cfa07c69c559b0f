internal import CMeshSystem
import MeshCore
import Synchronization

/// What other threads want of a loop. They leave it here and ring; the loop looks only when it hears the bell, so no request ever meets the lock.
final class Mailbox: Sendable {
    struct Letters: Sendable {
        /// Only the newest table matters.
        var table: RoutingTable?
        /// Uptime in nanoseconds after which nothing is waited for.
        var stopBy: Int64?
    }

    let descriptor: Int32
    private let letters = Mutex(Letters())

    /// - Throws: ``BalancerError`` when there are no descriptors left.
    init() throws(BalancerError) {
        descriptor = mesh_eventfd()
        guard descriptor >= 0 else { throw BalancerError(.descriptors, errno: -descriptor, "can't make an event descriptor") }
    }

    deinit { mesh_close(descriptor) }

    func leave(table: RoutingTable) {
        letters.withLock { $0.table = table }
        mesh_eventfd_signal(descriptor)
    }

    func leave(stopBy: Int64) {
        letters.withLock { $0.stopBy = stopBy }
        mesh_eventfd_signal(descriptor)
    }

    func collect() -> Letters {
        mesh_eventfd_clear(descriptor)
        return letters.withLock { letters in
            defer { letters = Letters() }
            return letters
        }
    }
}
