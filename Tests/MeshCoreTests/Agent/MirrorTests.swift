import Testing

@testable import MeshCore

/// What an agent writes to its mirror, when, and whether it is still there.
@Suite struct MirrorTests {
    private var play: Dialogue

    init() throws {
        play = try Dialogue(mirrorMode: .behind)
        try play.join()
    }

    /// A session that two nodes and the mirror have.
    private mutating func mirrored() throws -> SessionKey {
        let key = try play.made()
        #expect(play.mirrorTakes(for: .milliseconds(300)).contains(key))
        #expect(play.core.status.mirror?.dirty == 0)
        return key
    }

    private mutating func destroy(_ key: SessionKey) -> UInt64 {
        let number = play.ask(.destroy(key, CommitID(upper: 1, lower: 9)))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        return number
    }

    @Test mutating func anEndIsAnsweredWhenTheMirrorKnowsItToo() throws {
        let key = try mirrored()
        let number = destroy(key)
        #expect(play.replies[number] == nil)
        // At once, and not with the next flush.
        #expect(play.mirrorRecords.map(\.isTombstone) == [true])
        play.mirrorTakesAll()
        #expect(play.replies[number] == .done)
    }

    @Test func whereEveryChangeIsWrittenThroughACommitIsAnsweredWhenTheMirrorHasIt() throws {
        var play = try Dialogue(mirrorMode: .through)
        try play.join()
        let made = play.ask(.commit(SessionCommit(key: nil, id: CommitID(upper: 9, lower: 1))))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[made] == nil)
        play.mirrorTakesAll()
        guard case .committed(let receipt) = play.replies[made] else { return #expect(Bool(false)) }
        let key = receipt.key
        func commit(_ number: UInt64, to acknowledgement: AcknowledgementLevel) -> UInt64 {
            let asked = play.ask(
                .commit(
                    SessionCommit(
                        key: key, id: CommitID(upper: 2, lower: number), changes: [.set("a", [UInt8(number)])],
                        acknowledgement: acknowledgement)))
            for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
            return asked
        }
        let first = commit(1, to: .replicated)
        #expect(play.replies[first] == nil)
        #expect(play.mirrorRecords.map(\.key) == [key], "at once, and not with the next flush")
        play.mirrorTakesAll()
        #expect(play.replies[first] == .committed(CommitReceipt(key: key, copies: 2, isMirrored: true)))
        let local = commit(2, to: .local)
        #expect(play.replies[local] != nil, "who asks for less waits for less")
    }

    @Test mutating func whatIsAnothersUnderASessionsKeyIsAnsweredAtOnceAndSaysNothingAgainstTheMirror() throws {
        _ = try mirrored()
        let slot = try #require(Slot.all.first { play.core.slots[Int($0.rawValue)].isOwner })
        let key = try Dialogue.key(in: slot)
        for count in 1...5 {
            play.mirrorTakesAll()
            let number = play.ask(.read(key))
            let ticket = try #require(play.mirrorRequests.last?.ticket)
            #expect(play.mirrorRequests == [.load(key, ticket: ticket)], "each is asked anew")
            play.mirrorRequests = []
            play.step(.mirror(.failed(ticket: ticket, MirrorError(.foreignData, "not ours", keys: [key]))))
            guard case .failure(let failure) = play.replies[number] else { return #expect(Bool(false)) }
            #expect(failure.code == .unavailable)
            let mirror = try #require(play.core.status.mirror)
            #expect(!mirror.isLost && mirror.breaker.isClosed && mirror.counters.refused == count)
        }
    }

    @Test mutating func itsStatusSaysHowFarBehindTheMirrorIsAndWhy() throws {
        let key = try mirrored()
        let quiet = try #require(play.core.status.mirror)
        #expect(quiet.counters.merged == 1 && quiet.counters.merges.count >= 1 && quiet.lag == .zero && quiet.breaker.isClosed)
        _ = destroy(key)
        play.mirrorFails(for: .seconds(3))
        let lost = try #require(play.core.status.mirror)
        #expect(lost.loss == "gone" && lost.dirty == 1 && !lost.breaker.isClosed)
        #expect(lost.lag >= .seconds(3) && lost.counters.failures >= 3)
        #expect(play.mirrorTakes(for: .seconds(4)).contains(key))
        let back = try #require(play.core.status.mirror)
        #expect(back.loss == nil && back.dirty == 0 && back.lag == .zero && back.counters.merged == 2 && back.breaker.isClosed)
    }

    @Test mutating func anEndWaitsForNoMirrorThatIsLost() throws {
        let key = try mirrored()
        play.mirrorFails(for: .seconds(3))
        #expect(play.core.status.mirror?.isLost == true)
        #expect(play.replies[destroy(key)] == .done)
        #expect(play.mirrorTakes(for: .seconds(4)).contains(key), "it is written when the mirror is back")
    }

    @Test mutating func aMirrorThatWasEmptiedIsWrittenAnew() throws {
        let key = try mirrored()
        #expect(play.mirrorTakes(for: .seconds(3)).isEmpty)
        play.mirrorGeneration = 2
        play.mirrorVisited = nil
        #expect(play.mirrorTakes(for: .seconds(5)).contains(key))
        #expect(play.events.contains(.mirrorStale))
        play.events = []
        #expect(play.mirrorTakes(for: .seconds(3)).isEmpty && !play.events.contains(.mirrorStale), "once")
    }

    @Test mutating func aMirrorThatCameBackWithOlderDataIsWrittenAnew() throws {
        let key = try mirrored()
        #expect(play.mirrorTakes(for: .seconds(3)).isEmpty)
        play.mirrorVisited = 1
        #expect(play.mirrorTakes(for: .seconds(5)).contains(key))
        #expect(play.events.contains(.mirrorStale))
    }

    @Test mutating func aVisitWhoseAnswerWasLostMakesNothingStale() throws {
        _ = try mirrored()
        _ = play.mirrorTakes(for: .seconds(2))
        play.pass(.seconds(1))
        guard case .visit(let number, _, let ticket)? = play.mirrorRequests.last else { return #expect(Bool(false)) }
        play.mirrorVisited = number
        play.step(.mirror(.failed(ticket: ticket, MirrorError(.timedOut, "late"))))
        play.mirrorRequests = []
        #expect(play.mirrorTakes(for: .seconds(3)).isEmpty)
        #expect(!play.events.contains(.mirrorStale))
    }

    @Test mutating func aMirrorIsVisitedWhileItIsAwayAndSoItsReturnIsNoticedWhereNothingIsToBeWritten() throws {
        _ = try mirrored()
        play.mirrorFails(for: .seconds(4))
        #expect(play.core.status.mirror?.isLost == true)
        #expect(play.mirrorTakes(for: .seconds(4)).isEmpty)
        #expect(play.core.status.mirror?.isLost == false && play.events.contains(.mirrorBack))
    }

    @Test mutating func aUsersSessionsThatOnlyTheMirrorHasAreReadBeforeTheyAreRevoked() throws {
        let key = try mirrored()
        play.mirrorIndex = [key]
        let request = play.ask(.revoke(user: "ann", except: nil))
        guard case .sessions(let user, let ticket)? = play.mirrorRequests.last else { return #expect(Bool(false)) }
        #expect(user == UserKey(of: "ann") && !play.core.walks.isTimed, "it is not begun before")
        play.mirrorRequests = []
        play.step(.mirror(.found(ticket: ticket, [key])))
        #expect(play.core.walks.isTimed)
        play.hears(.walked(id: try play.walkAsked(), .all, [], count: 3))
        play.passWalk()
        #expect(play.replies[request] == .revoked(3))
    }

    @Test mutating func aRevokeThatCouldNotAskTheMirrorSaysSo() throws {
        _ = try mirrored()
        let request = play.ask(.revoke(user: "ann", except: nil))
        for asked in play.mirrorRequests { play.step(.mirror(.failed(ticket: asked.ticket, MirrorError(.unreachable, "gone")))) }
        play.hears(.walked(id: try play.walkAsked(), .all, [], count: 2))
        play.passWalk()
        guard case .failure(let failure) = play.replies[request] else { return #expect(Bool(false)) }
        #expect(failure.code == .unavailable && failure.description.hasPrefix("2 sessions were ended"))
    }

    @Test mutating func aRecordNamesItsUser() throws {
        let number = play.ask(
            .commit(SessionCommit(key: try play.made(), id: CommitID(upper: 7, lower: 7), changes: [], user: "ann")))
        for ticket in play.deltas() { play.hears(.ack(ticket: ticket)) }
        #expect(play.replies[number] != nil)
        play.pass(.milliseconds(300))
        #expect(play.mirrorRecords.contains { $0.user == UserKey(of: "ann") })
    }
}

extension Dialogue {
    /// What the mirror was given and has not taken.
    fileprivate var mirrorRecords: [MirrorRecord] {
        mirrorRequests.flatMap { request -> [MirrorRecord] in if case .merge(let records, _) = request { records } else { [] } }
    }

    /// The number of the walk that the peer was asked for last.
    fileprivate func walkAsked() throws -> UInt64 {
        try #require(log.compactMap { if case .walk(let id, _, _) = $0.message { id } else { nil } }.last)
    }

    /// The sessions that it merges meanwhile.
    fileprivate mutating func mirrorTakes(for duration: Duration) -> Set<SessionKey> {
        let end = now.uptime + duration.nanoseconds
        var keys: Set<SessionKey> = []
        while now.uptime < end {
            pass(.milliseconds(50))
            keys.formUnion(mirrorRecords.map(\.key))
            mirrorTakesAll()
        }
        return keys
    }

    /// Whatever is asked of the mirror meanwhile fails.
    fileprivate mutating func mirrorFails(for duration: Duration) {
        let end = now.uptime + duration.nanoseconds
        while now.uptime < end {
            pass(.milliseconds(50))
            let asked = mirrorRequests
            mirrorRequests = []
            for request in asked { step(.mirror(.failed(ticket: request.ticket, MirrorError(.unreachable, "gone")))) }
        }
    }
}

extension CircuitBreaker.State {
    fileprivate var isClosed: Bool { if case .closed = self { true } else { false } }
}
