import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import MeshCore
import NIOCore
import ServiceLifecycle
import SessionMesh
import SessionMeshHummingbird

/// The demo application: a counter, a login and a chat, each of which survives the death of the node that served it.
struct DemoServer: Sendable {
    let name: String
    let mesh: SessionMesh
    /// Nil when nobody would kill a node on request.
    let killSwitch: KillSwitch?

    static let service = "demo"
    static let count = SessionCounter("count")
    /// A login form and nothing else.
    private static let formBytesMax = 4096
    private static let userBytes = 1...64

    /// - Parameter address: where balancers reach it; nil for where it listens.
    func application(
        host: String = "127.0.0.1", port: Int, address: String? = nil, logger: Logger,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) -> some ApplicationProtocol {
        var sockets = WebSocketHTTPChannel.Configuration()
        sockets.limits.messageBytesMax = Chat.textBytesMax
        sockets.limits.acceptsBinary = false
        let (addresses, continuation) = AsyncStream.makeStream(of: String.self)
        return Application(
            router: router, server: .http1WebSocket(configuration: sockets, upgrade: upgrade),
            configuration: ApplicationConfiguration(address: .hostname(host, port: port), serverName: nil),
            // Before the server, so that they end after it: the last requests still need their sessions.
            services: [mesh, Registrar(mesh: mesh, addresses: addresses, logger: logger)],
            onServerRunning: { channel in
                continuation.yield(address ?? channel.localAddress?.dialled ?? "\(host):\(port)")
                onListening(channel.localAddress?.port ?? port)
            },
            logger: logger)
    }

    // MARK: Routes

    var router: Router<DemoContext> {
        let router = Router(context: DemoContext.self)
        router.add(middleware: BrowserHints())
        router.get("healthz") { _, _ in "ok\n" }
        router.get("nodes") { _, _ in try await nodes() }
        router.get("chat") { _, _ in
            Response(status: .upgradeRequired, headers: [.upgrade: "websocket", .contentLength: "0"])
        }
        // A shell may count without having loaded a page; a page of another site may not.
        let visited = router.group().add(middleware: SessionMiddleware<DemoContext>(mesh)).add(middleware: CSRFMiddleware(.origin))
        visited.get { _, context in try await page(context) }
        visited.get("whoami") { _, context in try await whoAmI(context) }
        visited.get("counter") { _, context in
            let session = try await context.session.load()
            return CounterAnswer(count: session[Self.count], node: name, user: session.user ?? "")
        }
        visited.post("counter") { _, context in try await countOneMore(context) }
        visited.post("login") { request, context in try await login(request, context) }
        visited.post("logout") { request, context in
            try await context.session.update { $0.destroy() }
            return try answer(UserAnswer(node: name, user: ""), to: request, context)
        }
        if let killSwitch {
            visited.group().add(middleware: CSRFMiddleware()).post("kill") { _, _ in try await kill(killSwitch) }
        }
        return router
    }

    private func countOneMore(_ context: DemoContext) async throws -> CounterAnswer {
        try await context.session.update { $0.increment(Self.count) }
        // Committed here, because the answer is the value that counts everybody's increments.
        let outcome = try await context.session.commit()
        let session = try await context.session.load()
        return CounterAnswer(count: outcome[Self.count] ?? session[Self.count], node: name, user: session.user ?? "")
    }

    private func login(_ request: Request, _ context: DemoContext) async throws -> Response {
        struct Form: Decodable { var user: String }
        let body = try await request.body.collect(upTo: Self.formBytesMax)
        guard let form = try? URLEncodedFormDecoder().decode(Form.self, from: String(buffer: body)) else {
            throw HTTPError(.badRequest, message: "send the form field \"user\"")
        }
        let user = form.user
        guard Self.userBytes ~= user.utf8.count, user.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw HTTPError(.badRequest, message: "a user's name has 1 to 64 bytes and no control characters")
        }
        try await context.session.update {
            $0.bind(user: user)
            $0.regenerate()
        }
        return try answer(UserAnswer(node: name, user: user), to: request, context)
    }

    /// JSON for who asks for it, otherwise back to the page.
    private func answer(_ value: UserAnswer, to request: Request, _ context: DemoContext) throws -> Response {
        guard request.headers[.accept]?.contains("application/json") == true else {
            return Response(status: .seeOther, headers: [.location: "/", .contentLength: "0"])
        }
        return try value.response(from: request, context: context)
    }

    private func whoAmI(_ context: DemoContext) async throws -> WhoAmI {
        let session = try await context.session.load()
        return WhoAmI(
            node: name, user: session.user ?? "", primary: session.primary?.description ?? "", backup: session.backup?.description ?? "",
            key: String(session.key?.description.prefix(8) ?? ""))
    }

    private func nodes() async throws -> Nodes {
        do {
            let view = try await mesh.members()
            return Nodes(
                answered: name,
                nodes: view.members.map {
                    Nodes.Node(
                        name: $0.name.description, status: $0.status.word, role: $0.role.word, stage: $0.stage.word,
                        address: $0.endpoint.description)
                })
        } catch {
            throw HTTPError(.serviceUnavailable, headers: [.retryAfter: "1"], message: error.message)
        }
    }

    private func page(_ context: DemoContext) async throws -> Response {
        var token: String?
        if killSwitch != nil { token = try await context.csrfToken() }
        let nonce = Self.randomHex()
        let headers: HTTPFields = [
            .contentType: "text/html; charset=utf-8", .cacheControl: "no-store",
            .contentSecurityPolicy: """
            default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; connect-src 'self' ws: wss:; \
            form-action 'self'; base-uri 'none'; frame-ancestors 'none'
            """,
        ]
        let html = Page(node: name, csrf: token, nonce: nonce).html
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: html)))
    }

    private func kill(_ killSwitch: KillSwitch) async throws -> Response {
        do { try await killSwitch.pull(name) } catch {
            throw HTTPError(.serviceUnavailable, message: "nobody listens for it: \(error)")
        }
        return Response(status: .accepted, headers: [.contentLength: "0"])
    }

    // MARK: Chat

    @Sendable func upgrade(_ request: HTTPRequest) async throws -> WebSocketDecision {
        guard request.path?.prefix(while: { $0 != "?" }) == "/chat" else { return .pass }
        let user = try await mesh.open(of: request).user
        return .accept { connection in try await Chat(mesh: mesh).serve(connection, as: user ?? "guest") }
    }

    // MARK: Helpers

    /// 16 random bytes.
    static func randomHex() -> String {
        var generator = SystemRandomNumberGenerator()
        return CommitID(using: &generator).hex
    }
}

/// Registers the application once it is known where it listens. A service of its own, because a server accepts nobody while it is asked to start.
private struct Registrar: Service {
    let mesh: SessionMesh
    let addresses: AsyncStream<String>
    let logger: Logger

    func run() async throws {
        // Waits for the shutdown afterwards: a service that returns ends the others.
        for await address in addresses.cancelOnGracefulShutdown() {
            do { try await mesh.register(service: DemoServer.service, address: address) } catch {
                // The mesh tries again with each new connection.
                logger.notice("not registered yet", metadata: ["error": "\(error)"])
            }
        }
    }
}

extension SocketAddress {
    /// As balancers are to dial it: an address with its port, IPv6 in brackets.
    fileprivate var dialled: String? {
        guard let ipAddress, let port else { return nil }
        return self.protocol == .inet6 ? "[\(ipAddress)]:\(port)" : "\(ipAddress):\(port)"
    }
}

struct DemoContext: SessionRequestContext {
    var coreContext: CoreRequestContextStorage
    var sessionStorage = SessionStorage()

    init(source: Source) { coreContext = CoreRequestContextStorage(source: source) }

    /// Keys in a fixed order, for whoever reads the answers with a shell.
    var responseEncoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}

struct CounterAnswer: ResponseCodable, Equatable {
    var count: Int64
    /// The node that answered.
    var node: String
    /// Empty when nobody is logged in.
    var user: String
}

struct UserAnswer: ResponseCodable, Equatable {
    var node: String
    var user: String
}

struct WhoAmI: ResponseCodable, Equatable {
    var node: String
    var user: String
    /// Empty until the visitor has a session.
    var primary: String
    var backup: String
    /// The first characters of the session's key; the id itself never leaves the cookie.
    var key: String
}

struct Nodes: ResponseCodable, Equatable {
    var answered: String
    var nodes: [Node]

    struct Node: Codable, Equatable {
        var name: String
        var status: String
        var role: String
        var stage: String
        var address: String
    }
}

/// What a browser must be told.
private struct BrowserHints: RouterMiddleware {
    func handle(_ request: Request, context: DemoContext, next: (Request, DemoContext) async throws -> Response) async throws -> Response {
        var response = try await next(request, context)
        response.headers[.xContentTypeOptions] = "nosniff"
        if let name = HTTPField.Name("Referrer-Policy") { response.headers[name] = "no-referrer" }
        if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
        return response
    }
}
