import Foundation
import Testing

/// `sessionmesh mirror check`, as an operator runs it before relying on a store.
@Suite struct MirrorCheckTests {
    @Test func aSoundStoreIsMeasuredAndDescribedAndFoundAsItWas() throws {
        let redis = try RedisServer()
        try redis.command("CONFIG", "SET", "maxmemory", "100mb")
        try redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        let text = try Self.check(redis.uri)
        #expect(text.code == 0, "\(text.lines)")
        let words = text.lines.joined(separator: "\n")
        for part in ["is Redis ", "connect", "sessions/s", "! throws sessions away", "appendonly is on", "claims about a mirror hold"] {
            #expect(words.contains(part), "\(part) in \(words)")
        }
        let sessions = "return #redis.call('KEYS', ARGV[1])"
        #expect(try redis.command("EVAL", sessions, "0", "sm:" + String(repeating: "?", count: 43)) == ":0")

        let json = try Self.check(redis.uri, "--json")
        let report = try JSONDecoder().decode(Report.self, from: Data((json.lines.first ?? "").utf8))
        #expect(json.lines.count == 1 && report.claims.allSatisfy(\.holds) && report.claims.count > 10)
        #expect(report.findings.contains { $0.kind == "risk" } && report.bulkPerSecond > 0 && report.write.p50Microseconds > 0)
    }

    @Test func aMemcachedKeepsEveryClaim() throws {
        let memcached = try MemcachedServer()
        try withExtendedLifetime(memcached) { try Self.keepsEveryClaim("memcached://\(memcached.address)") }
    }

    @Test func aMongoDBKeepsEveryClaim() throws {
        let mongo = try MongoServer()
        try withExtendedLifetime(mongo) { try Self.keepsEveryClaim(mongo.uri) }
    }

    @Test func aStoreThatIsNotThereEndsTheCheckWithOne() throws {
        let report = try Self.check("redis://127.0.0.1:1")
        #expect(report.code == 1 && report.lines == [])
    }

    private static func keepsEveryClaim(_ uri: String) throws {
        let report = try check(uri)
        #expect(report.code == 0 && report.lines.contains("  19 of 19 claims about a mirror hold"), "\(report.lines)")
    }

    private struct Report: Decodable {
        struct Timings: Decodable { let p50Microseconds: Int }
        struct Finding: Decodable { let kind: String }
        struct Claim: Decodable { let holds: Bool }
        let write: Timings
        let bulkPerSecond: Int
        let findings: [Finding]
        let claims: [Claim]
    }

    private static func check(_ arguments: String...) throws -> (code: Int32, lines: [String]) {
        let program = try Program(Program.path(of: "sessionmesh"), ["mirror", "check"] + arguments)
        defer { program.signal(SIGKILL) }
        try eventually("the check ends", within: 120) { program.exitCode != nil }
        return (program.exitCode ?? -1, program.lines)
    }
}
