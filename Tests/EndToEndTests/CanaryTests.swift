import Foundation
import Glibc
import Testing

/// What sessions hold and what opens them shows nowhere but where it belongs, whatever goes wrong and however much is logged.
@Suite(.serialized) struct CanaryTests {
    @Test func neitherAValueNorAnIdNorACookieShowsThroughAllThatGoesWrong() async throws {
        let redis = try RedisServer()
        try await ShopMesh.run("--mirror", redis.uri) { shop in
            let canary = "canary\(UInt64.random(in: 0...(.max)))"
            let peers = try shop.nodes.map { try Self.port($0.gossip) }
            let application = try Self.port(shop.nodes[0].app)
            let eavesdropper = Eavesdropper(ports: Set(peers + [application]))
            defer { eavesdropper?.stop() }

            // A visitor at each node, with what must not show; one is logged in under another id.
            var cookies: [String] = []
            var visitors = shop.nodes.map { shop.visitor(at: $0) }
            for index in visitors.indices {
                #expect(try await visitors[index].post("/cart/\(canary)").status == 200)
                cookies.append(try #require(visitors[index].cookie))
                _ = try await visitors[index].post("/login")
                cookies.append(try #require(visitors[index].cookie))
            }
            let key = try await visitors[0].session().key
            try await awaiting("the mirror has it") { Needle.isFound(canary, in: redis.files) }
            cookies = cookies.map { String($0.dropFirst("sid=".count)) }

            var shown: [(String, [UInt8])] = []
            for node in shop.nodes {
                try await Self.provoke(node, canary, cookies)
                shown += try await Self.askedAnswers(of: node, key: key, cookies)
            }
            // The mirror breaks while something is written.
            try redis.kill()
            #expect(try await visitors[0].post("/cart/\(canary)").status == 200)
            try await awaiting("the mirror is lost") {
                for node in shop.nodes where try await Self.ask(node, "/healthz").contains("degraded") { return true }
                return false
            }
            // A node breaks while it is asked; the other goes on with what both had, and ends in order.
            shop.nodes[0].agent.signal(SIGKILL)
            var survivor = shop.visitor(at: shop.nodes[1], cookie: "sid=\(cookies[1])")
            try await awaiting("the session goes on at the other node") {
                let answer = try await survivor.get("/session")
                return answer.status == 200 && answer.body.contains(canary)
            }
            shown += try await Self.askedAnswers(of: shop.nodes[1], key: key, cookies)
            let last = shop.nodes[1].agent
            #expect(try await onThread { try last.stop(within: 60) } == 0)

            for node in shop.nodes {
                shown.append(("the log of \(node.name)", Needle.haystack(node.log)))
                shown.append(("the events of \(node.name)", Array(node.agent.lines.joined(separator: "\n").utf8)))
            }
            shown.append(("the balancer's log", Needle.haystack(shop.balancerLog)))
            shown.append(("the balancer's events", Array(shop.balancer.lines.joined(separator: "\n").utf8)))
            if let eavesdropper {
                // That visitors speak in clear text to applications shows that the ear is good.
                #expect(Needle.isFound(canary, in: eavesdropper[application]))
                for (node, port) in zip(shop.nodes, peers) { shown.append(("what peers say to \(node.name)", eavesdropper[port])) }
            } else {
                print("what peers say was not heard: that takes CAP_NET_RAW")
            }

            var needles = [Array(canary.utf8)] + cookies.map { Array($0.utf8) }
            for cookie in cookies { needles += try Needle.forms(ofID: String(cookie.prefix(43))) }
            for (place, bytes) in shown {
                #expect(!bytes.isEmpty, "\(place)")
                for needle in needles {
                    #expect(!Needle.isFound(needle, in: bytes), "\(String(decoding: needle, as: UTF8.self)) is in \(place)")
                }
            }
            // Former and present ids alike are keys in the store, where the values are meant to be.
            for cookie in cookies {
                for needle in try Needle.forms(ofID: String(cookie.prefix(43))) { #expect(!Needle.isFound(needle, in: redis.files)) }
            }
        }
    }

    /// Commands that are refused, at every stage of being read, and cookies that are none.
    private static func provoke(_ node: ShopMesh.Node, _ canary: String, _ cookies: [String]) async throws {
        let id = "00112233445566778899aabbccddee"
        let forged = cookies.map { String($0.dropLast()) + ($0.hasSuffix("A") ? "E" : "A") }
        let commands: [[String]] = [
            ["SESSION.COMMIT", "*", "short", "SET", "card", canary],
            ["SESSION.COMMIT", "*", id + "01", "SET", String(repeating: "n", count: 65), canary],
            ["SESSION.COMMIT", "*", id + "02", "SET", "card", canary + String(repeating: "x", count: 16 * 1024)],
            ["SESSION.COMMIT", "*", id + "03", "SET", "card", canary, "BURN", canary],
            ["SESSION.COMMIT", "*", id + "04", "SET", "card", canary, "IF", "card", canary],
            ["SESSION.COMMIT", "*", id + "05", "INCR", "card", canary],
            ["SESSION.COMMIT", canary, id + "06", "SET", "card", canary],
            ["SESSION.READ", String(cookies[0].prefix(43))], ["SESSION.DESTROY", cookies[0], id + "07"],
            ["SESSION.OPEN", cookies[0], cookies[0]], ["SESSION.LIST", canary], [canary], [cookies[0]],
        ]
        let openings = (cookies + forged + cookies.map { $0.replacing(".1.", with: ".9.") }).map { ["SESSION.OPEN", $0] }
        let client = node.client
        for command in commands + openings {
            let bytes = "*\(command.count)\r\n" + command.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
            try await onThread {
                let wire = try Wire(client)
                try wire.send(Array(bytes.utf8))
                _ = try wire.read(through: [13, 10])
            }
        }
        // What is no command closes the connection, in the middle of one or at once.
        for junk in [
            "*2\r\n$12\r\nSESSION.OPEN\r\n$93\r\n\(cookies[0])", "*1\r\n$9\(canary)\r\n", "GET /\(canary) HTTP/1.1\r\n\r\n",
            "\(canary)\r\n",
        ] {
            try await onThread { try Wire(client).send(Array(junk.utf8)) }
        }
        for cookie in forged {
            var thief = Visitor(browser: Browser(node.app, cookie: "sid=\(cookie)"))
            #expect(try await thief.session().key == "")
        }
    }

    /// What an operator may ask, and what one may ask by mistake.
    private static func askedAnswers(of node: ShopMesh.Node, key: String, _ cookies: [String]) async throws -> [(String, [UInt8])] {
        var answers: [(String, [UInt8])] = []
        let paths = [
            "/", "/metrics", "/healthz", "/readyz", "/v1/members", "/v1/members/\(node.name)", "/v1/keys", "/v1/slots", "/v1/placement/7",
            "/v1/sessions/\(key)", "/v1/sessions/\(cookies[0])", "/v1/sessions/\(cookies[0].prefix(43))", "/\(cookies[0])",
        ]
        for path in paths {
            answers.append(("\(node.name)'s answer to \(path.prefix(14))", Array(try await ask(node, path, cookie: cookies[0]).utf8)))
        }
        var calls = cookies.map { ["explain", "--cookie", $0] }
        calls += [
            ["session", "list", "--user", "ann"], ["session", "list", "--user", "ann", "--json"], ["members"], ["explain", "--slot", "7"],
        ]
        calls += cookies.map { ["explain", "--cookie", $0 + "x", "--json"] }
        for call in calls {
            let program = try Program(
                "/bin/sh", ["-c", #"exec "$@" 2>&1"#, "sh", Program.path(of: "sessionmesh")] + call + ["--agent", node.client])
            try await awaiting("\(call[0]) ends") { program.exitCode != nil }
            answers.append(("\(call[0]) at \(node.name)", Array(program.lines.joined(separator: "\n").utf8)))
        }
        return answers
    }

    private static func ask(_ node: ShopMesh.Node, _ path: String, cookie: String = "") async throws -> String {
        let admin = node.admin
        return try await onThread { try HTTP.ask(admin, "GET", path, fields: [("Cookie", "sid=\(cookie)")]).body }
    }

    private static func port(_ address: String) throws -> UInt16 { try #require(address.split(separator: ":").last.flatMap { UInt16($0) }) }
}
