#if Memcached
    import Logging
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    @Suite struct MemcachedMirrorTests {
        @Test(arguments: MirrorClaim.all) func keeps(_ claim: MirrorClaim) async throws {
            try await MemcachedServer.with { try await claim.check(on: MemcachedStore(servers: [$0])) }
        }

        @Test(arguments: MirrorClaim.all) func keepsOnThreeServers(_ claim: MirrorClaim) async throws {
            try await MemcachedServer.with(3) { try await claim.check(on: MemcachedStore(servers: $0)) }
        }

        @Test func aServerThatIsNotThereIsNamedInTheErrorAndCostsNoWaiting() async throws {
            let port = try ServerProcess.freePort()
            try await running(mirror([port])) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                #expect(error?.code == .unreachable)
                let line = error?.description ?? ""
                #expect(line.contains("127.0.0.1:\(port)") && line.contains("refused"), "\(line)")
            }
        }

        @Test func aHostWithoutAnAddressIsSaidToHaveNone() async throws {
            var configuration = MemcachedMirror.Configuration(address: try MemcachedAddress(uri: "memcached://no-such-host.invalid"))
            configuration.commandTimeout = .seconds(30)
            try await running(MemcachedMirror(configuration, logger: .quiet)) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                #expect(
                    error?.code == .unreachable && error?.description.contains("no-such-host.invalid:11211") == true,
                    "\(String(describing: error))")
                #expect(error?.description.contains("no address") == true, "\(String(describing: error))")
            }
        }

        @Test func whatIsAskedOfAMirrorThatNobodyRunsIsAnsweredWhenItsTimeIsUp() async throws {
            try await MemcachedServer.with { server in
                let mirror = try mirror([server.port], commandTimeout: .milliseconds(50))
                #expect(await errorOf { _ = try await mirror.load(Self.record.key) }?.code == .timedOut)
            }
        }

        @Test func moreCallsThanAQueueHoldsAreRefusedAtOnce() async throws {
            try await MemcachedServer.with { server in
                let mirror = try mirror([server.port], commandTimeout: .seconds(30))
                try await withThrowingTaskGroup(of: MirrorError?.self) { group in
                    for _ in 0...WaitingMax.memcached {
                        group.addTask { await errorOf { _ = try await mirror.load(Self.record.key) } }
                    }
                    // Nobody runs the mirror, so the one that is answered is the one too many.
                    let first = try await group.next() ?? nil
                    #expect(first?.code == .timedOut && first?.description.contains("waiting") == true, "\(String(describing: first))")
                    try await running(mirror) { _ in
                        for try await error in group { #expect(error == nil) }
                    }
                }
            }
        }

        @Test func connectionsThatWereClosedWhileTheyWereIdleAreReplacedUnnoticed() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    for _ in 0..<5 {
                        try await mirror.merge([Self.record])
                        server.stop()
                        try await server.start()
                        #expect(await errorOf { _ = try await mirror.load(Self.record.key) } == nil)
                    }
                }
            }
        }

        @Test func ofThreeServersOneMayStopWithoutTheSessionsOfTheOthersNoticing() async throws {
            try await MemcachedServer.with(3) { servers in
                try await running(try mirror(servers.map(\.port))) { mirror in
                    let records = (0..<300).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0))], expiresAt: later) }
                    try await mirror.merge(records)
                    let names = records.map { MemcachedBlob.key(of: $0.key) }
                    let places = try names.map { name in try servers.map { try $0.raw().get(name) != nil } }
                    #expect(places.allSatisfy { $0.count { $0 } == 1 })
                    for index in servers.indices { #expect(places.count { $0[index] } > 30, "ketama shares them about evenly") }
                    servers[1].stop()
                    for (record, place) in zip(records, places) {
                        if place[1] {
                            #expect(await errorOf { _ = try await mirror.load(record.key) }?.code == .unreachable)
                        } else {
                            expect(try await mirror.load(record.key), is: record)
                        }
                    }
                    let changes = records.map { MirrorRecord(key: $0.key, entries: [.entry("n", 1000)], expiresAt: later) }
                    #expect(await errorOf { try await mirror.merge(changes) }?.code == .unreachable)
                    for (change, place) in zip(changes, places) where !place[1] { expect(try await mirror.load(change.key), is: change) }
                    try await servers[1].start()
                    try await eventually("it is back") { await errorOf { try await mirror.merge(records) } == nil }
                }
            }
        }

        @Test func aStalledServerDoesNotHoldUpTheOthersForLong() async throws {
            try await MemcachedServer.with(2) { servers in
                try await running(try mirror(servers.map(\.port), commandTimeout: .milliseconds(200))) { mirror in
                    let records = (0..<64).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0))], expiresAt: later) }
                    try await eventually("all are merged") { await errorOf { try await mirror.merge(records) } == nil }
                    var lively: [MirrorRecord] = []
                    var stalled: [MirrorRecord] = []
                    for record in records {
                        let isFirst = try servers[0].raw().get(MemcachedBlob.key(of: record.key)) != nil
                        if isFirst { lively.append(record) } else { stalled.append(record) }
                    }
                    servers[1].suspend()
                    defer { servers[1].resume() }
                    for record in stalled.prefix(4) {
                        let error = await errorOf { _ = try await mirror.load(record.key) }
                        #expect(error?.code == .timedOut, "\(String(describing: error))")
                    }
                    for record in lively {
                        try await eventually("the other server answers") { (try? await mirror.load(record.key)) == record }
                    }
                }
            }
        }

        @Test func agentsThatNameTheServersInAnotherOrderFindTheSameSessions() async throws {
            try await MemcachedServer.with(3) { servers in
                let records = (0..<60).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0))], expiresAt: later) }
                try await running(try mirror(servers.map(\.port))) { try await $0.merge(records) }
                try await running(try mirror(servers.reversed().map(\.port))) { mirror in
                    for record in records { expect(try await mirror.load(record.key), is: record) }
                }
            }
        }

        @Test func whenAServerIsBackForOneThreadItIsForAll() async throws {
            try await MemcachedServer.with { server in
                var configuration = MemcachedMirror.Configuration(address: try MemcachedAddress(ports: [server.port]))
                configuration.commandTimeout = .seconds(30)
                configuration.retryDelay = .zero
                configuration.threads = 4
                try await running(MemcachedMirror(configuration, logger: .quiet)) { mirror in
                    let records = (0..<1024).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0))], expiresAt: later) }
                    try await mirror.merge(records)
                    for _ in 0..<3 {
                        server.stop()
                        let error = await errorOf { try await mirror.merge(records) }
                        #expect(error?.code == .unreachable, "\(String(describing: error))")
                        try await server.start()
                        // In parts, on all threads at once, none of which has a connection.
                        try await mirror.merge(records)
                    }
                }
            }
        }

        @Test func aMemcachedWithoutMemoryThatEvictsNothingRefuses() async throws {
            try await MemcachedServer.with(options: ["-m", "2", "-M"]) { server in
                try await running(try mirror([server.port])) { mirror in
                    let entry = MirrorEntry(name: [1], version: .version(1), payload: .init(repeating: 7, count: 300_000))
                    var error: MirrorError?
                    for _ in 0..<60 where error == nil {
                        error = await errorOf {
                            try await mirror.merge([MirrorRecord(key: .random(), entries: [entry], expiresAt: later)])
                        }
                    }
                    #expect(error?.code == .refused && error?.isFailureOfTheMirror == true, "\(String(describing: error))")
                    #expect(error?.description.contains("-M") == true, "\(String(describing: error))")
                }
            }
        }

        @Test func aRecordAboveMemcachedsOwnBoundIsRefusedAloneAndWhatWasThereStays() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let small = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                    let other = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                    try await mirror.merge([small])
                    var large = small
                    large.entries.append(
                        MirrorEntry(name: Array("b".utf8), version: .version(1), payload: .init(repeating: 7, count: 1_048_500)))
                    #expect(large.fault == nil)
                    let error = await errorOf { try await mirror.merge([large, other]) }
                    #expect(error?.code == .refused && error?.keys == [small.key], "\(String(describing: error))")
                    #expect(error?.description.contains("-I") == true, "\(String(describing: error))")
                    expect(try await mirror.load(small.key), is: small)
                    expect(try await mirror.load(other.key), is: other)
                }
            }
        }

        @Test func aRecordLivesToItsExpiryThoughThatIsMoreThanThirtyDaysOffOrLessThanASecond() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let day: Int64 = 24 * 3600 * 1000
                    for ahead in [day * 30 - 1000, day * 30 + 1000, day * 400, day * 40000, .max - now() - day] {
                        let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() + ahead)
                        try await mirror.merge([record])
                        expect(try await mirror.load(record.key), is: record)
                    }
                    // Memcached's seconds are up to one too short.
                    for _ in 0..<10 {
                        let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() + 990)
                        try await mirror.merge([record])
                        try await eventually("its expiry") {
                            let loaded = try await mirror.load(record.key)
                            let isOver = now() >= record.expiresAt
                            if !isOver { #expect(loaded == record) }
                            return isOver || loaded == nil
                        }
                    }
                }
            }
        }

        @Test func whatIsPastIsNotStoredAndWhatHasExpiredMakesRoomForALaterRecord() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let past = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: now() - 1)
                    try await mirror.merge([past])
                    #expect(try server.raw().get(MemcachedBlob.key(of: past.key)) == nil)
                    // As the server still has it in the second that it is given on top.
                    try server.raw().set(MemcachedBlob.key(of: past.key), MemcachedBlob.encode(past))
                    #expect(try await mirror.load(past.key) == nil)
                    let present = MirrorRecord(key: past.key, entries: [.entry("b", 1)], expiresAt: later)
                    try await mirror.merge([present])
                    expect(try await mirror.load(past.key), is: present)
                }
            }
        }

        @Test func aValueThatIsCutOrChangedOrAnothersOrOfAnotherFormatIsForeignAndLeftAlone() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let whole = MemcachedBlob.encode(Self.record)
                    var changed = whole
                    changed[whole.count - 1] ^= 1
                    var nextFormat = whole
                    nextFormat[3] = 2
                    let anothers = MemcachedBlob.encode(MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later))
                    for value in [[], Array("bob".utf8), Array(whole.dropLast()), whole + [0], changed, nextFormat, anothers] {
                        try server.raw().set(MemcachedBlob.key(of: Self.record.key), value)
                        #expect(await errorOf { _ = try await mirror.load(Self.record.key) }?.code == .foreignData)
                        let error = await errorOf { try await mirror.merge([Self.record]) }
                        #expect(error?.code == .foreignData && error?.keys == [Self.record.key])
                        #expect(try server.raw().get(MemcachedBlob.key(of: Self.record.key)) == value)
                    }
                }
            }
        }

        @Test func aForeignValueTooLargeToBeReadIsReportedAndTheRestOfTheServerStaysInReach() async throws {
            try await MemcachedServer.with(options: ["-I", "16m", "-m", "256"]) { server in
                try await running(try mirror([server.port])) { mirror in
                    let bad = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                    let tooLarge = [UInt8](repeating: 7, count: 8 << 20)
                    try server.raw().set(MemcachedBlob.key(of: bad.key), tooLarge)
                    let error = await errorOf { _ = try await mirror.load(bad.key) }
                    #expect(error?.code == .foreignData)
                    // Wherever it stands among the keys that are asked for.
                    for _ in 0..<20 {
                        let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later)
                        let errorOfBatch = await errorOf { try await mirror.merge([record, bad]) }
                        #expect(
                            errorOfBatch?.code == .foreignData && errorOfBatch?.keys == [bad.key], "\(String(describing: errorOfBatch))")
                        expect(try await mirror.load(record.key), is: record)
                    }
                }
            }
        }

        @Test(arguments: [
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "-ERR unknown command\r\n", "END\r\n",
            "OK\r\nOK\r\nOK\r\n",
            "STORED\r\n", "\u{1}\u{2}\u{3}", String(repeating: "junk", count: 10_000),
        ])
        func whatAnswersAndIsNoMemcachedIsRefusedInOneClearLine(_ answer: String) async throws {
            for closes in [true, false] {
                try await ParrotServer.with(Array(answer.utf8), closes: closes) { parrot in
                    try await running(try mirror([parrot.port], commandTimeout: .milliseconds(300))) { mirror in
                        for _ in 0..<3 {
                            let errors = [
                                await errorOf { _ = try await mirror.load(.random()) },
                                await errorOf { try await mirror.merge([Self.record]) },
                            ]
                            for error in errors {
                                #expect(error != nil && error?.code != .foreignData && error?.isFailureOfTheMirror == true)
                                #expect(error?.description.contains("\n") == false)
                            }
                        }
                    }
                }
            }
        }

        @Test func anHTTPServerOnThePortIsSaidToBeNoMemcached() async throws {
            try await ParrotServer.with(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), closes: false) { parrot in
                try await running(try mirror([parrot.port])) { mirror in
                    let error = await errorOf { _ = try await mirror.load(.random()) }
                    #expect(error?.code == .refused && error?.description.contains("no memcached") == true, "\(String(describing: error))")
                }
            }
        }

        @Test func junkInTheFormOfAnswersIsNeverTakenForTheAbsenceOfASession() async throws {
            var generator = SystemRandomNumberGenerator()
            for _ in 0..<40 {
                // The header of an answer to a get, with a key of at most the length that a server may send, and junk behind it.
                let key = Int.random(in: 0...250, using: &generator)
                var answer: [UInt8] = [
                    0x81, [0x0D, 0x0C, 0x01, 0x02, 0x05, 0x99].randomElement(using: &generator) ?? 0, 0, UInt8(key), 4, 0, 0, 0,
                ]
                answer.append(bigEndian: UInt32.random(in: 0...UInt32.max, using: &generator))
                answer += (0..<Int.random(in: 0...400, using: &generator)).map { _ in .random(in: 0...255, using: &generator) }
                try await ParrotServer.with(answer) { parrot in
                    try await running(try mirror([parrot.port], commandTimeout: .milliseconds(300))) { mirror in
                        let error = await errorOf { _ = try await mirror.load(.random()) }
                        #expect(error != nil && error?.code != .foreignData, "\(answer)")
                    }
                }
            }
        }

        @Test func aMemcachedThatSpeaksOnlyTheTextProtocolIsSaidToDoSo() async throws {
            try await MemcachedServer.with(options: ["-B", "ascii"]) { server in
                try await running(try mirror([server.port], commandTimeout: .milliseconds(300))) { mirror in
                    try await eventually("it is said") {
                        let error = await errorOf { _ = try await mirror.load(.random()) }
                        #expect(error?.isFailureOfTheMirror == true, "\(String(describing: error))")
                        return error?.description.contains("-B ascii") == true
                    }
                }
            }
        }

        @Test func aHoleThatAWriterLeftIsWaitedForAndThenToldOfAndTheItemsBehindItAreRead() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let slot = Slot(masking: 5)
                    let mark = try await mirror.append([[1], [2], [3], [4]], to: slot)
                    // What a writer leaves that dies between taking two places and writing to them.
                    for offset in 2...3 { try server.raw().delete("sm:c:5:\(mark.generation):\(offset)") }
                    let start = ContinuousClock.now
                    let first = try await mirror.tail(slot, after: .beginning, waiting: .seconds(60))
                    #expect(first.items.map(\.payload) == [[1]] && !first.isGapped)
                    let rest = try await mirror.tail(slot, after: first.mark, waiting: .seconds(60))
                    #expect(rest.items.map(\.payload) == [[4]] && rest.isGapped && rest.mark == mark)
                    #expect(ContinuousClock.now - start >= .milliseconds(250))
                    #expect(try await mirror.tail(slot, after: rest.mark, waiting: .zero).isGapped == false)
                }
            }
        }

        @Test func aWriterThatComesLateDoesNotOverwriteWhatTheRingHoldsByNow() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let slot = Slot(masking: 5)
                    let mark = try await mirror.append([[1]], to: slot)
                    let place = "sm:c:5:\(mark.generation):1"
                    for _ in 0..<64 { try await mirror.append(Array(repeating: [2], count: 64), to: slot) }
                    let later = try #require(try server.raw().get(place))
                    // The item that takes place 1 next would be 8193; its writer is told that 4097 are behind it, and is as late as can be.
                    let head = try #require(try server.raw().get("sm:c:5"))
                    try server.raw().set("sm:c:5", MemcachedValue.sealed(Array(head[12..<22] + [0, 0, 0, 0, 0, 0, 0, 0]), as: "SMH\u{1}"))
                    try await mirror.append([[9]], to: slot)
                    #expect(try server.raw().get(place) == later)
                    try server.raw().set("sm:c:5", head)
                    let tail = try await mirror.tail(slot, after: mark, waiting: .zero)
                    #expect(!tail.isGapped && tail.items.allSatisfy { $0.payload == [2] })
                }
            }
        }

        @Test func aLogWhoseHeadWasEvictedOrBroughtBackOlderIsToldToHaveLostSomething() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let slot = Slot(masking: 5)
                    try await mirror.append([[1]], to: slot)
                    let old = try #require(try server.raw().get("sm:c:5"))
                    let mark = try await mirror.append([[2], [3]], to: slot)
                    try server.raw().set("sm:c:5", old)
                    #expect(try await mirror.tail(slot, after: mark, waiting: .zero).isGapped)
                    try server.raw().delete("sm:c:5")
                    let anew = try await mirror.append([[4]], to: slot)
                    #expect(anew.generation != mark.generation && anew.offset == 1)
                    let tail = try await mirror.tail(slot, after: mark, waiting: .zero)
                    #expect(tail.isGapped && tail.items.map(\.payload) == [[4]])
                }
            }
        }

        @Test(arguments: ["sm:c:5", "sm:g", "sm:n:n1"]) func whatAnotherProgramHasPutUnderOneOfOurOtherKeysIsLeftAlone(_ key: String)
            async throws
        {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    try server.raw().set(key, Array("12".utf8))
                    let errors = [
                        await errorOf { _ = try await mirror.append([[1]], to: Slot(masking: 5)) },
                        await errorOf { _ = try await mirror.tail(Slot(masking: 5), after: nil, waiting: .zero) },
                        await errorOf { _ = try await mirror.visit(1, by: try NodeName("n1")) },
                    ]
                    #expect(errors.contains { $0?.code == .foreignData } && errors.allSatisfy { $0 == nil || $0?.code == .foreignData })
                    #expect(try server.raw().get(key) == Array("12".utf8))
                }
            }
        }

        @Test func ofAUsersSessionsThoseThatExpireLastAreFoundAndAForeignIndexIsLeftAlone() async throws {
            try await MemcachedServer.with { server in
                try await running(try mirror([server.port])) { mirror in
                    let user = UserKey(of: "ann")
                    let records = (0..<1100).map {
                        MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: later + Int64($0) * 1000, user: user)
                    }
                    try await mirror.merge(records)
                    #expect(try await mirror.sessions(of: user) == records.suffix(MirrorRecord.sessionsOfUserMax).reversed().map(\.key))
                    let bob = UserKey(of: "bob")
                    try server.raw().set("sm:u:\(bob)", [1, 2, 3])
                    #expect(await errorOf { _ = try await mirror.sessions(of: bob) }?.code == .foreignData)
                    var record = Self.record
                    record.user = bob
                    #expect(await errorOf { try await mirror.merge([record]) }?.code == .foreignData)
                    #expect(try server.raw().get("sm:u:\(bob)") == [1, 2, 3])
                }
            }
        }

        @Test func aVisitorOfThreeServersNoticesWhenOneOfThemWasEmptied() async throws {
            try await MemcachedServer.with(3) { servers in
                let name = try NodeName("n1")
                var first: MirrorVisit?
                try await running(try mirror(servers.map(\.port))) { mirror in
                    first = try await mirror.visit(7, by: name)
                    #expect(try await mirror.visit(8, by: name) == MirrorVisit(generation: first?.generation ?? 0, last: 7))
                }
                try await running(try mirror(servers.reversed().map(\.port))) { mirror in
                    #expect(try await mirror.visit(9, by: name) == MirrorVisit(generation: first?.generation ?? 0, last: 8))
                    try servers[1].raw().flush()
                    let after = try await mirror.visit(10, by: name)
                    #expect(after.generation != first?.generation && after.last == nil)
                }
            }
        }

        static let record = MirrorRecord(key: .random(), entries: [.entry("a", 1, "one"), .entry("b", 2, "two")], expiresAt: later)

        private func mirror(_ ports: [UInt16], commandTimeout: Duration = .seconds(30)) throws -> MemcachedMirror {
            var configuration = MemcachedMirror.Configuration(address: try MemcachedAddress(ports: ports))
            // Of no weight for most claims, and a loaded machine must not fail them.
            configuration.commandTimeout = commandTimeout
            configuration.connectTimeout = .seconds(5)
            configuration.retryDelay = .milliseconds(200)
            return MemcachedMirror(configuration, logger: .quiet)
        }
    }

    struct MemcachedStore: DisposableStore {
        let servers: [MemcachedServer]

        func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
            var configuration = MemcachedMirror.Configuration(address: try MemcachedAddress(ports: servers.map(\.port)))
            configuration.commandTimeout = commandTimeout
            configuration.connectTimeout = .seconds(5)
            configuration.retryDelay = .milliseconds(200)
            return MemcachedMirror(configuration, logger: .quiet)
        }

        func stall() { for server in servers { server.suspend() } }
        func resume() { for server in servers { server.resume() } }
        func stop() { for server in servers { server.stop() } }
        func start() async throws { for server in servers { try await server.start() } }
        func flush() throws { for server in servers { try server.raw().flush() } }

        // On each server, for which has the key is the mirror's own business.
        func plantForeignData(under key: SessionKey) throws {
            for server in servers { try server.raw().set(MemcachedBlob.key(of: key), Array("bob".utf8)) }
        }

        func checkForeignDataIsUntouched(under key: SessionKey) throws {
            for server in servers { #expect(try server.raw().get(MemcachedBlob.key(of: key)) == Array("bob".utf8)) }
        }
    }
#endif
