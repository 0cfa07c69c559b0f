#if Redis
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisClusterTests {
        /// On one Redis Cluster, for it takes seconds to make one.
        @Test func itKeepsWhatEveryMirrorKeeps() async throws {
            try await RedisClusterServers.with { servers in
                for claim in MirrorClaim.all {
                    try await claim.check(on: servers)
                    try servers.flush()
                }
            }
        }

        @Test func aSlotMovesWhileSessionsInItAreReadAndWritten() async throws {
            try await RedisClusterServers.with { servers in
                try await running(try servers.makeMirror(commandTimeout: .seconds(30))) { mirror in
                    let keys = Self.keys(20, inOneSlotWith: .random())
                    let slot = RedisSlotMap.slot(of: MirrorRecord.redisKey(keys[0]))
                    let (from, to) = (try servers.node(of: MirrorRecord.redisKey(keys[0])), servers.nodes)
                    let target = try #require(to.first { $0 !== from })
                    func write(_ version: UInt64, _ keys: some Sequence<SessionKey>) async throws {
                        try await mirror.merge(
                            keys.map { MirrorRecord(key: $0, entries: [.entry("n", version, "\(version)")], expiresAt: later) })
                    }
                    func check(_ version: UInt64, _ keys: some Sequence<SessionKey>) async throws {
                        for key in keys { #expect(try await mirror.load(key)?.entries == [.entry("n", version, "\(version)")]) }
                    }
                    let (old, new) = (keys[..<10], keys[10...])
                    try await write(1, old)
                    try target.raw().command("CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", try servers.id(of: from))
                    try from.raw().command("CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", try servers.id(of: target))
                    // Those that are there are written there, and those that are new where the slot is going.
                    try await write(2, keys)
                    #expect(try target.raw().command("CLUSTER", "COUNTKEYSINSLOT", "\(slot)") == .integer(10))
                    try await check(2, keys)
                    for (index, key) in old.enumerated() {
                        try from.raw().command("MIGRATE", "127.0.0.1", "\(target.port)", "sm:\(key)", "0", "5000")
                        if index == 5 { try await write(3, keys) }
                    }
                    try await check(3, keys)
                    try target.raw().command("CLUSTER", "SETSLOT", "\(slot)", "NODE", try servers.id(of: target))
                    try from.raw().command("CLUSTER", "SETSLOT", "\(slot)", "NODE", try servers.id(of: target))
                    try await write(4, keys)
                    try await check(4, keys)
                    #expect(try target.raw().command("CLUSTER", "COUNTKEYSINSLOT", "\(slot)") == .integer(20))
                    try await mirror.remove(Array(new))
                    #expect(try target.raw().command("CLUSTER", "COUNTKEYSINSLOT", "\(slot)") == .integer(10))
                }
            }
        }

        @Test func aDeadMasterIsAnOutageUntilItsReplicaIsPromoted() async throws {
            try await RedisClusterServers.with(others: 1) { try await Self.expectOutage(of: $0) }
        }

        // Functions of their own that stay so: Swift 6.3.1 crashes when it optimises all of this as one.

        @inline(never)
        private static func expectOutage(of servers: RedisClusterServers) async throws {
            let mirror = try servers.makeMirror(commandTimeout: .seconds(30))
            try await running(mirror) { mirror in
                try servers.makeReplica(3, of: 0)
                try await outlive(servers, mirror)
            }
        }

        /// Kills the first node, whose replica the fourth is.
        @inline(never)
        private static func outlive(_ servers: RedisClusterServers, _ mirror: any MeshCore.Mirror) async throws {
            let (master, replica) = (servers.nodes[0], servers.nodes[3])
            let records = (0..<60).map { MirrorRecord(key: .random(), entries: [.entry("n", $0)], expiresAt: later) }
            try await mirror.merge(records)
            let stored = try master.raw().command("DBSIZE")
            try await eventually("the replica has all") { try replica.raw().command("DBSIZE") == stored }
            master.stop()
            let first = await errorOf { try await mirror.merge(records) }
            #expect(first?.code == .unreachable && first?.isFailureOfTheMirror == true, "\(String(describing: first))")
            let second = await errorOf { try await mirror.merge(records) }
            let line = second?.description ?? ""
            #expect(line.contains("127.0.0.1:\(master.port)") && line.contains("refused"), "\(line)")
            try replica.raw().command("CLUSTER", "FAILOVER", "TAKEOVER")
            try await eventually("it is promoted") { await errorOf { try await mirror.merge(records) } == nil }
            for record in records { expect(try await mirror.load(record.key), is: record) }
        }

        @Test func aVisitorNoticesThatOneOfTheMastersWasEmptied() async throws {
            try await RedisClusterServers.with { servers in
                let name = try NodeName("n1")
                var first: MirrorVisit?
                try await running(try servers.makeMirror(commandTimeout: .seconds(30))) { mirror in
                    first = try await mirror.visit(7, by: name)
                    #expect(try await mirror.visit(8, by: name) == MirrorVisit(generation: first?.generation ?? 0, last: 7))
                }
                try await running(try servers.makeMirror(commandTimeout: .seconds(30))) { mirror in
                    #expect(try await mirror.visit(9, by: name) == MirrorVisit(generation: first?.generation ?? 0, last: 8))
                    for node in servers.nodes {
                        let before = try await mirror.visit(10, by: name)
                        try node.raw().command("FLUSHALL")
                        let after = try await mirror.visit(11, by: name)
                        #expect(after.generation != before.generation && after.last == nil)
                    }
                }
            }
        }

        @Test func aRedisThatIsNoneOfAClusterOrAClusterNamedAsOneRedisIsTold() async throws {
            try await RedisServer.with(tcp: true) { server in
                try await running(try server.mirror(try .patient("redis+cluster://127.0.0.1:\(server.port)"))) { mirror in
                    let error = await errorOf { try await mirror.merge([RedisMirrorTests.record]) }
                    #expect(
                        error?.code == .refused && error?.description.contains("write redis://") == true, "\(String(describing: error))")
                }
            }
            try await RedisClusterServers.with { servers in
                let node = servers.nodes[1]
                try await running(try node.mirror(try .patient("redis://127.0.0.1:\(node.port)"))) { mirror in
                    let records = (0..<60).map { MirrorRecord(key: .random(), entries: [.entry("n", $0)], expiresAt: later) }
                    let error = await errorOf { try await mirror.merge(records) }
                    #expect(
                        error?.code == .refused && error?.description.contains("redis+cluster://") == true, "\(String(describing: error))")
                }
            }
        }

        private static func keys(_ count: Int, inOneSlotWith key: SessionKey) -> [SessionKey] {
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            let slot = RedisSlotMap.slot(of: MirrorRecord.redisKey(key))
            var keys = [key]
            var bytes = key.bytes
            while keys.count < count {
                for index in 0..<4 { bytes[index] = .random(in: 0...255, using: &generator) }
                guard let other = SessionKey(bytes: bytes), !keys.contains(other) else { continue }
                if RedisSlotMap.slot(of: MirrorRecord.redisKey(other)) == slot { keys.append(other) }
            }
            return keys
        }
    }
#endif
