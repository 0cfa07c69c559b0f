import MeshAgent
import MeshCore
import Testing

/// One HTTP request over a connection of its own.
func askHTTP(_ request: String, at address: ListenAddress) async throws -> String {
    let connection = try await TestConnection.connect(to: address)
    connection.send(request)
    try await eventually("the answer to \(request.prefix(40))") {
        let text = connection.text
        guard let end = text.firstRange(of: "\r\n\r\n"), let header = text.firstMatch(of: /Content-Length: (\d+)/) else { return false }
        return text[end.upperBound...].utf8.count == Int(header.1)
    }
    await connection.close()
    return connection.text
}

/// An application's side of the client protocol: one request at a time.
struct TestClient: Sendable {
    private let connection: TestConnection

    static func connect(to address: ListenAddress) async throws -> TestClient {
        TestClient(connection: try await TestConnection.connect(to: address))
    }

    func ask(_ request: ClientRequest) async throws -> ClientResponse {
        _ = connection.take()
        connection.send(ClientProtocol.encode(.request(request)).bytes)
        let value = try await eventually("the reply to \(request.kind)") {
            var parser = RESPParser(limits: .replies)
            parser.append(connection.received)
            return try parser.next()
        }
        return try ClientProtocol.decode(value, to: request.kind)
    }

    func close() async { await connection.close() }
}
