#if MongoDB
    import LogCapture
    import Logging
    import MeshCore
    import MirrorConformance
    import NIOCore
    import NIOPosix
    import Testing

    @testable import MeshMirrors

    /// One after the other, as in the other suites: a mongod weighs more than a test.
    @Suite(.serialized) struct MongoMirrorTests {
        @Test(arguments: MirrorClaim.all) func keeps(_ claim: MirrorClaim) async throws {
            try await MongoServer.with { try await claim.check(on: MongoStore(server: $0)) }
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
                            let error = await errorOf { try await mirror.merge([MongoStore.record, change]) }
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
                    try await mirror.merge([past, MongoStore.record])
                    #expect(try await mirror.load(past.key) == nil)
                    try await eventually("it is taken away") {
                        try server.raw { try $0.documents(["_id": .binary(past.key.bytes)]) }.isEmpty
                    }
                    expect(try await mirror.load(MongoStore.record.key), is: MongoStore.record)
                    #expect(try server.raw { try $0.documents(["_id": "another's"]) }.count == 1)
                }
            }
        }

        @Test func anItemThatIsLostIsToldAsLostAndNobodyWaitsForIt() async throws {
            try await MongoServer.with { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let slot = Slot(masking: 5)
                    let mark = try await mirror.append([[1]], to: slot)
                    try await mirror.append([[2], [3], [4]], to: slot)
                    func lose(_ payload: UInt8) throws {
                        let deletes: BSON = [["q": ["p": .binary([payload])], "limit": 1]]
                        try server.raw { try $0.answer(["delete": "sessionmesh.items", "deletes": deletes]) }
                    }
                    try lose(3)
                    let whole = try await mirror.tail(slot, after: mark, waiting: .seconds(60))
                    #expect(whole.items.map(\.payload) == [[2]] && !whole.isGapped)
                    let gapped = try await mirror.tail(slot, after: whole.mark, waiting: .seconds(60))
                    #expect(gapped.items.map(\.payload) == [[4]] && gapped.isGapped)
                    // As when an older self of the store came back.
                    try lose(4)
                    let back = try await mirror.tail(slot, after: gapped.mark, waiting: .seconds(60))
                    #expect(back.items.isEmpty && back.isGapped && back.mark.offset == 2)
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
#endif
