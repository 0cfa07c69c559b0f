#if Redis
    import MeshCore

    /// Calls on their way through a Redis Cluster: a value that decides who is asked next, round by round, until each call has its answer.
    ///
    /// A node that hasn't the slot of a key answers with the name of the one that has it (MOVED), or of the one that will have it soon and has this key
    /// already (ASK). Nothing was done then, so asking there can't do anything twice.
    struct RedisRounds {
        /// A call that one server is asked to make.
        struct Step: Hashable {
            let call: Int
            /// With ASKING before it, by which a server takes calls on a slot that is only coming to it.
            var isAsking = false
            /// With the script's text, for a server that doesn't know it.
            var isInFull = false
        }

        /// Steps for one server in one piece; nil is whichever node is known, for slots of which nobody is known to have them.
        struct Part: Hashable {
            let server: HostAndPort?
            var steps: [Step]
        }

        /// Rounds after which it is given up. A slot that moves takes two, a script that isn't known one more; the rest are for a Redis Cluster that asks
        /// for patience.
        static let roundsMax = 8

        private let slots: [Int]
        private var waiting: [(step: Step, server: HostAndPort?)] = []
        private var round = 0
        private var replies: [RedisReply?]
        /// Slots that were found to have moved, since they were last taken.
        private var moved: [(slot: Int, to: HostAndPort)] = []
        /// Some node asked for patience in the last round.
        private(set) var needsPatience = false

        /// - Parameter slots: of each call's key.
        init(slots: [Int]) {
            self.slots = slots
            replies = Array(repeating: nil, count: slots.count)
            waiting = slots.indices.map { (Step(call: $0), nil) }
        }

        /// Whom to ask what now. Nobody when all have their answer, or when it is no use to go on.
        mutating func next(_ map: RedisSlotMap?) -> [Part] {
            round += 1
            guard round <= Self.roundsMax else { return [] }
            defer { (waiting, needsPatience) = ([], false) }
            var parts: [Part] = []
            var indices: [HostAndPort?: Int] = [:]
            for (step, server) in waiting {
                let server = server ?? map?.master(of: slots[step.call])
                if let index = indices[server] {
                    parts[index].steps.append(step)
                } else {
                    indices[server] = parts.count
                    parts.append(Part(server: server, steps: [step]))
                }
            }
            return parts
        }

        /// - Parameter server: who answered; a redirection that names no host means the same host.
        mutating func received(_ replies: [RedisReply], to steps: [Step], from server: HostAndPort?) {
            for (step, reply) in zip(steps, replies) {
                // Whoever has no answer in the end is told this one.
                self.replies[step.call] = reply
                guard case .error(let text) = reply, let redirection = RedisRedirection(text, from: server?.host) else { continue }
                switch redirection {
                case .moved(let slot, let server):
                    moved.append((slot, server))
                    waiting.append((Step(call: step.call), server))
                case .asked(let server): waiting.append((Step(call: step.call, isAsking: true), server))
                case .later:
                    needsPatience = true
                    waiting.append((Step(call: step.call), nil))
                case .unknownScript: waiting.append((Step(call: step.call, isAsking: step.isAsking, isInFull: true), server))
                }
            }
        }

        /// The answers in the order of the calls; an error for those that have none.
        var answers: [RedisReply] {
            replies.map { reply in
                guard let reply else { return .error("TRYAGAIN the Redis Cluster did not answer in time") }
                guard case .error(let text) = reply, text.hasPrefix("MOVED") || text.hasPrefix("ASK") else { return reply }
                return .error("TRYAGAIN the nodes of this Redis Cluster keep naming each other for a slot; it is being moved")
            }
        }

        mutating func takeMoved() -> [(slot: Int, to: HostAndPort)] {
            defer { moved = [] }
            return moved
        }
    }

    /// An error reply that sends a call elsewhere, or again.
    enum RedisRedirection: Hashable {
        case moved(slot: Int, to: HostAndPort)
        case asked(HostAndPort)
        /// The slot is between two nodes, or the Redis Cluster is being put together again.
        case later
        case unknownScript

        /// Nil for an error that is an answer.
        /// - Parameter host: who answered, if it is known.
        init?(_ text: String, from host: String?) {
            let words = text.split(separator: " ", maxSplits: 3)
            switch words.first {
            case "MOVED", "ASK":
                guard words.count >= 3, let slot = Int(words[1]), 0..<RedisSlotMap.count ~= slot, let colon = words[2].lastIndex(of: ":"),
                    let port = Int(words[2][words[2].index(after: colon)...])
                else { return nil }
                let name = words[2][..<colon]
                guard let server = HostAndPort(announced: name.isEmpty || name == "?" ? host ?? "" : String(name), port: port) else {
                    return nil
                }
                self = words[0] == "ASK" ? .asked(server) : .moved(slot: slot, to: server)
            case "TRYAGAIN", "CLUSTERDOWN": self = .later
            case "NOSCRIPT": self = .unknownScript
            // A key that expires while its slot moves may be gone between the first and the last command of a script.
            case "ERR" where text.contains("non local key"): self = .later
            default: return nil
            }
        }
    }
#endif
