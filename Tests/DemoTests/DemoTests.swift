import Foundation
import HTTPTypes
import Hummingbird
import Logging
import MeshCore
import ScriptedAgent
import ServiceLifecycle
import SessionMesh
import Synchronization
import Testing

@testable import Demo

@Suite struct DemoTests {
    static let quiet: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }()

    /// The demo on a real port, linked to a scripted agent. It must have drained when this returns.
    static func withDemo(
        killSwitch: KillSwitch? = nil, _ body: @Sendable (Int, ScriptedAgent) async throws -> Void
    ) async throws {
        try await withSocketPath { path in
            let agent = try ScriptedAgent()
            try await agent.start(path: path)
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.connectionWaitMax = .seconds(20)
            configuration.requestTimeout = .seconds(30)
            let demo = DemoServer(name: "n1", mesh: SessionMesh(configuration: configuration), killSwitch: killSwitch)
            let port = Mutex(0)
            let app = demo.application(port: 0, logger: quiet) { listening in port.withLock { $0 = listening } }
            let group = ServiceGroup(configuration: ServiceGroupConfiguration(services: [app], logger: quiet))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                try await eventually("listening") { port.withLock { $0 } != 0 }
                let outcome: Result<Void, any Error>
                do { outcome = .success(try await body(port.withLock { $0 }, agent)) } catch { outcome = .failure(error) }
                await group.triggerGracefulShutdown()
                try await tasks.waitForAll()
                try outcome.get()
            }
            await agent.stop()
        }
    }

    struct Answer {
        var status: Int
        var headers: [String: String]
        var body: String

        func json<Value: Decodable>(_ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(type, from: Data(body.utf8))
        }
        var cookie: String? { headers["set-cookie"].map { String($0.prefix { $0 != ";" }) } }
    }

    static func ask(
        _ port: Int, _ method: String, _ path: String, cookie: String? = nil, headers: [String] = [], body: String = ""
    ) async throws -> Answer {
        try await RawConnection.open(port: port) { connection in
            var lines = ["\(method) \(path) HTTP/1.1", "Host: test", "Content-Length: \(body.utf8.count)"] + headers
            if let cookie { lines.append("Cookie: \(cookie)") }
            try await connection.send(lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
            let head = try await connection.readHead()
            var fields: [String: String] = [:]
            for line in head.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                fields[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
            }
            let text = String(decoding: try await connection.read(Int(fields["content-length"] ?? "0") ?? 0), as: UTF8.self)
            let status = Int(head.first?.split(separator: " ").dropFirst().first ?? "") ?? 0
            return Answer(status: status, headers: fields, body: text)
        }
    }

    @Test func theCounterCountsAndReadingItDoesNot() async throws {
        try await Self.withDemo { port, agent in
            let read = try await Self.ask(port, "GET", "/counter")
            #expect(try read.json(CounterAnswer.self) == CounterAnswer(count: 0, node: "n1", user: ""))
            #expect(read.cookie == nil && agent.sessions.isEmpty)
            let first = try await Self.ask(port, "POST", "/counter")
            #expect(try first.json(CounterAnswer.self).count == 1)
            let cookie = try #require(first.cookie)
            let second = try await Self.ask(port, "POST", "/counter", cookie: cookie)
            #expect(try second.json(CounterAnswer.self).count == 2)
            let third = try await Self.ask(port, "GET", "/counter", cookie: cookie)
            #expect(try third.json(CounterAnswer.self).count == 2)
        }
    }

    @Test func aLoginChangesTheIdKeepsTheCounterAndALogoutEndsIt() async throws {
        try await Self.withDemo { port, agent in
            let anonymous = try #require(try await Self.ask(port, "POST", "/counter").cookie)
            let login = try await Self.ask(port, "POST", "/login", cookie: anonymous, body: "user=J%C3%BCrgen+%3Cb%3E")
            #expect(login.status == 303 && login.headers["location"] == "/")
            let cookie = try #require(login.cookie)
            #expect(cookie != anonymous)
            let counter = try await Self.ask(port, "GET", "/counter", cookie: cookie).json(CounterAnswer.self)
            #expect(counter == CounterAnswer(count: 1, node: "n1", user: "Jürgen <b>"))
            #expect(try await Self.ask(port, "GET", "/counter", cookie: anonymous).json(CounterAnswer.self).count == 0)
            let me = try await Self.ask(port, "GET", "/whoami", cookie: cookie).json(WhoAmI.self)
            #expect(me.primary == "n1" && me.backup == "" && me.key.count == 8 && me.user == "Jürgen <b>")

            let logout = try await Self.ask(port, "POST", "/logout", cookie: cookie, headers: ["Accept: application/json"])
            #expect(try logout.json(UserAnswer.self) == UserAnswer(node: "n1", user: ""))
            #expect(logout.headers["set-cookie"]?.contains("Max-Age=0") == true)
            #expect(agent.sessions.isEmpty)
        }
    }

    @Test(arguments: ["", "user=", "name=ann", "user=a%0Ab", "user=" + String(repeating: "x", count: 65)])
    func aLoginWithoutAProperNameIsRefused(_ body: String) async throws {
        try await Self.withDemo { port, agent in
            let answer = try await Self.ask(port, "POST", "/login", body: body)
            #expect(answer.status == 400)
            #expect(answer.cookie == nil && agent.sessions.isEmpty)
        }
    }

    @Test func thePageIsGuardedAndCreatesNoSession() async throws {
        try await Self.withDemo { port, agent in
            let page = try await Self.ask(port, "GET", "/")
            #expect(page.status == 200 && page.cookie == nil)
            #expect(page.body.contains("<b>n1</b>") && page.body.contains("class=\"danger\" hidden"))
            #expect(page.headers["content-security-policy"]?.contains("default-src 'none'") == true)
            #expect(page.headers["x-content-type-options"] == "nosniff")
            #expect(!page.body.contains("//cdn") && !page.body.contains("src=\"http"))
            #expect(agent.sessions.isEmpty)
        }
        #expect(Page(node: "<script>'&\"", csrf: nil, nonce: "0").html.contains("&lt;script&gt;&#39;&amp;&quot;"))
    }

    @Test func theOtherRoutesAnswer() async throws {
        try await Self.withDemo { port, agent in
            #expect(try await Self.ask(port, "GET", "/healthz").status == 200)
            let nodes = try await Self.ask(port, "GET", "/nodes").json(Nodes.self)
            #expect(nodes.answered == "n1")
            #expect(nodes.nodes == [.init(name: "n1", status: "alive", role: "node", stage: "serving", address: "127.0.0.1:7946")])
            #expect(try await Self.ask(port, "GET", "/chat").status == 426)
            #expect(try await Self.ask(port, "POST", "/kill").status == 404)
            #expect(try await Self.ask(port, "GET", "/nowhere").status == 404)
            let foreign = try await Self.ask(port, "POST", "/counter", headers: ["Sec-Fetch-Site: cross-site"])
            #expect(foreign.status == 403)
            agent.script { $0 == .ping ? .serve : .reply(.failure(ClientFailure(.unavailable, "no copy"))) }
            for (method, path) in [("GET", "/nodes"), ("GET", "/whoami"), ("POST", "/counter")] {
                let answer = try await Self.ask(port, method, path, cookie: "sid=x")
                #expect(answer.status == 503 && answer.headers["retry-after"] == "1", "\(path)")
            }
        }
    }

    @Test func theDemoRegistersItsPort() async throws {
        try await Self.withDemo { port, agent in
            let expected = ClientRequest.register(service: "demo", address: "127.0.0.1:\(port)", weight: 1, cookieName: "sid")
            try await eventually("registered") { agent.requests.contains(expected) }
        }
    }

    @Test func aChatMessageReachesEverySocketOnce() async throws {
        try await Self.withDemo { port, agent in
            let login = try await Self.ask(port, "POST", "/login", body: "user=ann")
            let cookie = try #require(login.cookie)
            try await RawConnection.open(port: port) { ann in
                try await RawConnection.open(port: port) { guest in
                    let head = try await ann.upgrade("/chat", headers: ["Cookie: \(cookie)", "Origin: http://test"])
                    #expect(head.first?.contains("101") == true)
                    #expect(try await guest.upgrade("/chat").first?.contains("101") == true)
                    try await eventually("both subscribed") { agent.subscriberCount(of: "chat") == 1 }
                    // A socket is subscribed a moment after its 101; what is said before is not for it.
                    try await Self.untilHeard(&guest)
                    try await ann.send(text: "<b>hi</b> \"there\"")
                    let heard = try await Self.message(&guest)
                    #expect(heard.from == "ann" && heard.text == "<b>hi</b> \"there\"" && heard.id.count == 32)
                    var echoed = try await Self.message(&ann)
                    while echoed.text == "probe" { echoed = try await Self.message(&ann) }
                    #expect(echoed == heard)
                    try await guest.send(text: "hello")
                    #expect(try await Self.message(&ann) == (try await Self.message(&guest)))
                    try await guest.send(opcode: 2, [1])
                    #expect(try await guest.readCloseCode() == 1003)
                }
            }
        }
    }

    /// Says something until it comes back.
    static func untilHeard(_ socket: inout RawConnection) async throws {
        try await socket.send(text: "probe")
        #expect(try await message(&socket).text == "probe")
    }

    static func message(_ socket: inout RawConnection) async throws -> Chat.Message {
        try JSONDecoder().decode(Chat.Message.self, from: Data(try await socket.readText().utf8))
    }

    @Test func aStrangersPageMayNotOpenTheChat() async throws {
        try await Self.withDemo { port, _ in
            try await RawConnection.open(port: port) { socket in
                let head = try await socket.upgrade("/chat", headers: ["Origin: https://evil.example"])
                #expect(head.first?.contains("403") == true)
            }
        }
    }

    @Test func theKillButtonNeedsTheSessionsTokenAndWritesTheName() async throws {
        try await withSocketPath { path in
            #expect(mkfifo(path, 0o600) == 0)
            let reader = open(path, O_RDONLY | O_NONBLOCK)
            defer { close(reader) }
            try await Self.withDemo(killSwitch: KillSwitch(path: path)) { port, _ in
                let page = try await Self.ask(port, "GET", "/")
                let cookie = try #require(page.cookie)
                let token = try #require(page.body.firstMatch(of: /name="csrf" content="([A-Za-z0-9_-]{86})"/)?.1)
                let again = try await Self.ask(port, "GET", "/", cookie: cookie)
                #expect(!again.body.contains(token) && again.cookie == nil)
                for headers in [[], ["X-CSRF-Token: "], ["X-CSRF-Token: \(String(repeating: "0", count: 86))"]] {
                    #expect(try await Self.ask(port, "POST", "/kill", cookie: cookie, headers: headers).status == 403)
                }
                #expect(try await Self.ask(port, "POST", "/kill", headers: ["X-CSRF-Token: \(token)"]).status == 403)
                let killed = try await Self.ask(port, "POST", "/kill", cookie: cookie, headers: ["X-CSRF-Token: \(token)"])
                #expect(killed.status == 202)
            }
            var bytes = [UInt8](repeating: 0, count: 16)
            let count = read(reader, &bytes, bytes.count)
            #expect(bytes.prefix(max(0, count)).elementsEqual("n1\n".utf8))
        }
    }

    @Test func aKillSwitchMayBeASocketAndTellsWhenNobodyListens() async throws {
        try await withSocketPath { path in
            await #expect(throws: KillSwitch.Failure.self) { try await KillSwitch(path: path).pull("n1") }
            #expect(mkfifo(path + "f", 0o600) == 0)
            await #expect(throws: KillSwitch.Failure.self) { try await KillSwitch(path: path + "f").pull("n1") }
            let agent = try ScriptedAgent()
            try await agent.start(path: path)
            try await KillSwitch(path: path).pull("n1")
            await agent.stop()
        }
    }

    @Test func openChatsEndWith1001WhenTheDemoShutsDown() async throws {
        try await withSocketPath { path in
            let agent = try ScriptedAgent()
            try await agent.start(path: path)
            let demo = DemoServer(
                name: "n1", mesh: SessionMesh(configuration: SessionMeshConfiguration(agent: .unix(path: path))), killSwitch: nil)
            let port = Mutex(0)
            let app = demo.application(port: 0, logger: Self.quiet) { listening in port.withLock { $0 = listening } }
            let group = ServiceGroup(configuration: ServiceGroupConfiguration(services: [app], logger: Self.quiet))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                try await eventually("listening") { port.withLock { $0 } != 0 }
                try await RawConnection.open(port: port.withLock { $0 }) { socket in
                    _ = try await socket.upgrade("/chat")
                    try await Self.untilHeard(&socket)
                    await group.triggerGracefulShutdown()
                    #expect(try await socket.readCloseCode() == 1001)
                }
                try await tasks.waitForAll()
            }
            await agent.stop()
        }
    }
}
