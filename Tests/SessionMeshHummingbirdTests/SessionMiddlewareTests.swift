import HTTPTypes
import Hummingbird
import LogCapture
import Logging
import MeshCore
import ScriptedAgent
import SessionMesh
import SessionMeshHummingbird
import Testing

struct TestContext: SessionRequestContext {
    var coreContext: CoreRequestContextStorage
    var sessionStorage = SessionStorage()

    init(source: Source) { coreContext = CoreRequestContextStorage(source: source) }
}

@Suite struct SessionMiddlewareTests {
    static let visits = SessionCounter("visits")
    static let seats = SessionField<Int>("seats")
    static let code = SessionField<String>("code")

    struct Broken: Error {}

    static func router(_ mesh: SessionMesh) -> Router<TestContext> {
        let router = Router(context: TestContext.self)
        let guarded = router.group().add(middleware: SessionMiddleware(mesh))
        guarded.get("static") { _, _ in "no session needed" }
        guarded.get("read") { _, context in
            try await context.session.load()[visits].description
        }
        guarded.post("count") { _, context in
            try await context.session.update { $0.increment(visits) }
            return "counted"
        }
        guarded.post("count-now") { _, context in
            try await context.session.update { $0.increment(visits) }
            return try await context.session.commit()[visits].map(String.init) ?? "none"
        }
        guarded.post("commit-then-fail") { _, context -> String in
            try await context.session.update { $0.increment(visits) }
            try await context.session.commit()
            throw HTTPError(.badRequest, message: "after all")
        }
        guarded.post("commit-then-crash") { _, context -> String in
            try await context.session.update { $0.increment(visits) }
            try await context.session.commit()
            throw Broken()
        }
        guarded.post("commit-then-misuse") { _, context -> String in
            try await context.session.update { $0.increment(visits) }
            try await context.session.commit()
            throw SessionError(.invalid, "misused")
        }
        guarded.post("count-after-login") { request, context in
            _ = try await context.session.load()
            // Another request of this visitor moves the session to a new id meanwhile.
            var other = try await mesh.open(of: request.head)
            other.regenerate()
            _ = try await mesh.commit(&other)
            try await context.session.update { $0.increment(visits) }
            return "too late"
        }
        guarded.post("fail") { _, context -> String in
            try await context.session.update { $0.increment(visits) }
            throw HTTPError(.badRequest)
        }
        guarded.post("logout") { _, context in
            try await context.session.update { $0.destroy() }
            return "bye"
        }
        guarded.post("book") { _, context in
            let isBooked = try await context.session.update(seats) { seats in
                let free = seats ?? 3
                seats = max(0, free - 1)
                return free > 0
            }
            return isBooked ? "booked" : "none left"
        }
        guarded.post("invite") { _, context in
            try await context.session.update { $0[code] = "123456" }
            return "invited"
        }
        guarded.post("redeem") { _, context in try await context.session.consume(code) ?? "none" }
        guarded.post("late") { _, context in
            Response(
                status: .ok,
                body: ResponseBody { writer in
                    do { try await context.session.update { $0.increment(visits) } } catch {
                        try await writer.write(ByteBuffer(string: "\(error)"))
                    }
                    try await writer.finish(nil)
                })
        }
        router.get("outside") { _, context in
            do { return try await context.session.load()[visits].description } catch { return "\(error)" }
        }
        return router
    }

    static func withClient(
        log: LogCapture = LogCapture(), _ configure: @Sendable (inout SessionMeshConfiguration) -> Void = { _ in },
        _ body: @escaping @Sendable (TestClient, SessionMesh, ScriptedAgent) async throws -> Void
    ) async throws {
        try await withLinkedMesh(configure) { mesh, agent in
            try await withServer(router(mesh).buildResponder(), log: log) { port, _ in
                try await body(TestClient(port: port), mesh, agent)
            }
        }
    }

    static func cookie(_ response: TestResponse) throws -> String {
        let header = try #require(response.headers[.setCookie])
        return String(header.prefix { $0 != ";" })
    }

    @Test func theSessionIsLoadedOnlyWhenSomebodyAsks() async throws {
        try await Self.withClient { client, _, agent in
            let response = try await client.execute(uri: "/static", method: .get, headers: [.cookie: "sid=x"]) { $0 }
            #expect(response.status == .ok && response.headers[.setCookie] == nil)
            #expect(agent.requests.isEmpty)
            _ = try await client.execute(uri: "/read", method: .get, headers: [.cookie: "a=b; sid=x"]) { response in
                #expect(response.headers[.setCookie] == nil)
                #expect(String(buffer: response.body) == "0")
            }
            #expect(agent.requests == [.open(cookie: Array("x".utf8))])
        }
    }

    @Test func aCookieThatWasSignedAnewIsSetByAPageThatOnlyReads() async throws {
        try await Self.withClient { client, _, agent in
            let first = try await client.execute(uri: "/count", method: .post) { $0 }
            let cookie = try Self.cookie(first)
            let snapshot = try #require(agent.sessions.values.first)
            agent.script { $0.kind == .open ? .reply(.opened(snapshot, cookie: "renewed")) : .serve }
            let read = try await client.execute(uri: "/read", method: .get, headers: [.cookie: cookie]) { $0 }
            #expect(String(buffer: read.body) == "1")
            #expect(try Self.cookie(read) == "sid=renewed" && read.headers[.cacheControl] == "private")
            let untouched = try await client.execute(uri: "/static", method: .get, headers: [.cookie: cookie]) { $0 }
            #expect(untouched.headers[.setCookie] == nil)
        }
    }

    @Test func aFirstWriteSetsTheCookieAndLaterOnesDoNot() async throws {
        try await Self.withClient { client, _, _ in
            let first = try await client.execute(uri: "/count", method: .post) { $0 }
            let header = try #require(first.headers[.setCookie])
            #expect(header.hasPrefix("sid=") && header.hasSuffix("; Path=/; HttpOnly; SameSite=Lax"))
            #expect(first.headers[.cacheControl] == "private")
            let cookie = try Self.cookie(first)
            let second = try await client.execute(uri: "/count-now", method: .post, headers: [.cookie: cookie]) { $0 }
            #expect(String(buffer: second.body) == "2")
            #expect(second.headers[.setCookie] == nil)
            let read = try await client.execute(uri: "/read", method: .get, headers: [.cookie: cookie]) { $0 }
            #expect(String(buffer: read.body) == "2")
        }
    }

    @Test func theCookieIsSecureWhenTheBalancerSaysHTTPS() async throws {
        try await Self.withClient { client, _, _ in
            let proto = try #require(HTTPField.Name("X-Forwarded-Proto"))
            let response = try await client.execute(uri: "/count", method: .post, headers: [proto: "https"]) { $0 }
            #expect(response.headers[.setCookie]?.hasSuffix("; Secure") == true)
        }
        try await Self.withClient {
            $0.cookie.secure = .always
        } _: { client, _, _ in
            let response = try await client.execute(uri: "/count", method: .post) { $0 }
            #expect(response.headers[.setCookie]?.hasPrefix("__Host-sid=") == true)
        }
    }

    @Test func anOutageIs503AndKeepsTheCookie() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            agent.script { $0 == .ping ? .serve : .reply(.failure(ClientFailure(.unavailable, "no copy"))) }
            for (path, method) in [("/read", HTTPRequest.Method.get), ("/count", .post), ("/count-now", .post), ("/logout", .post)] {
                let response = try await client.execute(uri: path, method: method, headers: [.cookie: cookie]) { $0 }
                #expect(response.status == .serviceUnavailable)
                #expect(response.headers[.retryAfter] == "1")
                #expect(response.headers[.setCookie] == nil)
            }
            let anonymous = try await client.execute(uri: "/static", method: .get) { $0 }
            #expect(anonymous.status == .ok)
            agent.serve()
            let read = try await client.execute(uri: "/read", method: .get, headers: [.cookie: cookie]) { $0 }
            #expect(String(buffer: read.body) == "1")
        }
    }

    @Test func aFailedCommitReplacesTheResponse() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            agent.script { $0.kind == .commit ? .reply(.failure(ClientFailure(.unavailable, "no backup"))) : .serve }
            let response = try await client.execute(uri: "/count", method: .post, headers: [.cookie: cookie]) { $0 }
            #expect(response.status == .serviceUnavailable)
            #expect(!String(buffer: response.body).contains("counted"))
        }
    }

    @Test func aDestroyedSessionTakesItsCookieAlong() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            let response = try await client.execute(uri: "/logout", method: .post, headers: [.cookie: cookie]) { $0 }
            #expect(response.headers[.setCookie]?.hasSuffix("; Max-Age=0") == true)
            #expect(agent.sessions.isEmpty)
        }
    }

    @Test func aSessionThatEndedMeanwhileIs409AndNotBroughtBack() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            agent.script { $0.kind == .commit ? .reply(.failure(ClientFailure(.notFound, "gone"))) : .serve }
            let response = try await client.execute(uri: "/count", method: .post, headers: [.cookie: cookie]) { $0 }
            #expect(response.status == .conflict)
            #expect(response.headers[.setCookie] == nil)
        }
    }

    @Test func aSlowRequestOfTheOldIdDoesNotDeleteTheNewCookie() async throws {
        try await Self.withClient { client, _, agent in
            let old = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            let slow = try await client.execute(uri: "/count-after-login", method: .post, headers: [.cookie: old]) { $0 }
            #expect(slow.status == .conflict && slow.headers[.setCookie] == nil)
            #expect(agent.sessions.count == 1)
        }
    }

    @Test func aLogoutTakesTheCookieAwayAlsoWhenTheSessionHasEndedBefore() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/count", method: .post) { try Self.cookie($0) }
            for _ in 1...2 {
                let response = try await client.execute(uri: "/logout", method: .post, headers: [.cookie: cookie]) { $0 }
                #expect(response.status == .ok && response.headers[.setCookie]?.hasSuffix("; Max-Age=0") == true)
            }
        }
    }

    @Test func withoutAnAgentACookieIs503AndStaysAndNoCookieIsServed() async throws {
        try await withSocketPath { path in
            let mesh = SessionMesh(configuration: SessionMeshConfiguration(agent: .unix(path: path)), logger: LogCapture().logger(.warning))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await mesh.run() }
                try await withServer(Self.router(mesh).buildResponder()) { port, _ in
                    let client = TestClient(port: port)
                    let response = try await client.execute(uri: "/read", method: .get, headers: [.cookie: "sid=x"]) { $0 }
                    #expect(response.status == .serviceUnavailable && response.headers[.retryAfter] == "1")
                    #expect(response.headers[.setCookie] == nil)
                    let anonymous = try await client.execute(uri: "/read", method: .get) { $0 }
                    #expect(anonymous.status == .ok && String(buffer: anonymous.body) == "0")
                }
                tasks.cancelAll()
            }
        }
    }

    @Test func aHandlerThatThrowsAnythingKeepsACommittedCookieAndIsLoggedOnce() async throws {
        let log = LogCapture()
        try await Self.withClient(log: log) { client, _, agent in
            for (count, path) in ["/commit-then-crash", "/commit-then-misuse"].enumerated() {
                let response = try await client.execute(uri: path, method: .post) { $0 }
                #expect(response.status == .internalServerError)
                #expect(response.body.readableBytes == 0)
                #expect(response.headers[.setCookie]?.hasPrefix("sid=") == true)
                #expect(agent.sessions.count == count + 1)
            }
        }
        #expect(log.lines.map(\.level) == [.error, .error])
        #expect(log.lines.first?.metadata["error"]?.description.contains("Broken") == true)
    }

    @Test func whatAFailingHandlerCommittedKeepsItsCookieAndWhatItDidNotIsDropped() async throws {
        try await Self.withClient { client, _, agent in
            let dropped = try await client.execute(uri: "/fail", method: .post) { $0 }
            #expect(dropped.status == .badRequest && dropped.headers[.setCookie] == nil)
            #expect(agent.sessions.isEmpty)
            let kept = try await client.execute(uri: "/commit-then-fail", method: .post) { $0 }
            #expect(kept.status == .badRequest && kept.headers[.setCookie] != nil)
            #expect(agent.sessions.count == 1)
        }
    }

    @Test func whatDependsOnTheValueBeforeIsDoneByOneRequestAtATime() async throws {
        try await Self.withClient { client, _, _ in
            // The first one makes the session and so sets the cookie.
            let first = try await client.execute(uri: "/book", method: .post) { $0 }
            let cookie = try Self.cookie(first)
            let answers = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        try await client.execute(uri: "/book", method: .post, headers: [.cookie: cookie]) { String(buffer: $0.body) }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(String(buffer: first.body) == "booked" && answers.count { $0 == "booked" } == 2)
            #expect(answers.count { $0 == "none left" } == 8)
            _ = try await client.execute(uri: "/invite", method: .post, headers: [.cookie: cookie]) { $0 }
            for expected in ["123456", "none"] {
                let redeemed = try await client.execute(uri: "/redeem", method: .post, headers: [.cookie: cookie]) {
                    String(buffer: $0.body)
                }
                #expect(redeemed == expected)
            }
        }
    }

    @Test func anUpdateThatGetsNoTurnIs503AndKeepsTheCookie() async throws {
        try await Self.withClient { client, _, agent in
            let cookie = try await client.execute(uri: "/book", method: .post) { try Self.cookie($0) }
            agent.script { $0.kind == .commit ? .reply(.conflict([.init(name: "seats", value: .bytes(Array("1".utf8)))])) : .serve }
            let contended = try await client.execute(uri: "/book", method: .post, headers: [.cookie: cookie]) { $0 }
            #expect(contended.status == .serviceUnavailable && contended.headers[.retryAfter] == "1")
            #expect(contended.headers[.setCookie] == nil)
        }
    }

    @Test func aRollingCookieIsSetWithEachAnswerThatUsedTheSessionAndAFixedOneOnce() async throws {
        for (lifetime, again) in [
            (SessionCookie.Lifetime.rolling(.seconds(3600)), true), (.fixed(.seconds(3600)), false), (.browser, false),
        ] {
            try await Self.withClient {
                $0.cookie.lifetime = lifetime
            } _: { client, _, _ in
                let first = try await client.execute(uri: "/count", method: .post) { $0 }
                #expect(first.headers[.setCookie]?.contains("Max-Age=3600") == (lifetime != .browser))
                let cookie = try Self.cookie(first)
                for (path, method) in [("/count", HTTPRequest.Method.post), ("/read", .get)] {
                    let next = try await client.execute(uri: path, method: method, headers: [.cookie: cookie]) { $0 }
                    #expect((next.headers[.setCookie] != nil) == again)
                    if again { #expect(next.headers[.setCookie]?.hasPrefix("\(cookie); ") == true) }
                }
                for (path, headers) in [("/static", [.cookie: cookie]), ("/read", [:]), ("/read", [.cookie: "sid=unknown"])]
                    as [(String, HTTPFields)]
                {
                    let other = try await client.execute(uri: path, method: .get, headers: headers) { $0 }
                    #expect(other.headers[.setCookie] == nil)
                }
                let gone = try await client.execute(uri: "/logout", method: .post, headers: [.cookie: cookie]) { $0 }
                #expect(gone.headers[.setCookie]?.hasSuffix("Max-Age=0") == true)
            }
        }
    }

    @Test func aChangeAfterTheHeadIsRefused() async throws {
        try await Self.withClient { client, _, agent in
            let response = try await client.execute(uri: "/late", method: .post) { $0 }
            #expect(String(buffer: response.body).contains("the response has begun"))
            #expect(agent.sessions.isEmpty)
        }
    }

    @Test func withoutTheMiddlewareTheErrorSaysWhatToDo() async throws {
        try await Self.withClient { client, _, _ in
            let response = try await client.execute(uri: "/outside", method: .get) { $0 }
            #expect(String(buffer: response.body).contains("add SessionMiddleware"))
        }
    }
}
