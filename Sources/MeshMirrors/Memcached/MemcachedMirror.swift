#if Memcached
    public import Logging
    public import MeshCore
    import NIOCore

    /// A mirror in Memcached 1.4 or later, on one server or several.
    ///
    /// libmemcached blocks, so it has threads of its own, each with a connection to each server. A call waits for a free thread in a queue that
    /// is bounded, and is answered at the latest when the command timeout has passed, whatever its thread is doing.
    ///
    /// A session is one value, changed by `gets`, merging here, and `cas`; when another agent comes between, all over again. Memcached forgets
    /// what it has no room for, and all of it when it is restarted: it mirrors, and keeps nothing safe.
    public final class MemcachedMirror: MeshCore.Mirror {
        public struct Configuration: Sendable {
            public var address: MemcachedAddress
            /// The longest wait for an answer, per call and per part of a long batch. More rides out slow moments of a server and makes
            /// requests wait longer for a dead one.
            public var commandTimeout: Duration = .milliseconds(500)
            /// The longest wait for a connection to a server.
            public var connectTimeout: Duration = .milliseconds(500)
            /// For how long a server is left alone that could not be reached; until then calls for its sessions fail at once.
            public var retryDelay: Duration = .milliseconds(500)
            /// For how long an item of a log may be missing behind a later one before it is given up for lost: its writer may have died
            /// between taking its place and writing it. More holds up readers behind such a place, less may give up a slow writer's.
            public var holeTimeout: Duration = .milliseconds(250)
            /// Calls that run at the same time. Each more is another connection to every server, and a thread.
            public var threads = 2

            public init(address: MemcachedAddress) {
                self.address = address
            }
        }

        /// Records and bytes of a batch that are one call. Each record of it costs a round trip, and the command timeout is for all of them.
        private static let partRecordsMax = 64
        private static let partBytesMax = 1 << 20

        let configuration: Configuration
        private let logger: Logger
        private let threads: MirrorThreads<MemcachedServers>
        let wakeups = Wakeups()
        let holes = MemcachedHoles()

        public init(_ configuration: Configuration, logger: Logger) {
            self.configuration = configuration
            self.logger = logger
            threads = MirrorThreads(
                count: configuration.threads, waitingMax: WaitingMax.memcached, store: "memcached",
                place: configuration.address.servers.map(\.description).joined(separator: ","))
        }

        public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
            let name = MemcachedBlob.key(of: key)
            return try await call { servers throws(MirrorError) in
                guard let item = try servers.get(name, from: try servers.server(of: name)) else { return nil }
                guard let record = MemcachedBlob.decode(item.value, of: key) else { throw .foreign(key) }
                return record.expiresAt > WallClock.now() ? record : nil
            }
        }

        public func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
            let parts = records.parts(recordsMax: Self.partRecordsMax, bytesMax: Self.partBytesMax)
            let outcomes = await withTaskGroup(of: (Int, Result<Rejections, MirrorError>).self) { group in
                var outcomes: [Int: Result<Rejections, MirrorError>] = [:]
                for (index, part) in parts.enumerated() {
                    if index >= configuration.threads, let (done, outcome) = await group.next() {
                        outcomes[done] = outcome
                    }
                    group.addTask { (index, await self.merge(part)) }
                }
                for await (done, outcome) in group { outcomes[done] = outcome }
                return outcomes
            }
            var rejections = Rejections()
            for index in parts.indices {
                guard let outcome = outcomes[index] else { continue }
                rejections.note(try outcome.get())
            }
            try rejections.finish()
        }

        private func merge(_ part: ArraySlice<MirrorRecord>) async -> Result<Rejections, MirrorError> {
            do throws(MirrorError) {
                return .success(try await call { servers throws(MirrorError) in try servers.merge(part) })
            } catch {
                return .failure(error)
            }
        }

        public func remove(_ keys: [SessionKey]) async throws(MirrorError) {
            var rejections = Rejections()
            for start in stride(from: 0, to: keys.count, by: Self.partRecordsMax) {
                let part = Array(keys[start..<min(keys.count, start + Self.partRecordsMax)])
                rejections.note(try await call { servers throws(MirrorError) in try servers.remove(part) })
            }
            try rejections.finish()
        }

        public func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] {
            let now = WallClock.now()
            return try await call { servers throws(MirrorError) in
                let name = MemcachedIndex.key(of: user)
                guard let item = try servers.get(name, from: try servers.server(of: name)) else { return [] }
                guard let index = MemcachedIndex(item.value, of: user) else { throw .foreign("the index of a user's sessions") }
                return index.keys(at: now)
            }
        }

        public func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
            try await call { servers throws(MirrorError) in try servers.visit(number, by: name) }
        }

        public func run() async {
            let outages = configuration.address.servers.map { _ in MemcachedOutage() }
            await threads.run(with: { [configuration, logger] in MemcachedServers(configuration, outages: outages, logger: logger) }) {
                await watchLogs()
            }
        }

        /// Runs `body` on one of the threads, and answers when it has ended or the command timeout has passed.
        func call<Answer: Sendable>(
            _ body: @escaping @Sendable (MemcachedServers) throws(MirrorError) -> Answer
        ) async throws(MirrorError) -> Answer {
            let timeout = configuration.commandTimeout
            return try await threads.perform(within: timeout) { servers, deadline throws(MirrorError) in
                // A thread is to give up first, for its error says which server it was.
                servers.deadline = deadline - TimeAmount(timeout / 20)
                return try body(servers)
            }
        }
    }
#endif
