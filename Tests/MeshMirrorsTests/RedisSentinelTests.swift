#if Redis
    import MeshCore
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisSentinelTests {
        /// A port that no test's server is given.
        private static let nobody = 1

        @Test func whenTheMasterDiesTheMirrorGoesOnAtThePromotedReplica() async throws {
            try await withSet { master, replica, sentinel in
                // The first named doesn't answer.
                let uri = "redis+sentinel://127.0.0.1:\(Self.nobody),127.0.0.1:\(sentinel.port)/sessions/2"
                try await running(try master.mirror(try .patient(uri))) { mirror in
                    let record = RedisMirrorTests.record
                    try await mirror.merge([record])
                    try await eventually("the replica has it") { try entries(of: record.key, on: replica) == 2 }
                    master.stop()
                    let change = MirrorRecord(key: record.key, entries: [.entry("c", 3)], expiresAt: later)
                    try await eventually("the replica is promoted") { await errorOf { try await mirror.merge([change]) } == nil }
                    #expect(try await mirror.load(record.key)?.entries == record.entries + change.entries)
                    #expect(try entries(of: record.key, on: replica) == 3)
                }
            }
        }

        @Test func aMasterThatWasMadeAReplicaIsLeftForThePresentOne() async throws {
            try await withSet { master, replica, sentinel in
                try await running(try master.mirror(try .patient("redis+sentinel://127.0.0.1:\(sentinel.port)/sessions"))) { mirror in
                    try await mirror.merge([RedisMirrorTests.record])
                    // An operator moves the master. Its connections stay.
                    try sentinel.raw().command("SENTINEL", "REMOVE", "sessions")
                    try replica.raw().command("REPLICAOF", "NO", "ONE")
                    try sentinel.raw().command("SENTINEL", "MONITOR", "sessions", "127.0.0.1", "\(replica.port)", "1")
                    try master.raw().command("REPLICAOF", "127.0.0.1", "\(replica.port)")
                    let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                    let error = await errorOf { try await mirror.merge([record]) }
                    #expect(
                        error?.code == .unreachable && error?.description.contains("no master any more") == true,
                        "\(String(describing: error))")
                    try await eventually("it has found the present one") { await errorOf { try await mirror.merge([record]) } == nil }
                    #expect(try replica.raw().command("EXISTS", "sm:\(record.key)") == .integer(1))
                }
            }
        }

        @Test func sentinelsThatNameAReplicaAreAskedAgain() async throws {
            try await withSet { master, replica, sentinel in
                try sentinel.raw().command("SENTINEL", "REMOVE", "sessions")
                // To the Sentinel that is a master out of reach, which it goes on naming.
                try sentinel.raw().command("SENTINEL", "MONITOR", "sessions", "127.0.0.1", "\(replica.port)", "1")
                try await running(try master.mirror(try .patient("redis+sentinel://127.0.0.1:\(sentinel.port)/sessions"))) { mirror in
                    let error = await errorOf { try await mirror.merge([RedisMirrorTests.record]) }
                    #expect(error?.code == .unreachable && error?.description.contains("no master") == true, "\(String(describing: error))")
                    try replica.raw().command("REPLICAOF", "NO", "ONE")
                    try await eventually("it is a master now") {
                        await errorOf { try await mirror.merge([RedisMirrorTests.record]) } == nil
                    }
                }
            }
        }

        @Test func whenNoSentinelAnswersOrKnowsTheNameThatIsSaid() async throws {
            try await RedisServer.with(tcp: true) { redis in
                try await RedisServer.withSentinel(of: redis) { sentinel in
                    for (hosts, name, hint) in [
                        ("127.0.0.1:\(Self.nobody)", "sessions", "no Sentinel answers"),
                        ("127.0.0.1:\(sentinel.port)", "others", "no Sentinel knows"),
                        ("127.0.0.1:\(sentinel.port),127.0.0.1:\(Self.nobody)", "others", "no Sentinel knows"),
                        ("127.0.0.1:\(redis.port)", "sessions", "is no Sentinel"),
                    ] {
                        try await running(try redis.mirror(try .patient("redis+sentinel://\(hosts)/\(name)"))) { mirror in
                            let error = await errorOf { _ = try await mirror.load(.random()) }
                            let line = error?.description ?? ""
                            #expect(line.contains(hint) && line.contains("127.0.0.1:") && !line.contains("\n"), "\(line)")
                            #expect(error?.isFailureOfTheMirror == true)
                        }
                    }
                }
            }
        }

        /// In the database that the test writes to. A Sentinel closes the connections of a server that it promotes, so each question has its own.
        private func entries(of key: SessionKey, on server: RedisServer) throws -> Int64? {
            let raw = try server.raw()
            try raw.command("SELECT", "2")
            guard case .integer(let count) = try raw.command("HLEN", "sm:\(key)") else { return nil }
            return count
        }

        /// A master, its replica, and a Sentinel that knows of both.
        private func withSet(_ body: (RedisServer, RedisServer, RedisServer) async throws -> Void) async throws {
            try await RedisServer.with(tcp: true, options: ["--repl-diskless-sync-delay", "0"]) { master in
                try await RedisServer.with(tcp: true, options: ["--replicaof", "127.0.0.1", "\(master.port)"]) { replica in
                    try await eventually("the replica follows") {
                        guard case .array(let role) = try replica.raw().command("ROLE"), role.count >= 4 else { return false }
                        return role[3] == .bytes(Array("connected".utf8))
                    }
                    try await RedisServer.withSentinel(of: master) { sentinel in
                        try await eventually("the Sentinel knows the replica") {
                            guard case .array(let replicas) = try sentinel.raw().command("SENTINEL", "REPLICAS", "sessions") else {
                                return false
                            }
                            return replicas.count == 1
                        }
                        try await body(master, replica, sentinel)
                    }
                }
            }
        }
    }
#endif
