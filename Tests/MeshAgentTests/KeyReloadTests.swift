import MeshCore
import Testing

@testable import MeshAgent

/// The key file is read again on an operator's word.
@Suite(.timeLimit(.minutes(1))) struct KeyReloadTests {
    private struct Unreadable: Error, CustomStringConvertible {
        var description: String { "mesh.key: there is no gossip line" }
    }

    @Test func whatTheFileSaysNowIsTakenAndReported() async throws {
        try await withAdmin(rereads: { TestKeys.otherMesh }) { agent, address in
            for (query, force) in [("", false), ("?force=true", true)] {
                let answer = try await post("/v1/keys/reload\(query)", at: address)
                #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(answer)")
                #expect(answer.contains(#""wanted":{"number":1,"check":""#))
                #expect(answer.contains(#"{"name":"n2","acceptsWanted":false,"accepts":[]}"#), "\(answer)")
                #expect(agent.log.all.contains(.reloadKeys(TestKeys.otherMesh, force: force)))
            }
            let shown = try await askHTTP("GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", at: address)
            #expect(shown.contains(#""lacking":["n2"]"#))
            for secret in TestKeys.otherMesh.text.split(whereSeparator: \.isWhitespace) where secret.count > 40 {
                #expect(!shown.contains(secret))
            }
        }
    }

    @Test func aFileThatIsNoneChangesNothingAndSaysWhy() async throws {
        try await withAdmin(rereads: { throw Unreadable() }) { agent, address in
            let answer = try await post("/v1/keys/reload", at: address)
            #expect(answer.hasPrefix("HTTP/1.1 500 "), "\(answer)")
            #expect(answer.contains(#"{"error":"mesh.key: there is no gossip line"}"#))
            let reloads = agent.log.all.count { if case .reloadKeys = $0 { true } else { false } }
            #expect(reloads == 0)
        }
    }

    @Test func aRingThatIsRefusedIsSaidToBe() async throws {
        try await withAdmin(rereads: { TestKeys.otherMesh }, outcome: .refused(.numberReused(1))) { _, address in
            let answer = try await post("/v1/keys/reload", at: address)
            #expect(answer.hasPrefix("HTTP/1.1 409 Conflict\r\n"), "\(answer)")
            #expect(answer.contains("gossip key 1 has another secret"))
        }
    }

    @Test func keysThatCameFromNoFileCanNotBeReadAgain() async throws {
        try await withAdmin(rereads: nil) { _, address in
            let answer = try await post("/v1/keys/reload", at: address)
            #expect(answer.hasPrefix("HTTP/1.1 409 Conflict\r\n") && answer.contains("--key-file"), "\(answer)")
        }
    }

    @Test(arguments: [("GET", "/v1/keys/reload", 405), ("POST", "/v1/keys", 405), ("POST", "/v1/keys/reload?force=1", 400)])
    func otherQuestionsAboutKeysAreRefused(method: String, target: String, status: Int) {
        let route = AdminRoute.route(AdminRequest(method: method, target: target, hosts: ["localhost"], origin: nil, isLocalSocket: false))
        #expect(refusal(route) == status)
    }

    @Test func aPageOfAnotherOriginReloadsNothing() {
        let route = AdminRoute.route(
            AdminRequest(
                method: "POST", target: "/v1/keys/reload", hosts: ["localhost"], origin: "http://evil.example", isLocalSocket: false))
        #expect(refusal(route) == 403)
    }

    private func refusal(_ result: Result<AdminRoute, AdminRefusal>) -> Int? {
        if case .failure(let refusal) = result { refusal.status } else { nil }
    }

    // MARK: Stage

    private func withAdmin(
        rereads: (@Sendable () throws -> KeyFile)?, outcome: KeyReload? = nil,
        _ body: @escaping @Sendable (RunningAgent, ListenAddress) async throws -> Void
    ) async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.admin = .tcp(.loopback(port: 0))
        let report = KeyReport.with(lacking: try NodeName("n2"), wanted: TestKeys.otherMesh.gossip.sealing.mark)
        try await withAgent(
            "n1", configuration, rereadKeys: rereads, prepare: { $0.keyReport = report },
            script: { input in
                if case .reloadKeys = input { [.keysReloaded(outcome ?? .done(report))] } else { [] }
            }
        ) { agent in
            try await body(agent, try #require(agent.addresses.admin))
        }
    }

    private func post(_ target: String, at address: ListenAddress) async throws -> String {
        try await askHTTP(
            "POST \(target) HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", at: address)
    }
}
