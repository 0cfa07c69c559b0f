import MeshCore
import Testing

@testable import MeshMirrors

/// What stores say of themselves, and what of it an operator should hear.
@Suite struct InspectionTests {
    #if Redis
        @Test func aRedisThatMayThrowSessionsAwayIsARisk() async throws {
            try await RedisServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let harmless = try await mirror.inspect()
                    #expect(harmless.server.hasPrefix("Redis ") && harmless.risks == [], "\(harmless)")
                    let raw = try server.raw()
                    try raw.command("CONFIG", "SET", "maxmemory", "100mb")
                    try raw.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
                    try raw.command("REPLICAOF", "127.0.0.1", "\(ServerProcess.freePort())")
                    let risks = try await mirror.inspect().risks
                    #expect(risks.contains { $0.contains("allkeys-lru") && $0.contains("noeviction") }, "\(risks)")
                    #expect(risks.contains { $0.contains("replica") }, "\(risks)")
                }
            }
        }

        @Test func aRedisThatMayNotBeAskedSaysWhatToAllow() async throws {
            try await RedisServer.with { server in
                try server.raw().command("ACL", "SETUSER", "ann", "on", ">p", "~sm:*", "+ping", "+eval", "+evalsha", "+select")
                try await running(try server.mirror(try server.configuration(login: "ann:p@"))) { mirror in
                    let inspection = try await mirror.inspect()
                    #expect(inspection.findings.contains { $0.text.contains("INFO") }, "\(inspection)")
                }
            }
        }
    #endif

    #if Memcached
        @Test func ofSeveralMemcachedAllAreAsked() async throws {
            try await MemcachedServer.with(3, options: ["-m", "8", "-I", "512k"]) { servers in
                let address = try MemcachedAddress(ports: servers.map(\.port))
                try await running(MemcachedMirror(.init(address: address), logger: .quiet)) { mirror in
                    let inspection = try await mirror.inspect()
                    #expect(inspection.server.hasPrefix("Memcached 1."), "\(inspection)")
                    #expect(inspection.findings.contains { $0.text.contains("24 MiB") && $0.kind == .lacks }, "\(inspection)")
                    #expect(inspection.findings.contains { $0.text.contains("3 servers") }, "\(inspection)")
                    #expect(inspection.risks.contains { $0.contains("512 KiB") && $0.contains("-I") }, "\(inspection)")
                    servers[1].stop()
                    let error = await errorOf { _ = try await mirror.inspect() }
                    #expect(error?.code == .unreachable && error?.description.contains("\(servers[1].port)") == true)
                }
            }
        }

        @Test func aMemcachedThatThrowsNothingAwaySaysSo() async throws {
            try await MemcachedServer.with(options: ["-M"]) { server in
                try await running(MemcachedMirror(.init(address: try MemcachedAddress(ports: [server.port])), logger: .quiet)) { mirror in
                    let inspection = try await mirror.inspect()
                    #expect(inspection.findings.contains { $0.kind == .does && $0.text.contains("throws nothing away") }, "\(inspection)")
                }
            }
        }
    #endif

    #if MongoDB
        @Test(arguments: [false, true]) func aMongoSaysWhetherAnotherHasItsData(isSet: Bool) async throws {
            try await MongoServer.with(set: isSet) { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let inspection = try await mirror.inspect()
                    #expect(inspection.server.hasPrefix("MongoDB ") && inspection.risks == [], "\(inspection)")
                    let kind = isSet ? "the only server of the set rs0" : "a server by itself"
                    #expect(inspection.findings.contains { $0.kind == .lacks && $0.text.contains(kind) }, "\(inspection)")
                }
            }
        }
    #endif
}

extension MirrorInspection {
    fileprivate var risks: [String] { findings.filter { $0.kind == .risk }.map(\.text) }
}
