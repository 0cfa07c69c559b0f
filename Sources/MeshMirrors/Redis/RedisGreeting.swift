#if Redis
    import MeshCore
    import NIOCore

    /// The first commands on every connection: log in, choose the database, and last what tells a Redis that is of use from one that isn't.
    struct RedisGreeting: Sendable {
        enum Purpose {
            /// That Redis answers: a PING.
            case answers
            /// That it is a master, as Sentinels say.
            case master
            /// Which slots of a Redis Cluster are where. Whoever is given the answer, and who gave it, finds the fault in it.
            case slots(@Sendable (RedisReply, RedisAddress.Server) -> MirrorError?)
        }

        private enum Step {
            case login, choice, purpose
        }

        private let steps: [Step]
        private let address: RedisAddress
        private let purpose: Purpose
        /// Nil when there was no memory for it.
        let request: ByteBuffer?

        var commands: Int { steps.count }
        /// Whether a Redis that takes no writes is none for us.
        let wantsMaster: Bool
        var isEncrypted: Bool { address.tls != nil }

        init(_ address: RedisAddress, for purpose: Purpose = .answers) {
            self.address = address
            self.purpose = purpose
            wantsMaster = if case .master = purpose { true } else { false }
            steps = (address.password == nil ? [] : [.login]) + (address.database == 0 ? [] : [.choice]) + [.purpose]
            var buffer = ByteBuffer()
            let isWhole = steps.map { Self.command($0, address, purpose).write(to: &buffer) }.allSatisfy { $0 }
            request = isWhole ? buffer : nil
        }

        private static func command(_ step: Step, _ address: RedisAddress, _ purpose: Purpose) -> RedisCommand {
            switch step {
            case .login:
                var command = RedisCommand("AUTH")
                if let user = address.user { command.append(user.utf8) }
                command.append((address.password?.text ?? "").utf8)
                return command
            case .choice:
                var command = RedisCommand("SELECT")
                command.append(String(address.database).utf8)
                return command
            case .purpose:
                switch purpose {
                case .answers: return RedisCommand("PING")
                case .master: return RedisCommand("ROLE")
                case .slots:
                    var command = RedisCommand("CLUSTER")
                    command.append("SLOTS".utf8)
                    return command
                }
            }
        }

        /// What the replies of `server` mean: nil when Redis is ready for us.
        func verdict(on replies: [RedisReply], of server: RedisAddress.Server) -> MirrorError? {
            for (step, reply) in zip(steps, replies) {
                guard case .error(let text) = reply else {
                    guard step == .purpose, let error = verdict(on: reply, of: server) else { continue }
                    return error
                }
                let error = RedisErrorReply(text)
                switch (step, error.code) {
                case (.login, .refused):
                    // Only the first word of the reply: the rest of a refused AUTH may repeat what was sent.
                    return MirrorError(.refused, "redis refused the user or password of the mirror URI (\(error.word)); correct them there")
                case (.choice, .refused) where error.word != "NOAUTH":
                    return MirrorError(.refused, "redis refused database \(address.database): \(error.words)")
                case (.purpose, .refused) where error.words.contains("cluster support disabled"):
                    return MirrorError(.refused, "this redis is no node of a Redis Cluster; write redis:// for one that stands alone")
                default: return error.error
                }
            }
            return nil
        }

        private func verdict(on reply: RedisReply, of server: RedisAddress.Server) -> MirrorError? {
            switch purpose {
            case .answers: return nil
            case .master:
                guard case .array(let parts) = reply, parts.first == .bytes(Array("master".utf8)) else {
                    return MirrorError(.unreachable, "the Sentinels name this redis, which is no master at present")
                }
                return nil
            case .slots(let take): return take(reply, server)
            }
        }
    }
#endif
