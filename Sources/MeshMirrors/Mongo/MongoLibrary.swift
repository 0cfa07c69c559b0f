#if MongoDB
    import CMongoShim
    import Logging
    import MeshCore
    import Synchronization

    /// libmongoc as a whole, of which a process has one.
    enum MongoLibrary {
        private struct Listeners {
            var loggers: [Int: Logger] = [:]
            var count = 0
        }

        private static let listeners = Mutex(Listeners())

        /// Swift runs this once, whoever comes first.
        private static let started: Void = mesh_mongo_start { isTrouble, text in
            guard let text else { return }
            let line = MongoFailure.oneLine(String(cString: text))
            for logger in MongoLibrary.listeners.withLock({ Array($0.loggers.values) }) {
                logger.debug("libmongoc", metadata: ["trouble": "\(isTrouble)", "message": "\(line)"])
            }
        }

        /// Must come before any other call.
        static func start() { started }

        /// While `body` runs, what the library has to say goes to `logger` as well: it doesn't know on whose behalf it speaks.
        static func logging(to logger: Logger, _ body: () async -> Void) async {
            let number = listeners.withLock { listeners in
                listeners.count += 1
                listeners.loggers[listeners.count] = logger
                return listeners.count
            }
            await body()
            listeners.withLock { $0.loggers[number] = nil }
        }

        /// Why the library can't read a URI, nil when it can.
        static func fault(of uri: String) -> String? {
            var error = mesh_mongo_error()
            return mesh_mongo_reads(uri, &error) ? nil : MongoFailure(error).words
        }
    }

    /// The connections to one MongoDB. They are made when they are needed; the library keeps and replaces them.
    ///
    /// The manual: "mongoc_client_pool_t is thread-safe", but for its end. So `close` comes when no command is under way.
    final class MongoConnections: Sendable {
        private struct Pool: @unchecked Sendable {
            // The library's own locks guard what it points to.
            let pointer: OpaquePointer
        }

        private let address: MongoAddress
        private let defaults: mesh_mongo_defaults
        private let pool = Mutex<Pool?>(nil)

        init(_ configuration: MongoMirror.Configuration) {
            address = configuration.address
            // A call is given up at its own deadline, and says that it was late. The socket's must come clearly behind that, for the library
            // doesn't tell it from a connection that broke.
            defaults = mesh_mongo_defaults(
                selection: configuration.selectionTimeout.wholeMilliseconds, connect: configuration.connectTimeout.wholeMilliseconds,
                socket: (configuration.commandTimeout * 2).wholeMilliseconds, connections: Int32(configuration.threads) + 1)
        }

        /// Waits for the answer to a command, BSON both. Not for a thread that has anything else to do.
        /// - Parameter ofMajority: reads what a majority of a set has, or waits until it has what is written, whatever the URI says of it.
        func command(_ command: [UInt8], writes: Bool, ofMajority: Bool = false) -> Result<BSONDocument, MongoFailure> {
            let options: BSON = !ofMajority ? [:] : writes ? Self.writeOfMajority : Self.readOfMajority
            return withPool { pool, database, error in
                var reply = mesh_mongo_bytes()
                let isDone = command.withInput { command in
                    options.bytes.withInput { mesh_mongo_command(pool, writes, database, command, $0, &reply, &error) }
                }
                guard isDone else { return nil }
                defer { mesh_mongo_free(reply) }
                return BSONDocument(UnsafeBufferPointer(start: reply.start, count: reply.count))
            }
        }

        private static let readOfMajority: BSON = ["readConcern": ["level": "majority"]]
        private static let writeOfMajority: BSON = ["writeConcern": ["w": "majority"]]

        func close() {
            let pool = pool.withLock { pool in
                defer { pool = nil }
                return pool
            }
            if let pool { mesh_mongo_pool_free(pool.pointer) }
        }

        /// The pool, made for the first who comes; others wait for it meanwhile, as they would in it. Making one may have to look up names,
        /// so it is tried again by each who comes, until one is found.
        /// - Parameter body: nil when it has failed, and then its last argument says why.
        func withPool<Answer>(_ body: (OpaquePointer, String, inout mesh_mongo_error) -> Answer?) -> Result<Answer, MongoFailure> {
            var error = mesh_mongo_error()
            let made = pool.withLock { pool in
                if pool == nil { pool = mesh_mongo_pool_make(address.uri.text, defaults, &error).map(Pool.init(pointer:)) }
                return pool
            }
            guard let made, let answer = body(made.pointer, address.database, &error) else { return .failure(MongoFailure(error)) }
            return .success(answer)
        }
    }

    /// What the library says when it could not do something.
    struct MongoFailure: Error, Hashable {
        let kind: mesh_mongo_kind
        /// The server's number of its error; 0 for what isn't the server's.
        let code: UInt32
        /// One line for a person, shortened.
        let words: String

        init(_ error: mesh_mongo_error) {
            let text = withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            self.init(kind: error.kind, code: error.code, text: text)
        }

        init(kind: mesh_mongo_kind, code: UInt32, text: String) {
            self.kind = kind
            self.code = kind == MESH_MONGO_SERVER || kind == MESH_MONGO_WRITE_CONCERN ? code : 0
            words = Self.oneLine(text)
        }

        /// What it means for a mirror.
        func error(at address: MongoAddress) -> MirrorError {
            let (code, words) = verdict(isLoggedIn: address.user != nil)
            let line = address.withoutSecrets(words) ?? "mongodb can't be used; what the library says of it holds a secret"
            return MirrorError(code, "\(line) (\(address.place))")
        }

        private func verdict(isLoggedIn: Bool) -> (MirrorError.Code, String) {
            switch kind {
            case MESH_MONGO_SELECTION where words.contains("certificate verify failed"):
                (
                    .refused,
                    "mongodb's certificate is not trusted: \(Self.reason(of: words)); look at tlsCAFile= and the host in the mirror URI"
                )
            case MESH_MONGO_SELECTION where words.contains("Failed initialize TLS state"):
                (.refused, "libmongoc can't read the certificates; look at tlsCAFile= and tlsCertificateKeyFile= in the mirror URI")
            case MESH_MONGO_SELECTION: (.unreachable, "mongodb can't be reached: \(Self.reason(of: words))")
            case MESH_MONGO_NETWORK: (.unreachable, "the connection to mongodb broke: \(words)")
            case MESH_MONGO_LOGIN: (.refused, Self.loginRefused)
            case MESH_MONGO_WRITE_CONCERN: (.timedOut, "mongodb did not confirm a write as its write concern asks: \(words)")
            case MESH_MONGO_SERVER:
                switch code {
                case 18: (.refused, Self.loginRefused)
                case 13 where !isLoggedIn:
                    (.refused, "mongodb wants a password; write it into the mirror URI: user:password@ before the host")
                case 13: (.refused, "mongodb denies the user of the mirror URI what a mirror does; grant it readWrite on the database")
                // Of a lone server that is named; in a set the library looks for the primary by itself.
                case 10107, 13435, 10058:
                    (.refused, "this mongodb is a read-only secondary; name all of its set in the mirror URI, with ?replicaSet=")
                case 50, 262: (.timedOut, "mongodb did not do it in time: \(words)")
                // Shutting down, electing, starting: what goes away by itself.
                case 6, 7, 63, 89, 91, 133, 134, 189, 9001, 11600, 11602, 13436: (.unreachable, "mongodb is not ready: \(words)")
                default: (.refused, "mongodb answered: \(words) (error \(code))")
                }
            default: (.refused, "libmongoc can't use what is there: \(words)")
            }
        }

        private static let loginRefused =
            "mongodb refused the user or password of the mirror URI; correct them there, or say by ?authSource= where the user is kept"

        /// What the library knows of each server, which it puts in brackets at the end.
        private static func reason(of words: String) -> String {
            guard let start = words.firstIndex(of: "[") else { return words }
            return String(words[words.index(after: start)...].prefix { $0 != "]" })
        }

        static func oneLine(_ text: String) -> String {
            String(String.UnicodeScalarView(text.unicodeScalars.prefix(240).map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
        }
    }

    extension Duration {
        /// Rounded up, and at least 1: to the library 0 means no limit, or its own.
        var wholeMilliseconds: Int32 {
            let (seconds, attoseconds) = components
            let milliseconds = Double(seconds) * 1000 + (Double(attoseconds) / 1e15).rounded(.up)
            return Int32(max(1, min(milliseconds, Double(Int32.max))))
        }
    }
#endif
