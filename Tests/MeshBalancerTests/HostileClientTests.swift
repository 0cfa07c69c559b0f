import Glibc
import MeshBalancer
import MeshCore
import Testing

@Suite struct HostileClientTests {
    @Test(arguments: [
        (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"),
        (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\nx\r\na\r\n0\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (405, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: the unexpected\r\n\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (414, "GET /" + String(repeating: "a", count: 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 20_000) + "\r\n\r\n"),
        (431, "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: a\r\n", count: 100) + "\r\n"),
    ])
    func whatIsNotHTTPIsRefusedAndTheConnectionClosed(_ status: Int, _ bytes: String) throws {
        let origin = try Origin.saying("smuggled")
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        try client.send(bytes + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        let answer = try #require(try client.readMessage())
        #expect(answer.status == status)
        #expect(answer.value("Connection") == "close")
        #expect(try client.readToEnd().isEmpty)
        #expect(!origin.requests.contains { $0.head.contains("smuggled") })
        #expect(setup.balancer.counters.refused == 1)
        #expect(try setup.client().get("/").status == 200)
    }

    /// In a process of its own, because what it measures is the process's memory.
    @Test func aFloodOfJunkStopsNobodyAndTakesLittleMemory() async {
        await #expect(processExitsWith: .success) { try HostileClientTests.flood() }
    }

    static func flood() throws {
        func require(_ condition: Bool, _ text: String) throws { if !condition { throw Wire.Broken(description: text) } }
        let origin = try Origin.saying("fine")
        defer { origin.stop() }
        let setup = try Setup(origin)
        let client = try setup.client()
        var generator = SeededGenerator(seed: 1)
        func junk(_ index: Int) throws {
            let wire = try setup.client()
            var bytes = (0..<Int.random(in: 1...300, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if index % 3 == 0 { bytes = Array("GET / HTTP/1.1\r\nHost: ".utf8) + bytes }
            try wire.send(bytes)
            // Some wait for the answer, some leave at once, some break off.
            if index % 5 == 0 { wire.finishWriting(); _ = try? wire.readToEnd() }
            if index % 7 == 0 { wire.reset() }
        }
        for index in 0..<500 { try junk(index) }
        try require(client.get("/").text == "fine", "the client is not served")
        try require(eventually { setup.balancer.counters.clientsOpen == 1 }, "connections stay")
        let before = Self.residentBytes()
        for index in 0..<1000 { try junk(index) }
        // And 10,000 malformed requests, one a connection, as each costs its connection.
        for index in 0..<10_000 {
            let wire = try setup.client()
            try wire.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \(index)x\r\n\r\n")
            if index % 100 == 0 { try require(wire.readMessage()?.status == 400, "no 400") }
            if index % 1000 == 0 { try require(client.get("/").text == "fine", "the client is not served") }
        }
        try require(eventually { setup.balancer.counters.clientsOpen == 1 }, "connections stay")
        try require(client.get("/").text == "fine", "the client is not served")
        let grown = Self.residentBytes() - before
        try require(grown < 8 * 1024 * 1024, "grew by \(grown) bytes")
    }

    static func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        guard fgets(&line, 256, file) != nil else { return 0 }
        let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: " ")
        return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
    }

    @Test func aSlowHeadIs408InTotalAndNotPerByte() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let setup = try Setup(origin) { $0.timeouts.requestHead = .milliseconds(300) }
        let client = try setup.client()
        thread { while (try? client.send("a")) != nil { usleep(20_000) } }
        let head = try client.readHead()
        #expect(head?.hasPrefix("HTTP/1.1 408 ") == true)
    }

    @Test func aBodyThatDoesNotComeIs408() throws {
        let origin = try Origin { wire, _ in _ = try wire.readToEnd() }
        defer { origin.stop() }
        let setup = try Setup(origin) { $0.timeouts.requestBodyIdle = .milliseconds(200) }
        let client = try setup.client()
        let answer = try client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        #expect(answer.status == 408)
        #expect(try client.readToEnd().isEmpty)
    }

    @Test func idleConnectionsCloseOnBothSides() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let setup = try Setup(origin) {
            $0.timeouts.clientIdle = .milliseconds(200)
            $0.timeouts.upstreamIdle = .milliseconds(100)
        }
        let client = try setup.client()
        #expect(try client.get("/").status == 200)
        #expect(client.isAtEnd())
        #expect(eventually { setup.balancer.counters.upstreamsOpen == 0 })
    }

    @Test func aClientThatTakesNothingIsCutOff() throws {
        let origin = try Origin { wire, _ in
            _ = try wire.readMessage()
            try wire.send("HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n")
            try wire.send([UInt8](repeating: 7, count: 30_000_000))
        }
        defer { origin.stop() }
        let setup = try Setup(origin) { $0.timeouts.clientStall = .milliseconds(300) }
        let client = try setup.client(receiveBuffer: 4096)
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(eventually { setup.balancer.counters.clientsAccepted == 1 && setup.balancer.counters.clientsOpen == 0 })
        #expect(setup.balancer.counters.upstreamsOpen == 0)
    }

    @Test func aboveItsBoundTheBalancerAcceptsNobodyUntilSomebodyLeaves() throws {
        let origin = try Origin.saying("x")
        defer { origin.stop() }
        let setup = try Setup(origin) { $0.limits.clientConnectionsMax = 2 }
        let first = try setup.client()
        let second = try setup.client()
        #expect(try first.get("/").status == 200)
        #expect(try second.get("/").status == 200)
        let third = try setup.client()
        try third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try first.get("/").status == 200)
        #expect(setup.balancer.counters.clientsAccepted == 2)
        first.close()
        #expect(try third.readMessage()?.status == 200)
    }
}
