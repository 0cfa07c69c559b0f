#if Redis
    import Logging
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisMirrorTests {
        // Ancestors' scenario 17.
        @Test(arguments: MirrorClaim.all) func keeps(_ claim: MirrorClaim) async throws {
            try await RedisServer.with { try await claim.check(on: RedisStore(server: $0)) }
        }

        @Test func itWorksOverTCPAndComesBackByItselfThere() async throws {
            try await RedisServer.with(tcp: true) { server in
                try await running(try server.mirror(try server.configuration(tcp: true))) { mirror in
                    try await mirror.merge([Self.record])
                    expect(try await mirror.load(Self.record.key), is: Self.record)
                    server.stop()
                    #expect(await errorOf { _ = try await mirror.load(Self.record.key) }?.code == .unreachable)
                    try await server.start()
                    try await eventually("it is back") { await errorOf { try await mirror.merge([Self.record]) } == nil }
                }
            }
        }

        @Test func aServerThatIsNotThereIsNamedInTheErrorAndCostsNoWaiting() async throws {
            let port = try ServerProcess.freePort()
            var configuration = RedisMirror.Configuration(address: try RedisAddress(uri: "redis://127.0.0.1:\(port)"))
            configuration.commandTimeout = .seconds(30)
            let mirror = try RedisMirror(configuration, logger: .quiet)
            try await running(mirror) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                #expect(error?.code == .unreachable)
                #expect(error?.description.contains("127.0.0.1:\(port)") == true, "\(String(describing: error))")
                #expect(error?.description.contains("refused") == true, "\(String(describing: error))")
            }
        }

        @Test func forgottenScriptsAreSentAgain() async throws {
            try await RedisServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    for round in 0..<3 {
                        try server.raw().command("SCRIPT", "FLUSH")
                        let records = (0..<300).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0))], expiresAt: later) }
                        try await mirror.merge(records)
                        try server.raw().command("SCRIPT", "FLUSH")
                        expect(try await mirror.load(records[round].key), is: records[round])
                    }
                }
            }
        }

        @Test func aWrongOrMissingPasswordIsRefusedInOneClearLineWithoutIt() async throws {
            try await RedisServer.with(options: ["--requirepass", "right horse"]) { server in
                for (login, hint) in [(":wrong%20horse@", "(WRONGPASS)"), ("ann:wrong%20horse@", "(WRONGPASS)"), ("", "wants a password")] {
                    try await running(try server.mirror(try server.configuration(login: login))) { mirror in
                        let error = await errorOf { _ = try await mirror.load(.random()) }
                        #expect(error?.code == .refused, "\(String(describing: error))")
                        let line = error?.description ?? ""
                        #expect(
                            line.contains(hint) && line.contains("mirror URI") && !line.contains("horse") && !line.contains("\n"), "\(line)"
                        )
                    }
                }
                try await running(try server.mirror(try server.configuration(login: ":right%20horse@"))) {
                    try await $0.merge([Self.record])
                }
            }
        }

        @Test func aUserWithTheFewestRightsCanLogInAndMirror() async throws {
            try await RedisServer.with { server in
                try server.raw().command(
                    "ACL", "SETUSER", "ann", "on", ">p@ss:w/rd", "~sm:*", "+ping", "+eval", "+evalsha", "+select", "+hset", "+hdel",
                    "+hlen", "+hgetall", "+pttl",
                    "+pexpireat", "+time", "+type")
                try await running(try server.mirror(try server.configuration(login: "ann:p%40ss%3Aw%2Frd@", database: 3))) { mirror in
                    try await mirror.merge([Self.record])
                    var tombstone = Self.record
                    tombstone.entries = [.entry("gone", 1)]
                    tombstone.isTombstone = true
                    try await mirror.merge([tombstone])
                    expect(try await mirror.load(Self.record.key), is: tombstone)
                }
                let raw = try server.raw()
                #expect(try raw.command("EXISTS", "sm:\(Self.record.key)") == .integer(0))
                try raw.command("SELECT", "3")
                #expect(try raw.command("EXISTS", "sm:\(Self.record.key)") == .integer(1))
            }
        }

        @Test func aDatabaseThatIsNotThereIsRefused() async throws {
            try await RedisServer.with { server in
                try await running(try server.mirror(try server.configuration(database: 999))) { mirror in
                    let error = await errorOf { _ = try await mirror.load(.random()) }
                    #expect(error?.code == .refused && error?.description.contains("database 999") == true, "\(String(describing: error))")
                }
            }
        }

        @Test func aReadOnlyReplicaIsRefusedForMergesAndStillLoads() async throws {
            try await RedisServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    try await mirror.merge([Self.record])
                    // Of a master that never answers: it keeps its data and takes no writes.
                    try server.raw().command("REPLICAOF", "127.0.0.1", "\(ServerProcess.freePort())")
                    let change = MirrorRecord(key: Self.record.key, entries: [.entry("a", 9)], expiresAt: later)
                    let error = await errorOf { try await mirror.merge([change]) }
                    #expect(error?.code == .refused && error?.isFailureOfTheMirror == true, "\(String(describing: error))")
                    #expect(error?.description.contains("read-only replica; name its master") == true, "\(String(describing: error))")
                    expect(try await mirror.load(Self.record.key), is: Self.record)
                }
            }
        }

        @Test(arguments: [("redis", "what answers is not redis"), ("rediss", "no TLS is spoken")])
        func anHTTPServerOnThePortIsSaidToBeNone(_ scheme: String, _ hint: String) async throws {
            try await ParrotServer.with(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), closes: false) { parrot in
                let mirror = try RedisMirror(try .patient("\(scheme)://127.0.0.1:\(parrot.port)"), logger: .quiet)
                try await running(mirror) { mirror in
                    let error = await errorOf { _ = try await mirror.load(.random()) }
                    let line = error?.description ?? ""
                    #expect(error?.code == .unreachable && line.contains(hint) && !line.contains("\n"), "\(line)")
                }
            }
        }

        @Test func aRedisWithoutMemoryRefuses() async throws {
            try await RedisServer.with { server in
                try server.raw().command("CONFIG", "SET", "maxmemory", "1")
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let error = await errorOf { try await mirror.merge([Self.record]) }
                    #expect(error?.code == .refused && error?.isFailureOfTheMirror == true, "\(String(describing: error))")
                }
            }
        }

        @Test(arguments: [
            ["SET", "KEY", "bob"], ["SADD", "KEY", "bob"], ["HSET", "KEY", "name", "bob"],
            ["HSET", "KEY", "", "a tombstone that has no name"],
        ])
        func aKeyOfAnotherTypeOrFormOrWithoutExpiryIsForeign(_ command: [String]) async throws {
            try await RedisServer.with { server in
                let key = SessionKey.random()
                let raw = try server.raw()
                let arguments = command.map { $0 == "KEY" ? "sm:\(key)" : $0 }
                _ =
                    arguments.count == 3
                    ? try raw.command(arguments[0], arguments[1], arguments[2])
                    : try raw.command(arguments[0], arguments[1], arguments[2], arguments[3])
                try await running(try server.mirror(try server.configuration())) { mirror in
                    for expires in [false, true] {
                        if expires { try raw.command("PEXPIRE", "sm:\(key)", "3600000") }
                        let before = try raw.command("DUMP", "sm:\(key)")
                        #expect(await errorOf { _ = try await mirror.load(key) }?.code == .foreignData)
                        let error = await errorOf {
                            try await mirror.merge([MirrorRecord(key: key, entries: [.entry("a", 1)], expiresAt: later)])
                        }
                        #expect(error?.code == .foreignData && error?.keys == [key])
                        #expect(try raw.command("DUMP", "sm:\(key)") == before)
                    }
                }
            }
        }

        @Test func aConnectionThatIsCutIsReplacedWhileCallsWait() async throws {
            try await RedisServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let raw = try server.raw()
                    try await mirror.merge([Self.record])
                    for _ in 0..<10 {
                        try raw.command("CLIENT", "KILL", "TYPE", "normal")
                        try await eventually("it answers") { await errorOf { _ = try await mirror.load(Self.record.key) } == nil }
                    }
                }
            }
        }

        static let record = MirrorRecord(key: .random(), entries: [.entry("a", 1, "one"), .entry("b", 2, "two")], expiresAt: later)
    }

    struct RedisStore: DisposableStore {
        let server: RedisServer
        /// Where it is mirrored to; its Unix socket when nil.
        var uri: String?

        func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
            let configuration = try uri.map { try RedisMirror.Configuration.patient($0, commandTimeout: commandTimeout) }
            return try server.mirror(try configuration ?? server.configuration(commandTimeout: commandTimeout))
        }

        func stall() { server.suspend() }
        func resume() { server.resume() }
        func stop() { server.stop() }
        func start() async throws { try await server.start() }
        func flush() throws { try server.raw().command("FLUSHALL") }

        func plantForeignData(under key: SessionKey) throws {
            try server.raw().command("HSET", "sm:\(key)", "name", "bob", "town", "rome")
            try server.raw().command("PEXPIRE", "sm:\(key)", "3600000")
        }

        func checkForeignDataIsUntouched(under key: SessionKey) throws {
            #expect(
                try server.raw().command("HGETALL", "sm:\(key)") == .array(["name", "bob", "town", "rome"].map { .bytes(Array($0.utf8)) }))
        }
    }

    extension RedisServer {
        // Swift 6.3.1 crashes when it optimises this together with what runs the mirror.
        @inline(never) func mirror(_ configuration: RedisMirror.Configuration) throws -> RedisMirror {
            try RedisMirror(configuration, logger: .quiet)
        }
    }
#endif
