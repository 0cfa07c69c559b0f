#if Redis
    import Crypto
    public import MeshCore

    extension RedisMirror {
        /// Visits every master of a Redis Cluster, for any of them may be emptied by itself.
        public func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
            let drawn = String(UInt64.random(in: 1 ... .max))
            let keys = try await servers.visitedKeys()
            let calls = keys.map { key in
                RedisCall(.visit, on: key) { command in
                    command.append(drawn.utf8)
                    command.append("\(name)".utf8)
                    command.append(String(number).utf8)
                }
            }
            var visits: [(key: [UInt8], visit: MirrorVisit)] = []
            for (key, reply) in zip(keys, try await servers.call(calls)) {
                if case .error(let text) = reply { throw RedisErrorReply(text).error }
                guard case .array(let parts) = reply, parts.count == 2, let generation = parts[0].number else {
                    throw .foreign("what was left by visitors, under \(String(decoding: key, as: UTF8.self)),")
                }
                visits.append((key, MirrorVisit(generation: generation, last: parts[1].number)))
            }
            return Self.whole(visits)
        }

        /// One visit for those of all masters: its generation is another one when any of theirs is, or when other keys were visited.
        private static func whole(_ visits: [(key: [UInt8], visit: MirrorVisit)]) -> MirrorVisit {
            if visits.count == 1, let only = visits.first { return only.visit }
            let lasts = visits.map(\.visit.last)
            var all: [UInt8] = []
            for (key, visit) in visits.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
                all += key + [0] + Array(String(visit.generation).utf8) + [0]
            }
            let generation = SHA256.hash(data: all).prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return MirrorVisit(generation: generation, last: lasts.contains(nil) ? nil : lasts.compactMap(\.self).min())
        }
    }
#endif
