#if Redis
    public import Logging
    public import MeshCore
    public import NIOCore
    public import NIOPosix

    /// A mirror in Redis 5 or later, over one pipelined connection, or one for each master of a Redis Cluster.
    ///
    /// hiredis formats and reads, NIO owns the sockets and the clock, TLS is BoringSSL's. Calls made before the first connection stands, or
    /// while a broken one is being replaced, wait at most the command timeout; while Redis can't be reached they fail at once.
    public final class RedisMirror: MeshCore.Mirror {
        public struct Configuration: Sendable {
            public var address: RedisAddress
            /// The longest wait for an answer, per call and per part of a long batch. When it has passed, the connection is closed and made
            /// anew, for the late answer must not be taken for another. More rides out slow moments of Redis and makes requests wait longer
            /// for a dead one.
            public var commandTimeout: Duration = .milliseconds(500)
            /// The longest wait for a connection, and again for the answer to its greeting.
            public var connectTimeout: Duration = .milliseconds(500)
            /// The wait after a first failed attempt; doubled after each further one, and always drawn from half to one and a half of it.
            public var reconnectDelayMin: Duration = .milliseconds(100)
            public var reconnectDelayMax: Duration = .seconds(1)

            public init(address: RedisAddress) {
                self.address = address
            }
        }

        /// Records and bytes of a batch that are sent at once; the next part waits for the answers to this one. Redis works on nothing else
        /// while it works through a part, and the command timeout is for one part.
        private static let partRecordsMax = 128
        private static let partBytesMax = 1 << 20

        let servers: any RedisServers
        let wakeups = Wakeups()

        /// - Throws: when a file of certificates that the address names can't be used.
        public init(
            _ configuration: Configuration, eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger
        ) throws(MirrorURI.Invalid) {
            let tls: RedisTLS? = if let options = configuration.address.tls { try RedisTLS(options) } else { nil }
            let connector = RedisConnector(eventLoop: eventLoopGroup.next(), timeout: configuration.connectTimeout, tls: tls)
            let address = configuration.address
            switch address.place {
            case .server(let server):
                servers = RedisNode(configuration, connector, greeting: RedisGreeting(address), logger: logger) {
                    () async throws(MirrorError) in server
                }
            case .sentinels(let hosts, let name):
                let sentinels = RedisSentinels(hosts, name: name, connector)
                servers = RedisNode(configuration, connector, greeting: RedisGreeting(address, for: .master), logger: logger) {
                    () async throws(MirrorError) in try await sentinels.master()
                }
            case .cluster(let hosts): servers = RedisCluster(configuration, connector, hosts: hosts, logger: logger)
            }
        }

        public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
            let reply = try await call(.load, on: MirrorRecord.redisKey(key))
            switch reply {
            case .null: return nil
            case .array(let parts):
                guard parts.count == 2, case .bytes(let expiry) = parts[0], case .array(let fields) = parts[1],
                    let record = MirrorRecord(key: key, expiry: expiry, fields: fields)
                else { throw .foreign(key) }
                return record
            default: throw .foreign(key)
            }
        }

        public func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
            var rejections = Rejections()
            for part in records.parts(recordsMax: Self.partRecordsMax, bytesMax: Self.partBytesMax) {
                var calls: [RedisCall] = []
                for record in part {
                    if let fault = record.fault {
                        rejections.note(.unusable(record, fault))
                        continue
                    }
                    calls.append(RedisCall(.merge, on: MirrorRecord.redisKey(record.key), of: record.key) { $0.append(record) })
                    if let user = record.user { calls.append(.index(record, of: user)) }
                }
                try await make(calls, noting: &rejections)
            }
            try rejections.finish()
        }

        public func remove(_ keys: [SessionKey]) async throws(MirrorError) {
            var rejections = Rejections()
            for start in stride(from: 0, to: keys.count, by: Self.partRecordsMax) {
                let part = keys[start..<min(start + Self.partRecordsMax, keys.count)]
                try await make(part.map { RedisCall(.remove, on: MirrorRecord.redisKey($0), of: $0) }, noting: &rejections)
            }
            try rejections.finish()
        }

        public func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] {
            let reply = try await call(.sessions, on: user.redisKey)
            guard case .array(let members) = reply else { throw .foreign("the index of user \(user)") }
            return members.compactMap { if case .bytes(let bytes) = $0 { SessionKey(bytes: bytes) } else { nil } }
        }

        /// Makes calls that each answer 1 when they are done.
        private func make(_ calls: [RedisCall], noting rejections: inout Rejections) async throws(MirrorError) {
            guard !calls.isEmpty else { return }
            for (call, reply) in zip(calls, try await servers.call(calls)) {
                guard let key = call.session else { continue }
                switch reply {
                case .integer(1): continue
                case .integer(-2): rejections.note(MirrorError(.refused, "session \(key) would outgrow a mirror's record", keys: [key]))
                case .error(let text): rejections.note(RedisErrorReply(text).error)
                default: rejections.note(.foreign(key))
                }
            }
        }

        /// - Throws: an error reply, too.
        func call(
            _ script: RedisScript, on key: [UInt8], arguments: @escaping @Sendable (inout RedisCommand) -> Void = { _ in }
        ) async throws(MirrorError) -> RedisReply {
            let reply = try await servers.call([RedisCall(script, on: key, arguments: arguments)]).first ?? .null
            if case .error(let text) = reply { throw RedisErrorReply(text).error }
            return reply
        }

        public func run() async {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.servers.run() }
                group.addTask {
                    for await _ in self.wakeups.wanted() { return await self.servers.runWakeups(self.wakeups) }
                }
            }
        }
    }
#endif
