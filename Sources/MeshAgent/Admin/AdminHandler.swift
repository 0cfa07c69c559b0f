import MeshCore
import NIOCore
import NIOHTTP1

/// One HTTP connection of the admin listener. One request at a time; the next is read when the last is answered.
final class AdminHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let driver: AgentDriver
    private let admin: AdminTable
    private let isLocalSocket: Bool
    private let companion: AgentCompanion?
    private var request: HTTPRequestHead?
    private var bodyBytes = 0
    private var context: ChannelHandlerContext?
    private var idle: Scheduled<Void>?

    /// No route takes a body; a client that sends a small one all the same is not refused for it.
    static let bodyBytesMax = 1024
    /// For the whole of one request, the pause before it included, so that idle connections give their places back.
    static let idleTimeout = TimeAmount.seconds(30)

    init(driver: AgentDriver, admin: AdminTable, isLocalSocket: Bool, companion: AgentCompanion?) {
        self.driver = driver
        self.admin = admin
        self.isLocalSocket = isLocalSocket
        self.companion = companion
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
            driver.note(.adminProtocol, "an admin connection was closed: no request there has a body")
            close()
        case .end:
            guard let request else { return }
            answer(request)
        }
    }

    /// A malformed request was answered with a bare 400 by NIO's own handler before this.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        driver.note(.adminProtocol, "an admin connection was closed: \(error)")
        context.close(promise: nil)
    }

    private func answer(_ request: HTTPRequestHead) {
        let route = AdminRoute.route(
            method: request.method.rawValue, target: request.uri, hosts: request.headers["host"], origin: request.headers["origin"].first,
            isLocalSocket: isLocalSocket)
        switch route {
        case .failure(let refusal): respond(AdminAnswer(refusal))
        case .success(.page): respond(.page)
        case .success(.members): respond(.members(driver.view))
        case .success(.member(let name)): respond(.member(name, in: driver.view, driver.verdicts))
        case .success(.keys): respond(.keys(driver.keyReport))
        case .success(.reloadKeys(let force)): driver.reloadKeys(force: force) { self.respond(.reloaded($0)) }
        case .success(.health): respond(.health(driver.status))
        case .success(.readiness): respond(.readiness(driver.status, companionIsReady: companion?.isReady() ?? true))
        case .success(.metrics): respond(.metrics(driver.figures, companion: companion?.metrics() ?? []))
        case .success(.placement(let slot)): driver.ask(.placement(slot)) { self.respond(.answer($0)) }
        case .success(.session(let key)):
            driver.ask(.read(key)) { self.respond(.session(key, $0, end: self.driver.end(of: key))) }
        case .success(.slots): respond(.slots(driver.slotReports))
        case .success(.drain):
            respond(AdminAnswer(202, json: .object([("draining", .bool(true))])))
            driver.leave()
        }
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
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if isLast { context.close(promise: nil) } else { restartIdle() }
    }

    private static let pagePolicy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"

    private func restartIdle() {
        idle?.cancel()
        idle = context?.eventLoop.assumeIsolated().scheduleTask(in: Self.idleTimeout) { self.close() }
    }
}

/// The connections of the admin listener.
final class AdminTable {
    private let driver: AgentDriver
    private let isLocalSocket: Bool
    private let companion: AgentCompanion?
    private var connections: [ObjectIdentifier: AdminHandler] = [:]

    /// Operators, a scraper and a few browser tabs. Above it a connection is closed at once.
    static let connectionsMax = 64

    init(driver: AgentDriver, isLocalSocket: Bool, companion: AgentCompanion?) {
        self.driver = driver
        self.isLocalSocket = isLocalSocket
        self.companion = companion
    }

    func accept() -> AdminHandler? {
        guard connections.count < Self.connectionsMax else {
            driver.note(.adminFull, "\(Self.connectionsMax) admin connections are open; another was closed")
            return nil
        }
        return AdminHandler(driver: driver, admin: self, isLocalSocket: isLocalSocket, companion: companion)
    }

    func opened(_ handler: AdminHandler) { connections[ObjectIdentifier(handler)] = handler }
    func closed(_ handler: AdminHandler) { connections[ObjectIdentifier(handler)] = nil }
    func closeAll() { for connection in connections.values { connection.close() } }
}
