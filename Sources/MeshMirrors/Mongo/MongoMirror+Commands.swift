#if MongoDB
    import MeshCore

    extension MongoMirror {
        func find(_ collection: String, _ filter: BSON, limit: Int32, fields: BSON = [:], sort: BSON = [:], ofMajority: Bool = false)
            async throws(MirrorError) -> [BSONDocument]
        {
            let reply = try await command(
                [
                    "find": .string(collection), "filter": filter, "limit": .int32(limit), "projection": fields, "sort": sort,
                    "singleBatch": true,
                ], writes: false, ofMajority: ofMajority)
            guard let batch = reply["cursor"]?.document?["firstBatch"]?.array?.values else { throw unreadable }
            return batch.compactMap(\.document)
        }

        /// Changes the document that `filter` takes, or makes it, and answers what it is after that or was before; nil when it wasn't
        /// there.
        /// - Parameter what: is not ours when a document is there that the filter doesn't take; to begin a sentence.
        func modify(_ collection: String, _ filter: BSON, _ update: BSON, answeringNew isNew: Bool, _ what: String)
            async throws(MirrorError)
            -> BSONDocument?
        {
            for _ in 0..<Self.attemptsMax {
                let reply = try await command(
                    [
                        "findAndModify": .string(collection), "query": filter, "update": update, "upsert": true, "new": .bool(isNew),
                    ], writes: true, except: MongoWriteError.duplicateKey)
                guard let reply else { continue }
                guard let value = reply["value"] else { throw unreadable }
                return value.document
            }
            throw .foreign(what)
        }

        /// The statements that were not done; all others were.
        func update(_ collection: String, _ statements: [BSON]) async throws(MirrorError) -> [MongoWriteError] {
            let reply = try await command(
                ["update": .string(collection), "updates": .array(statements), "ordered": false], writes: true)
            return try writeErrors(reply, of: statements.count)
        }

        /// The documents that were not inserted; all others were.
        func insert(_ collection: String, _ documents: [BSON]) async throws(MirrorError) -> [MongoWriteError] {
            if documents.isEmpty { return [] }
            let reply = try await command(
                ["insert": .string(collection), "documents": .array(documents), "ordered": false], writes: true)
            return try writeErrors(reply, of: documents.count)
        }

        /// What of a batch of `count` was not done, as the answer to it tells.
        func writeErrors(_ reply: BSONDocument, of count: Int) throws(MirrorError) -> [MongoWriteError] {
            // Without a number of documents nobody has acknowledged anything.
            guard let fields = reply.fields, fields.contains(where: { $0.name == "n" && $0.value.integer != nil }) else { throw unreadable }
            guard let errors = fields.first(where: { $0.name == "writeErrors" }) else { return [] }
            guard let values = errors.value.array?.values else { throw unreadable }
            var writeErrors: [MongoWriteError] = []
            for value in values {
                guard let error = value.document.flatMap(MongoWriteError.init), (0..<count).contains(error.index) else { throw unreadable }
                writeErrors.append(error)
            }
            return writeErrors
        }

        /// The answer to a command, by one of the threads.
        /// - Parameter ofMajority: reads what a majority of a set has, or waits until it has what is written.
        func command(_ command: KeyValuePairs<String, BSON>, writes: Bool, ofMajority: Bool = false) async throws(MirrorError)
            -> BSONDocument
        {
            guard let reply = try await answer(to: command, writes: writes, ofMajority: ofMajority, except: nil) else { throw unreadable }
            return reply
        }

        /// - Parameter expected: an error of the server that the caller deals with; the answer is nil then.
        func command(_ command: KeyValuePairs<String, BSON>, writes: Bool, except expected: UInt32) async throws(MirrorError)
            -> BSONDocument?
        {
            try await answer(to: command, writes: writes, ofMajority: false, except: expected)
        }

        private func answer(
            to command: KeyValuePairs<String, BSON>, writes: Bool, ofMajority: Bool, except expected: UInt32?
        ) async throws(MirrorError) -> BSONDocument? {
            let timeout = configuration.commandTimeout
            // So that a slow server doesn't go on with what nobody waits for.
            let bytes = BSON.document(command.map { (name: $0.key, value: $0.value) } + [("maxTimeMS", .int32(timeout.wholeMilliseconds))])
                .bytes
            return try await threads.perform(within: timeout) { [connections, address = configuration.address] _, _ throws(MirrorError) in
                switch connections.command(bytes, writes: writes, ofMajority: ofMajority) {
                case .success(let reply): return reply
                case .failure(let failure) where failure.code == expected: return nil
                case .failure(let failure): throw failure.error(at: address)
                }
            }
        }

        var unreadable: MirrorError {
            MirrorError(.refused, "what mongodb answered can't be read (\(configuration.address.place))")
        }
    }

    /// Why one statement of a batch was not done.
    struct MongoWriteError {
        let index: Int
        let code: UInt32
        let words: String

        static let duplicateKey: UInt32 = 11000

        var isDuplicateKey: Bool { code == Self.duplicateKey }

        init?(_ document: BSONDocument) {
            guard let index = document["index"]?.integer, let code = document["code"]?.integer else { return nil }
            self.index = Int(index)
            self.code = UInt32(truncatingIfNeeded: code)
            words = document["errmsg"]?.string ?? ""
        }
    }
#endif
