#if Redis
    import MeshCore
    import NIOCore

    /// What is behind a mirror's URI: one Redis, whichever one Sentinels name, or a Redis Cluster.
    protocol RedisServers: Sendable {
        /// Makes calls and returns the replies in their order. When it throws, any of them may have been made or not.
        func call(_ calls: [RedisCall]) async throws(MirrorError) -> [RedisReply]
        /// What each server answers that takes writes.
        func answers(to command: RedisCommand) async throws(MirrorError) -> [RedisReply]
        /// The keys under which visitors leave their numbers: one in each server that may be emptied by itself.
        func visitedKeys() async throws(MirrorError) -> [[UInt8]]
        /// Keeps connections until the task is cancelled.
        func run() async
        /// Keeps another one, over which new items are announced.
        func runWakeups(_ wakeups: Wakeups) async
    }

    /// One call of a script, on one key.
    struct RedisCall: Sendable {
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

        static func index(_ record: MirrorRecord, of user: UserKey) -> RedisCall {
            RedisCall(.index, on: user.redisKey, of: record.key) { command in
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

    extension RedisMirror.Configuration {
        /// Of what is sent now.
        func commandDeadline() -> NIODeadline { .now() + TimeAmount(commandTimeout) }
    }
#endif
