import MeshCore
import MeshSimulator
import Testing

/// Hand-written plays on a simulated mesh.
@Suite struct PlayTests {
    @Test func threeNodesFormAMeshAndASessionHasTwoCopies() throws {
        var play = try Play(seed: 1, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        #expect(try play.increment(session, at: "n1").counters.first?.value == .integer(1))
        #expect(try play.increment(session, at: "n2").copies == 2)
        #expect(try play.count(session, at: "n3") == 2)
    }

    @Test func aVisitorsSessionLivesOnTheNodeThatMadeIt() throws {
        var play = try Play(seed: 2, "n1", "n2", "n3")
        for name in ["n1", "n2", "n3"] {
            let session = try play.create(at: name)
            #expect(try play.primary(of: session) == name)
        }
    }

    @Test func theBackupGoesOnCountingWhenThePrimaryIsKilled() throws {
        var play = try Play(seed: 3, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        for _ in 1...5 { _ = try play.increment(session, at: "n1") }
        try play.world.crash(NodeName("n1"))
        #expect(try play.increment(session, at: "n2").counters.first?.value == .integer(6))
        #expect(try play.count(session, at: "n3") == 6)
    }

    @Test func aNodeThatReturnsEmptyUnderItsNameNeverAnswersThatASessionIsGone() throws {
        var play = try Play(seed: 4, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let name = try NodeName("n1")
        play.world.crash(name)
        play.world.run(for: .milliseconds(300))
        play.world.start(name)
        // Asked all the while it joins, pulls and takes its rank again.
        for _ in 0..<200 {
            #expect(try play.count(session, at: "n1") == 1)
            play.world.run(for: .milliseconds(20))
        }
        try play.settle()
        #expect(try play.primary(of: session) == "n1")
    }

    @Test func aPausedPrimaryThatWakesAfterATakeoverShowsNothingOld() throws {
        var play = try Play(seed: 5, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let name = try NodeName("n1")
        play.world.pause(name)
        var counted: Int64 = 1
        while counted < 4 {
            // Unavailable while the mesh makes sure that n1 is gone, then served by the backup.
            if let receipt = try? play.increment(session, at: "n2", id: CommitID(upper: 1, lower: UInt64(counted))) {
                counted += 1
                #expect(receipt.counters.first?.value == .integer(counted))
            }
        }
        let early = play.world.submit(.read(session.key), to: name)
        play.world.wake(name)
        play.world.run(for: .seconds(5)) { $0.hasResponse(early) }
        if case .session(let snapshot) = play.world.takeResponse(early) {
            #expect(snapshot?.fields.first?.value == .integer(4))
        }
        try play.settle()
        #expect(try play.count(session, at: "n1") == 4)
    }

    @Test func aBackupThatSleptThroughACommitDoesNotTakeItBack() throws {
        var play = try Play(seed: 17, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        guard case .session(let snapshot?) = play.world.ask(try NodeName("n1"), .read(session.key)), let backup = snapshot.backup else {
            return #expect(Bool(false))
        }
        play.world.pause(backup)
        // The third node holds it as well.
        #expect(try play.increment(session, at: "n1", id: CommitID(upper: 1, lower: 1)).copies == 2)
        play.world.wake(backup)
        try play.world.crash(NodeName("n1"))
        var shown: Set<Int64> = []
        for _ in 0..<200 {
            for name in play.world.running {
                let read = play.world.submit(.read(session.key), to: name)
                play.world.run(for: .milliseconds(10))
                if case .session(let snapshot) = play.world.takeResponse(read) {
                    if case .integer(let value) = snapshot?.fields.first?.value { shown.insert(value) } else { shown.insert(0) }
                }
            }
        }
        #expect(shown == [2])
    }

    @Test func aFrozenBackupHoldsNoCommitUp() throws {
        var play = try Play(seed: 31, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        guard case .session(let snapshot?) = play.world.ask(try NodeName("n1"), .read(session.key)), let backup = snapshot.backup else {
            return #expect(Bool(false))
        }
        play.world.pause(backup)
        for number in 1...5 {
            let changes = [FieldChange.increment("n", by: 1)]
            let commit = SessionCommit(key: session.key, id: CommitID(upper: 2, lower: UInt64(number)), changes: changes)
            let request = play.world.submit(.commit(commit), to: try NodeName("n1"))
            let isAnswered = play.world.run(for: number == 1 ? .milliseconds(150) : .milliseconds(10)) { $0.hasResponse(request) }
            #expect(isAnswered, "commit \(number)")
        }
        play.world.wake(backup)
        try play.settle()
        for name in ["n1", "n2", "n3"] { #expect(try play.count(session, at: name) == 5) }
    }

    @Test func ofTwoSidesOfAPartitionOnlyTheGreaterMakesStrictCommits() throws {
        var play = try Play(seed: 32, "n1", "n2", "n3", "n4", "n5")
        let sessions = try (0..<12).map { _ in try play.create(at: "n1") }
        let names = play.world.running
        let (fewer, more) = (Array(names.prefix(2)), Array(names.dropFirst(2)))
        play.world.partition(fewer, from: more)
        play.world.run(for: .seconds(6))
        var isMade: [[Bool]] = []
        for (number, session) in sessions.enumerated() {
            isMade.append([])
            for (side, name) in [fewer[0], more[0]].enumerated() {
                let commit = SessionCommit(
                    key: session.key, id: CommitID(upper: 3, lower: UInt64(number * 2 + side)), changes: [.set("by", [UInt8(side)])],
                    conditions: [.isAbsent("by")], isStrict: true)
                if case .committed = play.world.ask(name, .commit(commit)) {
                    isMade[number].append(true)
                } else {
                    isMade[number].append(false)
                }
            }
        }
        #expect(isMade.allSatisfy { !$0[0] })
        // Where the greater side has a copy.
        #expect(isMade.contains { $0[1] })
        play.world.heal()
        try play.settle(within: .seconds(60))
        for (number, session) in sessions.enumerated() where isMade[number][1] {
            guard case .session(let snapshot?) = play.world.ask(more[0], .read(session.key)) else { return #expect(Bool(false)) }
            #expect(snapshot.fields.first?.value == .bytes([1]))
        }
    }

    @Test func aStrictCommitIsNotMadeAgainWhileTwoSidesMeet() throws {
        for seed: UInt64 in 36..<40 {
            var play = try Play(seed: seed, "n1", "n2", "n3", "n4", "n5")
            let sessions = try (0..<10).map { try play.create(at: "n\($0 % 5 + 1)") }
            let names = play.world.running
            let (fewer, more) = (Array(names.prefix(2)), Array(names.dropFirst(2)))
            play.world.partition(fewer, from: more)
            play.world.run(for: .seconds(6))
            var number: UInt64 = 0
            func take(_ session: CommitReceipt, at name: NodeName, in play: inout Play) -> ClientResponse? {
                number += 1
                let commit = SessionCommit(
                    key: session.key, id: CommitID(upper: 6, lower: number), changes: [.set("taken", [1])],
                    conditions: [.isAbsent("taken")], isStrict: true)
                return play.world.ask(name, .commit(commit), patience: .milliseconds(50))
            }
            var taken: [CommitReceipt] = []
            for session in sessions { if case .committed = take(session, at: more[1], in: &play) { taken.append(session) } }
            try #require(!taken.isEmpty)
            play.world.heal()
            for _ in 0..<20 {
                for (place, session) in taken.enumerated() {
                    if case .committed = take(session, at: fewer[place % 2], in: &play) { Issue.record("taken twice, seed \(seed)") }
                }
            }
            try play.settle(within: .seconds(60))
        }
    }

    @Test func aStrictCommitWhoseCopyACutTookIsNotMadeOnBothSides() throws {
        for seed: UInt64 in 1...6 {
            var play = try Play(seed: seed, "n1", "n2", "n3", "n4", "n5")
            let session = try play.increment(try play.create(at: "n1"), at: "n1")
            let present = play.world.ask(try NodeName("n1"), .read(session.key))
            guard case .session(let snapshot?) = present, let backup = snapshot.backup else { throw Play.Unexpected(answer: present) }
            let others = play.world.running.filter { $0 != snapshot.primary && $0 != backup }
            let (fewer, more) = ([snapshot.primary, others[0]], [backup, others[1], others[2]])
            func take(_ number: UInt64) -> ClientRequest {
                .commit(
                    SessionCommit(
                        key: session.key, id: CommitID(upper: 4, lower: number), changes: [.set("taken", [UInt8(number)])],
                        conditions: [.isAbsent("taken")], isStrict: true))
            }
            func isDone(_ answer: ClientResponse?) -> Bool { if case .committed = answer { true } else { false } }
            func digest(_ world: World) -> UInt64? { world.copies(of: session.key).first { $0.isOwners }?.digest }
            let before = digest(play.world)
            let request = play.world.submit(take(1), to: snapshot.primary)
            // Most have assented, and the copy is on its way.
            let isMade = play.world.run(for: .seconds(1), lookingEvery: .microseconds(10), until: { digest($0) != before })
            try #require(isMade)
            play.world.partition(fewer, from: more)
            play.world.run(for: .seconds(12))
            var (isFirstDone, isSecondDone) = (isDone(play.world.takeResponse(request)), isDone(play.world.ask(more[1], take(2))))
            play.world.heal()
            try play.settle(within: .seconds(60))
            if isDone(play.world.ask(fewer[0], take(1))) { isFirstDone = true }
            if isDone(play.world.ask(more[1], take(2))) { isSecondDone = true }
            #expect(isFirstDone != isSecondDone, "seed \(seed)")
        }
    }

    @Test func twoHalvesOfAMeshMakeNoStrictCommitAndWhoIsLeftByTheDeadDoes() throws {
        var play = try Play(seed: 33, "n1", "n2")
        let session = try play.create(at: "n1")
        let (first, second) = (try NodeName("n1"), try NodeName("n2"))
        func strict(_ play: inout Play, _ number: UInt64, at name: NodeName) -> ClientResponse? {
            let commit = SessionCommit(
                key: session.key, id: CommitID(upper: 4, lower: number), changes: [.increment("n", by: 1)], isStrict: true)
            return play.world.ask(name, .commit(commit))
        }
        play.world.partition([first], from: [second])
        play.world.run(for: .seconds(6))
        for name in [first, second] {
            guard case .failure(let failure) = strict(&play, 1, at: name) else { return #expect(Bool(false)) }
            #expect(failure.code == .unavailable)
        }
        play.world.heal()
        try play.settle(within: .seconds(60))
        guard case .committed = strict(&play, 2, at: first) else { return #expect(Bool(false)) }
        // Nobody listens at its port any more: it is known to be gone.
        play.world.crash(second)
        play.world.run(for: .seconds(3))
        guard case .committed = strict(&play, 3, at: first) else { return #expect(Bool(false)) }
        #expect(try play.count(session, at: "n1") == 2)
    }

    @Test func aMirroredCommitOutlivesAllNodes() throws {
        var settings = World.Configuration()
        settings.mirrors = true
        var play = try Play(seed: 34, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        for number in 1...3 {
            let commit = SessionCommit(
                key: session.key, id: CommitID(upper: 5, lower: UInt64(number)), changes: [.increment("n", by: 1)],
                acknowledgement: .mirrored)
            #expect(try play.committed(at: "n2", commit).isMirrored)
            for name in play.world.running { play.world.crash(name) }
            play.world.run(for: .seconds(1))
            for name in ["n1", "n2", "n3"] { try play.world.start(NodeName(name)) }
            try play.settle()
            #expect(try play.count(session, at: "n3") == Int64(number))
        }
    }

    @Test func twoNodesOfThreeMayRestartOneAfterTheOther() throws {
        var play = try Play(seed: 6, "n1", "n2", "n3")
        let sessions = try (0..<20).map { _ in try play.create(at: "n1") }
        for session in sessions { _ = try play.increment(session, at: "n3") }
        for name in ["n1", "n2"] {
            try play.world.crash(NodeName(name))
            play.world.run(for: .seconds(1))
            try play.world.start(NodeName(name))
            try play.settle()
        }
        for session in sessions { #expect(try play.count(session, at: "n2") == 1) }
    }

    @Test func aCommitSentTwiceCountsOnceAlsoAfterATakeover() throws {
        var play = try Play(seed: 7, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        let id = CommitID(upper: 4, lower: 2)
        #expect(try play.increment(session, at: "n1", id: id).counters.first?.value == .integer(1))
        #expect(try play.increment(session, at: "n2", id: id).counters.first?.value == .integer(1))
        try play.world.crash(NodeName("n1"))
        #expect(try play.increment(session, at: "n3", id: id).counters.first?.value == .integer(1))
    }

    @Test func fortyCommitsBetweenATryAndItsRepeatStillCountOnce() throws {
        var play = try Play(seed: 16, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        let id = CommitID(upper: 4, lower: 2)
        _ = try play.increment(session, at: "n1", id: id)
        for _ in 1...40 { _ = try play.increment(session, at: "n3") }
        #expect(try play.increment(session, at: "n2", id: id).counters.first?.value == .integer(41))
        try play.world.crash(NodeName("n1"))
        #expect(try play.increment(session, at: "n3", id: id).counters.first?.value == .integer(41))
    }

    @Test func aPrimarysClockAnHourAheadExpiresNobodyAndFreezesNothing() throws {
        var play = try Play(seed: 8, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        play.world.setClock(of: try NodeName("n1"), error: 3_600_000)
        play.world.run(for: .seconds(120))
        #expect(try play.increment(session, at: "n1").counters.first?.value == .integer(2))
        try play.world.crash(NodeName("n1"))
        play.world.run(for: .seconds(3))
        #expect(try play.increment(session, at: "n2").counters.first?.value == .integer(3))
    }

    @Test func twoSidesOfAPartitionKeepWhatEachAcknowledged() throws {
        var play = try Play(seed: 9, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        try play.world.partition([NodeName("n1")], from: [NodeName("n2"), NodeName("n3")])
        play.world.run(for: .seconds(15))
        _ = try play.increment(session, at: "n1")
        _ = try play.increment(session, at: "n2")
        play.world.heal()
        play.world.run(for: .seconds(15))
        try play.settle(within: .seconds(60))
        #expect(try play.count(session, at: "n3") == 3)
    }

    @Test func aDestroyedSessionStaysDestroyedWhateverComesLater() throws {
        var play = try Play(seed: 10, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        #expect(play.world.ask(try NodeName("n2"), .destroy(session.key, CommitID(upper: 9, lower: 9))) == .done)
        #expect(throws: (any Error).self) { try play.increment(session, at: "n3") }
        try play.world.crash(NodeName("n1"))
        play.world.run(for: .seconds(2))
        #expect(play.world.ask(try NodeName("n2"), .read(session.key)) == .session(nil))
    }

    @Test func regeneratingMovesTheSession() throws {
        var play = try Play(seed: 11, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let login = try play.committed(
            at: "n2", SessionCommit(key: session.key, id: CommitID(upper: 5, lower: 5), user: "ann", regenerate: true))
        #expect(login.key != session.key)
        #expect(login.cookie != nil)
        #expect(try play.count(login, at: "n3") == 1)
    }

    @Test func aMovedSessionOutlivesItsOwnerWithAllItHad() throws {
        var play = try Play(seed: 21, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let login = try play.committed(at: "n1", SessionCommit(key: session.key, id: CommitID(upper: 5, lower: 5), regenerate: true))
        #expect(login.copies == 2)
        let owner = try #require(try play.primary(of: login))
        try play.world.crash(NodeName(owner))
        #expect(try play.increment(login, at: owner == "n2" ? "n3" : "n2").counters.first?.value == .integer(2))
    }

    @Test func theOldIdIsReadAsItWasForTenSecondsAndNeverWritten() throws {
        var play = try Play(seed: 18, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let id = CommitID(upper: 5, lower: 5)
        let login = try play.committed(
            at: "n2", SessionCommit(key: session.key, id: id, changes: [.increment("n", by: 10)], user: "ann", regenerate: true))
        #expect(login.counters.first?.value == .integer(11))
        #expect(throws: Play.Unexpected.self) { try play.increment(session, at: "n1") }
        #expect(try play.count(session, at: "n3") == 1)
        _ = try play.increment(login, at: "n1")
        #expect(try play.count(session, at: "n3") == 1)
        play.world.run(for: .seconds(10))
        #expect(play.world.ask(try NodeName("n1"), .read(session.key)) == .session(nil))
        play.world.run(for: .seconds(100))
        #expect(try play.count(login, at: "n3") == 12)
    }

    @Test func aRegenerateSentTwiceGivesTheSameSessionAndTheSameCookie() throws {
        var play = try Play(seed: 19, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let commit = SessionCommit(
            key: session.key, id: CommitID(upper: 5, lower: 5), changes: [.increment("n", by: 10)], regenerate: true)
        // Both at once, by way of two agents; then when it is done; then when the owner of the old id is dead.
        let both = try ["n2", "n3"].map { play.world.submit(.commit(commit), to: try NodeName($0)) }
        play.world.run(for: .seconds(5)) { world in both.allSatisfy { world.hasResponse($0) } }
        var receipts: [CommitReceipt] = []
        for request in both { if case .committed(let receipt) = play.world.takeResponse(request) { receipts.append(receipt) } }
        receipts.append(try play.committed(at: "n3", commit))
        try play.world.crash(NodeName("n1"))
        receipts.append(try play.committed(at: "n2", commit))
        #expect(receipts.count == 4)
        #expect(Set(receipts.map(\.key)).count == 1 && receipts.first?.key != session.key)
        #expect(Set(receipts.map(\.cookie)).count == 1 && receipts.first?.cookie != nil)
        #expect(receipts.allSatisfy { $0.counters.first?.value == .integer(11) })
        let login = try #require(receipts.first)
        #expect(try play.count(login, at: "n2") == 11)
        guard let cookie = login.cookie,
            case .opened(let opened, cookie: nil) = play.world.ask(try NodeName("n3"), .open(cookie: Array(cookie.utf8)))
        else { return #expect(Bool(false)) }
        #expect(opened.key == login.key)
    }

    @Test func aCommitThatIsSentAgainAfterItsSessionMovedIsKnownToBeDone() throws {
        var play = try Play(seed: 32, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        let id = CommitID(upper: 7, lower: 1)
        #expect(try play.increment(session, at: "n1", id: id).counters.first?.value == .integer(1))
        let login = SessionCommit(key: session.key, id: CommitID(upper: 7, lower: 2), regenerate: true)
        let moved = try play.committed(at: "n1", login)
        // Its answer was lost on the way, and another agent asks.
        #expect(try play.increment(session, at: "n2", id: id).counters.first?.value == .integer(1))
        #expect(try play.count(moved, at: "n3") == 1)
        #expect(throws: Play.Unexpected.self) { try play.increment(session, at: "n2", id: CommitID(upper: 7, lower: 3)) }
    }

    @Test func noCommitIsLostWhileAnIdIsMoved() throws {
        var play = try Play(seed: 20, "n1", "n2", "n3")
        for round in 0..<6 as Range<UInt64> {
            let session = try play.create(at: "n1")
            var requests: [UInt64] = []
            var move: UInt64 = 0
            for number in 0..<24 as Range<UInt64> {
                let name = try NodeName("n\(number % 3 + 1)")
                let commit = SessionCommit(key: session.key, id: CommitID(upper: round, lower: number), changes: [.increment("n", by: 1)])
                requests.append(play.world.submit(.commit(commit), to: name))
                if number == 8 {
                    let login = SessionCommit(key: session.key, id: CommitID(upper: round, lower: 99), regenerate: true)
                    move = play.world.submit(.commit(login), to: try NodeName("n\(round % 3 + 1)"))
                }
                play.world.run(for: .microseconds(200))
            }
            let all = requests + [move]
            play.world.run(for: .seconds(5)) { world in all.allSatisfy { world.hasResponse($0) } }
            var acknowledged: Int64 = 0
            for request in requests {
                switch play.world.takeResponse(request) {
                case .committed: acknowledged += 1
                case .failure(let failure): #expect(failure.code == .notFound)
                case let other: Issue.record("\(String(describing: other))")
                }
            }
            guard case .committed(let login) = play.world.takeResponse(move) else { return #expect(Bool(false)) }
            #expect(try play.count(login, at: "n2") == acknowledged)
            #expect((1..<24).contains(acknowledged))
        }
    }

    @Test func anExpiredSessionIsGoneForEverybody() throws {
        var settings = World.Configuration()
        settings.expiry.idle = .seconds(20)
        var play = try Play(seed: 12, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        play.world.run(for: .seconds(180))
        #expect(play.world.ask(try NodeName("n3"), .read(session.key)) == .session(nil))
        #expect(play.world.running.allSatisfy { play.world.core(of: $0)?.status.sessions == 0 })
    }

    @Test func aSessionDestroyedDuringALongCutStaysDestroyedWhenItHeals() throws {
        var settings = World.Configuration()
        settings.expiry.idle = .seconds(24 * 3600)
        var play = try Play(seed: 16, "n1", "n2", "n3", with: settings)
        let names = try ["n1", "n2", "n3"].map { try NodeName($0) }
        let sessions = try (0..<9).map { try play.create(at: "n\($0 % 3 + 1)") }
        play.world.partition([names[2]], from: [names[0], names[1]])
        play.world.run(for: .seconds(20))
        var destroyed: Set<SessionKey> = []
        for (number, session) in sessions.enumerated() {
            // Each side ends some that it holds, and the other side's copy lives on.
            let side = number % 2 == 0 ? names[0] : names[2]
            guard case .session(.some) = play.world.ask(side, .read(session.key)) else { continue }
            #expect(play.world.ask(side, .destroy(session.key, CommitID(upper: 5, lower: UInt64(number)))) == .done)
            destroyed.insert(session.key)
        }
        try #require((4..<9).contains(destroyed.count))
        play.world.run(for: .seconds(3900))
        play.world.heal()
        try play.settle(within: .seconds(120))
        for session in sessions {
            for name in names {
                guard case .session(let snapshot) = play.world.ask(name, .read(session.key)) else { return #expect(Bool(false)) }
                #expect((snapshot == nil) == destroyed.contains(session.key))
            }
        }
    }

    /// What is asked of each node in turn is answered alike: whether the session is there.
    private func isThere(_ session: CommitReceipt, in play: inout Play) throws -> Bool {
        var words: Set<Bool> = []
        for name in play.world.running {
            guard case .session(let snapshot) = play.world.ask(name, .read(session.key)) else { throw Play.Unexpected(answer: nil) }
            words.insert(snapshot != nil)
        }
        try #require(words.count == 1)
        return words.contains(true)
    }

    @Test func whoWasAwayBeyondTheHorizonBringsNothingBack() throws {
        var settings = World.Configuration()
        settings.expiry.idle = .seconds(24 * 3600)
        settings.swim.memory = .seconds(400)
        for lengths in [(Duration.seconds(100), false), (.seconds(300), true), (.seconds(600), true)] {
            var play = try Play(seed: 35, "n1", "n2", "n3", "n4", "n5", with: settings)
            let old = try (0..<10).map { try play.create(at: "n\($0 % 5 + 1)") }
            let names = play.world.running
            // The names that come last are on the greater side.
            let (fewer, more) = (Array(names.prefix(2)), Array(names.dropFirst(2)))
            play.world.partition(fewer, from: more)
            play.world.run(for: .seconds(10))
            let madeAway = try (0..<6).map { try play.create(at: fewer[$0 % 2].description) }
            let madeHere = try (0..<6).map { try play.create(at: more[$0 % 3].description) }
            play.world.run(for: lengths.0)
            play.world.heal()
            try play.settle(within: .seconds(120))
            let discarded = fewer.map { play.world.core(of: $0)?.status.sessionsDiscarded ?? 0 }
            #expect(discarded.allSatisfy { ($0 > 0) == lengths.1 }, "\(lengths)")
            for name in more { #expect(play.world.core(of: name)?.status.sessionsDiscarded == 0) }
            for session in madeHere { #expect(try isThere(session, in: &play)) }
            for session in madeAway { #expect(try isThere(session, in: &play) != lengths.1) }
            // Of the old ones the greater side had a copy, or nobody on it can have.
            let kept = try old.filter { try isThere($0, in: &play) }.count
            #expect(lengths.1 ? kept >= 5 : kept == old.count)
        }
    }

    @Test func ofTwoHalvesThatWereApartBeyondTheHorizonOneKeepsItsSessions() throws {
        var settings = World.Configuration()
        settings.expiry.idle = .seconds(24 * 3600)
        settings.swim.memory = .seconds(400)
        var play = try Play(seed: 36, "n1", "n2", with: settings)
        let session = try play.create(at: "n2")
        let names = play.world.running
        play.world.partition([names[0]], from: [names[1]])
        play.world.run(for: .seconds(300))
        play.world.heal()
        try play.settle(within: .seconds(120))
        #expect(play.world.core(of: names[0])?.status.sessionsDiscarded == 0)
        #expect(play.world.core(of: names[1])?.status.sessionsDiscarded == 1)
        #expect(try isThere(session, in: &play))
    }

    @Test func whoHoldsTheOnlyCopiesOfAMeshThatWasRestartedKeepsThem() throws {
        var settings = World.Configuration()
        settings.expiry.idle = .seconds(24 * 3600)
        settings.swim.memory = .seconds(400)
        var play = try Play(seed: 37, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n3")
        let names = play.world.running
        // Both others are silent, and may be the greater side: it waits longer than the horizon for them. Then they come, having been restarted.
        play.world.partition([names[2]], from: [names[0], names[1]])
        play.world.run(for: .seconds(10))
        for name in names.prefix(2) { play.world.crash(name) }
        play.world.run(for: .seconds(290))
        play.world.heal()
        for name in names.prefix(2) { play.world.start(name) }
        try play.settle(within: .seconds(120))
        #expect(play.world.core(of: names[2])?.status.sessionsDiscarded == 0)
        #expect(try isThere(session, in: &play))
    }

    @Test func aUsersSessionsAreListedFromEveryNodeAndEndedEverywhereAlsoWhileSlotsChangeHands() throws {
        var play = try Play(seed: 17, "n1", "n2", "n3")
        let names = try ["n1", "n2", "n3"].map { try NodeName($0) }
        var keys: [SessionKey] = []
        for number in 0..<12 as Range<UInt64> {
            let commit = SessionCommit(key: nil, id: CommitID(upper: 6, lower: number), user: number < 9 ? "ann" : "bob")
            keys.append(try play.committed(at: "n\(number % 3 + 1)", commit).key)
        }
        func listed(_ user: String, at name: NodeName) -> [SessionKey]? {
            guard case .listed(let page) = play.world.ask(name, .list(user: user, after: nil)) else { return nil }
            return page.sessions.map(\.key)
        }
        for name in names { #expect(listed("ann", at: name) == keys[..<9].sorted()) }

        let request = play.world.submit(.revoke(user: "ann", except: keys[4]), to: names[1])
        play.world.crash(names[0])
        play.world.run(for: .seconds(9)) { $0.hasResponse(request) }
        // Whom the crash took the answer from asks once more.
        switch play.world.takeResponse(request) {
        case .revoked: break
        case .failure(let failure):
            #expect(failure.code == .unavailable)
            guard case .revoked = play.world.ask(names[1], .revoke(user: "ann", except: keys[4])) else { return #expect(Bool(false)) }
        case let other: Issue.record("\(String(describing: other))")
        }
        for name in names[1...] {
            #expect(listed("ann", at: name) == [keys[4]])
            #expect(listed("bob", at: name) == keys[9...].sorted())
        }
    }

    @Test func whoLeavesHandsEverythingOffFirstAndShowsNothingOldNorRefusesAnybody() throws {
        var play = try Play(seed: 31, "n1", "n2", "n3")
        var sessions: [CommitReceipt] = []
        for number in 0..<12 { sessions.append(try play.create(at: "n\(number % 3 + 1)")) }
        var counts = [Int64](repeating: 0, count: sessions.count)
        let leaver = try NodeName("n1")
        play.world.leave(leaver)
        var asked = 0
        while play.world.running.contains(leaver) {
            try #require(asked < 10_000)
            let index = asked % sessions.count
            // In turn by all three: the one that goes is asked to its end.
            let at = ["n2", "n1", "n3"][asked % 3]
            asked += 1
            guard play.world.running.contains(try NodeName(at)) else { continue }
            let commit = SessionCommit(
                key: sessions[index].key, id: CommitID(upper: 6, lower: UInt64(asked)), changes: [.increment("n", by: 1)])
            let answer = play.world.ask(try NodeName(at), .commit(commit))
            if answer == nil, !play.world.running.contains(leaver) {
                // It went while it was asked; whoever asked it asks another, under the same id.
                _ = try play.committed(at: "n2", commit)
            } else {
                guard case .committed(let receipt) = answer else { throw Play.Unexpected(answer: answer) }
                #expect(receipt.copies == 2 && receipt.counters.first?.value == .integer(counts[index] + 1))
            }
            counts[index] += 1
        }
        // Nothing had to be taken over: those who stay hold each slot twice already.
        for name in play.world.running { #expect(play.world.core(of: name)?.status.underReplicatedSlots == 0) }
        for (session, count) in zip(sessions, counts) { #expect(try play.count(session, at: "n3") ?? 0 == count) }
    }

    @Test func aMessageReachesTheSubscribersOfEveryNodeOnceAndInOrder() throws {
        var play = try Play(seed: 13, "n1", "n2", "n3")
        let names = try ["n1", "n2", "n3"].map { try NodeName($0) }
        for name in names { #expect(play.world.ask(name, .subscribe(channel: "chat")) == .done) }
        for number in 0..<30 { _ = play.world.ask(names[number % 3], .publish(channel: "chat", payload: [UInt8(number)])) }
        play.world.run(for: .seconds(1))
        for name in names {
            #expect(play.world.deliveries[name]?.map(\.payload) == (0..<30).map { [UInt8($0)] })
            #expect(play.world.deliveries[name]?.map(\.position.offset) == Array(1...30))
        }
    }

    @Test func theMirrorHasTheSessionWhenEveryNodeWasRestarted() throws {
        var settings = World.Configuration()
        settings.mirrors = true
        var play = try Play(seed: 14, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        for _ in 1...3 { _ = try play.increment(session, at: "n2") }
        play.world.run(for: .milliseconds(200))
        for name in play.world.running { play.world.crash(name) }
        play.world.run(for: .seconds(1))
        for name in ["n1", "n2", "n3"] { try play.world.start(NodeName(name)) }
        try play.settle()
        #expect(try play.count(session, at: "n3") == 3)
        #expect(try play.increment(session, at: "n1").counters.first?.value == .integer(4))
    }

    @Test func aMirrorThatWasEmptiedIsFullAgainWithinSeconds() throws {
        var settings = World.Configuration()
        settings.mirrors = true
        var play = try Play(seed: 16, "n1", "n2", "n3", with: settings)
        let sessions = try (0..<20).map { try play.create(at: "n\($0 % 3 + 1)") }
        for session in sessions { _ = try play.increment(session, at: "n1") }
        let isMirrored = play.world.run(for: .seconds(5)) { world in sessions.allSatisfy { world.mirror.records[$0.key] != nil } }
        #expect(isMirrored)
        play.world.run(for: .seconds(3))
        play.world.emptyMirror()
        let isFull = play.world.run(for: .seconds(10)) { world in sessions.allSatisfy { world.mirror.records[$0.key] != nil } }
        #expect(isFull)
        // And so it outlives all agents once more.
        for name in play.world.running { play.world.crash(name) }
        play.world.run(for: .seconds(1))
        for name in ["n1", "n2", "n3"] { try play.world.start(NodeName(name)) }
        try play.settle()
        for session in sessions { #expect(try play.count(session, at: "n2") == 1) }
    }

    @Test func aUsersSessionsAreFoundAndEndedThoughOnlyTheMirrorHasThem() throws {
        var settings = World.Configuration()
        settings.mirrors = true
        var play = try Play(seed: 17, "n1", "n2", "n3", with: settings)
        var sessions: [SessionKey] = []
        for number in 0..<6 {
            let made = try play.create(at: "n1")
            let commit = SessionCommit(
                key: made.key, id: CommitID(upper: 5, lower: UInt64(number)), changes: [], user: number < 4 ? "ann" : "bob")
            sessions.append(try play.committed(at: "n2", commit).key)
        }
        play.world.run(for: .seconds(1))
        for name in play.world.running { play.world.crash(name) }
        play.world.run(for: .seconds(1))
        for name in ["n1", "n2", "n3"] { try play.world.start(NodeName(name)) }
        try play.settle()
        guard case .listed(let page)? = play.world.ask(try NodeName("n3"), .list(user: "ann", after: nil)) else {
            return #expect(Bool(false))
        }
        #expect(page.sessions.map(\.key) == sessions.prefix(4).sorted())
        #expect(play.world.ask(try NodeName("n2"), .revoke(user: "bob", except: sessions[5])) == .revoked(1))
        // Ended for good: also when everything is started once more.
        for name in play.world.running { play.world.crash(name) }
        for name in ["n1", "n2", "n3"] { try play.world.start(NodeName(name)) }
        try play.settle()
        #expect(play.world.ask(try NodeName("n1"), .read(sessions[4])) == .session(nil))
        guard case .session(.some)? = play.world.ask(try NodeName("n1"), .read(sessions[5])) else { return #expect(Bool(false)) }
    }

    @Test func theMeshGoesOnWithoutItsMirrorAndWritesWhatItMissed() throws {
        var settings = World.Configuration()
        settings.mirrors = true
        var play = try Play(seed: 15, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        play.world.setMirror(isDown: true)
        for _ in 1...3 { _ = try play.increment(session, at: "n2") }
        // The primary dies with all of it unwritten; its successor has the marks.
        try play.world.crash(NodeName("n1"))
        _ = try play.increment(session, at: "n2")
        play.world.setMirror(isDown: false)
        let isDrained = play.world.run(for: .seconds(15)) { world in
            guard let record = world.mirror.records[session.key], let state = try? SessionState(record) else { return false }
            return state.visibleFields.first?.value == .integer(4)
        }
        #expect(isDrained)
    }
}
