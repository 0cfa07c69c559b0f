import Dispatch
import MeshBalancer
import MeshCore
import Testing

@Suite struct ForwardingTests {
    @Test func connectionsAreKeptOnBothSides() throws {
        let origin = try Origin.saying("hello")
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        for _ in 0..<50 {
            let answer = try client.get("/")
            #expect(answer.status == 200)
            #expect(answer.text == "hello")
        }
        #expect(origin.connections == 1)
        // And was asked nothing else.
        #expect(origin.requests.count == 50)
        #expect(setup.balancer.counters.requests == 50)
        #expect(setup.balancer.counters.answers[2] == 50)
    }

    @Test func theInstanceSeesWhoAsksAndNothingTheClientClaims() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let setup = try Setup(origin)
        _ = try setup.client().get(
            "/p?q=1",
            fields:
                "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\nConnection: X-Drop, X-Forwarded-For, Host\r\n"
                + "X-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-Stay: 2\r\n")
        let request = try #require(origin.requests.first)
        #expect(request.head.hasPrefix("GET /p?q=1 HTTP/1.1\r\n"))
        #expect(request.values("X-Forwarded-For") == ["127.0.0.1"])
        #expect(request.values("X-Forwarded-Proto") == ["http"])
        #expect(request.values("X-Forwarded-Host") == ["test"])
        #expect(request.values("X-Forwarded-Port") == ["\(setup.port)"])
        #expect(request.values("Host") == ["test"])
        #expect(request.values("X-Stay") == ["2"])
        for gone in ["X-Drop", "Forwarded", "Keep-Alive", "TE", "Upgrade", "HTTP2-Settings", "Connection"] {
            #expect(request.values(gone) == [], "\(gone)")
        }
    }

    // Ancestors' scenarios 12, 13, 38 and 39.
    @Test func whatIsSaidEitherWayIsNeitherFollowedNorChanged() throws {
        let gzip: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let origin = try Origin { wire, origin in
            while let request = try wire.readMessage() {
                origin.saw(request)
                switch request.head.split(separator: " ")[1] {
                case "/login":
                    try wire.send(
                        "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; HttpOnly\r\n"
                            + "Content-Length: 0\r\n\r\n")
                case "/gzip":
                    try wire.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: \(gzip.count)\r\n\r\n")
                    try wire.send(gzip)
                default: try wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                }
            }
        }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        let found = try client.get("/login")
        #expect(found.status == 302 && found.value("Location") == "http://elsewhere.example/" && found.body.isEmpty)
        #expect(found.values("Set-Cookie") == ["a=1", "b=2; HttpOnly"])
        let packed = try client.get("/gzip")
        #expect(packed.values("Content-Encoding") == ["gzip"] && packed.body == gzip)
        let missing = try client.get("/none")
        #expect(missing.status == 404 && missing.body.isEmpty)
        #expect(origin.requests.map { $0.head.split(separator: " ")[1] } == ["/login", "/gzip", "/none"])
        for request in origin.requests {
            for name in ["If-Modified-Since", "If-None-Match", "Date", "Expires", "Accept-Encoding"] { #expect(request.values(name) == []) }
        }
    }

    @Test func anAnswerIsPassedOnAsItComes() throws {
        let isRead = DispatchSemaphore(value: 0)
        let origin = try Origin { wire, _ in
            _ = try wire.readMessage()
            try wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            guard isRead.wait(timeout: .now() + 30) == .success else { return }
            try wire.send("6\r\nsecond\r\n0\r\n\r\n")
        }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readHead()?.contains("text/event-stream") == true)
        #expect(String(decoding: try client.read(10), as: UTF8.self) == "5\r\nfirst\r\n")
        isRead.signal()
        #expect(String(decoding: try client.read(16), as: UTF8.self) == "6\r\nsecond\r\n0\r\n\r\n")
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let origin = try Origin.answering { Origin.ok(String($0.head.split(separator: " ")[1])) }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        let count = 200
        try client.send((0..<count).map { "GET /\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
        for index in 0..<count { #expect(try client.readMessage()?.text == "/\(index)") }
    }

    @Test func aHeadMayComeByteByByte() throws {
        let origin = try Origin.answering { Origin.ok($0.value("X-Last") ?? "?") }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        for byte in "\r\nGET /slow HTTP/1.1\r\nHost: a\r\nX-Last: here\r\n\r\n".utf8 { try client.send([byte]) }
        #expect(try client.readMessage()?.text == "here")
    }

    // Ancestors' scenario 11.
    @Test func aBodyMayBeSplitWithTheNextRequestBehindIt() throws {
        let origin = try Origin.answering { Origin.ok("\($0.text)|\($0.head.split(separator: " ")[1])") }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        try client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        try client.send("67890POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc")
        try client.send("\r\n2\r\nde\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readMessage()?.text == "1234567890|/a")
        #expect(try client.readMessage()?.text == "abcde|/b")
        #expect(try client.readMessage()?.text == "|/c")
    }

    @Test func threeMegabytesArriveWholeThroughASlowReader() throws {
        let size = 3 * 1024 * 1024
        let origin = try Origin { wire, origin in
            while let request = try wire.readMessage() {
                origin.saw(Wire.Message(head: request.head, body: []))
                let sum = Mix.hash(request.body)
                if request.head.hasPrefix("POST") {
                    try wire.send(Origin.ok("\(request.body.count) \(sum)"))
                } else {
                    try wire.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
                    try wire.send(Self.pattern(size))
                }
            }
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client(receiveBuffer: 8192)
        let body = Self.pattern(size)
        try client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
        try client.send(body)
        #expect(try client.readMessage()?.text == "\(size) \(Mix.hash(body))")

        try client.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
        let head = try #require(try client.readHead())
        #expect(head.contains("Content-Length: \(size)"))
        var got: [UInt8] = []
        while got.count < size { got += try client.read(min(40_000, size - got.count)) }
        #expect(got == body)
        #expect(try client.get("/down").body.count == size)
    }

    static func pattern(_ size: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
    }

    @Test func answersOfEveryFramingPass() throws {
        let origin = try Origin { wire, _ in
            while let request = try wire.readMessage() {
                switch request.head.split(separator: " ")[1] {
                case "/chunked":
                    try wire.send(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=\"y\"\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n")
                case "/close":
                    try wire.send("HTTP/1.0 200 OK\r\n\r\nto the end")
                    return
                case "/204": try wire.send("HTTP/1.1 204 No Content\r\n\r\n")
                case "/304": try wire.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n")
                case "/head": try wire.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
                case "/early": try wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                default: try wire.send(Origin.ok("default"))
                }
            }
        }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        try client.send("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readHead()?.contains("Transfer-Encoding: chunked") == true)
        let chunks = "5\r\nhello\r\n1;x=\"y\"\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
        #expect(String(decoding: try client.read(chunks.utf8.count), as: UTF8.self) == chunks)
        #expect(try client.get("/204").status == 204)
        #expect(try client.get("/304").status == 304)
        #expect(try client.ask("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n", bodyless: true).value("Content-Length") == "12345")
        try client.send("GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readMessage()?.status == 103)
        #expect(try client.readMessage()?.text == "ok")
        #expect(try client.get("/x").text == "default")
        let last = try client.get("/close")
        #expect(last.text == "to the end")
        #expect(last.head.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(last.value("Connection") == "close")
        #expect(client.isAtEnd())
    }

    @Test func aClientOfHTTP10GetsNoChunks() throws {
        let origin = try Origin.answering { request in
            request.head.contains("/chunked")
                ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n" : Origin.ok("plain")
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        let kept = try client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(kept.text == "plain")
        #expect(kept.value("Connection") == "keep-alive")
        let answer = try client.ask("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(answer.text == "abcdef")
        #expect(answer.value("Transfer-Encoding") == nil)
        #expect(answer.value("Connection") == "close")
        #expect(origin.requests.allSatisfy { $0.head.contains("HTTP/1.1\r\n") })
    }

    @Test func continueIsAskedForAndPassedOn() throws {
        let origin = try Origin { wire, _ in
            guard let head = try wire.readHead(), head.contains("Expect: 100-continue") else { return }
            try wire.send("HTTP/1.1 100 Continue\r\n\r\n")
            let body = try wire.read(4)
            try wire.send(Origin.ok(String(decoding: body, as: UTF8.self)))
        }
        defer { origin.stop() }
        let client = try Setup(origin).client()
        try client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        #expect(try client.readMessage()?.status == 100)
        try client.send("body")
        #expect(try client.readMessage()?.text == "body")
    }

    @Test func anAbsoluteFormBecomesAnOriginFormWithItsOwnHost() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let client = try Setup(origin).client()
        _ = try client.ask("GET http://real.example:81/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
        _ = try client.ask("GET http://real.example?b HTTP/1.1\r\nHost: other\r\nX-A: 1\r\n\r\n")
        _ = try client.ask("OPTIONS http://real.example HTTP/1.1\r\nHost: other\r\n\r\n")
        let requests = origin.requests
        #expect(requests[0].head.hasPrefix("GET /a?b HTTP/1.1\r\n"))
        #expect(requests[0].values("Host") == ["real.example:81"])
        #expect(requests[1].head.hasPrefix("GET /?b HTTP/1.1\r\n"))
        #expect(requests[1].values("X-A") == ["1"])
        #expect(requests[2].head.hasPrefix("OPTIONS * HTTP/1.1\r\n"))
    }

    @Test func aClientThatFinishedSendingStillGetsItsAnswer() throws {
        let origin = try Origin.saying("late")
        defer { origin.stop() }
        let client = try Setup(origin).client()
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.finishWriting()
        #expect(try client.readMessage()?.text == "late")
        #expect(client.isAtEnd())
    }

    @Test func anAnswerBeforeTheBodysEndClosesTheConnection() throws {
        let origin = try Origin { wire, _ in
            _ = try wire.readHead()
            try wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            _ = try wire.readToEnd()
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        try client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart")
        let answer = try #require(try client.readMessage())
        #expect(answer.status == 413)
        #expect(answer.text == "big")
        #expect(client.isAtEnd())
    }

    @Test func aStoppingBalancerFinishesWhatIsGoingOn() async throws {
        let origin = try Origin { wire, origin in
            while let request = try wire.readMessage() {
                origin.saw(request)
                while origin.requests.count < 2 { _ = eventually { origin.requests.count >= 2 } }
                try wire.send(Origin.ok("done"))
            }
        }
        defer { origin.stop() }
        let setup = try Setup(origin)
        let idle = try setup.client()
        let client = try setup.client()
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(eventually { origin.requests.count == 1 && setup.balancer.counters.clientsOpen == 2 })
        async let stopped: Void = setup.balancer.stop(drain: .seconds(20))
        #expect(eventually { setup.balancer.counters.clientsOpen == 1 })
        #expect(idle.isAtEnd())
        origin.saw(Wire.Message(head: "", body: []))
        let answer = try #require(try client.readMessage())
        #expect(answer.text == "done")
        #expect(answer.value("Connection") == "close")
        await stopped
        #expect(throws: (any Error).self) { try setup.client() }
        #expect(setup.balancer.counters.clientsOpen == 0)
        #expect(setup.balancer.counters.upstreamsOpen == 0)
    }

    @Test func severalLoopsShareOnePort() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let setup = try Setup(origin) { $0.loops = 3 }
        for _ in 0..<30 { #expect(try setup.client().get("/").status == 200) }
        #expect(setup.balancer.counters.requests == 30)
    }

    // Ancestors' scenario 55.
    @Test func twoBalancersInOneProgramShareNothing() async throws {
        let origins = try ["one", "two"].map { name in try Origin.saying(name) }
        defer { for origin in origins { origin.stop() } }
        let (first, second) = (try Setup(origins[0]), try Setup(origins[1]))
        let (client, other) = (try first.client(), try second.client())
        for _ in 0..<4 {
            #expect(try client.get("/").text == "one")
            #expect(try other.get("/").text == "two")
        }
        first.balancer.update(RoutingTable(upstreams: []))
        #expect(eventually { (try? client.get("/").status) == 503 })
        #expect(try other.get("/").text == "two")
        await first.balancer.stop(drain: .milliseconds(50))
        #expect(try other.get("/").text == "two")
        #expect(second.balancer.counters.requests == 6 && second.balancer.counters.answers[5] == 0)
    }

    @Test func anAddressInUseIsAnErrorThatSaysSo() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let table = RoutingTable(upstreams: [.loopback(port: origin.port)])
        let error = #expect(throws: BalancerError.self) {
            try Balancer(BalancerConfiguration(listen: .loopback(port: origin.port)), table: table, log: { _ in })
        }
        #expect(error?.code == .address)
        #expect(error?.description == "can't listen on 127.0.0.1:\(origin.port): Address already in use")
    }
}
