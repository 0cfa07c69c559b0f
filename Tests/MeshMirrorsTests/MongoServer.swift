#if MongoDB
    import Foundation
    import Logging
    import MeshCore
    import TemporaryDirectory

    @testable import MeshMirrors

    /// A real mongod of our own in a temporary directory, by itself or as a replica set of one node.
    final class MongoServer: StoreServer, @unchecked Sendable {
        // @unchecked: what changes is only touched by a test's own steps, one after the other.
        private let directory: TemporaryDirectory
        let port: UInt16
        /// Of the next start.
        var options: [String]
        private let isSet: Bool
        private var process: ServerProcess?
        /// By their URIs.
        private var clients: [String: MongoConnections] = [:]

        /// Runs `body` with a server that is gone afterwards.
        static func with(set isSet: Bool = false, options: [String] = [], _ body: (MongoServer) async throws -> Void) async throws {
            let server = try await ServerProcess.started { try MongoServer(port: $0, isSet, options) }
            defer { server.stop() }
            try await body(server)
        }

        private init(port: UInt16, _ isSet: Bool, _ options: [String]) throws {
            self.port = port
            self.isSet = isSet
            self.options = options
            directory = try TemporaryDirectory()
        }

        deinit { forgetClients() }

        func start() async throws {
            let arguments =
                ["--port", "\(port)", "--bind_ip", "127.0.0.1", "--nounixsocket", "--dbpath", directory.path]
                + ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "ttlMonitorSleepSecs=1"]
                + ["--setParameter", "diagnosticDataCollectionEnabled=false"]
                + (isSet ? ["--replSet", "rs0", "--oplogSize", "64"] : []) + options
            let process = try ServerProcess(Self.program(), arguments, log: directory.file("log"))
            self.process = process
            let taken = "Address already in use"
            try await process.becomesReady(unless: taken) { process.log.contains("Waiting for connections") }
            guard isSet else { return }
            try raw(database: "admin", direct: true) { raw in
                let members: BSON = [["_id": 0, "host": .string("127.0.0.1:\(port)")]]
                // Refused when it was done before the server was stopped.
                _ = raw.command((["replSetInitiate": ["_id": "rs0", "members": members]] as BSON).bytes, writes: false)
            }
            try await process.becomesReady(unless: taken) {
                try raw(direct: true) { try $0.answer(["hello": 1])["isWritablePrimary"] } == .bool(true)
            }
        }

        /// On the PATH's usual places, or where `.ci/setup test` has put it.
        private static func program() -> String {
            let environment = ProcessInfo.processInfo.environment
            let cache = environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? "")/.cache"
            let fetched = "\(cache)/sessionmesh/mongod-6.0.5/mongod"
            let isInstalled = ["/usr/bin/mongod", "/usr/local/bin/mongod"].contains(where: FileManager.default.isExecutableFile)
            return !isInstalled && FileManager.default.isExecutableFile(atPath: fetched) ? fetched : "mongod"
        }

        /// Kills the server and waits until it is gone.
        func stop() {
            process?.stop()
            process = nil
            forgetClients()
        }

        /// The library takes half a second to let go of one, and nobody has to wait for that.
        private func forgetClients() {
            let clients = Array(clients.values)
            self.clients = [:]
            DispatchQueue.global().async { for client in clients { client.close() } }
        }

        func suspend() { process?.suspend() }
        func resume() { process?.resume() }

        /// A client for what a mirror would never do.
        @discardableResult
        func raw<Answer>(
            login: String = "", database: String = "sessionmesh", direct: Bool = false, _ body: (MongoConnections) throws -> Answer
        )
            throws -> Answer
        {
            MongoLibrary.start()
            let configuration = try configuration(login: login, database: database, direct: direct)
            let client = clients[configuration.address.uri.text] ?? MongoConnections(configuration)
            clients[configuration.address.uri.text] = client
            return try body(client)
        }

        func configuration(
            login: String = "", database: String = "sessionmesh", options: String = "", direct: Bool = false,
            commandTimeout: Duration = .seconds(30)
        ) throws -> MongoMirror.Configuration {
            let set = direct ? "directConnection=true" : isSet ? "replicaSet=rs0" : "directConnection=false"
            var configuration = MongoMirror.Configuration(
                address: try MongoAddress(uri: "mongodb://\(login)127.0.0.1:\(port)/\(database)?\(set)\(options)"))
            // Of no weight for most claims, and a loaded machine must not fail them.
            configuration.commandTimeout = commandTimeout
            configuration.selectionTimeout = .seconds(2)
            configuration.connectTimeout = .seconds(5)
            return configuration
        }

        func mirror(_ configuration: MongoMirror.Configuration) throws -> MongoMirror {
            try MongoMirror(configuration, logger: .quiet)
        }
    }

    extension MongoConnections {
        /// What the server answers, which must not be an error.
        @discardableResult
        func answer(_ command: BSON, writes: Bool = false) throws -> BSONDocument {
            let reply = try self.command(command.bytes, writes: writes).get()
            if let errors = reply["writeErrors"] { throw ServerFailure(description: "\(errors)") }
            return reply
        }

        func insert(_ documents: BSON..., into collection: String = MongoLaw.collection) throws {
            try answer(["insert": .string(collection), "documents": .array(documents)], writes: true)
        }

        func documents(_ filter: BSON = [:], of collection: String = MongoLaw.collection) throws -> [BSONDocument] {
            let reply = try answer(["find": .string(collection), "filter": filter, "singleBatch": true])
            return reply["cursor"]?.document?["firstBatch"]?.array?.values?.compactMap(\.document) ?? []
        }
    }

    extension MongoAddress {
        /// That of a whole URI.
        init(uri: String) throws {
            guard case .mongo(let address) = try MirrorURI(uri).store else { throw ServerFailure(description: "\(uri) is no mongodb") }
            self = address
        }
    }
#endif
