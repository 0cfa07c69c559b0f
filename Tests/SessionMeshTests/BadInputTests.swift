import MeshCore
import ScriptedAgent
import SessionMesh
import Synchronization
import Testing

/// Whatever is wrong has a code, says in one line what it is, and says whether trying again can help.
@Suite struct BadInputTests {
    static func error(_ body: () async throws -> Void) async -> SessionError? {
        do {
            try await body()
            return nil
        } catch { return error as? SessionError }
    }

    @Test func everyCodeSaysWhetherTheSameRequestMaySucceedLater() {
        let table: [(SessionError.Code, Bool)] = [
            (.unavailable, true), (.full, true), (.overloaded, true), (.contended, true), (.conflict, false), (.notFound, false),
            (.invalid, false), (.interrupted, false), (.slowConsumer, false), (.cancelled, false), (.shutdown, false),
        ]
        for (code, isRetriable) in table { #expect(SessionError(code, "").isRetriable == isRetriable, "\(code)") }
        #expect(Set(table.map(\.0.description)).count == table.count)
    }

    @Test(arguments: ClientFailure.Code.allCases)
    func whatTheAgentRefusesIsToldByItsCode(_ code: ClientFailure.Code) async throws {
        try await withLinkedMesh { mesh, agent in
            agent.script { $0 == .ping ? .serve : .reply(.failure(ClientFailure(code, "because"))) }
            let error = try #require(await Self.error { _ = try await mesh.open(cookie: "x") })
            #expect(error.message.contains("because"))
            switch code {
            case .unavailable: #expect(error.code == .unavailable && error.isRetriable)
            case .notFound: #expect(error.code == .notFound && !error.isRetriable)
            case .invalid: #expect(error.code == .invalid && !error.isRetriable)
            case .full: #expect(error.code == .full && error.isRetriable)
            }
        }
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// What the error's line must name.
        let named: String
        let change: @Sendable (inout Session) -> Void

        init(_ description: String, naming named: String, _ change: @escaping @Sendable (inout Session) -> Void) {
            testDescription = description
            self.named = named
            self.change = change
        }
    }

    static let bytes = SessionField<[UInt8]>("bytes", codec: .bytes)

    static let wrongs = [
        Wrong("a name of no bytes", naming: "name") { $0[SessionField<Int>("")] = 1 },
        Wrong("a name of 65 bytes", naming: "name") { $0[SessionField<Int>(String(repeating: "n", count: 65))] = 1 },
        Wrong("a name with a line end", naming: "name") { $0[SessionField<Int>("a\nb")] = 1 },
        Wrong("a counter's name of 65 bytes", naming: "name") { $0.increment(SessionCounter(String(repeating: "n", count: 65))) },
        Wrong("a field of 16 KiB and one", naming: "bytes") { $0[bytes] = [UInt8](repeating: 0, count: 16 * 1024 + 1) },
        Wrong("more than 64 KiB", naming: "65536 bytes") { session in
            for index in 0..<5 { session[SessionField<[UInt8]>("f\(index)", codec: .bytes)] = [UInt8](repeating: 0, count: 14_000) }
        },
        Wrong("129 changes", naming: "128 changes") { session in
            for index in 0..<129 { session.increment(SessionCounter("c\(index)")) }
        },
        Wrong("an element of 129 bytes", naming: "field tags") { session in
            session.insert(String(repeating: "e", count: 129), into: SessionSet<String>("tags", codec: .text))
        },
        Wrong("what JSON doesn't have", naming: "field d") { $0[SessionField<Double>("d")] = .infinity },
        Wrong("a sum beyond 64 bits", naming: "counter c") { session in
            session.increment(SessionCounter("c"), by: .max)
            session.increment(SessionCounter("c"))
        },
        Wrong("a user of 129 bytes", naming: "user") { $0.bind(user: String(repeating: "u", count: 129)) },
        Wrong("a user with a control character", naming: "user") { $0.bind(user: "ann\u{7F}") },
    ]

    @Test(arguments: wrongs) func aCommitOutsideItsBoundsIsInvalidSaysWhatItIsAndIsNotSent(_ wrong: Wrong) async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            wrong.change(&session)
            let error = try #require(await Self.error { _ = try await mesh.commit(&session) })
            #expect(error.code == .invalid && !error.isRetriable)
            #expect(error.message.contains(wrong.named) && !error.description.contains("\n"), "\(error)")
            #expect(agent.requests.isEmpty && agent.sessions.isEmpty)
        }
    }

    @Test(arguments: ["", " ", "x", "a.1.b", "ÿ\u{1}", String(repeating: "x", count: 89), String(repeating: "x", count: 5000)])
    func aCookieThatIsNoneIsAVisitorWithoutASessionAndNeverAnId(_ cookie: String) async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: cookie)
            #expect(session.key == nil && session.hasCookie && session.absence == .malformed)
            session.increment(SessionCounter("c"))
            let created = try #require(try await mesh.commit(&session).setCookie?.value)
            #expect(created != cookie && agent.sessions.count == 1)
        }
    }

    @Test(arguments: SessionAbsence.allCases)
    func whyACookieOpensNoSessionIsToldAndTheVisitorStartsANewOne(_ reason: SessionAbsence) async throws {
        try await withLinkedMesh { mesh, agent in
            agent.script { $0.kind == .open ? .reply(.absent(reason)) : .serve }
            var session = try await mesh.open(cookie: "x")
            #expect(session.key == nil && session.absence == reason)
            session.increment(SessionCounter("c"))
            #expect(try await mesh.commit(&session).setCookie != nil)
            #expect(try await mesh.open(cookie: nil).absence == nil)
        }
    }

    @Test func aSessionThatEndedIsToldFromOneThatNeverWas() async throws {
        try await withLinkedMesh { mesh, agent in
            var session = try await mesh.open(cookie: nil)
            session.increment(SessionCounter("c"))
            let cookie = try #require(try await mesh.commit(&session).setCookie?.value)
            #expect(try await mesh.open(cookie: cookie).absence == nil)
            session.destroy()
            _ = try await mesh.commit(&session)
            #expect(try await mesh.open(cookie: cookie).absence == .ended)
        }
    }

    /// The answer never comes. Before the cancelling, the agent has made the commit or not.
    @Test(arguments: [true, false]) func aCommitWhoseTaskIsCancelledIsDoneWholeOrNotAtAll(_ isDone: Bool) async throws {
        try await withLinkedMesh { mesh, agent in
            try await mesh.waitUntilConnected()
            agent.script { request in
                guard request.kind == .commit else { return .serve }
                if isDone { agent.perform(request) }
                return .silence
            }
            let task = Task {
                await Self.error {
                    var session = try await mesh.open(cookie: nil)
                    session.increment(SessionCounter("c"))
                    session.increment(SessionCounter("d"))
                    _ = try await mesh.commit(&session)
                }
            }
            try await eventually("the agent has it") {
                agent.requests.contains { $0.kind == .commit } && agent.sessions.count == (isDone ? 1 : 0)
            }
            task.cancel()
            let error = await task.value
            #expect(error?.code == .cancelled && error?.isRetriable == false)
            #expect(agent.sessions.values.map { $0.fields.map(\.name) } == (isDone ? [["c", "d"]] : []))
        }
    }

    @Test func anAgentThatAnswersAnotherQuestionIsUnavailable() async throws {
        try await withLinkedMesh { mesh, agent in
            agent.script { $0.kind == .open ? .reply(.done) : .serve }
            let error = await Self.error { _ = try await mesh.open(cookie: "x") }
            #expect(error?.code == .unavailable && error?.isRetriable == true)
        }
    }
}
