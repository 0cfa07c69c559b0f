#if Redis
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    /// A real Redis Cluster of our own. Its masters have the slots in equal parts.
    struct RedisClusterServers {
        let nodes: [RedisServer]
        let masterCount: Int

        /// Runs `body` with a Redis Cluster that is gone afterwards.
        /// - Parameter others: nodes that have no slots.
        static func with(
            masters: Int = 3, others: Int = 0, portOption: String = "--port", options: [String] = [],
            _ body: (RedisClusterServers) async throws -> Void
        ) async throws {
            var nodes: [RedisServer] = []
            defer { for node in nodes { node.stop() } }
            for _ in 0..<masters + others {
                nodes.append(
                    try await ServerProcess.started { port in
                        // The port on which nodes speak with each other is 10000 above, unless it is named: that may be no port at all.
                        let bus = "\(try ServerProcess.freePort())"
                        return try RedisServer(
                            port: port, portOption: portOption,
                            options: options + [
                                "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000",
                                "--repl-diskless-sync-delay", "0",
                            ])
                    })
            }
            let servers = RedisClusterServers(nodes: nodes, masterCount: masters)
            try servers.meet()
            try await servers.isWhole()
            try await body(servers)
        }

        private func meet() throws {
            for (index, node) in nodes.enumerated() {
                try node.raw().command("CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)")
                if index > 0, case .array(let parts) = try node.raw().command("CONFIG", "GET", "cluster-port"), let bus = parts.last?.number
                {
                    try nodes[0].raw().command("CLUSTER", "MEET", "127.0.0.1", "\(node.port)", "\(bus)")
                }
                guard index < masterCount else { continue }
                let (first, end) = (index * RedisSlotMap.count / masterCount, (index + 1) * RedisSlotMap.count / masterCount)
                try node.raw().command("CLUSTER", "ADDSLOTSRANGE", "\(first)", "\(end - 1)")
            }
        }

        /// Waits until every node knows all of them and takes calls.
        func isWhole() async throws {
            for node in nodes {
                try await eventually("the node joins") {
                    guard case .bytes(let text)? = try? node.raw().command("CLUSTER", "INFO") else { return false }
                    let info = String(decoding: text, as: UTF8.self)
                    return info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:\(nodes.count)\r\n")
                }
            }
        }

        /// The node that has the slot of a key.
        func node(of key: [UInt8]) throws -> RedisServer {
            let map = try RedisSlotMap(try nodes[0].raw().command("CLUSTER", "SLOTS"), from: "127.0.0.1")
            let master = map.master(of: RedisSlotMap.slot(of: key))
            return try #require(nodes.first { Int($0.port) == master?.port })
        }

        /// - Parameter index: of a node without slots.
        @inline(never) func makeReplica(_ index: Int, of master: Int) throws {
            try nodes[index].raw().command("CLUSTER", "REPLICATE", try id(of: nodes[master]))
        }

        func id(of node: RedisServer) throws -> String {
            guard case .bytes(let id) = try node.raw().command("CLUSTER", "MYID") else {
                throw ServerFailure(description: "a node has no id")
            }
            return String(decoding: id, as: UTF8.self)
        }

        func configuration(commandTimeout: Duration = .seconds(30)) throws -> RedisMirror.Configuration {
            try .patient("redis+cluster://127.0.0.1:\(nodes[0].port),127.0.0.1:\(nodes[1].port)", commandTimeout: commandTimeout)
        }
    }

    extension RedisClusterServers: DisposableStore {
        @inline(never) func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
            try RedisMirror(try configuration(commandTimeout: commandTimeout), logger: .quiet)
        }

        func stall() { for node in nodes { node.suspend() } }
        func resume() { for node in nodes { node.resume() } }
        func stop() { for node in nodes { node.stop() } }
        func start() async throws {
            for node in nodes { try await node.start() }
            try await isWhole()
        }
        func flush() throws { for node in nodes { try node.raw().command("FLUSHALL") } }

        func plantForeignData(under key: SessionKey) throws {
            try RedisStore(server: try node(of: MirrorRecord.redisKey(key))).plantForeignData(under: key)
        }

        func checkForeignDataIsUntouched(under key: SessionKey) throws {
            try RedisStore(server: try node(of: MirrorRecord.redisKey(key))).checkForeignDataIsUntouched(under: key)
        }
    }
#endif
