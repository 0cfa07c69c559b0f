import MeshCore
import NIOCore

/// The applications connected to this agent.
final class ClientTable {
    private let driver: AgentDriver
    private let token: [UInt8]?
    let clientsMax: Int
    private var clients: [ClientID: ClientHandler] = [:]
    /// 0 is the admin listener.
    private var nextClient: UInt64 = 0

    /// - Parameter token: what a client must prove first; nil on a Unix socket, where the file's mode has decided.
    init(driver: AgentDriver, token: [UInt8]?, clientsMax: Int) {
        self.clientsMax = clientsMax
        self.driver = driver
        self.token = token
    }

    var count: Int { clients.count }

    /// Nil when there are too many.
    func accept() -> ClientHandler? {
        guard clients.count < clientsMax else {
            driver.note(.clientsFull, "\(clientsMax) clients are connected; another was turned away")
            return nil
        }
        nextClient += 1
        let handler = ClientHandler(id: ClientID(rawValue: nextClient), token: token, table: self, driver: driver)
        clients[handler.id] = handler
        return handler
    }

    func closed(_ client: ClientID) {
        guard clients.removeValue(forKey: client) != nil else { return }
        driver.feed(.clientClosed(client))
    }

    func answer(_ request: RequestID, _ response: ClientResponse) {
        clients[request.client]?.answer(request.number, response)
    }

    /// One encoded buffer for all of them.
    func push(_ message: ChannelMessage, to recipients: [ClientID]) {
        var bytes: [UInt8] = []
        ClientProtocol.write(message, to: &bytes)
        let buffer = ByteBuffer(bytes: bytes)
        for client in recipients { clients[client]?.push(buffer) }
    }

    func closeAll() {
        for client in clients.values { client.close() }
    }
}

/// Tells a client that there is no room, and hangs up.
final class TurnAwayHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let clientsMax: Int

    init(clientsMax: Int) {
        self.clientsMax = clientsMax
    }

    func channelActive(context: ChannelHandlerContext) {
        var line: [UInt8] = []
        ClientProtocol.write(
            ClientFailure(.full, "\(clientsMax) clients are connected to this agent; close some and try again"), to: &line)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: line)), promise: nil)
        context.close(promise: nil)
    }
}
