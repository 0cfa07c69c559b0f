#if MongoDB
    import CMongoShim
    public import Logging
    public import MeshCore
    import Synchronization

    /// A mirror in MongoDB 5 or later, a server by itself or a replica set, through libmongoc.
    ///
    /// The library blocks, so it is called on threads of the mirror's own; it keeps the connections and finds a set's primary. Calls made
    /// before ``run()`` wait at most the command timeout; while MongoDB can't be reached each fails after the selection timeout.
    public final class MongoMirror: MeshCore.Mirror {
        public struct Configuration: Sendable {
            public var address: MongoAddress
            /// The longest wait for an answer, per call and per part of a long batch, and of the library at a socket unless the URI has
            /// `socketTimeoutMS`. More rides out slow moments of MongoDB and makes requests wait longer for a dead one.
            public var commandTimeout: Duration = .milliseconds(500)
            /// The longest look for a server that can be used, unless the URI has `serverSelectionTimeoutMS`. More rides out the election
            /// of a primary and keeps a thread busy for longer when there is none.
            public var selectionTimeout: Duration = .milliseconds(300)
            /// The longest wait for a connection, unless the URI has `connectTimeoutMS`.
            public var connectTimeout: Duration = .milliseconds(500)
            /// How many calls MongoDB works on at once: threads, and connections unless the URI has `maxPoolSize`. Each more costs a thread
            /// here and a connection there.
            public var threads = 4

            public init(address: MongoAddress) {
                self.address = address
            }
        }

        /// Records and bytes of a batch that are sent at once; the next part waits for the answer to this one, for which the command
        /// timeout counts. MongoDB takes 16 MiB.
        private static let partRecordsMax = 256
        private static let partBytesMax = 1 << 20
        /// How often a merge is tried that runs into a document which its filter doesn't take. Once is enough when another made it just
        /// then.
        static let attemptsMax = 3
        /// How often indexes and such are looked after: a MongoDB that was emptied has lost them.
        private static let indexInterval = Duration.seconds(60)
        private static let indexRetryMin = Duration.milliseconds(500)

        let configuration: Configuration
        let connections: MongoConnections
        let threads: MirrorThreads<Void>
        let wakeups = Wakeups()
        /// Whether MongoDB is a set, or the way into several; nil until it was asked.
        let isSet = Mutex<Bool?>(nil)
        /// Where the last append of this mirror to each slot has ended. Another's items may stand behind it.
        let ends = Mutex<[Slot: ChannelMark]>([:])
        private let logger: Logger

        /// - Throws: ``MirrorURI/Invalid`` when the library can't read the URI.
        public init(_ configuration: Configuration, logger: Logger) throws(MirrorURI.Invalid) {
            MongoLibrary.start()
            if let fault = MongoLibrary.fault(of: configuration.address.uri.text) {
                throw MirrorURI.Invalid(
                    "libmongoc doesn't take it: \(configuration.address.withoutSecrets(fault) ?? "look at its hosts and options")")
            }
            self.configuration = configuration
            self.logger = logger
            connections = MongoConnections(configuration)
            threads = MirrorThreads(
                count: configuration.threads, waitingMax: WaitingMax.mongo, store: "mongodb", place: configuration.address.place)
        }

        public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
            let documents = try await find(MongoLaw.collection, ["_id": .binary(key.bytes)], limit: 1)
            guard let document = documents.first else { return nil }
            guard let record = MirrorRecord(key: key, document: document) else { throw .foreign(key) }
            // MongoDB takes expired documents away once a minute.
            return record.expiresAt > WallClock.now() ? record : nil
        }

        public func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
            var rejections = Rejections()
            for part in records.parts(recordsMax: Self.partRecordsMax, bytesMax: Self.partBytesMax) {
                var sound: [MirrorRecord] = []
                for record in part {
                    if let fault = record.fault { rejections.note(.unusable(record, fault)) } else { sound.append(record) }
                }
                try await merge(sound, noting: &rejections)
            }
            try rejections.finish()
        }

        private func merge(_ records: [MirrorRecord], noting rejections: inout Rejections) async throws(MirrorError) {
            var faults: [Int: MirrorError] = [:]
            // An insert costs MongoDB a fifteenth of a merge, and a failed one less than half.
            func isInserted(_ record: MirrorRecord) -> Bool { record.isNew && !record.isTombstone && !record.entries.isEmpty }
            let new = records.indices.filter { isInserted(records[$0]) }
            var pending = records.indices.filter { !isInserted(records[$0]) }
            for error in try await insert(MongoLaw.collection, new.map { MongoLaw.document(of: records[$0]) }) {
                let index = new[error.index]
                if error.isDuplicateKey { pending.append(index) } else { faults[index] = mirrorError(error, for: records[index].key) }
            }
            for attempt in 1...Self.attemptsMax where !pending.isEmpty {
                let updates = pending.map { MongoLaw.statement(merging: records[$0]) }
                let errors = try await update(MongoLaw.collection, updates)
                var again: [Int] = []
                for error in errors {
                    let index = pending[error.index]
                    if error.isDuplicateKey && attempt < Self.attemptsMax {
                        again.append(index)
                    } else {
                        faults[index] = mirrorError(error, for: records[index].key)
                    }
                }
                pending = again
            }
            for index in faults.keys.sorted() { if let fault = faults[index] { rejections.note(fault) } }
        }

        public func remove(_ keys: [SessionKey]) async throws(MirrorError) {
            var foreign: Set<SessionKey> = []
            for start in stride(from: 0, to: keys.count, by: Self.partRecordsMax) {
                let part = keys[start..<min(start + Self.partRecordsMax, keys.count)]
                let statements = part.map { MongoLaw.statement(removing: $0) }
                let reply = try await command(
                    ["delete": .string(MongoLaw.collection), "deletes": .array(statements), "ordered": false], writes: true)
                if let error = try writeErrors(reply, of: statements.count).first { throw mirrorError(error) }
                // The answer tells how many were removed and not which.
                for document in try await find(
                    MongoLaw.collection, MongoLaw.foreign(under: part), limit: Int32(part.count), fields: ["_id": 1])
                {
                    if let key = document["_id"]?.binary.flatMap({ SessionKey(bytes: $0) }) { foreign.insert(key) }
                }
            }
            var rejections = Rejections()
            for key in keys where foreign.contains(key) { rejections.note(.foreign(key)) }
            try rejections.finish()
        }

        public func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] {
            let documents = try await find(
                MongoLaw.collection, ["u": .binary(user.bytes), "exp": ["$gt": .date(WallClock.now())]],
                limit: Int32(MirrorRecord.sessionsOfUserMax), fields: ["_id": 1], sort: ["exp": -1])
            return documents.compactMap { $0["_id"]?.binary.flatMap { SessionKey(bytes: $0) } }
        }

        public func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit {
            let drawn = UInt64.random(in: 1 ... .max)
            // No path leads to a field whose name has a dot, and names of nodes have.
            let field = MongoLaw.hex(Array("\(name)".utf8))
            let before = try await modify(
                Self.visits, ["_id": "visits", "g": ["$type": 18]],
                [
                    "$set": .document([("n.\(field)", .int64(Int64(bitPattern: number)))]),
                    "$setOnInsert": ["g": .int64(Int64(bitPattern: drawn))],
                ], answeringNew: false, "what was left by visitors, in \(Self.visits),")
            guard let before else { return MirrorVisit(generation: drawn, last: nil) }
            guard let generation = before["g"]?.integer else { throw unreadable }
            let last = before["n"]?.document?[field]?.integer
            return MirrorVisit(generation: UInt64(bitPattern: generation), last: last.map { UInt64(bitPattern: $0) })
        }

        private static let visits = "sessionmesh.visits"

        private func mirrorError(_ error: MongoWriteError, for key: SessionKey) -> MirrorError {
            if error.isDuplicateKey || error.words.contains(MongoLaw.foreignMark) { return .foreign(key) }
            if error.words.contains(MongoLaw.outgrownMark) {
                return MirrorError(.refused, "session \(key) would outgrow a mirror's record", keys: [key])
            }
            return mirrorError(error)
        }

        func mirrorError(_ error: MongoWriteError) -> MirrorError {
            MongoFailure(kind: MESH_MONGO_SERVER, code: error.code, text: error.words).error(at: configuration.address)
        }

        public func run() async {
            await MongoLibrary.logging(to: logger) {
                await threads.run(with: {}) {
                    await withDiscardingTaskGroup { group in
                        group.addTask { await self.keepCollections() }
                        group.addTask { await self.keepListening() }
                    }
                }
                connections.close()
            }
        }

        private func keepCollections() async {
            var delay = Self.indexRetryMin
            while !Task.isCancelled {
                do throws(MirrorError) {
                    try await makeIndexes()
                    try await prepareWakeups()
                    delay = Self.indexInterval
                } catch {
                    logger.debug("mirror is not set up", metadata: ["mirror": "\(configuration.address)", "reason": "\(error)"])
                    delay = delay == Self.indexInterval ? Self.indexRetryMin : min(delay * 2, Self.indexInterval)
                }
                try? await Task.sleep(for: delay)
            }
        }

        /// One by which MongoDB takes away what has expired, of ours alone, and one to find a user's sessions.
        private func makeIndexes() async throws(MirrorError) {
            _ = try await command(
                [
                    "createIndexes": .string(MongoLaw.collection),
                    "indexes": [
                        [
                            "key": ["exp": 1], "name": "expiry", "expireAfterSeconds": 0,
                            "partialFilterExpression": ["v": 1],
                        ],
                        ["key": ["u": 1, "exp": -1], "name": "user", "partialFilterExpression": ["u": ["$exists": true]]],
                    ],
                ], writes: true)
        }
    }
#endif
