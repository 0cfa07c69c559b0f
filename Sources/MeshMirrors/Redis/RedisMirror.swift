#if Redis
    public import Logging
    public import MeshCore
    public import NIOCore
    public import NIOPosix

    /// A mirror in Redis 5 or later, over one pipelined connection.
    ///
    /// hiredis formats and reads, NIO owns the socket and the clock. Calls made before the first connection stands, or while a broken one
    /// is being replaced, wait at most the command timeout; while Redis can't be reached they fail at once.
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

        private let configuration: Configuration
        private let eventLoop: any EventLoop
        private let link: NIOLoopBoundBox<RedisLink>
        let wakeups = Wakeups()

        public init(
            _ configuration: Configuration, eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger
        ) {
            let eventLoop = eventLoopGroup.next()
            self.configuration = configuration
            self.eventLoop = eventLoop
            link = .makeBoxSendingValue(RedisLink(eventLoop: eventLoop, configuration: configuration, logger: logger), eventLoop: eventLoop)
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
                var calls: [Call] = []
                for record in part {
                    if let fault = record.fault {
                        rejections.note(.unusable(record, fault))
                        continue
                    }
                    calls.append(Call(.merge, on: MirrorRecord.redisKey(record.key), of: record.key) { $0.append(record) })
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
                try await make(part.map { Call(.remove, on: MirrorRecord.redisKey($0), of: $0) }, noting: &rejections)
            }
            try rejections.finish()
        }

        public func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] {
            let reply = try await call(.sessions, on: user.redisKey)
            guard case .array(let members) = reply else { throw .foreign("the index of user \(user)") }
            return members.compactMap { if case .bytes(let bytes) = $0 { SessionKey(bytes: bytes) } else { nil } }
        }

        public func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
            let drawn = String(UInt64.random(in: 1 ... .max))
            let reply = try await call(.visit, on: Array("sm:visits".utf8)) { command in
                command.append(drawn.utf8)
                command.append("\(name)".utf8)
                command.append(String(number).utf8)
            }
            guard case .array(let parts) = reply, parts.count == 2, let generation = parts[0].number else {
                throw .foreign("what was left by visitors, under sm:visits,")
            }
            return MirrorVisit(generation: generation, last: parts[1].number)
        }

        /// Makes calls that each answer 1 when they are done.
        private func make(_ calls: [Call], noting rejections: inout Rejections) async throws(MirrorError) {
            guard !calls.isEmpty else { return }
            for (call, reply) in zip(calls, try await self.call(calls)) {
                guard let key = call.session else { continue }
                switch reply {
                case .integer(1): continue
                case .integer(-2): rejections.note(MirrorError(.refused, "session \(key) would outgrow a mirror's record", keys: [key]))
                case .error(let text): rejections.note(RedisErrorReply(text).error)
                default: rejections.note(.foreign(key))
                }
            }
        }

        /// One call of a script.
        struct Call: Sendable {
            let script: RedisScript
            let key: [UInt8]
            let session: SessionKey?
            private let arguments: @Sendable (inout RedisCommand) -> Void

            /// - Parameter session: that a refusal of it is about.
            init(
                _ script: RedisScript, on key: [UInt8], of session: SessionKey? = nil,
                arguments: @escaping @Sendable (inout RedisCommand) -> Void = { _ in }
            ) {
                self.script = script
                self.key = key
                self.session = session
                self.arguments = arguments
            }

            static func index(_ record: MirrorRecord, of user: UserKey) -> Call {
                Call(.index, on: user.redisKey, of: record.key) { command in
                    command.append(String(record.expiresAt).utf8)
                    command.append(record.key.bytes)
                }
            }

            func command(inFull: Bool) -> RedisCommand {
                var command = script.call(on: key, inFull: inFull)
                arguments(&command)
                return command
            }
        }

        /// - Throws: an error reply, too.
        func call(
            _ script: RedisScript, on key: [UInt8], arguments: @escaping @Sendable (inout RedisCommand) -> Void = { _ in }
        ) async throws(MirrorError) -> RedisReply {
            let reply = try await call([Call(script, on: key, arguments: arguments)]).first ?? .null
            if case .error(let text) = reply { throw RedisErrorReply(text).error }
            return reply
        }

        /// Makes the calls and returns the replies in their order. Those that a Redis without the script left undone (it was restarted or its
        /// scripts were flushed) are made again in full.
        private func call(_ calls: [Call]) async throws(MirrorError) -> [RedisReply] {
            var replies = try await exchange(calls.map { $0.command(inFull: false) })
            let unknown = replies.indices.filter { if case .error(let text) = replies[$0] { text.hasPrefix("NOSCRIPT") } else { false } }
            if unknown.isEmpty { return replies }
            let again = try await exchange(unknown.map { calls[$0].command(inFull: true) })
            for (index, reply) in zip(unknown, again) { replies[index] = reply }
            return replies
        }

        func exchange(_ commands: [RedisCommand]) async throws(MirrorError) -> [RedisReply] {
            var request = ByteBuffer()
            for command in commands {
                guard command.write(to: &request) else { throw MirrorError(.unreachable, "there is no memory for a request to redis") }
            }
            let outcome = await withCheckedContinuation { (waiter: RedisLink.Waiter) in
                eventLoop.execute { [request, link] in link.value.submit(request, commands: commands.count, waiter: waiter) }
            }
            return try outcome.get()
        }

        public func run() async {
            await onLoop { $0.started() }
            await withDiscardingTaskGroup { group in
                group.addTask { await self.keepConnected { await self.runConnection() } }
                group.addTask {
                    for await _ in self.wakeups.wanted() { return await self.keepConnected { await self.runWakeups() } }
                }
            }
            await onLoop { $0.stopped() }
        }

        /// - Parameter connection: makes one and stays until it is closed. True when it was of use, so that the next may be tried at once.
        private func keepConnected(_ connection: () async -> Bool) async {
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            var delay = configuration.reconnectDelayMin
            while !Task.isCancelled {
                if await connection() {
                    delay = configuration.reconnectDelayMin
                    continue
                }
                try? await Task.sleep(for: generator.jittered(delay, share: 0.5))
                delay = min(delay * 2, configuration.reconnectDelayMax)
            }
        }

        private func runConnection() async -> Bool {
            do {
                await untilClosed(try await connect { [link] in RedisChannelHandler(link: link.value) })
                return await onLoop { $0.hasServed }
            } catch {
                let reason = Self.reason(error)
                await onLoop { $0.failedToConnect(MirrorError(.unreachable, "redis can't be reached: \(reason)")) }
                return false
            }
        }

        /// Always with a pause behind it: nobody waits for it in haste.
        private func runWakeups() async -> Bool {
            let channel = try? await connect { [wakeups, configuration] in
                RedisWakeupHandler(wakeups: wakeups, greeting: RedisGreeting(configuration.address))
            }
            if let channel { await untilClosed(channel) }
            return false
        }

        private func untilClosed(_ channel: any Channel) async {
            await withTaskCancellationHandler {
                try? await channel.closeFuture.get()
            } onCancel: {
                channel.close(promise: nil)
            }
        }

        /// The one place where a channel is made; TLS will go in front of the handler here.
        private func connect(_ handler: @escaping @Sendable () -> some ChannelInboundHandler) async throws -> any Channel {
            let bootstrap = ClientBootstrap(group: eventLoop)
                .connectTimeout(TimeAmount(configuration.connectTimeout))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler()) }
                }
            switch configuration.address.server {
            case .tcp(let server): return try await bootstrap.connect(host: server.host, port: server.port).get()
            case .unix(let path): return try await bootstrap.connect(unixDomainSocketPath: path).get()
            }
        }

        private func onLoop<Answer: Sendable>(_ body: @escaping @Sendable (RedisLink) -> Answer) async -> Answer {
            await withCheckedContinuation { continuation in
                eventLoop.execute { [link] in continuation.resume(returning: body(link.value)) }
            }
        }

        /// Why a connection could not be made, in one line.
        private static func reason(_ error: any Error) -> String {
            switch error {
            case let error as NIOConnectionError:
                // One error an address; the last is as good as any, and a name without addresses has none.
                if let last = error.connectionErrors.last { return reason(last.error) }
                return error.dnsAError == nil && error.dnsAAAAError == nil
                    ? "no address could be connected to" : "its host name has no address"
            case let error as ChannelError:
                if case .connectTimeout(let timeout) = error { return "no connection within \(timeout.nanoseconds / 1_000_000) ms" }
                return RedisErrorReply.oneLine("\(error)")
            case let error as IOError: return RedisErrorReply.oneLine(error.description)
            default: return RedisErrorReply.oneLine("\(error)")
            }
        }
    }
#endif
