internal import CMeshSystem
import MeshCore
import MeshLoop
import Synchronization

/// A listening socket. Closed by the loop that accepts from it, or with its last owner.
final class Listener: Sendable {
    /// Clients that wait to be accepted. The kernel's `somaxconn` caps it.
    private static let backlog: Int32 = 4096

    let descriptor: Int32
    let address: Endpoint

    /// - Throws: ``BalancerError`` with the address and the reason.
    init(_ wanted: Endpoint) throws(BalancerError) {
        var raw = mesh_address(wanted)
        descriptor = mesh_listen(&raw, Self.backlog)
        guard descriptor >= 0 else {
            throw BalancerError(.address, SystemError(number: -descriptor), "can't listen on \(wanted)")
        }
        address = mesh_local_address(descriptor, &raw) == 0 ? raw.endpoint ?? wanted : wanted
    }

    private let isClosed = Atomic(false)

    /// Clients that are not accepted by now are refused, and new ones find nobody listening.
    func close() {
        if descriptor >= 0, !isClosed.exchange(true, ordering: .relaxed) { mesh_close(descriptor) }
    }

    deinit { close() }
}
