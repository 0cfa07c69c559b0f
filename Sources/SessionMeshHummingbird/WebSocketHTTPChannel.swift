public import HTTPTypes
public import HummingbirdCore
public import Logging
public import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOWebSocket
import SessionMesh
import Synchronization

/// What becomes of a request to upgrade.
public enum WebSocketDecision: Sendable {
    /// 101, and this closure serves the socket. It should return when its messages end.
    case accept(@Sendable (WebSocketConnection) async throws -> Void)
    /// An answer in place of the 101; the connection closes after it.
    case refuse(HTTPResponse.Status, HTTPFields = [:])
    /// Not a WebSocket's path: the router answers.
    case pass
}

/// HTTP/1.1 connections of a Hummingbird server whose first request may become a WebSocket.
///
/// ```swift
/// let app = Application(router: router, server: .http1WebSocket { request in
///     guard request.path == "/chat" else { return .pass }
///     let session = try await mesh.open(of: request)
///     return .accept { connection in
///         for try await message in connection.messages { ... }
///     }
/// })
/// ```
///
/// Origin and authorisation come before the 101: the closure has the request's head and may look up the session. When it throws a
/// ``SessionError``, the peer gets 503 with `Retry-After: 1`. A shutdown closes open sockets with 1001.
///
/// Only the first request of a connection is upgraded, as browsers and proxies do it: each opens a connection of its own for a WebSocket.
/// A later one goes to the router.
public struct WebSocketHTTPChannel: HTTPChannelHandler {
    public typealias Upgrade = @Sendable (HTTPRequest) async throws -> WebSocketDecision

    public struct Configuration: Sendable {
        public var limits = WebSocketLimits()
        /// Whose pages may open a WebSocket.
        public var origins = AllowedOrigins.sameHost
        /// How long a new connection may take until its first request is read and decided. Default 30 s.
        public var firstRequestTimeout: Duration = .seconds(30)
        /// How long a connection without a request is kept. Default 75 s, longer than a balancer keeps its idle ones.
        public var idleTimeout: Duration? = .seconds(75)

        public init() {}
    }

    /// One connection: what it will be is known once its first request is.
    public struct Value: ServerChildChannelValue {
        public let channel: any Channel
        fileprivate let outcome: EventLoopFuture<Outcome>
    }

    fileprivate enum Outcome: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case refused(HTTPResponse, NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case webSocket(
            HTTPRequest, @Sendable (WebSocketConnection) async throws -> Void, NIOAsyncChannel<WebSocketMessage, Never>)
    }

    public let responder: Responder
    private let configuration: Configuration
    private let upgrade: Upgrade

    public init(responder: @escaping Responder, configuration: Configuration = Configuration(), upgrade: @escaping Upgrade) {
        self.responder = responder
        self.configuration = configuration
        self.upgrade = upgrade
    }

    // MARK: Setting up

    public func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let gate = ConnectionGate(timeout: TimeAmount(configuration.firstRequestTimeout))
            try channel.pipeline.syncOperations.addHandler(gate)
            let decision = DecisionBox()
            let upgrader = NIOTypedWebSocketServerUpgrader<Outcome>(
                maxFrameSize: configuration.limits.messageBytesMax,
                enableAutomaticErrorHandling: false,
                // Whoever comes this far was accepted by the decider.
                shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture([:]) },
                upgradePipelineHandler: { channel, head in openWebSocket(head, on: channel, decision) })
            var pipeline = NIOUpgradableHTTPServerPipelineConfiguration(
                upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration(upgraders: [upgrader]) { channel in
                    continueAsHTTP(on: channel, decision, logger)
                })
            // The asynchronous channel reads one request after the other anyway.
            pipeline.enablePipelining = false
            // The decider answers a malformed first request, the server's own handling later ones.
            pipeline.enableErrorHandling = false
            let outcome = try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(configuration: pipeline)
            let decoder = try channel.pipeline.syncOperations.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            let decider = UpgradeDecider { head in
                channel.eventLoop.makeFutureWithTask {
                    let verdict = await verdict(on: head)
                    decision.value.withLock { $0 = verdict }
                    if case .accept = verdict { return true }
                    return false
                }
            }
            try channel.pipeline.syncOperations.addHandler(decider, position: .after(decoder))
            outcome.assumeIsolated().whenComplete { _ in gate.open() }
            return Value(channel: channel, outcome: outcome)
        }
    }

    private func verdict(on head: HTTPRequestHead) async -> WebSocketDecision {
        guard let request = try? HTTPRequest(head, secure: false, splitCookie: false) else { return .refuse(.badRequest) }
        do {
            let verdict = try await upgrade(request)
            // Asked second, so that the router may serve another path with whatever origin.
            if case .accept = verdict, !configuration.origins.allows(request) { return .refuse(.forbidden) }
            return verdict
        } catch is SessionError {
            return .refuse(.serviceUnavailable, [.retryAfter: "1"])
        } catch {
            return .refuse(.internalServerError)
        }
    }

    private func openWebSocket(
        _ head: HTTPRequestHead, on channel: any Channel, _ decision: DecisionBox
    ) -> EventLoopFuture<Outcome> {
        channel.eventLoop.makeCompletedFuture {
            guard case .accept(let serve) = decision.value.withLock({ $0 }) else { throw ChannelError.inappropriateOperationForState }
            let request = try HTTPRequest(head, secure: false, splitCookie: false)
            try channel.pipeline.syncOperations.addHandler(WebSocketHandler(limits: configuration.limits))
            return .webSocket(request, serve, try NIOAsyncChannel(wrappingChannelSynchronously: channel))
        }
    }

    private func continueAsHTTP(
        on channel: any Channel, _ decision: DecisionBox, _ logger: Logger
    ) -> EventLoopFuture<Outcome> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            try channel.pipeline.syncOperations.addHandler(
                HTTPConnectionStateHandler(idleTimeout: configuration.idleTimeout, logger: logger))
            let asyncChannel = try NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>(
                wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
            guard case .refuse(let status, var headers) = decision.value.withLock({ $0 }) else { return .http(asyncChannel) }
            headers[.contentLength] = "0"
            headers[.connection] = "close"
            return .refused(HTTPResponse(status: status, headerFields: headers), asyncChannel)
        }
    }

    // MARK: Serving

    public func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.outcome.get() {
            case .http(let channel): await handleHTTP(asyncChannel: channel, logger: logger)
            case .refused(let response, let channel): try await refuse(channel, with: response)
            case .webSocket(let request, let serve, let channel): try await self.serve(channel, request, serve, logger)
            }
        } catch {
            // The peer went away, before its first request was complete or later.
            logger.trace("connection ended", metadata: ["error": "\(error)"])
            value.channel.close(promise: nil)
        }
    }

    private func refuse(_ channel: NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>, with response: HTTPResponse) async throws {
        try await channel.executeThenClose { inbound, outbound in
            reading: for try await part in inbound {
                if case .end = part { break reading }
            }
            try await outbound.write(contentsOf: [.head(response), .end(nil)])
            outbound.finish()
        }
    }

    private func serve(
        _ channel: NIOAsyncChannel<WebSocketMessage, Never>, _ request: HTTPRequest,
        _ serve: @Sendable (WebSocketConnection) async throws -> Void, _ logger: Logger
    ) async throws {
        try await channel.executeThenClose { inbound, _ in
            let connection = WebSocketConnection(request: request, inbound: inbound, channel: channel.channel)
            do {
                try await serve(connection)
                try? await connection.close()
            } catch {
                logger.debug("a WebSocket's handler failed", metadata: ["error": "\(error)"])
                try? await connection.close(code: .internalError)
            }
            // The closing handshake has deadlines of its own.
            try await channel.channel.closeFuture.get()
        }
    }
}

extension HTTPServerBuilder {
    /// HTTP/1.1 whose first request on a connection may become a WebSocket; see ``WebSocketHTTPChannel``.
    public static func http1WebSocket(
        configuration: WebSocketHTTPChannel.Configuration = WebSocketHTTPChannel.Configuration(),
        upgrade: @escaping WebSocketHTTPChannel.Upgrade
    ) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            WebSocketHTTPChannel(responder: responder, configuration: configuration, upgrade: upgrade)
        }
    }
}

/// One connection's decision, shared by the closures that make its pipeline.
private final class DecisionBox: Sendable {
    let value = Mutex(WebSocketDecision.pass)
}

/// Decides about the first request before NIO's upgrade handler sees it, and takes the wish to upgrade out of one that stays HTTP: that
/// handler keeps to itself a request whose upgrade did not come about, be it refused, of a path that has none, or to HTTP/2. NIO's decoder
/// reads nothing more behind such a request either, so it is the connection's last.
private final class UpgradeDecider: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let accepts: (HTTPRequestHead) -> EventLoopFuture<Bool>
    /// What came while the decision was awaited. One read at most: no other is let through.
    private var held: [HTTPServerRequestPart] = []
    private var isDeciding = false
    private var isReleased = false
    private var isReadHeld = false

    init(accepts: @escaping (HTTPRequestHead) -> EventLoopFuture<Bool>) {
        self.accepts = accepts
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isReleased else { return context.fireChannelRead(data) }
        let part = Self.unwrapInboundIn(data)
        held.append(part)
        guard !isDeciding else { return }
        guard case .head(let head) = part, Self.isUpgradable(head) else { return release(context, isAccepted: false) }
        isDeciding = true
        accepts(head).assumeIsolated().whenComplete { result in
            self.release(context, isAccepted: (try? result.get()) ?? false)
        }
    }

    func read(context: ChannelHandlerContext) {
        if isDeciding { isReadHeld = true } else { context.read() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isReleased else { return context.fireErrorCaught(error) }
        if error is HTTPParserError {
            let head = HTTPResponseHead(version: .http1_1, status: .badRequest, headers: ["Content-Length": "0"])
            write(context: context, data: NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
            context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
        }
        context.close(promise: nil)
    }

    /// Called on a connection that ends with its first response; on every other, this handler is gone by then.
    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .head(var head) = Self.unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
        head.headers.replaceOrAdd(name: "Connection", value: "close")
        context.write(Self.wrapOutboundOut(.head(head)), promise: promise)
    }

    private func release(_ context: ChannelHandlerContext, isAccepted: Bool) {
        let wasDeciding = isDeciding
        isDeciding = false
        isReleased = true
        var isLast = false
        for part in held {
            guard case .head(var head) = part, !isAccepted, head.headers.contains(name: "Upgrade") else {
                context.fireChannelRead(Self.wrapInboundOut(part))
                continue
            }
            isLast = true
            head.headers.remove(name: "Upgrade")
            head.headers.replaceOrAdd(name: "Connection", value: "close")
            context.fireChannelRead(Self.wrapInboundOut(.head(head)))
        }
        held = []
        if wasDeciding { context.fireChannelReadComplete() }
        if isReadHeld { context.read() }
        if !isLast { context.pipeline.syncOperations.removeHandler(self, promise: nil) }
    }

    /// Whether the head asks for a WebSocket in the form of RFC 6455, section 4.2.1, and nothing follows it.
    private static func isUpgradable(_ head: HTTPRequestHead) -> Bool {
        let headers = head.headers
        return head.method == .GET && head.version == .http1_1
            && headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "websocket" }
            && headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
            && headers["sec-websocket-version"] == ["13"]
            && headers["sec-websocket-key"].count == 1
            && headers["transfer-encoding"].isEmpty
            && headers["content-length"].allSatisfy { $0 == "0" }
    }
}

/// Guards a connection until it is known what it will be: a peer that is slow with its first request is dropped, and a shutdown is
/// remembered for whoever takes over.
private final class ConnectionGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let timeout: TimeAmount
    private var context: ChannelHandlerContext?
    private var deadline: Scheduled<Void>?
    private var hasRead = false
    private var isQuiescing = false

    init(timeout: TimeAmount) {
        self.timeout = timeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasRead = true
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent {
            isQuiescing = true
            if !hasRead { return context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func open() {
        guard let context else { return }
        deadline?.cancel()
        let isQuiescing = isQuiescing
        let pipeline = context.pipeline
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
        guard isQuiescing else { return }
        // After the first request was handed on, or it would be taken for an idle connection.
        context.eventLoop.execute { pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }
}
