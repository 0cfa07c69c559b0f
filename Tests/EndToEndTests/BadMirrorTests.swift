import Foundation
import Testing

/// A mesh whose mirror is not what it should be: it says what is wrong, serves all the same, and spoils nothing.
@Suite(.serialized) struct BadMirrorTests {
    @Test(arguments: ["redis", "memcached", "mongodb"])
    func aServerThatIsNotWhatTheURISaysIsNamedAndTheMeshServes(_ scheme: String) throws {
        let web = try DemoMesh()
        defer { try? web.stop() }
        let mesh = try DemoMesh("--mirror", "\(scheme)://\(web.address)")
        defer { try? mesh.stop() }
        try Self.serves(mesh)
        let reason = try Self.reasonOfLoss(mesh)
        #expect(reason.contains(web.address), "\(reason)")
    }

    @Test func aWrongPasswordIsSaidAndNotRepeated() throws {
        let redis = try RedisServer()
        try redis.command("CONFIG", "SET", "requirepass", "right-horse")
        let uri = redis.uri.replacing("unix://", with: "unix://:wrong-horse@")
        let mesh = try DemoMesh(environment: ["SESSIONMESH_MIRROR": uri])
        defer { try? mesh.stop() }
        try Self.serves(mesh)
        let reason = try Self.reasonOfLoss(mesh)
        #expect(reason.contains("password") && !reason.contains("horse"), "\(reason)")
        #expect(!mesh.program.lines.contains { $0.contains("horse") })
    }

    @Test func aReadOnlyReplicaIsSaidToBeOne() throws {
        let redis = try RedisServer()
        try redis.command("REPLICAOF", "127.0.0.1", "1")
        let mesh = try DemoMesh("--mirror", redis.uri)
        defer { try? mesh.stop() }
        try Self.serves(mesh)
        let reason = try Self.reasonOfLoss(mesh)
        #expect(reason.contains("replica"), "\(reason)")
    }

    @Test func aMemcachedThatIsFullAndEvictsNothingIsSaidToBe() throws {
        let memcached = try MemcachedServer(["-m", "2", "-M"])
        try memcached.fill()
        let mesh = try DemoMesh("--mirror", "memcached://\(memcached.address)")
        defer { try? mesh.stop() }
        try Self.serves(mesh)
        let reason = try Self.reasonOfLoss(mesh)
        #expect(reason.contains("memory") && reason.contains(memcached.address), "\(reason)")
    }

    @Test func whatAnotherProgramWroteUnderOurKeyStaysAndIsCounted() throws {
        let redis = try RedisServer()
        let mesh = try DemoMesh("--mirror", redis.uri)
        defer { try? mesh.stop() }
        var browser = Browser(mesh.address)
        #expect(try Count(browser.post("/counter")).count == 1)
        var key = ""
        try eventually("the session is in Redis") {
            // Of 43 characters behind the colon.
            let script = "return redis.status_reply(redis.call('KEYS', ARGV[1])[1])"
            key = try redis.command("EVAL", script, "0", "sm:" + String(repeating: "?", count: 43))
            return key.hasPrefix("+sm:")
        }
        key = String(key.dropFirst())
        try redis.command("SET", key, "bob's")
        for expected in 2...4 { #expect(try Count(browser.post("/counter")).count == expected) }
        try eventually("it is counted") {
            try mesh.nodes.reduce(0) { $0 + (try mesh.metric("sessionmesh_mirror_refused_total", of: $1) ?? 0) } > 0
        }
        #expect(try redis.command("EVAL", "return redis.status_reply(redis.call('GET', KEYS[1]))", "1", key) == "+bob's")
        // It says nothing against the mirror: all others are written.
        var other = Browser(mesh.address)
        #expect(try Count(other.post("/counter")).count == 1)
        try eventually("nothing is left to write") {
            try mesh.nodes.allSatisfy { try mesh.metric("sessionmesh_mirror_dirty", of: $0) == 0 }
        }
        for node in mesh.nodes { #expect(try HTTP.ask(node.admin, "GET", "/healthz").body.contains(#""status":"ok""#)) }
    }

    // MARK: The mesh

    private static func serves(_ mesh: DemoMesh) throws {
        var browser = Browser(mesh.address)
        _ = try browser.post("/login", "user=ann")
        for expected in 1...3 { #expect(try Count(browser.post("/counter")).count == expected) }
    }

    /// What an agent that has lost the mirror says of it.
    private static func reasonOfLoss(_ mesh: DemoMesh) throws -> String {
        struct Health: Decodable {
            let status: String
            var mirrorReason: String?
        }
        var reason = ""
        try eventually("an agent says what is wrong with the mirror") {
            for node in mesh.nodes {
                let body = try HTTP.ask(node.admin, "GET", "/healthz").body
                let health = try JSONDecoder().decode(Health.self, from: Data(body.utf8))
                if health.status == "degraded", let words = health.mirrorReason { reason = words }
            }
            return !reason.isEmpty
        }
        return reason
    }
}
