import LogCapture
import Logging
import MeshCore
import MetricsTestKit
import ScriptedAgent
import SessionMesh
import Synchronization
import Testing

@Suite struct SessionMeshTests {
    static let visits = SessionCounter("visits")
    static let theme = SessionField<String>("theme")

    static func code(_ body: () async throws -> Void) async -> SessionError.Code? {
        do {
            try await body()
            return nil
        } catch { return (error as? SessionError)?.code }
    }

    // MARK: Sessions

    @Test func aSessionLivesFromFirstCommitToDestruction() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.increment(Self.visits)
            session[Self.theme] = "dark"
            let created = try await mesh.commit(&session, isSecure: true)
            let cookie = try #require(created.setCookie)
            #expect(cookie.name == "sid" && cookie.isSecure && !cookie.isExpiry)
            #expect(created.copies == 2)
            #expect(created[Self.visits] == 1)
            #expect(!session.hasChanges)

            var again = try await mesh.open(cookie: cookie.value)
            #expect(again[Self.theme] == "dark")
            #expect(again.key == session.key)
            again.increment(Self.visits)
            again.bind(user: "ann")
            again.regenerate()
            let login = try await mesh.commit(&again)
            #expect(login[Self.visits] == 2)
            #expect(login.setCookie != nil && login.setCookie?.value != cookie.value)
            #expect(again.user == "ann")
            #expect(try await mesh.open(cookie: cookie.value).key == nil)

            again.destroy()
            let gone = try await mesh.commit(&again)
            #expect(gone.setCookie?.isExpiry == true)
            #expect(again.key == nil)
            #expect(agent.sessions.isEmpty)
        }
    }

    @Test func withoutChangesNothingIsSent() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            let outcome = try await mesh.commit(&session)
            #expect(outcome.setCookie == nil && outcome.copies == 0)
            _ = try await mesh.open(cookie: String(repeating: "x", count: 200))
            #expect(agent.requests.isEmpty)
        }
    }

    @Test func incrementsOfParallelSessionsAllCount() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.increment(Self.visits)
            let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<100 {
                    group.addTask {
                        var session = try await mesh.open(cookie: cookie)
                        session.increment(Self.visits)
                        _ = try await mesh.commit(&session)
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await mesh.open(cookie: cookie)[Self.visits] == 101)
        }
    }

    @Test func aCookieThatWasSignedAnewIsSetWithTheAnswerWhateverTheRequestDid() async throws {
        try await withLinkedMesh { mesh, agent in
            var made = try await mesh.open(cookie: nil)
            made.increment(Self.visits)
            _ = try await mesh.commit(&made)
            let snapshot = try #require(agent.sessions.values.first)
            agent.script { $0.kind == .open ? .reply(.opened(snapshot, cookie: "renewed")) : .serve }

            var read = try await mesh.open(cookie: "old")
            #expect(try await mesh.commit(&read).setCookie?.value == "renewed")
            var changed = try await mesh.open(cookie: "old")
            changed.increment(Self.visits)
            #expect(try await mesh.commit(&changed).setCookie?.value == "renewed")
            var moved = try await mesh.open(cookie: "old")
            moved.regenerate()
            let login = try #require(try await mesh.commit(&moved).setCookie?.value)
            #expect(login != "renewed" && login != "old")
            agent.serve()
            var later = try await mesh.open(cookie: login)
            #expect(later.key != nil)
            #expect(try await mesh.commit(&later).setCookie == nil)
        }
    }

    @Test func unavailableIsNotAbsent() async throws {
        try await withLinkedMesh { mesh, agent in
            let absent = try await mesh.open(cookie: "unknown")
            #expect(absent.key == nil)
            agent.script { _ in .reply(.failure(ClientFailure(.unavailable, "no copy"))) }
            let error = await #expect(throws: SessionError.self) { try await mesh.open(cookie: "unknown") }
            #expect(error?.code == .unavailable)
            #expect(error?.isRetriable == true)
        }
    }

    @Test func aDestroyedSessionIsNotBroughtBackByALateCommit() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.increment(Self.visits)
            _ = try await mesh.commit(&session)
            var late = session
            session.destroy()
            _ = try await mesh.commit(&session)
            late.increment(Self.visits)
            await #expect(Self.code { _ = try await mesh.commit(&late) } == .notFound)
            #expect(agent.sessions.isEmpty)
        }
    }

    @Test func theSessionsOfAUserAreListedPageByPageAndEnded() async throws {
        try await withLinkedMesh { mesh, agent in
            var keys: [SessionKey] = []
            for user in ["ann", "ann", "ann", "bob", nil] {
                var session = try await mesh.open(cookie: nil)
                session.increment(Self.visits)
                session.bind(user: user)
                _ = try await mesh.commit(&session)
                keys.append(try #require(session.key))
            }
            let first = try await mesh.sessions(of: "ann")
            let next: SessionKey = try #require(first.next)
            let second = try await mesh.sessions(of: "ann", after: next)
            #expect((first.sessions + second.sessions).map(\.key) == keys.prefix(3).sorted() && second.next == nil)
            #expect(first.sessions.first?.fields == 1)
            #expect(try await mesh.endSessions(of: "ann", except: keys[1]) == 2)
            #expect(try await mesh.sessions(of: "ann").sessions.map(\.key) == [keys[1]])
            #expect(Set(agent.sessions.keys) == Set([keys[1], keys[3], keys[4]]))
            #expect(try await mesh.endAllSessions(except: keys[4]) == 2)
            #expect(Set(agent.sessions.keys) == [keys[4]])
            await #expect(Self.code { _ = try await mesh.sessions(of: "") } == .invalid)
            await #expect(Self.code { try await mesh.endSessions(of: String(repeating: "u", count: 129)) } == .invalid)
        }
    }

    @Test func limitsAreToldWithoutAskingTheAgent() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session[SessionField<String>("big")] = String(repeating: "x", count: 20_000)
            await #expect(Self.code { _ = try await mesh.commit(&session) } == .invalid)
            await #expect(Self.code { try await mesh.publish([UInt8](repeating: 0, count: 65_537), to: "c") } == .invalid)
            await #expect(Self.code { _ = try await mesh.subscribe(to: "") } == .invalid)
            #expect(agent.requests.isEmpty)
        }
    }

    // MARK: The connection

    @Test func aCommitWhoseReplyIsLostCountsOnce() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.increment(Self.visits)
            let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
            let attempts = Mutex(0)
            agent.script { request in
                guard request.kind == .commit else { return .serve }
                return attempts.withLock {
                    $0 += 1
                    return $0 <= 2 ? .serveThenHangUp : .serve
                }
            }
            session.increment(Self.visits)
            #expect(try await mesh.commit(&session)[Self.visits] == 2)
            #expect(attempts.withLock { $0 } == 3)
            #expect(try await mesh.open(cookie: cookie)[Self.visits] == 2)
        }
    }

    @Test func aPublishWhoseReplyIsLostIsNotRepeated() async throws {
        try await withLinkedMesh { mesh, agent in
            agent.script { $0.kind == .publish ? .hangUp : .serve }
            await #expect(Self.code { try await mesh.publish("x", to: "c") } == .interrupted)
            #expect(agent.requests.count { $0.kind == .publish } == 1)
        }
    }

    @Test func requestsWaitForAnAgentThatComesBack() async throws {
        try await withSocketPath { path in
            let agent = try ScriptedAgent()
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.connectionWaitMax = .seconds(20)
            let mesh = SessionMesh(configuration: configuration)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await mesh.run() }
                async let early = mesh.members()
                try await agent.start(path: path)
                #expect(try await early.members.count == 1)
                await agent.stop()
                try await eventually("disconnected") { await !mesh.isConnected }
                async let between = mesh.members()
                try await agent.start(path: path)
                #expect(try await between.members.count == 1)
                group.cancelAll()
            }
            await agent.stop()
        }
    }

    @Test func anApplicationThatStartsBeforeItsAgentSaysSoOnceAndGoesOnWhenItComes() async throws {
        try await withSocketPath { path in
            let agent = try ScriptedAgent()
            let log = LogCapture()
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.backoff = .milliseconds(1) ... .milliseconds(5)
            configuration.connectionWaitMax = .milliseconds(200)
            configuration.registration = .init(service: "shop", address: "127.0.0.1:8080")
            let mesh = SessionMesh(configuration: configuration, logger: log.logger(.debug))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await mesh.run() }
                await #expect(Self.code { _ = try await mesh.open(cookie: "c") } == .unavailable)
                try await eventually("many attempts") { log.lines.count { $0.level == .debug } >= 20 }
                #expect(log.lines.filter { $0.level > .debug }.map(\.level) == [.warning])
                try await agent.start(path: path)
                try await eventually("registered") { agent.requests.map(\.kind) == [.register] }
                #expect(try await mesh.open(cookie: "c").key == nil)
                #expect(log.lines.filter { $0.level > .debug }.map(\.level) == [.warning, .notice])
                group.cancelAll()
            }
            await agent.stop()
        }
    }

    @Test func whoWaitsForTheAgentGoesOnWhenItComesIsCancelledOrShutDown() async throws {
        try await withSocketPath { path in
            let agent = try ScriptedAgent()
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.backoff = .milliseconds(1) ... .milliseconds(5)
            configuration.connectionWaitMax = .milliseconds(50)
            configuration.requestsMax = 2
            let mesh = SessionMesh(configuration: configuration, logger: LogCapture().logger(.critical))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await mesh.run() }
                async let first: Void = mesh.waitUntilConnected()
                let cancelled = Task { await Self.code { try await mesh.waitUntilConnected() } }
                // Longer than any request waits.
                await #expect(Self.code { _ = try await mesh.members() } == .unavailable)
                try await eventually("both wait") {
                    await Self.codeWhenCancelled { try await mesh.waitUntilConnected() } == .overloaded
                }
                cancelled.cancel()
                #expect(await cancelled.value == .cancelled)
                try await agent.start(path: path)
                try await first
                try await mesh.waitUntilConnected()
                #expect(await mesh.isConnected)
                await agent.stop()
                try await eventually("disconnected") { await !mesh.isConnected }
                let late = Task { await Self.code { try await mesh.waitUntilConnected() } }
                group.cancelAll()
                #expect(await late.value == .shutdown)
            }
            await #expect(Self.code { try await mesh.waitUntilConnected() } == .shutdown)
        }
    }

    /// What a task is told that was cancelled before it asked, and so takes nobody's place among those who wait.
    static func codeWhenCancelled(_ body: @escaping @Sendable () async throws -> Void) async -> SessionError.Code? {
        await withTaskGroup(of: SessionError.Code?.self) { group in
            group.cancelAll()
            group.addTask { await Self.code(body) }
            return await group.next() ?? nil
        }
    }

    @Test func anOutageIsLoggedOnceWhenItBeginsAndOnceWhenItIsOver() async throws {
        let log = LogCapture()
        try await withLinkedMesh(log: log) { mesh, agent in
            try await eventually("connected") { await mesh.isConnected }
            for outage in 1...3 {
                await agent.dropConnections()
                try await eventually("back again") { agent.connectionCount > outage }
                _ = try await mesh.members()
                #expect(log.lines.map(\.level) == [Logger.Level](repeating: .warning, count: outage).flatMap { [$0, .notice] })
            }
        }
        // The end of the application is no outage.
        #expect(log.lines.count == 6)
    }

    @Test func whatAUserOfTheLibraryAsksItsMetricsForIsCounted() async throws {
        let metrics = TestMetrics()
        @Sendable func total(_ name: String, _ dimensions: [(String, String)] = []) -> Int64 {
            metrics.counterTotal(label: "sessionmesh_client_\(name)_total", dimensions: dimensions)
        }
        @Sendable func connected() -> Double? { metrics.recorders(label: "sessionmesh_client_connected").first?.lastValue }
        try await withLinkedMesh(metrics: metrics) { mesh, agent in
            try await eventually("connected") { await mesh.isConnected }
            #expect(connected() == 1)
            let isFirst = Mutex(true)
            agent.script { request in
                guard request.kind == .commit, isFirst.withLock({ $0 }) else { return .serve }
                isFirst.withLock { $0 = false }
                return .serveThenHangUp
            }
            var session = try await mesh.open(cookie: nil)
            session.increment(Self.visits)
            session[Self.theme] = "dark"
            let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
            #expect(total("repeats", [("request", "commit")]) == 1)
            #expect(total("outages") == 1)
            #expect(try await mesh.open(cookie: cookie)[SessionField<Int>("theme")] == nil)
            #expect(total("unreadable_fields", [("field", "theme")]) == 1)
            agent.script { _ in .reply(.failure(ClientFailure(.unavailable, "no copy"))) }
            await #expect(Self.code { _ = try await mesh.open(cookie: cookie) } == .unavailable)
            #expect(total("requests", [("outcome", "ok")]) == 2)
            #expect(total("requests", [("outcome", "unavailable")]) == 1)
            await agent.stop()
            try await eventually("disconnected") { connected() == 0 }
            let waiting = Task { try await mesh.open(cookie: cookie) }
            try await eventually("a request waits") { total("waits") == 1 }
            waiting.cancel()
            await #expect(Self.code { _ = try await waiting.value } == .cancelled)
            #expect(total("requests", [("outcome", "cancelled")]) == 1)
            #expect(metrics.timers(label: "sessionmesh_client_request_duration_seconds").first?.values.count == 4)
        }
    }

    /// After a dozen of losses, pauses that only grew would be of minutes.
    @Test func aLossAfterAGoodConnectionIsMendedAtOnceHoweverManyThereWere() async throws {
        try await withLinkedMesh {
            $0.backoff = .milliseconds(5) ... .seconds(3600)
        } _: { mesh, agent in
            for count in 1...20 {
                try await eventually("connection \(count)") { await mesh.isConnected && agent.connectionCount == count }
                await agent.dropConnections()
                try await eventually("lost") { await !mesh.isConnected || agent.connectionCount > count }
            }
        }
    }

    @Test func anOutageIsAnsweredWithinASecond() throws {
        let configuration = SessionMeshConfiguration(agent: try AgentAddress("unix:a.sock"))
        #expect(configuration.connectionWaitMax < .seconds(1))
    }

    @Test func requestsWithoutAnAgentFailAsUnavailableInBoundedTime() async throws {
        try await withSocketPath { path in
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.connectionWaitMax = .milliseconds(200)
            let mesh = SessionMesh(configuration: configuration)
            await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await mesh.run() }
                let start = ContinuousClock.now
                await #expect(Self.code { _ = try await mesh.open(cookie: "c") } == .unavailable)
                #expect(ContinuousClock.now - start >= .milliseconds(200))
                group.cancelAll()
            }
        }
    }

    @Test func aRequestThatIsNeverAnsweredFailsAsUnavailable() async throws {
        try await withLinkedMesh {
            $0.requestTimeout = .milliseconds(300)
        } _: { mesh, agent in
            try await eventually("connected") { await mesh.isConnected }
            agent.script { $0.kind == .members ? .silence : .serve }
            await #expect(Self.code { _ = try await mesh.members() } == .unavailable)
        }
    }

    @Test func threeMissedHeartbeatsMakeANewConnection() async throws {
        try await withLinkedMesh {
            $0.heartbeat = .milliseconds(50)
        } _: { mesh, agent in
            try await eventually("connected") { await mesh.isConnected }
            let frozen = Mutex(true)
            agent.script { _ in frozen.withLock { $0 } ? .silence : .serve }
            async let answer = mesh.members()
            try await eventually("a second connection") { agent.connectionCount >= 2 }
            frozen.withLock { $0 = false }
            #expect(try await answer.members.count == 1)
        }
    }

    @Test func moreRequestsThanMayWaitAreRefusedAtOnce() async throws {
        try await withSocketPath { path in
            var configuration = SessionMeshConfiguration(agent: .unix(path: path))
            configuration.requestsMax = 2
            configuration.connectionWaitMax = .seconds(20)
            let mesh = SessionMesh(configuration: configuration)
            let codes = await withTaskGroup(of: SessionError.Code?.self) { group in
                for _ in 0..<3 { group.addTask { await Self.code { _ = try await mesh.members() } } }
                let first = await group.next()
                group.cancelAll()
                var codes = [first ?? nil]
                for await code in group { codes.append(code) }
                return codes
            }
            #expect(codes == [.overloaded, .cancelled, .cancelled])
        }
    }

    @Test func theApplicationIsRegisteredAgainAfterEachReconnect() async throws {
        try await withLinkedMesh {
            $0.registration = .init(service: "shop", address: "127.0.0.1:8080", weight: 2)
            $0.cookie.secure = .always
        } _: { mesh, agent in
            let expected = ClientRequest.register(service: "shop", address: "127.0.0.1:8080", weight: 2, cookieName: "__Host-sid")
            try await eventually("registered") { agent.requests == [expected] }
            await agent.dropConnections()
            try await eventually("registered again") { agent.requests == [expected, expected] }
            try await mesh.register(service: "late", address: "127.0.0.1:9")
            await agent.dropConnections()
            try await eventually("registered anew") { agent.requests.count == 4 }
            #expect(agent.requests[2] == agent.requests[3])
        }
    }

    @Test func theTokenIsSentFirst() async throws {
        try await withLinkedMesh(token: "secret") { mesh, _ in
            let view = try await mesh.members()
            #expect(view.members.count == 1)
        }
        let agent = try ScriptedAgent(token: "secret")
        var configuration = SessionMeshConfiguration(agent: .tcp(host: "127.0.0.1", port: try await agent.startTCP()), token: "wrong")
        configuration.connectionWaitMax = .milliseconds(300)
        let mesh = SessionMesh(configuration: configuration)
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await mesh.run() }
            let error = await #expect(throws: SessionError.self) { try await mesh.members() }
            #expect(error?.code == .unavailable)
            group.cancelAll()
        }
        await agent.stop()
    }

    @Test(arguments: ["garbage\r\n", "*-1\r\n", "$99999999\r\n", ">1\r\n:1\r\n:7\r\n", "_\r\n"])
    func anAgentThatSpeaksNonsenseIsLeftAndFoundAgain(_ nonsense: String) async throws {
        try await withLinkedMesh { mesh, agent in
            try await eventually("connected") { await mesh.isConnected }
            agent.write(raw: Array(nonsense.utf8))
            try await eventually("a new connection") { agent.connectionCount >= 2 }
            #expect(try await mesh.members().members.count == 1)
        }
    }

    @Test func whatWaitsAtShutdownIsToldSo() async throws {
        let mesh = try await withLinkedMesh { mesh, agent -> SessionMesh in
            try await eventually("connected") { await mesh.isConnected }
            return mesh
        }
        await #expect(Self.code { _ = try await mesh.members() } == .shutdown)
    }

    // MARK: Channels

    @Test func subscribersOfOneProcessShareOneSubscription() async throws {
        try await withLinkedMesh { mesh, agent in
            let first = try await mesh.subscribe(to: "chat")
            let second = try await mesh.subscribe(to: "chat")
            #expect(agent.requests == [.subscribe(channel: "chat")])
            try await mesh.publish("one", to: "chat")
            try await mesh.publish("two", to: "chat")
            for subscription in [first, second] {
                var iterator = subscription.makeAsyncIterator()
                for text in ["one", "two"] {
                    guard case .message(let message)? = try await iterator.next() else {
                        Issue.record("no message")
                        continue
                    }
                    #expect(message.payload == Array(text.utf8))
                }
            }
            first.cancel()
            var ended = first.makeAsyncIterator()
            #expect(try await ended.next() == nil)
            try await mesh.publish("three", to: "chat")
            #expect(agent.subscriberCount(of: "chat") == 1)
            second.cancel()
            try await eventually("unsubscribed") { agent.subscriberCount(of: "chat") == 0 }
        }
    }

    @Test func aDroppedSubscriptionIsUnsubscribed() async throws {
        try await withLinkedMesh { mesh, agent in
            do { _ = try await mesh.subscribe(to: "chat") }
            try await eventually("unsubscribed") { agent.requests.contains(.unsubscribe(channel: "chat")) }
        }
    }

    @Test func aReconnectIsAGapAndThenMessagesFlowAgain() async throws {
        try await withLinkedMesh { mesh, agent in
            let subscription = try await mesh.subscribe(to: "chat")
            await agent.dropConnections()
            var iterator = subscription.makeAsyncIterator()
            #expect(try await iterator.next() == .gap)
            agent.publish([7], to: "chat")
            guard case .message(let message)? = try await iterator.next() else {
                Issue.record("no message")
                return
            }
            #expect(message.payload == [7])
        }
    }

    @Test func aSlowReaderGetsWhatIsBufferedAndThenAnError() async throws {
        try await withLinkedMesh {
            $0.subscriptionMessagesMax = 3
        } _: { mesh, agent in
            let slow = try await mesh.subscribe(to: "chat")
            for index in UInt8(0)..<5 { agent.publish([index], to: "chat") }
            try await eventually("unsubscribed") { agent.subscriberCount(of: "chat") == 0 }
            var iterator = slow.makeAsyncIterator()
            for index in UInt8(0)..<3 {
                guard case .message(let message)? = try await iterator.next() else {
                    Issue.record("no message")
                    continue
                }
                #expect(message.payload == [index])
            }
            await #expect(Self.code { _ = try await iterator.next() } == .slowConsumer)
        }
    }

    @Test func bytesBoundASubscriptionToo() async throws {
        try await withLinkedMesh {
            $0.subscriptionBytesMax = 100
        } _: { mesh, agent in
            let slow = try await mesh.subscribe(to: "c")
            for _ in 0..<2 { agent.publish([UInt8](repeating: 0, count: 60), to: "c") }
            try await eventually("unsubscribed") { agent.subscriberCount(of: "c") == 0 }
            var iterator = slow.makeAsyncIterator()
            _ = try await iterator.next()
            await #expect(Self.code { _ = try await iterator.next() } == .slowConsumer)
        }
    }

    @Test func aCancelledReaderEnds() async throws {
        try await withLinkedMesh { mesh, agent in
            let subscription = try await mesh.subscribe(to: "chat")
            let reader = Task { () -> Int in
                var count = 0
                for try await _ in subscription { count += 1 }
                return count
            }
            agent.publish([1], to: "chat")
            reader.cancel()
            #expect(try await reader.value <= 1)
            try await eventually("unsubscribed") { agent.subscriberCount(of: "chat") == 0 }
        }
    }

    // MARK: What becomes of sessions

    @Test func whoFollowsIsToldWhatBecomesOfSessionsAndOfGaps() async throws {
        try await withLinkedMesh { mesh, agent in
            let key = try #require(SessionKey(bytes: [UInt8](repeating: 7, count: SessionKey.byteCount)))
            let events = try await mesh.sessionEvents()
            var iterator = events.makeAsyncIterator()
            let created = SessionEvent(key: key, kind: .created, at: 1_795_000_000_000)
            let moved = SessionEvent(key: key, kind: .moved(to: key), at: 1_795_000_000_001)
            for push in [ClientPush.event(created), .gap, .event(moved)] { agent.tell(push) }
            #expect(try await iterator.next() == .event(created))
            #expect(try await iterator.next() == .gap)
            #expect(try await iterator.next() == .event(moved))
            // What was missed while there was no agent nobody knows.
            await agent.dropConnections()
            #expect(try await iterator.next() == .gap)
            agent.tell(.event(created))
            #expect(try await iterator.next() == .event(created))
            events.cancel()
            try await eventually("the agent need not tell any more") { agent.followingCount == 0 }
        }
    }

    @Test func aRefusedSubscriptionIsToldAndLeavesNothingBehind() async throws {
        try await withLinkedMesh { mesh, agent in
            agent.script { $0.kind == .subscribe ? .reply(.failure(ClientFailure(.full, "too many"))) : .serve }
            await #expect(Self.code { _ = try await mesh.subscribe(to: "chat") } == .full)
            agent.serve()
            let subscription = try await mesh.subscribe(to: "chat")
            #expect(agent.subscriberCount(of: "chat") == 1)
            subscription.cancel()
        }
    }
}
