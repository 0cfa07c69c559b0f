#if MongoDB
    import CMongoShim
    import MeshCore

    /// Where those who wait hear of new items: what is followed, and from where on.
    enum MongoFeed: Sendable {
        /// A capped collection, from its oldest document on; it must not be empty. A server by itself has nothing better.
        case capped(String)
        /// What is inserted into a collection of a set, by its change stream: from now on, or from where a token stands.
        case inserts(into: String, after: BSONDocument?)

        enum Event {
            /// From here on nothing is missed.
            case opened
            case document(BSONDocument)
            /// Nothing came for a while.
            case silence
        }

        /// How following ended.
        struct End: Sendable {
            /// Nil when it was told to.
            var failure: MongoFailure?
            /// Behind what was read.
            var token: BSONDocument?
            /// It was read from, if only silence.
            var isRead = false
        }

        var collection: String {
            switch self {
            case .capped(let collection), .inserts(let collection, _): collection
            }
        }

        var isStream: Bool { if case .inserts = self { true } else { false } }

        /// The filter of a cursor, or the pipeline of a change stream. Whoever follows reads by itself, so no payload is sent along.
        fileprivate var what: BSON {
            guard isStream else { return [:] }
            return [
                "pipeline": [
                    ["$match": ["operationType": ["$in": ["insert", "invalidate"]]]],
                    ["$project": ["operationType": 1, "documentKey": 1]],
                ]
            ]
        }

        fileprivate func options(patience: Duration) -> BSON {
            let patience = BSON.int64(Int64(patience.wholeMilliseconds))
            switch self {
            case .capped: return ["tailable": true, "awaitData": true, "maxAwaitTimeMS": patience]
            case .inserts(_, let token):
                // The server takes no other concern, and the URI may name one. After "invalidate" only this option goes on.
                let after = token.map { [(name: "startAfter", value: BSON.encoded($0))] } ?? []
                return .document([("maxAwaitTimeMS", patience), ("readConcern", ["level": "majority"])] + after)
            }
        }
    }

    /// From where a change stream is to go on after an error, so that nothing is missed.
    struct MongoResumption {
        /// Nil begins at the present, and whoever waits must look at what came before.
        private(set) var token: BSONDocument?

        mutating func note(_ end: MongoFeed.End) {
            if end.isRead {
                token = end.token ?? token
            } else if end.failure?.kind == MESH_MONGO_SERVER {
                // It was the server that said no at once: the oplog doesn't reach back so far any more, or the token is another server's.
                token = nil
            }
        }
    }

    extension MongoConnections {
        /// Follows until that fails or `body` answers false. Not for a thread that has anything else to do.
        /// - Parameter patience: after so long without news `body` is told so.
        func follow(_ feed: MongoFeed, patience: Duration, _ body: (MongoFeed.Event) -> Bool) -> MongoFeed.End {
            let opened = withPool { pool, database, error in
                feed.what.bytes.withInput { what in
                    feed.options(patience: patience).bytes.withInput { options in
                        mesh_mongo_tail_open(pool, database, feed.collection, feed.isStream, what, options, &error)
                    }
                }
            }
            var end = MongoFeed.End()
            let tail: OpaquePointer
            switch opened {
            case .success(let pointer): tail = pointer
            case .failure(let failure):
                end.failure = failure
                return end
            }
            defer { mesh_mongo_tail_close(tail) }
            var error = mesh_mongo_error()
            var goesOn = body(.opened)
            while goesOn {
                var document = mesh_mongo_input()
                switch mesh_mongo_tail_next(tail, &document, &error) {
                case 1: goesOn = body(.document(BSONDocument(document)))
                case 0: goesOn = body(.silence)
                default:
                    end.failure = MongoFailure(error)
                    goesOn = false
                }
                if end.failure == nil { end.isRead = true }
            }
            let token = mesh_mongo_tail_token(tail)
            if token.start != nil { end.token = BSONDocument(token) }
            return end
        }
    }

    extension BSONDocument {
        fileprivate init(_ input: mesh_mongo_input) { self.init(UnsafeBufferPointer(start: input.start, count: input.count)) }
    }

    extension [UInt8] {
        /// The library's view of them, for as long as `body` takes.
        func withInput<Answer>(_ body: (mesh_mongo_input) -> Answer) -> Answer {
            withUnsafeBufferPointer { body(mesh_mongo_input(start: $0.baseAddress, count: $0.count)) }
        }
    }
#endif
