import Foundation
import Glibc
import Testing

/// Noise and malice on every listener of a real mesh.
@Suite(.serialized) struct HostileTests {
    @Test func junkOnEveryListenerStopsNobodyAndTakesNoMemory() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()
        let node = mesh.nodes[0]
        // Once before measuring, so that what is allocated once and kept doesn't count.
        try throwJunk(at: mesh, node, datagrams: 1000, connections: 100)
        let before = try (agent: privateMemory(node.agent_pid), balancer: privateMemory(mesh.balancer.pid))
        try throwJunk(at: mesh, node, datagrams: 10_000, connections: 1000)
        let after = try (agent: privateMemory(node.agent_pid), balancer: privateMemory(mesh.balancer.pid))
        print("junk: agent grew by \(after.agent - before.agent) kB, balancer by \(after.balancer - before.balancer) kB")
        #expect(after.agent - before.agent < 8192)
        #expect(after.balancer - before.balancer < 8192)

        try mesh.waitUntilWhole()
        #expect(mesh.nodes[0].agent_pid == node.agent_pid, "the agent was restarted")
        var browser = Browser(mesh.address)
        #expect(try Count(browser.post("/counter")).count == 1)
    }

    private func throwJunk(at mesh: DemoMesh, _ node: DemoMesh.Node, datagrams: Int, connections: Int) throws {
        var generator = SystemRandomNumberGenerator()
        try sendDatagrams(datagrams, to: node.gossip)
        for address in [node.gossip, node.client, node.admin, node.app, mesh.address] {
            for _ in 0..<connections {
                // A refused or cut connection is a fine answer to junk.
                guard let wire = try? Wire(address, patience: 2) else { continue }
                try? wire.send((0..<Int.random(in: 1...600)).map { _ in UInt8.random(in: 0...255, using: &generator) })
            }
        }
    }

    private func sendDatagrams(_ count: Int, to address: String) throws {
        let parts = address.split(separator: ":")
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = (UInt16(parts[1]) ?? 0).bigEndian
        inet_pton(AF_INET, String(parts[0]), &target.sin_addr)
        for number in 0..<count {
            let junk = (0..<(number % 1400 + 1)).map { _ in UInt8.random(in: 0...255) }
            _ = junk.withUnsafeBytes { bytes in
                withUnsafePointer(to: &target) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        sendto(descriptor, bytes.baseAddress, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
            }
            // About ten thousand a second: what is lost in a socket buffer tests nothing.
            if number % 100 == 0 { usleep(10_000) }
        }
    }

    /// Kilobytes that belong to the process alone.
    private func privateMemory(_ pid: pid_t) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("Private_Dirty:") }
        return line.flatMap { $0.split(separator: " ").dropFirst().first }.flatMap { Int($0) } ?? 0
    }

    // Ancestors' scenario 44.
    @Test func aForgedOrMalformedCookieIsAVisitorWithoutOne() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        var owner = Browser(mesh.address)
        _ = try Count(owner.post("/counter"))
        let cookie = try #require(owner.cookie)
        let forged = [
            String(cookie.dropLast()) + "A", cookie.replacingOccurrences(of: ".1.", with: ".9."), "sid=", "sid=a.b.c",
            "sid=" + String(repeating: "x", count: 4000),
        ]
        for value in forged where value != cookie {
            var thief = Browser(mesh.address, cookie: value)
            let answer = try Count(thief.post("/counter"))
            #expect(answer.count == 1, "\(value.prefix(20)) opened a session")
            #expect(thief.cookie != value, "an id was adopted")
        }
        #expect(try Count(owner.post("/counter")).count == 2)
    }

    @Test func aHeadThatIsNotHTTPIsAnsweredFourHundred() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        let heads = [
            "HELO example.org\r\n\r\n": 400, "GET / HTTP/1.1\r\n\r\n": 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n": 400,
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n": 405,
            "GET /\(String(repeating: "a", count: 9000)) HTTP/1.1\r\nHost: a\r\n\r\n": 414,
            "GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "a", count: 40_000))\r\n\r\n": 431,
        ]
        for (head, status) in heads {
            let wire = try Wire(mesh.address)
            try wire.send(Array(head.utf8))
            #expect(try HTTP.answer(wire).status == status, "\(head.prefix(40))")
        }
    }

    @Test func anOversizedFieldIsRefusedAndNothingIsLost() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        var browser = Browser(mesh.address)
        _ = try Count(browser.post("/counter"))
        #expect(try browser.post("/login", "user=" + String(repeating: "a", count: 65)).status == 400)
        #expect(try browser.post("/login", "user=" + String(repeating: "a", count: 100_000)).status >= 400)
        #expect(try Count(browser.post("/counter")).count == 2)
    }

    // Ancestors' scenario 28.
    @Test func aMeshWithoutApplicationsAnswersFiveHundredAndThree() throws {
        let sessionmesh = try Program.path(of: "sessionmesh")
        let balancer = try Program(sessionmesh, ["balance", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--events", "json"])
        defer { balancer.signal(SIGKILL) }
        try eventually("the balancer listens") { balancer.lines.contains { $0.contains("ready") } }
        let line = try #require(balancer.lines.first { $0.contains("ready") })
        let port = try #require(line.firstMatch(of: /127\.0\.0\.1:([0-9]+)/)?.1)
        let answer = try HTTP.ask("127.0.0.1:\(port)", "GET", "/")
        #expect(answer.status == 503)
        #expect(answer.field("retry-after") != nil)
    }
}
