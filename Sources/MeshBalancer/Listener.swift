internal import CMeshSystem
import MeshCore

/// A listening socket that is closed with its last owner.
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
            throw BalancerError(.address, errno: -descriptor, "can't listen on \(wanted)")
        }
        address = mesh_local_address(descriptor, &raw) == 0 ? raw.endpoint ?? wanted : wanted
    }

    deinit {
        if descriptor >= 0 { mesh_close(descriptor) }
    }
}
