internal import CMeshSystem
import MeshCore

/// The applications connected to this agent.
final class ClientTable {
    private let driver: AgentDriver
    private let token: [UInt8]?
    let clientsMax: Int
    private var clients: [ClientID: ClientConnection] = [:]
    /// 0 is the admin listener.
    private var nextClient: UInt64 = 0

    /// - Parameter token: what a client must prove first; nil on a Unix socket, where the file's mode has decided.
    init(driver: AgentDriver, token: [UInt8]?, clientsMax: Int) {
        self.clientsMax = clientsMax
        self.driver = driver
        self.token = token
    }

    var count: Int { clients.count }

    /// - Parameter isLocal: over a Unix socket.
    func accept(_ descriptor: Int32, isLocal: Bool) {
        guard clients.count < clientsMax else {
            driver.note(.clientsFull, "\(clientsMax) clients are connected; another was turned away")
            return turnAway(descriptor)
        }
        // Answers leave in batches already; waiting for more would only add to their time.
        if !isLocal { mesh_set_no_delay(descriptor) }
        nextClient += 1
        let client = ClientConnection(
            descriptor: descriptor, id: ClientID(rawValue: nextClient), token: token, table: self, driver: driver)
        guard client.open() else { return mesh_close(descriptor) }
        clients[client.id] = client
    }

    /// A new socket takes a line without being asked.
    private func turnAway(_ descriptor: Int32) {
        var line: [UInt8] = []
        ClientProtocol.write(
            ClientFailure(.full, "\(clientsMax) clients are connected to this agent; close some and try again"), to: &line)
        _ = line.withUnsafeBytes { mesh_send(descriptor, $0.baseAddress, $0.count) }
        mesh_close(descriptor)
    }

    func closed(_ client: ClientID) {
        guard clients.removeValue(forKey: client) != nil else { return }
        driver.feed(.clientClosed(client))
    }

    func answer(_ request: RequestID, _ response: ClientResponse) {
        clients[request.client]?.answer(request.number, response)
    }

    /// Encoded once for all of them.
    func push(_ push: ClientPush, to recipients: [ClientID]) {
        var bytes: [UInt8] = []
        ClientProtocol.write(push, to: &bytes)
        for client in recipients { clients[client]?.push(bytes) }
    }

    func closeAll() {
        for client in clients.values { client.close() }
    }
}
