#if MongoDB
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    struct MongoStore: DisposableStore {
        /// Fewer than the threads let wait.
        var callsAtOnce: Int { 200 }
        static let record = MirrorRecord(key: .random(), entries: [.entry("a", 1, "one"), .entry("b", 2, "two")], expiresAt: later)

        let server: MongoServer
        var login = ""
        var options = ""

        func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
            try server.mirror(try server.configuration(login: login, options: options, commandTimeout: commandTimeout))
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

        /// For servers that are reached in another way, and are the same behind it.
        static let thatMatter = [
            "what was merged is loaded, in the order of its names",
            "what is appended to a slot's log is read once and in order, by whoever reads it",
            "a reader that waits is given what two writers append, each item once",
        ]
    }

    func expectRefusal(
        _ error: MirrorError?, hints: [String], secret: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let line = error?.description ?? ""
        #expect(error?.code == .refused && error?.isFailureOfTheMirror == true, "\(line)", sourceLocation: sourceLocation)
        for hint in hints { #expect(line.contains(hint), "\(line)", sourceLocation: sourceLocation) }
        #expect(!line.contains(secret) && !line.contains("\n"), "\(line)", sourceLocation: sourceLocation)
    }

    func expectWaking(by mirror: any MeshCore.Mirror, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let slot = Slot(masking: 12)
        var mark = try await mirror.append([], to: slot)
        var shortest = Duration.seconds(60)
        for _ in 0..<30 {
            let start = ContinuousClock.now
            let from = mark
            async let tail = mirror.tail(slot, after: from, waiting: .seconds(60))
            try await mirror.append([[1]], to: slot)
            let received = try await tail
            #expect(received.items.count == 1 && !received.isGapped, sourceLocation: sourceLocation)
            mark = received.mark
            shortest = min(shortest, .now - start)
        }
        // Looking again by itself takes a second.
        #expect(shortest < .milliseconds(500), sourceLocation: sourceLocation)
    }
#endif
