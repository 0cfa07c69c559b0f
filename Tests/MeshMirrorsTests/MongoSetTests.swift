#if MongoDB
    import CMongoShim
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    /// What is otherwise in a replica set: writes that wait for a majority, change streams, secondaries.
    @Suite(.serialized) struct MongoSetTests {
        @Test(arguments: MirrorClaim.onSets)
        func keeps(_ claim: String) async throws {
            try await MongoServer.with(set: true) { try await MirrorClaim.saying(claim).check(on: MongoStore(server: $0)) }
        }

        @Test func aReadOnlySecondaryIsRefusedForMergesAndStillLoads() async throws {
            try await MongoServer.with(set: true) { server in
                try await running(try server.mirror(try server.configuration())) { try await $0.merge([MongoStore.record]) }
                try server.raw(database: "admin", direct: true) { raw in
                    try raw.answer(["replSetStepDown": 600, "force": true])
                }
                try await running(try server.mirror(try server.configuration(direct: true))) { mirror in
                    let error = await errorOf { try await mirror.merge([MongoStore.record]) }
                    expectRefusal(error, hints: ["read-only secondary", "?replicaSet="], secret: "horse")
                    expect(try await mirror.load(MongoStore.record.key), is: MongoStore.record)
                }
                try await running(try server.mirror(try server.configuration())) { mirror in
                    let error = await errorOf { try await mirror.merge([MongoStore.record]) }
                    #expect(error?.code == .unreachable, "\(String(describing: error))")
                }
            }
        }

        @Test(arguments: [false, true]) func whoWaitsForAnItemIsWokenByIt(inASet isSet: Bool) async throws {
            try await MongoServer.with(set: isSet) { server in
                try await running(try server.mirror(try server.configuration())) { try await expectWaking(by: $0) }
                // What is of no use in a set isn't made there.
                #expect(try server.raw { try $0.documents(of: "sessionmesh.wakeups") }.isEmpty == isSet)
            }
        }

        @Test func whoWaitsIsWokenAfterTheStreamHasLostItsPlaceInTheOplog() async throws {
            try await MongoServer.with(set: true, options: ["--setParameter", "enableTestCommands=1"]) { server in
                try await running(try server.mirror(try server.configuration())) { mirror in
                    try await expectWaking(by: mirror)
                    try server.raw(database: "admin") { raw in
                        let data: BSON = ["failCommands": ["getMore", "aggregate"], "errorCode": 286]
                        try raw.answer(["configureFailPoint": "failCommand", "mode": ["times": 2], "data": data])
                    }
                    // Both the stream fails and the attempt to go on where it stood.
                    try server.raw(database: "admin") { raw in
                        try raw.answer(["waitForFailPoint": "failCommand", "timesEntered": 2, "maxTimeMS": 60_000])
                    }
                    try await expectWaking(by: mirror)
                }
            }
        }

        @Test func aChangeStreamGoesOnWhereItsTokenStandsAlsoWhenTheCollectionWasDropped() async throws {
            try await MongoServer.with(set: true) { server in
                try server.raw { raw in
                    let first = Self.events(of: raw, after: nil, until: "insert") { try raw.insert(["_id": 1], into: "things") }
                    #expect(first.events == ["insert 1"] && first.end.failure == nil && first.end.token != nil, "\(first)")
                    try raw.insert(["_id": 2], ["_id": 3], into: "things")
                    try raw.answer(["drop": "things"])
                    try raw.insert(["_id": 4], into: "things")
                    let dropped = Self.events(of: raw, after: first.end.token, until: "invalidate")
                    #expect(dropped.events == ["insert 2", "insert 3", "invalidate"] && dropped.end.token != nil, "\(dropped)")
                    #expect(Self.events(of: raw, after: dropped.end.token, until: "insert").events == ["insert 4"])
                    let nonsense = Self.events(of: raw, after: BSONDocument((["_data": "82"] as BSON).bytes), until: "insert")
                    #expect(nonsense.end.failure?.kind == MESH_MONGO_SERVER && !nonsense.end.isRead, "\(nonsense)")
                }
            }
        }

        private static func events(
            of raw: MongoConnections, after token: BSONDocument?, until last: String, _ onceOpen: () throws -> Void = {}
        ) -> (events: [String], end: MongoFeed.End) {
            var events: [String] = []
            var silences = 0
            let end = raw.follow(.inserts(into: "things", after: token), patience: .milliseconds(50)) { event in
                switch event {
                case .opened: #expect(throws: Never.self) { try onceOpen() }
                case .silence: silences += 1
                case .document(let document):
                    let kind = document["operationType"]?.string ?? "nothing"
                    let id = document["documentKey"]?.document?["_id"]?.integer
                    events.append(id.map { "\(kind) \($0)" } ?? kind)
                }
                return silences < 200 && events.last?.hasPrefix(last) != true
            }
            return (events, end)
        }

        @Test func aPlaceInTheOplogIsKeptUntilTheServerTurnsItDownAtOnce() {
            let token = BSONDocument((["_data": "82"] as BSON).bytes)
            let broke = MongoFailure(kind: MESH_MONGO_NETWORK, code: 0, text: "")
            let lost = MongoFailure(kind: MESH_MONGO_SERVER, code: 286, text: "")
            var resumption = MongoResumption()
            #expect(resumption.token == nil)
            resumption.note(MongoFeed.End(failure: broke, token: token, isRead: true))
            #expect(resumption.token == token)
            resumption.note(MongoFeed.End(failure: broke, token: nil, isRead: false))
            resumption.note(MongoFeed.End(failure: lost, token: nil, isRead: true))
            #expect(resumption.token == token)
            resumption.note(MongoFeed.End(failure: lost, token: token, isRead: false))
            #expect(resumption.token == nil)
        }
    }
#endif
