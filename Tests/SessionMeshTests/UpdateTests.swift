import MeshCore
import ScriptedAgent
import SessionMesh
import Synchronization
import Testing

/// Changes that depend on what is there.
@Suite struct UpdateTests {
    static let seats = SessionField<Int>("seats")
    static let code = SessionField<String>("code")
    static let visits = SessionCounter("visits")

    static func code(_ body: () async throws -> Void) async -> SessionError.Code? {
        do {
            try await body()
            return nil
        } catch { return (error as? SessionError)?.code }
    }

    /// A session with that many seats, and its cookie.
    static func session(_ mesh: SessionMesh, seats: Int) async throws -> (Session, String) {
        var session = try await mesh.open(cookie: nil)
        session[Self.seats] = seats
        let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
        return (session, cookie)
    }

    @Test func ofManyWhoTakeTheLastSeatsEachSeatGoesToOne() async throws {
        try await withLinkedMesh { mesh, _ in
            let (_, cookie) = try await Self.session(mesh, seats: 10)
            let booked = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        var session = try await mesh.open(cookie: cookie)
                        return try await mesh.update(&session, Self.seats) { seats in
                            guard let free = seats, free > 0 else { return false }
                            seats = free - 1
                            return true
                        }.result
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(booked == 10)
            #expect(try await mesh.open(cookie: cookie)[Self.seats] == 0)
        }
    }

    @Test func theBodyRunsAgainOnWhatIsThereByThen() async throws {
        try await withLinkedMesh { mesh, _ in
            var (session, cookie) = try await Self.session(mesh, seats: 10)
            var other = try await mesh.open(cookie: cookie)
            other[Self.seats] = 3
            _ = try await mesh.commit(&other)
            session.increment(Self.visits)
            var found: [Int?] = []
            let (_, outcome) = try await mesh.update(&session, Self.seats) { seats in
                found.append(seats)
                seats = (seats ?? 0) - 1
            }
            #expect(found == [10, 3] && session[Self.seats] == 2 && !session.hasChanges)
            // What else was changed goes along, once.
            #expect(outcome[Self.visits] == 1 && outcome.copies == 2)
            #expect(try await mesh.open(cookie: cookie)[Self.seats] == 2)
        }
    }

    @Test func anAnswerThatChangesNothingRestsOnWhatIsThereToo() async throws {
        try await withLinkedMesh { mesh, _ in
            var (session, cookie) = try await Self.session(mesh, seats: 0)
            var other = try await mesh.open(cookie: cookie)
            other[Self.seats] = 5
            _ = try await mesh.commit(&other)
            #expect(try await mesh.update(&session, Self.seats) { $0.map { $0 > 0 } ?? false }.result)
        }
    }

    @Test func aFieldMayBeMadeAndRemovedAndANewSessionWithIt() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            let (found, outcome) = try await mesh.update(&session, Self.seats) { seats -> Int? in
                defer { seats = 1 }
                return seats
            }
            #expect(found == nil && outcome.setCookie != nil && session[Self.seats] == 1)
            _ = try await mesh.update(&session, Self.code) { $0 = "abc" }
            _ = try await mesh.update(&session, Self.seats) { $0 = nil }
            #expect(agent.sessions.values.first?.fields.map(\.name) == ["code"])
        }
    }

    @Test func whatTheBodyThrowsChangesNothing() async throws {
        struct SoldOut: Error {}
        try await withLinkedMesh { mesh, agent in
            var (session, _) = try await Self.session(mesh, seats: 1)
            let before = agent.requests.count
            await #expect(throws: SoldOut.self) {
                _ = try await mesh.update(&session, Self.seats) { seats in
                    seats = 0
                    throw SoldOut()
                }
            }
            #expect(agent.requests.count == before && session[Self.seats] == 1 && !session.hasChanges)
        }
    }

    @Test func whatIsNotCommittedYetOrNoRegisterIsNotUpdated() async throws {
        try await withLinkedMesh { mesh, _ in
            var (session, _) = try await Self.session(mesh, seats: 1)
            session.increment(Self.visits)
            _ = try await mesh.commit(&session)
            await #expect(Self.code { _ = try await mesh.update(&session, SessionField<Int>("visits")) { $0 = 1 } } == .invalid)
            session[Self.seats] = 2
            await #expect(Self.code { _ = try await mesh.update(&session, Self.seats) { $0 = 1 } } == .invalid)
            #expect(session[Self.seats] == 2)
        }
    }

    @Test func whoNeverGetsATurnIsToldThatOthersDid() async throws {
        try await withLinkedMesh { mesh, agent in
            var (session, _) = try await Self.session(mesh, seats: 1)
            let value = Mutex(1)
            agent.script { request in
                guard request.kind == .commit else { return .serve }
                let text = value.withLock { number in
                    number += 1
                    return "\(number)"
                }
                return .reply(.conflict([.init(name: "seats", value: .bytes(Array(text.utf8)))]))
            }
            let error = await #expect(throws: SessionError.self) { _ = try await mesh.update(&session, Self.seats) { $0 = 0 } }
            #expect(error?.code == .contended && error?.isRetriable == true && error?.message.contains("seats") == true)
            #expect(value.withLock { $0 } == 65 && session[Self.seats] == 65 && !session.hasChanges)
        }
    }

    @Test func anUpdateWhoseReplyIsLostCountsOnce() async throws {
        try await withLinkedMesh { mesh, agent in
            var (session, cookie) = try await Self.session(mesh, seats: 10)
            let isFirst = Mutex(true)
            agent.script { request in
                guard request.kind == .commit else { return .serve }
                return isFirst.withLock { isFirst in
                    defer { isFirst = false }
                    return isFirst ? .serveThenHangUp : .serve
                }
            }
            _ = try await mesh.update(&session, Self.seats) { $0 = ($0 ?? 0) - 1 }
            #expect(try await mesh.open(cookie: cookie)[Self.seats] == 9)
        }
    }

    @Test func anUpdateOfUnknownOutcomeIsFinishedByCommittingAgainAndCountsOnce() async throws {
        try await withLinkedMesh {
            $0.requestTimeout = .seconds(2)
        } _: { mesh, agent in
            try await mesh.waitUntilConnected()
            var (session, cookie) = try await Self.session(mesh, seats: 10)
            // Done, and the answer never comes.
            agent.script { request in
                guard request.kind == .commit else { return .serve }
                agent.perform(request)
                return .silence
            }
            await #expect(Self.code { _ = try await mesh.update(&session, Self.seats) { $0 = ($0 ?? 0) - 1 } } == .unavailable)
            #expect(session.hasChanges)
            agent.serve()
            await agent.dropConnections()
            try await mesh.waitUntilConnected()
            _ = try await mesh.commit(&session)
            #expect(try await mesh.open(cookie: cookie)[Self.seats] == 9)
        }
    }

    @Test func whenItWasNotMadeAfterAllThatIsAConflict() async throws {
        try await withLinkedMesh {
            $0.requestTimeout = .seconds(2)
        } _: { mesh, agent in
            try await mesh.waitUntilConnected()
            var (session, cookie) = try await Self.session(mesh, seats: 10)
            agent.script { $0.kind == .commit ? .silence : .serve }
            await #expect(Self.code { _ = try await mesh.update(&session, Self.seats) { $0 = 0 } } == .unavailable)
            agent.serve()
            await agent.dropConnections()
            try await mesh.waitUntilConnected()
            var changed = try await mesh.open(cookie: cookie)
            changed[Self.seats] = 4
            _ = try await mesh.commit(&changed)
            await #expect(Self.code { _ = try await mesh.commit(&session) } == .conflict)
            #expect(session[Self.seats] == 4 && !session.hasChanges)
        }
    }

    @Test func aValueIsConsumedByOneOnly() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session[Self.code] = "123456"
            let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
            let values = try await withThrowingTaskGroup(of: String?.self) { group in
                // All have seen it before anybody takes it.
                let loaded = try await mesh.open(cookie: cookie)
                for _ in 0..<20 {
                    group.addTask {
                        var session = loaded
                        return try await mesh.consume(&session, Self.code).value
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(values.compactMap { $0 } == ["123456"])
            #expect(agent.sessions.values.first?.fields.isEmpty == true)
            #expect(try await mesh.consume(&session, SessionField<String>("none")).value == nil)
        }
    }
}
