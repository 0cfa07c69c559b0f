import MeshCore
import NIOCore
import NIOHTTP1
import NIOPosix

/// One HTTP connection of the admin listener. One request at a time; the next is read when the last is answered.
final class AdminHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let admin: AdminTable
    private var request: HTTPRequestHead?
    private var bodyBytes = 0
    private var context: ChannelHandlerContext?
    private var idle: Scheduled<Void>?

    /// No route takes a body; a client that sends a small one all the same is not refused for it.
    static let bodyBytesMax = 1024
    /// For the whole of one request, the pause before it included, so that idle connections give their places back.
    static let idleTimeout = TimeAmount.seconds(30)

    init(admin: AdminTable) {
        self.admin = admin
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        admin.opened(self)
        restartIdle()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        idle?.cancel()
        self.context = nil
        admin.closed(self)
    }

    func close() { context?.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            request = head
            bodyBytes = 0
        case .body(let bytes):
            bodyBytes += bytes.readableBytes
            guard bodyBytes > Self.bodyBytesMax else { return }
            admin.troubles.note(.adminProtocol, "an admin connection was closed: no request there has a body")
            close()
        case .end:
            guard let request else { return }
            answer(request)
        }
    }

    /// A malformed request was answered with a bare 400 by NIO's own handler before this.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        admin.troubles.note(.adminProtocol, "an admin connection was closed: \(error)")
        context.close(promise: nil)
    }

    private func answer(_ request: HTTPRequestHead) {
        guard let context else { return }
        let asked = AdminRequest(
            method: request.method.rawValue, target: request.uri, hosts: request.headers["host"], origin: request.headers["origin"].first,
            isLocalSocket: admin.isLocalSocket)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let isAsked = admin.service.answer(asked) { answer in bound.eventLoop.execute { bound.value.respond(answer) } }
        if !isAsked { close() }
    }

    private func respond(_ answer: AdminAnswer) {
        guard let context, let request else { return }
        self.request = nil
        var head = HTTPResponseHead(version: request.version, status: HTTPResponseStatus(statusCode: answer.status))
        head.headers.add(name: "Content-Type", value: answer.contentType.rawValue)
        head.headers.add(name: "Content-Length", value: String(answer.body.utf8.count))
        head.headers.add(name: "Cache-Control", value: "no-store")
        head.headers.add(name: "X-Content-Type-Options", value: "nosniff")
        if answer.contentType == .html { head.headers.add(name: "Content-Security-Policy", value: Self.pagePolicy) }
        if let allow = answer.allow { head.headers.add(name: "Allow", value: allow) }
        let isLast = !request.isKeepAlive
        if isLast { head.headers.add(name: "Connection", value: "close") }

        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil) }
        let written = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        guard isLast else { return restartIdle() }
        // Not before: a page is more than a socket takes at once. Who doesn't read it is closed for being idle.
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        written.whenComplete { _ in bound.value.close(promise: nil) }
    }

    private static let pagePolicy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"

    private func restartIdle() {
        idle?.cancel()
        idle = context?.eventLoop.assumeIsolated().scheduleTask(in: Self.idleTimeout) { self.close() }
    }
}

/// The admin listener and its connections, on a thread of NIO's: an operator's HTTP is nothing that a request of an application waits for.
final class AdminTable {
    let service: any AdminService
    let isLocalSocket: Bool
    let troubles: TroubleLedger
    private var connections: [ObjectIdentifier: AdminHandler] = [:]

    /// Operators, a scraper and a few browser tabs. Above it a connection is closed at once.
    static let connectionsMax = 64

    /// An admin listener as other threads have it.
    struct Opened: Sendable {
        fileprivate let table: NIOLoopBound<AdminTable>
        fileprivate let listener: any Channel

        func close() async {
            try? await listener.close().get()
            try? await table.eventLoop.submit { table.value.closeAll() }.get()
        }
    }

    private init(service: any AdminService, isLocalSocket: Bool, troubles: TroubleLedger) {
        self.service = service
        self.isLocalSocket = isLocalSocket
        self.troubles = troubles
    }

    /// Takes the socket over.
    static func open(
        _ socket: BoundSocket, service: any AdminService, isLocalSocket: Bool, troubles: TroubleLedger
    ) async throws -> Opened {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let table = try await loop.submit {
            NIOLoopBound(AdminTable(service: service, isLocalSocket: isLocalSocket, troubles: troubles), eventLoop: loop)
        }.get()
        let listener = try await ServerBootstrap(group: loop)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // First in line, so that the backoff sees an accept that failed for want of descriptors.
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                    try channel.pipeline.syncOperations.addHandler(AcceptTroubleHandler(troubles: troubles))
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.addAdmin(table.value) }
            }
            .withBoundSocket(socket.descriptor).get()
        return Opened(table: table, listener: listener)
    }

    /// Nil when there are too many.
    func accept() -> AdminHandler? {
        guard connections.count < Self.connectionsMax else {
            troubles.note(.adminFull, "\(Self.connectionsMax) admin connections are open; another was closed")
            return nil
        }
        return AdminHandler(admin: self)
    }

    func opened(_ handler: AdminHandler) { connections[ObjectIdentifier(handler)] = handler }
    func closed(_ handler: AdminHandler) { connections[ObjectIdentifier(handler)] = nil }
    private func closeAll() { for connection in connections.values { connection.close() } }
}

/// The connection gets no handler: there is no room for it, and that has been noted.
private struct NoRoom: Error {}

extension Channel {
    fileprivate func addAdmin(_ admin: AdminTable) throws {
        guard let handler = admin.accept() else { throw NoRoom() }
        // A whole request has some hundred bytes.
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 2048
        limits.maxHeaderListSize = 8192
        limits.maxHeaderFieldCount = 64
        try pipeline.syncOperations.configureHTTPServerPipeline(
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
        try pipeline.syncOperations.addHandler(handler)
    }
}

/// Connections that could not be taken are noted; the listener goes on.
private final class AcceptTroubleHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let troubles: TroubleLedger

    init(troubles: TroubleLedger) {
        self.troubles = troubles
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !(error is NoRoom) else { return }
        troubles.note(.acceptFailed, "a connection could not be accepted: \(error)")
    }
}
