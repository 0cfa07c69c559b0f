#if MongoDB
    import LogCapture
    import Logging
    import MeshCore
    import MirrorConformance
    import NIOCore
    import NIOPosix
    import Testing

    @testable import MeshMirrors

    /// One after the other: a mongod weighs more than a test.
    @Suite(.serialized) struct MongoMirrorTests {
        @Test(arguments: MirrorClaim.all) func keeps(_ claim: MirrorClaim) async throws {
            try await MongoServer.with { try await claim.check(on: MongoBackend(server: $0)) }
        }

        @Test(arguments: MirrorClaim.all.filter { MirrorClaim.onSets.contains($0.text) })
        func keepsInAReplicaSet(_ claim: MirrorClaim) async throws {
            try await MongoServer.with(set: true) { try await claim.check(on: MongoBackend(server: $0)) }
        }

        @Test func aServerThatIsNotThereIsNamedInTheErrorAndCostsTheSelectionTimeoutAlone() async throws {
            let port = try ServerProcess.freePort()
            var configuration = MongoMirror.Configuration(address: try MongoAddress(uri: "mongodb://127.0.0.1:\(port)"))
            configuration.commandTimeout = .seconds(30)
            try await running(try MongoMirror(configuration, logger: .quiet)) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                #expect(error?.code == .unreachable)
                #expect(error?.description.contains("127.0.0.1:\(port)") == true, "\(String(describing: error))")
                #expect(error?.description.contains("connect") == true, "\(String(describing: error))")
            }
        }

        @Test func aWrongOrMissingPasswordIsRefusedInOneClearLineWithoutIt() async throws {
            try await MongoServer.with { server in
                try server.raw(database: "admin") { raw in
                    try raw.answer([
                        "createUser": "ann", "pwd": "right horse", "roles": [["role": "readWrite", "db": "sessionmesh"]],
                    ])
                }
                server.stop()
                server.options = ["--auth"]
                try await server.start()
                for (login, hint) in [
                    ("ann:wrong%20horse@", "refused the user"), ("bob:right%20horse@", "refused the user"), ("", "wants a password"),
                ] {
                    let configuration = try server.configuration(login: login, options: login.isEmpty ? "" : "&authSource=admin")
                    try await running(try server.mirror(configuration)) { mirror in
                        for error in [
                            await errorOf { _ = try await mirror.load(.random()) }, await errorOf { try await mirror.merge([Self.record]) },
                        ] {
                            #expect(error?.code == .refused, "\(String(describing: error))")
                            let line = error?.description ?? ""
                            #expect(
                                line.contains(hint) && line.contains("mirror URI") && !line.contains("horse") && !line.contains("\n"),
                                "\(line)")
                        }
                    }
                }
                let configuration = try server.configuration(login: "ann:right%20horse@", options: "&authSource=admin")
                try await running(try server.mirror(configuration)) { mirror in
                    try await mirror.merge([Self.record])
                    expect(try await mirror.load(Self.record.key), is: Self.record)
                }
                let other = try server.configuration(login: "ann:right%20horse@", database: "other", options: "&authSource=admin")
                try await running(try server.mirror(other)) { mirror in
                    let error = await errorOf { _ = try await mirror.load(.random()) }
                    #expect(error?.code == .refused && error?.description.contains("readWrite") == true, "\(String(describing: error))")
                }
            }
        }

        @Test func aReadOnlySecondaryIsRefusedForMergesAndStillLoads() async throws {
            try await MongoServer.with(set: true) { server in
                try await running(try server.mirror(try server.configuration())) { try await $0.merge([Self.record]) }
                try server.raw(database: "admin", direct: true) { raw in
                    try raw.answer(["replSetStepDown": 600, "force": true])
                }
                try await running(try server.mirror(try server.configuration(direct: true))) { mirror in
                    let error = await errorOf { try await mirror.merge([Self.record]) }
                    #expect(error?.code == .refused && error?.description.contains("secondary") == true, "\(String(describing: error))")
                    expect(try await mirror.load(Self.record.key), is: Self.record)
                }
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let error = await errorOf { try await mirror.merge([Self.record]) }
                    #expect(error?.code == .unreachable, "\(String(describing: error))")
                }
            }
        }

        @Test func whatIsNoMongoDBIsUnreachableAndSaysWhatItSaid() async throws {
            let web = try await TalkativeServer.started(saying: "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            try await Self.expectNoMongo(at: web.port)
            try await web.stop()
            try await RedisServer.with(tcp: true) { try await Self.expectNoMongo(at: Int($0.port)) }
        }

        private static func expectNoMongo(at port: Int) async throws {
            var configuration = MongoMirror.Configuration(address: try MongoAddress(uri: "mongodb://127.0.0.1:\(port)"))
            configuration.commandTimeout = .seconds(30)
            try await running(try MongoMirror(configuration, logger: .quiet)) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                #expect(error?.code == .unreachable, "\(String(describing: error))")
                let line = error?.description ?? ""
                #expect(line.contains("127.0.0.1:\(port)") && !line.contains("\n"), "\(line)")
            }
        }

        /// Each under our key, with as much of our form as the next is to have more of.
        private static func foreigners(_ key: SessionKey) -> [BSON] {
            let id = BSON.binary(key.bytes)
            let cell: BSON = ["t": .binary(.version(1)), "p": .binary([1])]
            return [
                ["_id": id], ["_id": id, "v": 1], ["_id": id, "v": 2, "exp": .date(later), "c": ["61": cell]],
                ["_id": id, "v": 1, "exp": .date(later), "c": "cells"], ["_id": id, "v": 1, "exp": .date(later), "c": [[:]]],
                ["_id": id, "v": 1, "exp": [.date(later)], "c": ["61": cell]], ["_id": id, "v": 1, "exp": "later", "c": ["61": cell]],
                ["_id": id, "v": 1, "exp": .date(later), "c": ["61": 1]],
                ["_id": id, "v": 1, "exp": .date(later), "c": ["61": ["t": .binary([1]), "p": .binary([])]]],
                ["_id": id, "v": 1, "exp": .date(later), "c": [:], "x": "gone"],
                [
                    "_id": id, "v": 1, "exp": .date(later), "c": ["61": cell],
                    "x": ["n": .binary([]), "t": .binary(.version(1)), "p": .binary([])],
                ],
            ]
        }

        @Test func aDocumentOfAnotherFormIsForeignHoweverNearItComes() async throws {
            try await MongoServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    for index in Self.foreigners(.random()).indices {
                        let key = SessionKey.random()
                        let document = Self.foreigners(key)[index]
                        try server.raw { try $0.insert(document) }
                        #expect(await errorOf { _ = try await mirror.load(key) }?.code == .foreignData, "\(index)")
                        for isTombstone in [false, true] {
                            let change = MirrorRecord(key: key, entries: [.entry("b", 9)], expiresAt: later + 1, isTombstone: isTombstone)
                            let error = await errorOf { try await mirror.merge([Self.record, change]) }
                            #expect(error?.code == .foreignData && error?.keys == [key], "\(index): \(String(describing: error))")
                        }
                        #expect(
                            try server.raw { try $0.documents(["_id": .binary(key.bytes)]) } == [BSONDocument(document.bytes)], "\(index)")
                    }
                }
            }
        }

        @Test func aRecordMayHaveAsManyBytesAsItsBoundAndNotOneMore() async throws {
            try await MongoServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let key = SessionKey.random()
                    let name = [UInt8](repeating: 0xEE, count: 255)
                    let room = MirrorRecord.bytesMax - name.count - MirrorEntry.versionBytes
                    let full = MirrorRecord(
                        key: key, entries: [MirrorEntry(name: name, version: .version(1), payload: .init(repeating: 7, count: room - 17))],
                        expiresAt: later)
                    try await mirror.merge([full])
                    let over = MirrorRecord(key: key, entries: [.entry("ab", 1)], expiresAt: later + 9000)
                    let error = await errorOf { try await mirror.merge([over]) }
                    #expect(error?.code == .refused && error?.keys == [key], "\(String(describing: error))")
                    expect(try await mirror.load(key), is: full)
                    try await mirror.merge([MirrorRecord(key: key, entries: [.entry("a", 1)], expiresAt: later)])
                    #expect(try await mirror.load(key)?.entries.count == 2)
                }
            }
        }

        @Test func whatHasExpiredIsTakenAwayByMongoDBAndNothingElseIs() async throws {
            try await MongoServer.with { server in
                try server.raw { try $0.insert(["_id": "another's", "exp": .date(0)]) }
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let past = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() - 1000)
                    try await mirror.merge([past, Self.record])
                    #expect(try await mirror.load(past.key) == nil)
                    try await eventually("it is taken away") {
                        try server.raw { try $0.documents(["_id": .binary(past.key.bytes)]) }.isEmpty
                    }
                    expect(try await mirror.load(Self.record.key), is: Self.record)
                    #expect(try server.raw { try $0.documents(["_id": "another's"]) }.count == 1)
                }
            }
        }

        @Test func whoWaitsForAnItemIsWokenByIt() async throws {
            try await MongoServer.with { server in
                let mirror = try server.mirror(try server.configuration())
                try await running(mirror) { _ in
                    let slot = Slot(masking: 12)
                    var mark = try await mirror.append([], to: slot)
                    var shortest = Duration.seconds(60)
                    for _ in 0..<30 {
                        let start = ContinuousClock.now
                        let from = mark
                        async let tail = mirror.tail(slot, after: from, waiting: .seconds(60))
                        try await mirror.append([[1]], to: slot)
                        let received = try await tail
                        #expect(received.items.count == 1 && !received.isGapped)
                        mark = received.mark
                        shortest = min(shortest, .now - start)
                    }
                    // Looking again by itself takes a second.
                    #expect(shortest < .milliseconds(500))
                }
            }
        }

        @Test func anItemThatItsWriterNeverBringsIsToldAsLost() async throws {
            try await MongoServer.with { server in
                let mirror = try server.mirror(try server.configuration(commandTimeout: .milliseconds(500)))
                try await running(mirror) { _ in
                    let slot = Slot(masking: 5)
                    var mark = try await mirror.append([[1]], to: slot)
                    try server.raw { raw in
                        try raw.answer([
                            "update": "sessionmesh.logs", "updates": [["q": ["_id": 5], "u": ["$inc": ["o": .int64(1)]]]],
                        ])
                    }
                    // It might still come.
                    let early = try await mirror.tail(slot, after: mark, waiting: .zero)
                    #expect(early.items.isEmpty && !early.isGapped && early.mark == mark)
                    try await eventually("it is lost") {
                        let late = try await mirror.tail(slot, after: mark, waiting: .zero)
                        defer { mark = late.mark }
                        return late.isGapped
                    }
                    #expect(mark.offset == 2)
                    try await mirror.append([[3]], to: slot)
                    let next = try await mirror.tail(slot, after: mark, waiting: .seconds(60))
                    #expect(next.items.map(\.payload) == [[3]] && !next.isGapped)
                }
            }
        }

        @Test func whatTheLibrarySaysGoesToTheLogger() async throws {
            let capture = LogCapture()
            let address = try MongoAddress(
                uri: "mongodb://127.0.0.1:\(try ServerProcess.freePort())/?heartbeatFrequencyMS=500&nonsense=true")
            let mirror = try MongoMirror(MongoMirror.Configuration(address: address), logger: capture.logger(.debug))
            try await running(mirror) { mirror in
                #expect(await errorOf { _ = try await mirror.load(.random()) }?.code == .unreachable)
                try await eventually("it says something") { capture.messages.contains("libmongoc") }
            }
        }

        @Test func aURIThatTheLibraryDoesNotTakeIsRefusedWithoutItsPassword() {
            for option in [
                "tlsInsecure=true&tlsAllowInvalidHostnames=true", "directConnection=true&replicaSet=hunter2hunter2",
                "loadBalanced=true&replicaSet=rs0",
            ] {
                let error = #expect(throws: MirrorURI.Invalid.self) {
                    try MirrorURI("mongodb://ann:hunter2@a,b/?\(option)").makeMirror(logger: .quiet)
                }
                let line = error?.description ?? ""
                #expect(line.hasPrefix("mirror URI: ") && !line.contains("hunter2") && !line.contains("\n"), "\(line)")
            }
        }

        static let record = MirrorRecord(key: .random(), entries: [.entry("a", 1, "one"), .entry("b", 2, "two")], expiresAt: later)
    }

    /// A server that says the same to everybody, whatever it is asked.
    private struct TalkativeServer {
        private let channel: any Channel
        let port: Int

        static func started(saying text: String) async throws -> TalkativeServer {
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Talker(text: text)) }
                }
                .bind(host: "127.0.0.1", port: 0).get()
            return TalkativeServer(channel: channel, port: channel.localAddress?.port ?? 0)
        }

        func stop() async throws { try await channel.close() }

        private final class Talker: ChannelInboundHandler {
            typealias InboundIn = ByteBuffer
            typealias OutboundOut = ByteBuffer
            private let text: String

            init(text: String) { self.text = text }

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
            }
        }
    }

    struct MongoBackend: MirrorBackend {
        /// Fewer than the threads let wait.
        var callsAtOnce: Int { 200 }
        let server: MongoServer

        func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
            try server.mirror(try server.configuration(commandTimeout: commandTimeout))
        }

        func stall() { server.suspend() }
        func resume() { server.resume() }
        func stop() { server.stop() }
        func start() async throws { try await server.start() }
        func flush() async throws { try server.raw { _ = try $0.answer(["dropDatabase": 1]) } }

        func plantForeignData(under key: SessionKey) throws {
            try server.raw { try $0.insert(["_id": .binary(key.bytes), "name": "bob", "town": "rome"]) }
        }

        func checkForeignDataIsUntouched(under key: SessionKey) throws {
            let documents = try server.raw { try $0.documents(["_id": .binary(key.bytes)]) }
            #expect(documents == [BSONDocument((["_id": .binary(key.bytes), "name": "bob", "town": "rome"] as BSON).bytes)])
        }
    }

    extension MirrorClaim {
        /// Those that a replica set may answer otherwise than a server by itself, as its writes are repeatable and wait for a majority.
        static let onSets = [
            "any sequence of merges ends where the law says",
            "two agents may merge one session at once, and everything newest of both is kept",
            "what isn't ours is reported, left alone, and doesn't hold up the rest of its batch",
            "what is appended to a slot's log is read once and in order, by whoever reads it",
            "a reader that waits is given what two writers append, each item once",
            "a reader that comes too late, or whose log was emptied, is told that something is lost",
            "a mirror that is gone is unreachable at once, and works again when it is back",
        ]
    }
#endif
