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
            public var reconnectDelayMax: Duration = .seconds(5)

            public init(address: RedisAddress) {
                self.address = address
            }
        }

        /// Records and bytes of a batch that are sent at once; the next part waits for the answers to this one. Redis works on nothing else
        /// while it works through a part, and the command timeout is for one part.
        private static let partRecordsMax = 256
        private static let partBytesMax = 1 << 20

        private let configuration: Configuration
        private let eventLoop: any EventLoop
        private let link: NIOLoopBoundBox<RedisLink>

        public init(
            _ configuration: Configuration, eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger
        ) {
            let eventLoop = eventLoopGroup.next()
            self.configuration = configuration
            self.eventLoop = eventLoop
            link = .makeBoxSendingValue(RedisLink(eventLoop: eventLoop, configuration: configuration, logger: logger), eventLoop: eventLoop)
        }

        public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
            let reply = try await call(.load, [Call(key: key)]).first ?? .null
            switch reply {
            case .null: return nil
            case .error(let text): throw RedisErrorReply(text).error
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
            var calls: [Call] = []
            var bytes = 0
            for record in records {
                if let fault = record.fault {
                    rejections.note(.unusable(record, fault))
                    continue
                }
                calls.append(Call(key: record.key, record: record))
                bytes += record.entries.reduce(64) { $0 + $1.byteCount }
                guard calls.count == Self.partRecordsMax || bytes >= Self.partBytesMax else { continue }
                try await merge(calls, noting: &rejections)
                calls.removeAll(keepingCapacity: true)
                bytes = 0
            }
            try await merge(calls, noting: &rejections)
            try rejections.finish()
        }

        private func merge(_ calls: [Call], noting rejections: inout Rejections) async throws(MirrorError) {
            guard !calls.isEmpty else { return }
            for (call, reply) in zip(calls, try await self.call(.merge, calls)) {
                switch reply {
                case .integer(1): continue
                case .integer(-2):
                    rejections.note(MirrorError(.refused, "session \(call.key) would outgrow a mirror's record", keys: [call.key]))
                case .error(let text): rejections.note(RedisErrorReply(text).error)
                default: rejections.note(.foreign(call.key))
                }
            }
        }

        /// One call of a script: its key and, for a merge, the record.
        private struct Call: Sendable {
            let key: SessionKey
            var record: MirrorRecord?

            func command(_ script: RedisScript, inFull: Bool) -> RedisCommand {
                var command = script.call(on: MirrorRecord.redisKey(key), inFull: inFull)
                guard let record else { return command }
                command.append(String(record.expiresAt).utf8)
                command.append((record.isTombstone ? "1" : "0").utf8)
                record.appendFields(to: &command)
                return command
            }
        }

        /// Calls a script for each of `calls` and returns the replies in their order. Those that a Redis without the script left undone (it
        /// was restarted or its scripts were flushed) are made again in full.
        private func call(_ script: RedisScript, _ calls: [Call]) async throws(MirrorError) -> [RedisReply] {
            var replies = try await exchange(calls.map { $0.command(script, inFull: false) })
            let unknown = replies.indices.filter { if case .error(let text) = replies[$0] { text.hasPrefix("NOSCRIPT") } else { false } }
            if unknown.isEmpty { return replies }
            let again = try await exchange(unknown.map { calls[$0].command(script, inFull: true) })
            for (index, reply) in zip(unknown, again) { replies[index] = reply }
            return replies
        }

        private func exchange(_ commands: [RedisCommand]) async throws(MirrorError) -> [RedisReply] {
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
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            var delay = configuration.reconnectDelayMin
            while !Task.isCancelled {
                if await runConnection() {
                    delay = configuration.reconnectDelayMin
                    continue
                }
                try? await Task.sleep(for: generator.jittered(delay, share: 0.5))
                delay = min(delay * 2, configuration.reconnectDelayMax)
            }
            await onLoop { $0.stopped() }
        }

        /// Makes one connection and stays until it is closed. True when it was of use, so that the next may be tried at once.
        private func runConnection() async -> Bool {
            do {
                let channel = try await connect()
                await withTaskCancellationHandler {
                    try? await channel.closeFuture.get()
                } onCancel: {
                    channel.close(promise: nil)
                }
                return await onLoop { $0.hasServed }
            } catch {
                let reason = Self.reason(error)
                await onLoop { $0.failedToConnect(MirrorError(.unreachable, "redis can't be reached: \(reason)")) }
                return false
            }
        }

        /// The one place where a channel is made; TLS will go in front of the handler here.
        private func connect() async throws -> any Channel {
            let bootstrap = ClientBootstrap(group: eventLoop)
                .connectTimeout(TimeAmount(configuration.connectTimeout))
                .channelInitializer { [link] channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(RedisChannelHandler(link: link.value))
                    }
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
