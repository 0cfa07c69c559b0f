import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOPosix

struct TestResponse {
    var status: HTTPResponse.Status
    var headers: HTTPFields
    var body: ByteBuffer
}

/// Asks a server on loopback, each time over a connection of its own.
struct TestClient: Sendable {
    let port: Int

    func execute<Outcome>(
        uri: String, method: HTTPRequest.Method, headers: HTTPFields = [:], body: String? = nil,
        _ use: (TestResponse) async throws -> Outcome
    ) async throws -> Outcome {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(host: "127.0.0.1", port: port) {
            channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHTTPClientHandlers()
                try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPClientCodec())
                return try NIOAsyncChannel<HTTPResponsePart, HTTPRequestPart>(wrappingChannelSynchronously: channel)
            }
        }
        let response = try await channel.executeThenClose { inbound, outbound in
            let request = HTTPRequest(method: method, scheme: "http", authority: "127.0.0.1:\(port)", path: uri, headerFields: headers)
            try await outbound.write(.head(request))
            if let body { try await outbound.write(.body(ByteBuffer(string: body))) }
            try await outbound.write(.end(nil))
            var response = TestResponse(status: .internalServerError, headers: [:], body: ByteBuffer())
            for try await part in inbound {
                switch part {
                case .head(let head): (response.status, response.headers) = (head.status, head.headerFields)
                case .body(var bytes): response.body.writeBuffer(&bytes)
                case .end: return response
                }
            }
            return response
        }
        return try await use(response)
    }
}
