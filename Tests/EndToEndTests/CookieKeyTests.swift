import Foundation
import Glibc
import Testing

/// The cookie key of a running mesh is changed, as the README tells operators to, while visitors come and go.
@Suite(.serialized) struct CookieKeyTests {
    @Test func visitorsKeepTheirSessionsThroughAChangeOfTheCookieKey() async throws {
        let keys = try Keys()
        let path = keys.path
        try await ShopMesh.run(keys: keys) { shop in
            var regular = shop.visitor()
            var passive = shop.visitor()
            for _ in 1...2 { _ = try await regular.post("/count") }
            _ = try await passive.post("/count")
            #expect(Self.keyNumber(regular) == 1 && Self.keyNumber(passive) == 1)

            // One agent has the new key, and nobody signs with it yet: the other could not read what it signs.
            try await Self.keygen("--add", "--ring", "cookie", path)
            try await Self.reload(shop.nodes[0])
            try await awaiting("n1 says that others lack key 2") {
                try await Self.report(shop.nodes[0]).contains("key 1 signs until all do")
            }
            for node in shop.nodes {
                var newcomer = shop.visitor(at: node)
                _ = try await newcomer.post("/count")
                #expect(Self.keyNumber(newcomer) == 1, "signed at \(node.name)")
            }
            _ = try await regular.post("/count")
            #expect(Self.keyNumber(regular) == 1)

            try await Self.reload(shop.nodes[1])
            #expect(shop.balancer.exitCode == nil)
            shop.balancer.signal(SIGHUP)
            for node in shop.nodes {
                try await awaiting("\(node.name) signs with key 2") { try await Self.report(node).contains("cookie key 2 signs") }
            }
            // A page that only reads is enough; the id stays, and so does the session.
            let before = try await regular.session()
            #expect(Self.keyNumber(regular) == 2 && before.visits == 3)
            let after = try await regular.session()
            #expect(after.key == before.key)
            for node in shop.nodes {
                var newcomer = shop.visitor(at: node)
                _ = try await newcomer.post("/count")
                #expect(Self.keyNumber(newcomer) == 2)
            }

            try await Self.keygen("--drop", "1", "--ring", "cookie", path)
            for node in shop.nodes { try await Self.reload(node) }
            shop.balancer.signal(SIGHUP)
            for node in shop.nodes {
                try await awaiting("\(node.name) accepts key 2 alone") { try await !Self.accepts(1, at: node) }
            }
            _ = try await regular.post("/count")
            let last = try await regular.session()
            #expect(last.key == before.key && last.visits == 4)

            // Who has not come since is a stranger now, and is told from a forger.
            let stale = try #require(passive.cookie)
            #expect(try await passive.session().key == "")
            for node in shop.nodes {
                #expect(try await Self.verdict(of: stale, at: node) == "unknownKey")
                #expect(try await Self.verdict(of: try #require(regular.cookie), at: node) == "opens")
            }
            let refused = try await onThread { [admin = shop.nodes.map(\.admin)] in
                try admin.map { try HTTP.ask($0, "GET", "/metrics").body }
            }
            #expect(refused.contains { $0.contains(/cookies_refused_total\{reason="unknownKey"\} [1-9]/) })
            #expect(refused.contains { $0.contains(/cookies_renewed_total [1-9]/) })
        }
    }

    private static func keyNumber(_ visitor: Visitor) -> Int? {
        visitor.cookie?.split(separator: ".").dropFirst().first.flatMap { Int($0) }
    }

    @discardableResult
    private static func run(_ arguments: [String]) async throws -> String {
        let program = try Program(Program.path(of: "sessionmesh"), arguments)
        try await awaiting("\(arguments) ends") { program.exitCode != nil }
        let output = program.lines.joined(separator: "\n")
        guard program.exitCode == 0 else { throw Program.Failure(description: "\(arguments): \(program.exitCode ?? -1) \(output)") }
        return output
    }

    private static func keygen(_ arguments: String...) async throws { try await run(["keygen"] + arguments) }

    private static func reload(_ node: ShopMesh.Node) async throws { try await run(["keys", "reload", "--admin", node.admin]) }

    private static func report(_ node: ShopMesh.Node) async throws -> String { try await run(["keys", "--admin", node.admin]) }

    private static func accepts(_ number: Int, at node: ShopMesh.Node) async throws -> Bool {
        let json = try JSONSerialization.jsonObject(with: Data(try await run(["keys", "--json", "--admin", node.admin]).utf8))
        let members = (json as? [String: Any])?["members"] as? [[String: Any]] ?? []
        return members.contains { member in
            let accepted = (member["cookies"] as? [String: Any])?["accepts"] as? [[String: Any]] ?? []
            return accepted.contains { $0["number"] as? Int == number }
        }
    }

    private static func verdict(of cookie: String, at node: ShopMesh.Node) async throws -> String? {
        let json = try JSONSerialization.jsonObject(
            with: Data(try await run(["explain", "--cookie", cookie.replacing("sid=", with: ""), "--agent", node.client, "--json"]).utf8))
        return ((json as? [String: Any])?["cookie"] as? [String: Any])?["verdict"] as? String
    }
}
