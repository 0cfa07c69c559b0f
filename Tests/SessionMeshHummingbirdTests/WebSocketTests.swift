import HTTPTypes
import Hummingbird
import HummingbirdCore
import MeshCore
import NIOCore
import NIOWebSocket
import ScriptedAgent
import SessionMesh
import Synchronization
import Testing

@testable import SessionMeshHummingbird

@Suite struct WebSocketAssemblerTests {
    static func frame(
        _ opcode: WebSocketOpcode, _ bytes: [UInt8] = [], isLast: Bool = true, isMasked: Bool = true, reserved: Bool = false
    ) -> WebSocketFrame {
        let mask: WebSocketMaskingKey = [9, 8, 7, 6]
        var data = ByteBuffer(bytes: bytes)
        data.webSocketMask(mask)
        return WebSocketFrame(
            fin: isLast, rsv1: reserved, opcode: opcode, maskKey: isMasked ? mask : nil, data: isMasked ? data : ByteBuffer(bytes: bytes))
    }

    static func failure(_ frames: WebSocketFrame..., limits: WebSocketLimits = WebSocketLimits()) -> WebSocketCloseCode? {
        var assembler = WebSocketAssembler(limits: limits)
        var last = WebSocketAssembler.Action.wait
        for frame in frames { last = assembler.receive(frame) }
        guard case .fail(let code, _) = last else { return nil }
        return code
    }

    @Test func fragmentsBecomeOneMessageEvenWithAPingBetween() {
        var assembler = WebSocketAssembler(limits: WebSocketLimits())
        let bytes = Array("häuser".utf8)
        #expect(assembler.receive(Self.frame(.text, Array(bytes.prefix(2)), isLast: false)) == .wait)
        #expect(assembler.receive(Self.frame(.ping, [7])) == .pong(ByteBuffer(bytes: [7])))
        #expect(assembler.receive(Self.frame(.continuation, Array(bytes.dropFirst(2).prefix(1)), isLast: false)) == .wait)
        #expect(assembler.receive(Self.frame(.continuation, Array(bytes.dropFirst(3)))) == .deliver(.text("häuser")))
        #expect(assembler.receive(Self.frame(.binary, [0, 255])) == .deliver(.binary(ByteBuffer(bytes: [0, 255]))))
        #expect(assembler.receive(Self.frame(.text)) == .deliver(.text("")))
    }

    @Test func violationsAreClosedWithTheirCodes() {
        #expect(Self.failure(Self.frame(.text, [65], isMasked: false)) == .protocolError)
        #expect(Self.failure(Self.frame(.text, [65], reserved: true)) == .protocolError)
        #expect(Self.failure(Self.frame(.continuation, [65])) == .protocolError)
        #expect(Self.failure(Self.frame(.text, [65], isLast: false), Self.frame(.text, [65])) == .protocolError)
        for opcode: UInt8 in [3, 7, 11, 15] {
            #expect(WebSocketOpcode(encodedWebSocketOpcode: opcode).flatMap { Self.failure(Self.frame($0)) } == .protocolError)
        }
        #expect(Self.failure(Self.frame(.text, [0xC3, 0x28])) == .invalidPayload)
        #expect(Self.failure(Self.frame(.connectionClose, [3])) == .protocolError)
        for code: UInt16 in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            #expect(Self.failure(Self.frame(.connectionClose, [UInt8(code >> 8), UInt8(code & 0xFF)])) == .protocolError)
        }
        #expect(Self.failure(Self.frame(.connectionClose, [3, 0xE8, 0xFF])) == .invalidPayload)
        var textOnly = WebSocketLimits()
        textOnly.acceptsBinary = false
        #expect(Self.failure(Self.frame(.binary, [1]), limits: textOnly) == .unsupportedData)
    }

    @Test func aMessageIsBoundedHoweverItIsCut() {
        var limits = WebSocketLimits()
        limits.messageBytesMax = 10
        #expect(Self.failure(Self.frame(.text, [UInt8](repeating: 65, count: 11)), limits: limits) == .messageTooBig)
        #expect(
            Self.failure(
                Self.frame(.text, [UInt8](repeating: 65, count: 6), isLast: false),
                Self.frame(.continuation, [UInt8](repeating: 65, count: 5), isLast: false), limits: limits) == .messageTooBig)
        #expect(Self.failure(Self.frame(.text, [UInt8](repeating: 65, count: 10)), limits: limits) == nil)
    }
}

@Suite struct WebSocketTests {
    enum Failed: Error { case onPurpose }

    static var responder: some HTTPResponder<BasicRequestContext> {
        let router = Router()
        router.get("hello") { _, _ in "world" }
        router.post("post") { request, _ in String(buffer: try await request.body.collect(upTo: 100)) }
        return router.buildResponder()
    }

    static let echo: @Sendable (WebSocketConnection) async throws -> Void = { connection in
        for try await message in connection.messages {
            switch message {
            case .text("fail"): throw Failed.onPurpose
            case .text("return"): return
            case .text("bye"): try await connection.close(code: WebSocketCloseCode(rawValue: 4000), reason: "as you wish")
            case .text(let text): try await connection.write(text: text)
            case .binary(let bytes): try await connection.write(binary: bytes)
            }
        }
    }

    static func server(
        _ configuration: WebSocketHTTPChannel.Configuration = .init(),
        _ handler: @escaping @Sendable (WebSocketConnection) async throws -> Void = echo
    ) -> HTTPServerBuilder {
        .http1WebSocket(configuration: configuration) { request in
            switch request.path {
            case "/echo": .accept(handler)
            case "/private": .refuse(.unauthorized)
            case "/outage": throw SessionError(.unavailable, "no copy")
            case "/bug": throw Failed.onPurpose
            default: .pass
            }
        }
    }

    static func withSocket(
        _ configuration: WebSocketHTTPChannel.Configuration = .init(),
        _ handler: @escaping @Sendable (WebSocketConnection) async throws -> Void = echo,
        _ body: @escaping @Sendable (inout RawConnection) async throws -> Void
    ) async throws {
        try await withServer(responder, server: server(configuration, handler)) { port, _ in
            try await RawConnection.open(port: port) { socket in
                let head = try await socket.upgrade("/echo")
                #expect(head.first == "HTTP/1.1 101 Switching Protocols")
                #expect(head.contains { $0.lowercased() == "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" })
                try await body(&socket)
            }
        }
    }

    @Test func messagesOfEverySizeComeBack() async throws {
        try await Self.withSocket { socket in
            for count in [0, 1, 125, 126, 65_535, 65_536] {
                try await socket.send(opcode: 2, [UInt8](repeating: 7, count: count))
                let frame = try await socket.readFrame()
                #expect(frame.opcode == 2 && frame.payload.count == count)
            }
            try await socket.send(text: "grüß dich")
            #expect(try await socket.readText() == "grüß dich")
        }
    }

    @Test func fragmentsAreAssembledAndPingsAnswered() async throws {
        try await Self.withSocket { socket in
            try await socket.send(opcode: 1, Array("hel".utf8), isLast: false)
            try await socket.send(opcode: 9, [1, 2])
            try await socket.send(opcode: 0, Array("lo".utf8))
            let pong = try await socket.readFrame()
            #expect(pong.opcode == 10 && pong.payload == [1, 2])
            #expect(try await socket.readText() == "hello")
        }
    }

    @Test func bytesBehindTheRequestAreNotLost() async throws {
        try await withServer(Self.responder, server: Self.server()) { port, _ in
            try await RawConnection.open(port: port) { socket in
                let request = [
                    "GET /echo HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
                ]
                let frame: [UInt8] = [0x81, 0x82, 0, 0, 0, 0] + Array("hi".utf8)
                try await socket.send(Array(request.joined(separator: "\r\n").utf8) + frame)
                _ = try await socket.readHead()
                #expect(try await socket.readText() == "hi")
            }
        }
    }

    @Test func thePeersCloseIsEchoed() async throws {
        try await Self.withSocket { socket in
            try await socket.send(opcode: 8, [0x0F, 0xA1])
            #expect(try await socket.readCloseCode() == 4001)
            #expect(await socket.isAtEnd())
        }
        try await Self.withSocket { socket in
            try await socket.send(opcode: 8, [])
            let frame = try await socket.readFrame()
            #expect(frame.opcode == 8 && frame.payload.isEmpty)
            #expect(await socket.isAtEnd())
        }
    }

    @Test(arguments: [("return", 1000), ("fail", 1011), ("bye", 4000)])
    func theHandlerDecidesTheCode(_ word: String, _ code: Int) async throws {
        try await Self.withSocket { socket in
            try await socket.send(text: word)
            #expect(try await socket.readCloseCode() == code)
            try await socket.send(text: "too late")
            try await socket.send(opcode: 8, [UInt8(code >> 8), UInt8(code & 0xFF)])
            #expect(await socket.isAtEnd())
        }
    }

    @Test func violationsAreClosedWithTheirCodesOnTheWire() async throws {
        let violations: [([UInt8], Int)] = [
            ([0x81, 0x01, 65], 1002),  // not masked
            ([0xC1, 0x80, 0, 0, 0, 0], 1002),  // a reserved bit
            ([0x80, 0x80, 0, 0, 0, 0], 1002),  // nothing to continue
            ([0x83, 0x80, 0, 0, 0, 0], 1002),  // unknown opcode
            ([0x09, 0x80, 0, 0, 0, 0], 1002),  // a ping in fragments
            ([0x89, 0xFE, 0, 126, 0, 0, 0, 0], 1002),  // a ping of 126 bytes
            ([0x88, 0x81, 0, 0, 0, 0, 3], 1002),  // half a close code
            ([0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28], 1007),  // not UTF-8
            ([0x82, 0x80, 0, 0, 0, 0], 1003),  // binary
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009),  // 65537 bytes announced
            ([0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], 1009),
        ]
        var configuration = WebSocketHTTPChannel.Configuration()
        configuration.limits.acceptsBinary = false
        for (bytes, code) in violations {
            try await Self.withSocket(configuration) { socket in
                try await socket.send(bytes)
                let received = try await socket.readCloseCode()
                #expect(received == code, "\(bytes)")
                #expect(await socket.isAtEnd())
            }
        }
    }

    @Test func randomBytesNeverBringTheServerDown() async throws {
        try await withServer(Self.responder, server: Self.server()) { port, _ in
            for seed in UInt64(0)..<40 {
                let junk = try await RawConnection.open(port: port) { socket in
                    var generator = SeededGenerator(seed: seed)
                    if seed.isMultiple(of: 2) { _ = try await socket.upgrade("/echo") }
                    let junk = (0..<300).map { _ in UInt8.random(in: 0...255, using: &generator) }
                    try await socket.send(junk)
                    return junk
                }
                #expect(junk.count == 300)
            }
            try await RawConnection.open(port: port) { socket in
                _ = try await socket.upgrade("/echo")
                try await socket.send(text: "alive")
                #expect(try await socket.readText() == "alive")
            }
        }
    }

    @Test(arguments: [
        ("/private", [], "401"), ("/outage", [], "503"), ("/bug", [], "500"), ("/echo", ["Origin: https://evil.example"], "403"),
        ("/echo", ["Origin: null"], "403"), ("/echo", ["Origin: https://test"], "101"), ("/hello", [], "200"), ("/nowhere", [], "404"),
    ]) func originAndAuthorisationComeBeforeThe101(_ path: String, _ headers: [String], _ status: String) async throws {
        try await withServer(Self.responder, server: Self.server()) { port, _ in
            try await RawConnection.open(port: port) { socket in
                let head = try await socket.upgrade(path, headers: headers)
                #expect(head.first?.contains(" \(status) ") == true, "\(head)")
                #expect((status == "503") == head.contains { $0.lowercased() == "retry-after: 1" })
            }
        }
    }

    @Test func otherOriginsMayBeAllowed() throws {
        let request = HTTPRequest(
            method: .get, scheme: "http", authority: "a.example", path: "/",
            headerFields: [try #require(HTTPField.Name("Origin")): "https://b.example"])
        #expect(!AllowedOrigins.sameHost.allows(request))
        #expect(AllowedOrigins.any.allows(request))
        #expect(AllowedOrigins.these(["https://b.example"]).allows(request))
        #expect(!AllowedOrigins.these(["http://b.example"]).allows(request))
    }

    @Test func ordinaryRequestsAreServedOnTheSamePort() async throws {
        try await withServer(Self.responder, server: Self.server()) { port, _ in
            try await RawConnection.open(port: port) { socket in
                for _ in 0..<3 {
                    try await socket.send("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
                    #expect(try await socket.readHead().first == "HTTP/1.1 200 OK")
                    #expect(try await socket.read(5) == Array("world".utf8))
                }
            }
            try await RawConnection.open(port: port) { socket in
                try await socket.send("NONSENSE\r\n\r\n")
                #expect(try await socket.readHead().first?.contains(" 400 ") == true)
                #expect(await socket.isAtEnd())
            }
        }
    }

    /// NIO's upgrade handler alone would swallow each of these.
    @Test(arguments: [
        "GET /hello HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
        "POST /post HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nworld",
        "POST /post HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nworld",
    ]) func aRequestThatIsNotUpgradedIsServedNonetheless(_ request: String) async throws {
        try await withServer(Self.responder, server: Self.server()) { port, _ in
            try await RawConnection.open(port: port) { socket in
                try await socket.send(request)
                let head = try await socket.readHead()
                #expect(head.first == "HTTP/1.1 200 OK")
                #expect(try await socket.read(5) == Array("world".utf8))
                if request.contains("Upgrade") {
                    #expect(head.contains { $0.lowercased() == "connection: close" })
                    #expect(await socket.isAtEnd())
                } else {
                    try await socket.send("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
                    #expect(try await socket.readHead().first == "HTTP/1.1 200 OK")
                }
            }
        }
    }

    @Test func aShutdownClosesWith1001AndEndsIdleConnections() async throws {
        let ended = Mutex(false)
        let handler: @Sendable (WebSocketConnection) async throws -> Void = { connection in
            for try await _ in connection.messages {}
            ended.withLock { $0 = true }
        }
        try await withServer(Self.responder, server: Self.server(.init(), handler)) { port, shutDown in
            try await RawConnection.open(port: port) { idle in
                try await RawConnection.open(port: port) { socket in
                    _ = try await socket.upgrade("/echo")
                    await shutDown()
                    #expect(try await socket.readCloseCode() == 1001)
                    try await socket.send(opcode: 8, [0x03, 0xE9])
                    #expect(await socket.isAtEnd())
                }
            }
        }
        #expect(ended.withLock { $0 })
    }

    @Test func aSilentPeerIsPingedAndThenDropped() async throws {
        var configuration = WebSocketHTTPChannel.Configuration()
        configuration.limits.pingInterval = .milliseconds(50)
        configuration.limits.pongTimeout = .milliseconds(50)
        try await Self.withSocket(configuration) { socket in
            var pings = 0
            while !(await socket.isAtEnd()) {
                let frame = try await socket.readFrame()
                #expect(frame.opcode == 9)
                pings += 1
            }
            #expect(pings >= 1)
        }
    }

    @Test func aPeerThatAnswersPingsStays() async throws {
        var configuration = WebSocketHTTPChannel.Configuration()
        configuration.limits.pingInterval = .milliseconds(20)
        configuration.limits.pongTimeout = .seconds(20)
        try await Self.withSocket(configuration) { socket in
            for _ in 0..<5 {
                #expect(try await socket.readFrame().opcode == 9)
                try await socket.send(opcode: 10, [])
            }
        }
    }

    @Test func aConnectionWithoutARequestIsDropped() async throws {
        var configuration = WebSocketHTTPChannel.Configuration()
        configuration.firstRequestTimeout = .milliseconds(100)
        try await withServer(Self.responder, server: Self.server(configuration)) { port, _ in
            try await RawConnection.open(port: port) { socket in
                try await socket.send("GET /hello HTTP/1.1\r\n")
                #expect(await socket.isAtEnd())
            }
        }
    }

    /// The peer reads nothing: the writer must come to a stop instead of filling memory.
    @Test func aPeerThatReadsNothingMakesTheWriterWait() async throws {
        let written = Mutex(0)
        let flood: @Sendable (WebSocketConnection) async throws -> Void = { connection in
            let bytes = ByteBuffer(repeating: 0, count: 64 * 1024)
            while true {
                try await connection.write(binary: bytes)
                written.withLock { $0 += 1 }
            }
        }
        try await Self.withSocket(.init(), flood) { _ in
            // Loopback takes some MiB; unbounded, this would be many thousands within the time that two equal looks take.
            var last = -1
            try await eventually("the writer waits") {
                try await Task.sleep(for: .milliseconds(300))
                let now = written.withLock { $0 }
                defer { last = now }
                return now > 0 && now == last
            }
            #expect(written.withLock { $0 } < 2000)
        }
    }

    @Test func aWebSocketMayLookUpItsSession() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.bind(user: "ann")
            let cookie = try #require(try await mesh.commit(&session).setCookie)
            let server = HTTPServerBuilder.http1WebSocket { request in
                let session = try await mesh.open(of: request)
                guard let user = session.user else { return .refuse(.forbidden) }
                return .accept { connection in try await connection.write(text: "hello \(user)") }
            }
            try await withServer(Self.responder, server: server) { port, _ in
                try await RawConnection.open(port: port) { socket in
                    let head = try await socket.upgrade("/", headers: ["Cookie: \(cookie.name)=\(cookie.value)"])
                    #expect(head.first?.contains("101") == true)
                    #expect(try await socket.readText() == "hello ann")
                    #expect(try await socket.readCloseCode() == 1000)
                }
                try await RawConnection.open(port: port) { socket in
                    let head = try await socket.upgrade("/")
                    #expect(head.first?.contains("403") == true)
                }
            }
        }
    }
}
