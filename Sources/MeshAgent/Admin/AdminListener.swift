package import Logging
import MeshCore

/// An admin listener without an agent: for another service of this program.
package struct AdminListener: Sendable {
    private let opened: AdminTable.Opened
    private let file: SocketFile?

    /// - Throws: ``AgentStartError`` when the address can't be had, or can be reached from elsewhere.
    package static func open(_ address: ListenAddress, _ service: any AdminService, logger: Logger) async throws -> AdminListener {
        let socket: BoundSocket
        switch address {
        case .unix(let path): socket = try BoundSocket.listener(onPath: path)
        case .tcp(let endpoint):
            guard endpoint.isLoopback else {
                throw AgentStartError(
                    .notLoopback, "\(endpoint) can be reached from elsewhere: listen for admin requests on 127.0.0.1, [::1] or unix:PATH")
            }
            socket = try BoundSocket.listener(on: endpoint)
        }
        let opened = try await AdminTable.open(
            socket, service: service, isLocalSocket: address.isLocalSocket, troubles: TroubleLedger(logger: logger))
        return AdminListener(opened: opened, file: socket.file)
    }

    package func close() async {
        await opened.close()
        file?.remove()
    }
}
