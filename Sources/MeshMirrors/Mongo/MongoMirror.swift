#if MongoDB
    import CMongoShim
    import Glibc
    public import Logging
    public import MeshCore

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
            /// The longest look for a server that can be used, unless the URI has `serverSelectionTimeoutMS`. More rides out the election of
            /// a primary and keeps a thread busy for longer when there is none.
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

        /// Records and bytes of a batch that are sent at once; the next part waits for the answer to this one, for which the command timeout
        /// counts. MongoDB takes 16 MiB.
        private static let partRecordsMax = 256
        private static let partBytesMax = 1 << 20
        /// How often a merge is tried that runs into a document which its filter doesn't take. Once is enough when another made it just then.
        private static let attemptsMax = 3
        /// How often the index is looked after: a MongoDB that was emptied has lost it.
        private static let indexInterval = Duration.seconds(60)
        private static let indexRetryMin = Duration.milliseconds(500)

        private let configuration: Configuration
        private let connections: MongoConnections
        private let workers: MongoWorkers<BSONDocument>
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
            workers = MongoWorkers(threads: configuration.threads, place: configuration.address.place)
        }

        public func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? {
            let documents = try await find(["_id": .binary(key.bytes)], limit: 1)
            guard let document = documents.first else { return nil }
            guard let record = MirrorRecord(key: key, document: document) else { throw .foreign(key) }
            // MongoDB takes expired documents away once a minute.
            return record.expiresAt > Self.wall() ? record : nil
        }

        public func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
            var rejections = Rejections()
            var part: [MirrorRecord] = []
            var bytes = 0
            for record in records {
                if let fault = record.fault {
                    rejections.note(.unusable(record, fault))
                    continue
                }
                part.append(record)
                bytes += record.entries.reduce(64) { $0 + $1.byteCount }
                guard part.count == Self.partRecordsMax || bytes >= Self.partBytesMax else { continue }
                try await merge(part, noting: &rejections)
                part.removeAll(keepingCapacity: true)
                bytes = 0
            }
            try await merge(part, noting: &rejections)
            try rejections.finish()
        }

        private func merge(_ records: [MirrorRecord], noting rejections: inout Rejections) async throws(MirrorError) {
            var faults: [Int: MirrorError] = [:]
            var pending = Array(records.indices)
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

        private func mirrorError(_ error: MongoWriteError, for key: SessionKey) -> MirrorError {
            if error.isDuplicateKey || error.words.contains(MongoLaw.foreignMark) { return .foreign(key) }
            if error.words.contains(MongoLaw.outgrownMark) {
                return MirrorError(.refused, "session \(key) would outgrow a mirror's record", keys: [key])
            }
            return MongoFailure(kind: MESH_MONGO_SERVER, code: error.code, text: error.words).error(at: configuration.address)
        }

        public func run() async {
            await MongoLibrary.logging(to: logger) {
                await workers.run { await keepIndexes() }
                connections.close()
            }
        }

        private func keepIndexes() async {
            var delay = Self.indexRetryMin
            while !Task.isCancelled {
                do throws(MirrorError) {
                    try await makeIndexes()
                    delay = Self.indexInterval
                } catch {
                    logger.debug("mirror has no index", metadata: ["mirror": "\(configuration.address)", "reason": "\(error)"])
                    delay = delay == Self.indexInterval ? Self.indexRetryMin : min(delay * 2, Self.indexInterval)
                }
                try? await Task.sleep(for: delay)
            }
        }

        /// By which MongoDB takes away what has expired. Of ours alone: another program's documents have no say in our index.
        private func makeIndexes() async throws(MirrorError) {
            _ = try await command(
                [
                    "createIndexes": .string(MongoLaw.collection),
                    "indexes": [
                        [
                            "key": ["exp": 1], "name": "expiry", "expireAfterSeconds": 0,
                            "partialFilterExpression": ["v": 1],
                        ]
                    ],
                ], writes: true)
        }

        private func find(_ filter: BSON, limit: Int32) async throws(MirrorError) -> [BSONDocument] {
            let reply = try await command(
                ["find": .string(MongoLaw.collection), "filter": filter, "limit": .int32(limit), "singleBatch": true], writes: false)
            guard let batch = reply["cursor"]?.document?["firstBatch"]?.array?.values else { throw unreadable }
            return batch.compactMap(\.document)
        }

        /// The statements that were not done; all others were.
        private func update(_ collection: String, _ statements: [BSON]) async throws(MirrorError) -> [MongoWriteError] {
            let reply = try await command(
                ["update": .string(collection), "updates": .array(statements), "ordered": false], writes: true)
            // Without a count nobody has acknowledged anything.
            guard let fields = reply.fields, fields.contains(where: { $0.name == "n" && $0.value.integer != nil }) else { throw unreadable }
            guard let errors = fields.first(where: { $0.name == "writeErrors" }) else { return [] }
            guard let values = errors.value.array?.values else { throw unreadable }
            var writeErrors: [MongoWriteError] = []
            for value in values {
                guard let error = value.document.flatMap(MongoWriteError.init), statements.indices.contains(error.index) else {
                    throw unreadable
                }
                writeErrors.append(error)
            }
            return writeErrors
        }

        /// The answer to a command, by one of the threads.
        private func command(_ command: KeyValuePairs<String, BSON>, writes: Bool) async throws(MirrorError) -> BSONDocument {
            let timeout = configuration.commandTimeout
            // So that a slow server doesn't go on with what nobody waits for.
            let bytes = BSON.document(command.map { (name: $0.key, value: $0.value) } + [("maxTimeMS", .int32(timeout.wholeMilliseconds))])
                .bytes
            return try await workers.perform(within: timeout) { [connections, address = configuration.address] in
                connections.command(bytes, writes: writes).mapError { $0.error(at: address) }
            }
        }

        private var unreadable: MirrorError {
            MirrorError(.refused, "what mongodb answered can't be read (\(configuration.address.place))")
        }

        /// Unix milliseconds.
        private static func wall() -> Int64 {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
        }
    }

    /// Why one statement of a batch was not done.
    struct MongoWriteError {
        let index: Int
        let code: UInt32
        let words: String

        var isDuplicateKey: Bool { code == 11000 }

        init?(_ document: BSONDocument) {
            guard let index = document["index"]?.integer, let code = document["code"]?.integer else { return nil }
            self.index = Int(index)
            self.code = UInt32(truncatingIfNeeded: code)
            words = document["errmsg"]?.string ?? ""
        }
    }
#endif
