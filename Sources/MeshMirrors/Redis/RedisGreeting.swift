#if Redis
    import MeshCore
    import NIOCore

    /// The first commands on every connection: log in, choose the database, and a PING that tells a Redis that answers from one that merely
    /// listens.
    struct RedisGreeting {
        private enum Step {
            case login, choice, ping
        }

        private let steps: [Step]
        private let address: RedisAddress
        /// Nil when there was no memory for it.
        let request: ByteBuffer?

        var commands: Int { steps.count }

        init(_ address: RedisAddress) {
            self.address = address
            steps = (address.password == nil ? [] : [.login]) + (address.database == 0 ? [] : [.choice]) + [.ping]
            var buffer = ByteBuffer()
            let isWhole = steps.map { Self.command($0, address).write(to: &buffer) }.allSatisfy { $0 }
            request = isWhole ? buffer : nil
        }

        private static func command(_ step: Step, _ address: RedisAddress) -> RedisCommand {
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
            case .ping: return RedisCommand("PING")
            }
        }

        /// What the replies mean: nil when Redis is ready for us.
        func verdict(on replies: [RedisReply]) -> MirrorError? {
            for (step, reply) in zip(steps, replies) {
                guard case .error(let text) = reply else { continue }
                let error = RedisErrorReply(text)
                switch (step, error.code) {
                case (.login, .refused):
                    // Only the first word of the reply: the rest of a refused AUTH may repeat what was sent.
                    return MirrorError(.refused, "redis refused the user or password of the mirror URI (\(error.word)); correct them there")
                case (.choice, .refused): return MirrorError(.refused, "redis refused database \(address.database): \(error.words)")
                case (.ping, .refused) where error.word == "NOAUTH":
                    return MirrorError(.refused, "redis wants a password; write it into the mirror URI: user:password@ before the host")
                default: return MirrorError(error.code, "redis answered: \(error.words)")
                }
            }
            return nil
        }
    }

    /// An error reply of Redis: a word in capitals that says what kind it is, and a sentence.
    struct RedisErrorReply: Hashable {
        let word: String
        /// One line for a person, shortened.
        let words: String

        init(_ text: String) {
            word = String(text.prefix { $0.isASCII && ($0.isUppercase || $0.isNumber) }.prefix(32))
            // An unknown command is answered with what was sent, contents of sessions and passwords included. That part is not kept.
            words = Self.oneLine(text.firstRange(of: ", with args").map { String(text[..<$0.lowerBound]) } ?? text)
        }

        /// The words that mean "not now" go away by themselves; all others wait for a person.
        var code: MirrorError.Code {
            switch word {
            case "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN": .unreachable
            case "WRONGTYPE": .foreignData
            default: .refused
            }
        }

        var error: MirrorError {
            switch word {
            case "MOVED", "ASK":
                MirrorError(.refused, "this redis is part of a cluster, which a mirror can't use yet; name one that stands alone")
            case "READONLY": MirrorError(.refused, "this redis is a read-only replica; name its master in the mirror URI")
            case "NOAUTH": MirrorError(.refused, "redis wants a password; write it into the mirror URI: user:password@ before the host")
            default: MirrorError(code, "redis answered: \(words)")
            }
        }

        static func oneLine(_ text: String) -> String {
            String(String.UnicodeScalarView(text.unicodeScalars.prefix(160).map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
        }
    }
#endif
