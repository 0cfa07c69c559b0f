#if Redis
    import Logging
    import MeshCore
    import NIOCore
    import Synchronization

    /// A Redis Cluster: a connection to each master that is asked for something, and one, the guide, to whichever node answers.
    ///
    /// The guide tells which slots are where whenever it is connected anew, so to learn the present map is to connect it anew, to the next node in turn. It
    /// is also asked for slots of which nobody is known to have them.
    final class RedisCluster: RedisServers {
        /// The shortest time between two looks at the map that nobody waits for.
        private static let renewalPause = Duration.milliseconds(500)
        private static let patienceMin = Duration.milliseconds(20)

        fileprivate struct Kept {
            let node: RedisNode
            let retirement: AsyncStream<Void>.Continuation
            let retired: AsyncStream<Void>
        }

        fileprivate struct State {
            var map: RedisSlotMap?
            var kept: [HostAndPort: Kept] = [:]
            /// Not in the last map. One that isn't in the next either is let go.
            var departing: Set<HostAndPort> = []
            /// Takes those that are to be run; nil while nobody runs the mirror.
            var births: AsyncStream<Kept>.Continuation?
            var turn = 0
            var renewed: ContinuousClock.Instant?
        }

        private let configuration: RedisMirror.Configuration
        private let connector: RedisConnector
        private let logger: Logger
        private let shared: Shared
        private let guide: RedisNode

        /// What the guide has a hand in, too.
        private final class Shared: Sendable {
            private let hosts: [HostAndPort]
            fileprivate let state = Mutex(State())

            init(hosts: [HostAndPort]) { self.hosts = hosts }

            /// Those that are named and those that are known, in turn.
            func next() -> RedisAddress.Server {
                state.withLock { state in
                    let known = (state.map?.masters ?? []).filter { !hosts.contains($0) }
                    let all = hosts + known
                    state.turn = (state.turn + 1) % max(all.count, 1)
                    return .tcp(all[state.turn])
                }
            }

            func take(_ reply: RedisReply, from server: RedisAddress.Server) -> MirrorError? {
                guard case .tcp(let server) = server else { return nil }
                do throws(RedisSlotMap.Unusable) {
                    let map = try RedisSlotMap(reply, from: server.host)
                    state.withLock { $0.install(map) }
                    return nil
                } catch {
                    return error.error
                }
            }
        }

        init(_ configuration: RedisMirror.Configuration, _ connector: RedisConnector, hosts: [HostAndPort], logger: Logger) {
            self.configuration = configuration
            self.connector = connector
            self.logger = logger
            let shared = Shared(hosts: hosts)
            self.shared = shared
            let greeting = RedisGreeting(configuration.address, for: .slots { shared.take($0, from: $1) })
            guide = RedisNode(configuration, connector, greeting: greeting, logger: logger) { () async throws(MirrorError) in shared.next()
            }
        }

        func call(_ calls: [RedisCall]) async throws(MirrorError) -> [RedisReply] {
            let deadline = configuration.commandDeadline()
            // What the guide has under way when it is renewed is lost, so nothing is asked of it that others can be asked.
            _ = try await map(until: deadline)
            var rounds = RedisRounds(slots: calls.map { RedisSlotMap.slot(of: $0.key) })
            var patience = Self.patienceMin
            while true {
                if rounds.needsPatience {
                    try? await Task.sleep(for: min(patience, .nanoseconds((deadline - .now()).nanoseconds)))
                    patience *= 2
                }
                let parts = NIODeadline.now() < deadline ? shared.state.withLock { rounds.next($0.map) } : []
                guard !parts.isEmpty else { break }
                var failure: MirrorError?
                for (part, outcome) in await exchange(parts, of: calls, until: deadline) {
                    switch outcome {
                    case .success(let replies): rounds.received(replies, to: part.steps, from: part.server)
                    case .failure(let error): failure = failure ?? error
                    }
                }
                note(moved: rounds.takeMoved())
                if let failure {
                    renew("a node can't be reached")
                    throw failure
                }
            }
            return rounds.answers
        }

        func answers(to command: RedisCommand) async throws(MirrorError) -> [RedisReply] {
            var replies: [RedisReply] = []
            let masters = try await map(until: configuration.commandDeadline()).masters
            for master in masters { replies += try await node(master).answers(to: command) }
            return replies
        }

        func visitedKeys() async throws(MirrorError) -> [[UInt8]] {
            try await map(until: configuration.commandDeadline()).tags().map { Array("\(RedisScript.visitsKey):{\($0)}".utf8) }
        }

        private func map(until deadline: NIODeadline) async throws(MirrorError) -> RedisSlotMap {
            if shared.state.withLock({ $0.map == nil }) {
                // As soon as the guide answers there is a map.
                _ = try await guide.exchange([RedisCommand("PING")], until: deadline)
            }
            guard let map = shared.state.withLock({ $0.map }) else { throw RedisSlotMap.Unusable.empty.error }
            return map
        }

        func runWakeups(_ wakeups: Wakeups) async { await guide.runWakeups(wakeups) }

        func run() async {
            let (births, birth) = AsyncStream.makeStream(of: Kept.self)
            shared.state.withLock { $0.births = birth }
            await withDiscardingTaskGroup { group in
                group.addTask { await self.guide.run() }
                for await one in births { group.addTask { await Self.run(one) } }
                // From here on all calls go to the guide, which says that it doesn't run.
                shared.state.withLock { $0 = State() }
            }
        }

        private static func run(_ one: Kept) async {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await one.node.run() }
                group.addTask { for await _ in one.retired {} }
                await group.next()
                group.cancelAll()
            }
        }

        /// Each part to its server, all at once.
        private func exchange(
            _ parts: [RedisRounds.Part], of calls: [RedisCall], until deadline: NIODeadline
        ) async -> [(RedisRounds.Part, Result<[RedisReply], MirrorError>)] {
            if parts.count == 1, let only = parts.first { return [(only, await exchange(only, of: calls, until: deadline))] }
            return await withTaskGroup(of: (RedisRounds.Part, Result<[RedisReply], MirrorError>).self) { group in
                for part in parts { group.addTask { (part, await self.exchange(part, of: calls, until: deadline)) } }
                return await group.reduce(into: []) { $0.append($1) }
            }
        }

        private func exchange(
            _ part: RedisRounds.Part, of calls: [RedisCall], until deadline: NIODeadline
        ) async -> Result<[RedisReply], MirrorError> {
            var commands: [RedisCommand] = []
            for step in part.steps {
                if step.isAsking { commands.append(RedisCommand("ASKING")) }
                commands.append(calls[step.call].command(inFull: step.isInFull))
            }
            do throws(MirrorError) {
                var replies = try await node(part.server).exchange(commands, until: deadline)[...]
                return .success(
                    part.steps.map { step in
                        if step.isAsking { _ = replies.popFirst() }
                        return replies.popFirst() ?? .null
                    })
            } catch {
                return .failure(error)
            }
        }

        private func node(_ server: HostAndPort?) throws(MirrorError) -> RedisNode {
            guard let server else { return guide }
            return try shared.state.withLock { state throws(MirrorError) in
                if let one = state.kept[server] { return one.node }
                guard state.births != nil else { return guide }
                // Twice as many, for those that come and those that go.
                guard state.kept.count < 2 * RedisSlotMap.mastersMax else { throw RedisSlotMap.Unusable.tooMany.error }
                let node = RedisNode(configuration, connector, greeting: RedisGreeting(configuration.address), logger: logger) {
                    () async throws(MirrorError) in .tcp(server)
                }
                let (retired, retirement) = AsyncStream.makeStream(of: Void.self)
                let one = Kept(node: node, retirement: retirement, retired: retired)
                state.kept[server] = one
                state.births?.yield(one)
                return node
            }
        }

        private func note(moved: [(slot: Int, to: HostAndPort)]) {
            guard !moved.isEmpty else { return }
            shared.state.withLock { state in
                // One master too many is found again, and told, when the map is read anew.
                for (slot, server) in moved { try? state.map?.move(slot, to: server) }
            }
            renew("slots have moved")
        }

        private func renew(_ reason: String) {
            let isDue = shared.state.withLock { state in
                let now = ContinuousClock.now
                if let renewed = state.renewed, now - renewed < Self.renewalPause { return false }
                state.renewed = now
                return true
            }
            if isDue { guide.renew(MirrorError(.unreachable, "the map of the Redis Cluster is read anew, for \(reason)")) }
        }
    }

    extension RedisCluster.State {
        /// Lets those go that are neither in this map nor were in the last: a node may be given its first slots in between.
        fileprivate mutating func install(_ map: RedisSlotMap) {
            self.map = map
            let absent = Set(kept.keys).subtracting(map.masters)
            for server in absent.intersection(departing) { kept.removeValue(forKey: server)?.retirement.finish() }
            departing = absent.subtracting(departing)
        }
    }
#endif
