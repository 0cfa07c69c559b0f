public import HTTPTypes
public import NIOCore

/// An open WebSocket, handed to the closure that serves it. When the closure returns the socket closes with 1000, when it throws with 1011.
public struct WebSocketConnection: Sendable {
    /// The request that was upgraded.
    public let request: HTTPRequest
    /// What the peer sends, up to its close or the server's shutdown. Read from one task. While it isn't read, the peer is made to wait.
    public let messages: WebSocketMessages
    private let channel: any Channel

    init(request: HTTPRequest, inbound: NIOAsyncChannelInboundStream<WebSocketMessage>, channel: any Channel) {
        self.request = request
        messages = WebSocketMessages(inbound: inbound)
        self.channel = channel
    }

    /// Sends a text message. Returns once it is handed to the network: a peer that takes nothing makes its writer wait, until the next
    /// ping finds out.
    /// - Throws: when the socket is closed or closing.
    public func write(text: String) async throws { try await write(.message(.text(text))) }

    /// Sends a binary message, on the same terms.
    public func write(binary bytes: ByteBuffer) async throws { try await write(.message(.binary(bytes))) }

    /// Begins the closing handshake. ``messages`` ends, and nothing more can be written.
    /// - Parameters:
    ///   - code: one that RFC 6455 lets an endpoint send, else 1011 is sent.
    ///   - reason: cut to 123 bytes.
    public func close(code: WebSocketCloseCode = .normal, reason: String = "") async throws {
        try await write(.close(code.isSendable ? code : .internalError, reason: reason))
    }

    // Not through an asynchronous channel's writer: that one takes whatever comes until its loop gets round to say no.
    private func write(_ outbound: WebSocketOutbound) async throws { try await channel.writeAndFlush(outbound).get() }
}

/// The messages of one peer.
public struct WebSocketMessages: AsyncSequence, Sendable {
    public typealias Element = WebSocketMessage
    let inbound: NIOAsyncChannelInboundStream<WebSocketMessage>

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(inbound: inbound.makeAsyncIterator()) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        var inbound: NIOAsyncChannelInboundStream<WebSocketMessage>.AsyncIterator

        public mutating func next() async throws -> WebSocketMessage? { try await inbound.next() }
    }
}
