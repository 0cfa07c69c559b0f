import Dispatch
import Glibc
import MeshBalancer
import MeshCore
import Testing

@Suite struct TunnelTests {
    static let handshake =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    static let accepted =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

    /// Accepts, says "hi", and sends back what it gets until the client finishes.
    static func echoing() throws -> Origin {
        try Origin { wire, origin in
            guard let request = try wire.readMessage() else { return }
            origin.saw(request)
            try wire.send(accepted + "hi")
            while let byte = try? wire.read(1) { try wire.send(byte) }
            try wire.send("bye")
        }
    }

    // Ancestors' scenario 29.
    @Test func bytesPassBothWaysAndEachSideMayFinishFirst() throws {
        let origin = try Self.echoing()
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        // The first frame does not wait for the 101.
        try client.send(Self.handshake + "early")
        let head = try #require(try client.readHead())
        #expect(head.hasPrefix("HTTP/1.1 101 "))
        #expect(head.contains("Upgrade: websocket\r\n"))
        #expect(head.contains("Connection: Upgrade\r\n"))
        #expect(try client.read(7) == Array("hiearly".utf8))
        try client.send("later")
        #expect(try client.read(5) == Array("later".utf8))
        #expect(setup.balancer.counters.tunnelsOpen == 1)
        client.finishWriting()
        #expect(try client.readToEnd() == Array("bye".utf8))
        #expect(eventually { setup.balancer.counters.tunnelsOpen == 0 && setup.balancer.counters.upstreamsOpen == 0 })
        let request = try #require(origin.requests.first)
        #expect(request.values("Upgrade") == ["websocket"])
        #expect(request.values("Connection") == ["Upgrade"])
        #expect(request.values("X-Forwarded-For") == ["127.0.0.1"])
    }

    // Ancestors' scenario 51.
    @Test func queryProtocolAndCloseCodesPassAsTheyAre() throws {
        // 4001, and from a client under a mask of zeros.
        let (close, masked): ([UInt8], [UInt8]) = ([0x88, 2, 0x0F, 0xA1], [0x88, 0x82, 0, 0, 0, 0, 0x0F, 0xA1])
        let origin = try Origin { wire, origin in
            guard let request = try wire.readMessage() else { return }
            origin.saw(request)
            try wire.send(Self.accepted.replacing("\r\n\r\n", with: "\r\nSec-WebSocket-Protocol: chat.v2\r\n\r\n"))
            guard try wire.read(masked.count) == masked else { return }
            try wire.send(close)
        }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        let offer = "\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        try client.send(Self.handshake.replacing("/chat", with: "/chat?room=a%20b&x=1").replacing("\r\n\r\n", with: offer))
        #expect(try client.readHead()?.contains("\r\nSec-WebSocket-Protocol: chat.v2\r\n") == true)
        try client.send(masked)
        #expect(try client.readToEnd() == close)
        let request = try #require(origin.requests.first)
        #expect(request.head.hasPrefix("GET /chat?room=a%20b&x=1 HTTP/1.1\r\n"))
        #expect(request.values("Sec-WebSocket-Protocol") == ["chat.v1, chat.v2"])
        #expect(request.values("Sec-WebSocket-Extensions") == ["permessage-deflate"])
    }

    // Ancestors' scenario 22.
    @Test func aTunnelMayBeQuietForLongerThanAConnectionMayTake() throws {
        let origin = try Self.echoing()
        defer { origin.stop() }
        let client = try Setup(origin) { $0.timeouts.connect = .milliseconds(200) }.client()
        try client.send(Self.handshake)
        _ = try client.readHead()
        #expect(try client.read(2) == Array("hi".utf8))
        // Nothing is to happen, so there is nothing to look for.
        usleep(500_000)
        try client.send("still here")
        #expect(try client.read(10) == Array("still here".utf8))
    }

    /// As servers do that decide on the protocol of a connection by its first request.
    @Test func anUpgradeIsTheFirstRequestOfItsConnection() throws {
        let origin = try Origin { wire, origin in
            while let request = try wire.readMessage() {
                origin.saw(request)
                if request.values("Upgrade").isEmpty {
                    try wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                } else {
                    return try wire.send(Self.accepted)
                }
            }
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try client.readHead()
        _ = try client.read(2)
        try client.send(Self.handshake)
        #expect(try client.readHead()?.hasPrefix("HTTP/1.1 101 ") == true)
        #expect(origin.connections == 2)
    }

    @Test func aTunnelCarriesMegabytesBothWaysAtOnce() throws {
        let origin = try Origin { wire, _ in
            _ = try wire.readMessage()
            try wire.send(Self.accepted)
            let isSent = DispatchSemaphore(value: 0)
            thread {
                try? wire.send(ForwardingTests.pattern(2_000_000))
                isSent.signal()
            }
            let got = try wire.read(2_000_000)
            isSent.wait()
            try wire.send([got == ForwardingTests.pattern(2_000_000) ? 1 : 0])
        }
        defer { origin.stop() }
        let client = try Setup(origin).client(receiveBuffer: 8192)
        try client.send(Self.handshake)
        _ = try client.readHead()
        thread { try? client.send(ForwardingTests.pattern(2_000_000)) }
        let got = try client.read(2_000_001)
        #expect(got == ForwardingTests.pattern(2_000_000) + [1])
    }

    @Test func aRefusedUpgradeIsAnAnswerLikeAnyOther() throws {
        let origin = try Origin.answering { request in
            request.value("Upgrade") == nil ? Origin.ok("plain") : "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        #expect(try client.ask(Self.handshake).status == 403)
        #expect(try client.get("/").text == "plain")
        #expect(setup.balancer.counters.tunnelsOpen == 0)
    }

    @Test func aHandshakeThatTheServerDidNotUnderstandOpensNoTunnel() throws {
        let origin = try Origin { wire, _ in
            _ = try wire.readMessage()
            try wire.send(Self.accepted.replacing("s3pP", with: "AAAA") + "smuggled")
            _ = try wire.readToEnd()
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let answer = try setup.client().ask(Self.handshake)
        #expect(answer.status == 502)
        #expect(answer.value("Proxy-Status") == "sessionmesh; error=http_upgrade_failed")
        #expect(setup.balancer.counters.tunnelsOpen == 0)
    }

    @Test func anyOtherUpgradeIsNotPassedOn() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let client = try Setup(origin).client()
        #expect(try client.ask(Self.handshake.replacing("Upgrade: websocket", with: "Upgrade: h2c")).status == 200)
        #expect(try client.ask(Self.handshake.replacing("GET", with: "POST")).status == 200)
        #expect(origin.requests.allSatisfy { $0.value("Upgrade") == nil && $0.value("Connection") == nil })
    }

    @Test func aDeadServerEndsTheTunnel() throws {
        let origin = try Self.echoing()
        let setup = try Setup(origin)
        let client = try setup.client()
        try client.send(Self.handshake)
        _ = try client.readHead()
        _ = try client.read(2)
        origin.stop()
        #expect(try client.readToEnd().count <= 3)
    }

    @Test func anIdleTunnelClosesAndAStoppingBalancerClosesTheRest() async throws {
        let origin = try Self.echoing()
        defer { origin.stop() }
        let short = try Setup(origin) { $0.timeouts.tunnelIdle = .milliseconds(200) }
        let client = try short.client()
        try client.send(Self.handshake)
        _ = try client.readHead()
        #expect(try client.readToEnd() == Array("hi".utf8))

        let setup = try Setup(origin)
        let other = try setup.client()
        try other.send(Self.handshake)
        _ = try other.readHead()
        #expect(try other.read(2) == Array("hi".utf8))
        await setup.balancer.stop(drain: .milliseconds(50))
        #expect(other.isAtEnd())
        #expect(setup.balancer.counters.tunnelsOpen == 0)
    }
}
