import HTTPTypes
import Hummingbird
import MeshCore
import NIOCore
import ScriptedAgent
import SessionMesh
import SessionMeshHummingbird
import Synchronization
import Testing

@Suite struct CSRFMiddlewareTests {
    static let visits = SessionCounter("visits")

    static func router(_ mesh: SessionMesh) -> Router<TestContext> {
        let router = Router(context: TestContext.self)
        let pages = router.group().add(middleware: SessionMiddleware(mesh)).add(middleware: CSRFMiddleware(formBytesMax: 1000))
        pages.get("form") { _, context in try await context.csrfToken() }
        pages.post("order") { request, context in
            let body = String(buffer: try await request.body.collect(upTo: 2000))
            try await context.session.update { $0.increment(visits) }
            return "ordered \(body)"
        }
        pages.post("login") { _, context in
            try await context.session.update {
                $0.bind(user: "ann")
                $0.regenerate()
            }
            return try await context.csrfToken()
        }
        let open = router.group("open").add(middleware: SessionMiddleware(mesh)).add(middleware: CSRFMiddleware(.origin))
        open.post("order") { _, _ in "ordered" }
        let shared = router.group("shared").add(middleware: SessionMiddleware(mesh))
            .add(middleware: CSRFMiddleware(.origin, origins: .these(["https://shop.example", "https://www.example"])))
        shared.post("order") { _, _ in "ordered" }
        return router
    }

    static func withClient(_ body: @escaping @Sendable (TestClient, ScriptedAgent) async throws -> Void) async throws {
        try await withLinkedMesh { mesh, agent in
            try await withServer(router(mesh).buildResponder()) { port, _ in try await body(TestClient(port: port), agent) }
        }
    }

    static func fields(_ pairs: [(String, String)]) throws -> HTTPFields {
        var fields = HTTPFields()
        for (name, value) in pairs { fields.append(HTTPField(name: try #require(HTTPField.Name(name)), value: value)) }
        return fields
    }

    static func post(
        _ client: TestClient, _ path: String, _ pairs: [(String, String)] = [], body: String? = nil
    ) async throws -> (status: Int, text: String, cookie: String?) {
        try await client.execute(uri: path, method: .post, headers: try fields(pairs), body: body) {
            ($0.status.code, String(buffer: $0.body), $0.headers[.setCookie].map { String($0.prefix { $0 != ";" }) })
        }
    }

    /// A visitor's cookie and the token of the page that came with it.
    static func visitor(_ client: TestClient) async throws -> (cookie: String, token: String) {
        try await client.execute(uri: "/form", method: .get) {
            (try SessionMiddlewareTests.cookie($0), String(buffer: $0.body))
        }
    }

    static let form = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")

    @Test func aChangeNeedsATokenOfItsSessionInTheHeaderOrTheForm() async throws {
        try await Self.withClient { client, agent in
            let (cookie, token) = try await Self.visitor(client)
            for refused in [
                try await Self.post(client, "/order", [("Cookie", cookie)]),
                try await Self.post(client, "/order", [("Cookie", cookie), Self.form], body: "a=1&xcsrf=\(token)"),
                try await Self.post(client, "/order", [("Cookie", cookie), ("Content-Type", "text/plain")], body: "csrf=\(token)"),
            ] {
                #expect(refused.status == 403 && refused.text.contains("X-CSRF-Token") && refused.text.hasSuffix("\n"))
            }
            for wrong in ["", "x", String(token.dropLast()), String(repeating: "A", count: 86)] {
                let refused = try await Self.post(client, "/order", [("Cookie", cookie), ("X-CSRF-Token", wrong)])
                #expect(refused.status == 403 && refused.text.contains("Load the page again"))
            }
            #expect(agent.sessions.values.first?.fields.map(\.name) == ["csrf"])
            let byHeader = try await Self.post(client, "/order", [("Cookie", cookie), ("X-CSRF-Token", token)], body: "x")
            #expect(byHeader.status == 200 && byHeader.text == "ordered x")
            let byForm = try await Self.post(client, "/order", [("Cookie", cookie), Self.form], body: "a=1&csrf=\(token)&b=2")
            #expect(byForm.status == 200 && byForm.text == "ordered a=1&csrf=\(token)&b=2")
        }
    }

    @Test func eachPageHasATokenOfItsOwnAndOldPagesStayGood() async throws {
        try await Self.withClient { client, _ in
            let (cookie, first) = try await Self.visitor(client)
            let second = try await client.execute(uri: "/form", method: .get, headers: [.cookie: cookie]) { response in
                #expect(response.headers[.setCookie] == nil)
                return String(buffer: response.body)
            }
            #expect(first != second)
            for token in [first, second] {
                #expect(try await Self.post(client, "/order", [("Cookie", cookie), ("X-CSRF-Token", token)]).status == 200)
            }
        }
    }

    @Test func aTokenEndsWithTheIdOfItsSessionAndIsNobodyElses() async throws {
        try await Self.withClient { client, _ in
            let (cookie, token) = try await Self.visitor(client)
            let (strangersCookie, strangersToken) = try await Self.visitor(client)
            #expect(try await Self.post(client, "/order", [("Cookie", cookie), ("X-CSRF-Token", strangersToken)]).status == 403)
            #expect(try await Self.post(client, "/order", [("Cookie", strangersCookie), ("X-CSRF-Token", token)]).status == 403)
            #expect(try await Self.post(client, "/order", [("X-CSRF-Token", token)]).status == 403)
            let login = try await Self.post(client, "/login", [("Cookie", cookie), ("X-CSRF-Token", token)])
            let moved = try #require(login.cookie)
            #expect(login.status == 200 && moved != cookie)
            #expect(try await Self.post(client, "/order", [("Cookie", moved), ("X-CSRF-Token", token)]).status == 403)
            #expect(try await Self.post(client, "/order", [("Cookie", moved), ("X-CSRF-Token", login.text)]).status == 200)
        }
    }

    @Test(arguments: [
        ("/order", [("Sec-Fetch-Site", "cross-site")], 403), ("/open/order", [("Sec-Fetch-Site", "cross-site")], 403),
        ("/open/order", [("Sec-Fetch-Site", "same-site")], 403),
        ("/open/order", [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://behind.a.proxy")], 200),
        ("/open/order", [("Sec-Fetch-Site", "none")], 200), ("/open/order", [], 200),
        ("/open/order", [("Origin", "null")], 403), ("/open/order", [("Origin", "https://evil.example")], 403),
        ("/open/order", [("Origin", "http://SHOP.test")], 200), ("/open/order", [("Origin", "http://shop.test:8080")], 403),
        ("/shared/order", [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://www.example")], 200),
        ("/shared/order", [("Sec-Fetch-Site", "same-site"), ("Origin", "http://shop.example")], 403),
        ("/shared/order", [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://shop.test")], 403),
    ]) func theOriginIsLookedAtBeforeTheMeshIsAsked(_ path: String, _ headers: [(String, String)], _ status: Int) async throws {
        try await Self.withClient { client, agent in
            let answer = try await RawConnection.open(port: client.port) { connection in
                let lines = ["POST \(path) HTTP/1.1", "Host: shop.test", "Cookie: sid=x", "Content-Length: 0"]
                try await connection.send((lines + headers.map { "\($0): \($1)" }).joined(separator: "\r\n") + "\r\n\r\n")
                return try await connection.readHead().first ?? ""
            }
            #expect(answer.contains(" \(status) "), "\(answer)")
            #expect(agent.requests.isEmpty)
        }
    }

    @Test(arguments: [HTTPRequest.Method.get, .head, .options, .trace])
    func whatChangesNothingPasses(_ method: HTTPRequest.Method) async throws {
        try await Self.withClient { client, _ in
            let headers = try Self.fields([("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")])
            let status = try await client.execute(uri: "/form", method: method, headers: headers) { $0.status }
            #expect(status != .forbidden)
        }
    }

    @Test func anOutageIsNoRefusal() async throws {
        try await Self.withClient { client, agent in
            let (cookie, token) = try await Self.visitor(client)
            agent.script { $0 == .ping ? .serve : .reply(.failure(ClientFailure(.unavailable, "no copy"))) }
            #expect(try await Self.post(client, "/order", [("Cookie", cookie), ("X-CSRF-Token", token)]).status == 503)
        }
    }

    @Test func aFormIsSearchedUpToItsBound() async throws {
        try await Self.withClient { client, _ in
            let (cookie, token) = try await Self.visitor(client)
            let long = "csrf=\(token)&a=" + String(repeating: "x", count: 1000)
            #expect(try await Self.post(client, "/order", [("Cookie", cookie), Self.form], body: long).status == 413)
            let byHeader = try await Self.post(client, "/order", [("Cookie", cookie), Self.form, ("X-CSRF-Token", token)], body: long)
            #expect(byHeader.status == 200)
        }
    }
}
