import Logging
import MeshAgent
import MeshCore
import Testing

/// Whole agents, with the real core and real sockets, in one process.
@Suite(.timeLimit(.minutes(3))) struct RealMeshTests {
    @Test func agentsMeetAndASessionOutlivesALeaveAndAKill() async throws {
        try await withDirectory { directory in
            var agents: [String: RealAgent] = [:]
            let first = try await RealAgent.start("n1", in: directory)
            agents["n1"] = first
            for name in ["n2", "n3"] {
                agents[name] = try await RealAgent.start(name, in: directory, seeds: [first.addresses.endpoint])
            }
            defer { for agent in agents.values { agent.kill() } }
            try await settle(agents.values)

            let client = try await TestClient.connect(to: try #require(first.addresses.client))
            var random = SystemRandomNumberGenerator()
            let commit = SessionCommit(key: nil, id: CommitID(using: &random), changes: [.set("cart", Array("apples".utf8))])
            let receipt = try await eventually("the commit") {
                if case .committed(let receipt) = try await client.ask(.commit(commit)) { receipt } else { nil }
            }
            #expect(receipt.copies >= 2)
            for agent in agents.values { try await expect("apples", of: receipt.key, at: agent) }

            // One leaves in order, the session's primary, so that it must be handed off.
            let primary = try await primary(of: receipt.key, at: first)
            let leaver = try #require(agents[primary])
            agents[primary] = nil
            let admin = try #require(leaver.addresses.admin)
            let answer = try await askHTTP("POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", at: admin)
            #expect(answer.contains("202 Accepted"))
            try await eventually("the drained agent's end") { await leaver.hasEnded }
            for agent in agents.values { try await expect("apples", of: receipt.key, at: agent) }
            try await settle(agents.values)

            // The next primary is killed without a word.
            let survivor = try #require(agents.values.first)
            let next = try await self.primary(of: receipt.key, at: survivor)
            try #require(agents[next]).kill()
            agents[next] = nil
            for agent in agents.values { try await expect("apples", of: receipt.key, at: agent) }
        }
    }

    @Test func anInstanceLeavesTheViewWhenItsHeartbeatsStopAndReturnsWithThem() async throws {
        try await withDirectory { directory in
            let agent = try await RealAgent.start("n1", in: directory)
            defer { agent.kill() }
            let register = ClientRequest.register(service: "shop", address: "127.0.0.1:8080", weight: 1, cookieName: "sid")
            for round in 1...2 {
                let client = try await TestClient.connect(to: try #require(agent.addresses.client))
                #expect(try await client.ask(register) == .done)
                try await eventually("the instance, round \(round)") { await agent.agent.view()?.instances.count == 1 }
                try await eventually("its absence, round \(round)") { await agent.agent.view()?.instances.isEmpty ?? false }
                await client.close()
            }
        }
    }

    private func settle(_ agents: some Collection<RealAgent>) async throws {
        for agent in agents {
            try await eventually("\(agent.name) is ready, among \(agents.count), with whole copies") {
                let status = await agent.agent.status()
                let alive = await agent.agent.view()?.members.count { $0.status == .alive && $0.stage == .serving }
                return status?.isReady == true && status?.underReplicatedSlots == 0 && alive == agents.count
            }
        }
    }

    private func primary(of key: SessionKey, at agent: RealAgent) async throws -> String {
        let client = try await TestClient.connect(to: try #require(agent.addresses.client))
        return try await eventually("the session's primary") {
            if case .session(let session?) = try await client.ask(.read(key)) { session.primary.description } else { nil }
        }
    }

    private func expect(_ cart: String, of key: SessionKey, at agent: RealAgent) async throws {
        let client = try await TestClient.connect(to: try #require(agent.addresses.client))
        try await eventually("the session, asked for at \(agent.name)") {
            guard case .session(let session?) = try await client.ask(.read(key)) else { return false }
            return session.fields == [.init(name: "cart", value: .bytes(Array(cart.utf8)))]
        }
        await client.close()
    }
}

/// One agent with the real core, until it is killed or leaves.
struct RealAgent: Sendable {
    let name: String
    let agent: MeshAgent
    let addresses: BoundAddresses
    private let task: Task<Void, any Error>

    static func start(
        _ name: String, in directory: String, seeds: [Endpoint] = [], tcpClients token: String? = nil, logger: Logger = quietLogger,
        configure: (inout AgentShellConfiguration, inout AgentConfiguration) throws -> Void = { _, _ in }
    ) async throws -> RealAgent {
        var configuration = AgentShellConfiguration(
            bind: .loopback(port: 0), client: token == nil ? .unix("\(directory)/\(name).sock") : .tcp(.loopback(port: 0)),
            clientToken: token, admin: .tcp(.loopback(port: 0)))
        var core = AgentConfiguration(name: try NodeName(name), endpoint: configuration.bind, seeds: seeds)
        try configure(&configuration, &core)
        let agent = MeshAgent(configuration: configuration, agent: core, keys: TestKeys.mesh, logger: logger)
        let task = Task { try await agent.run() }
        for await notice in agent.notices {
            guard case .ready(let addresses) = notice.kind else { continue }
            return RealAgent(name: name, agent: agent, addresses: addresses, task: task)
        }
        try await task.value
        throw NeverCame(description: "the readiness of \(name)")
    }

    /// As a process that is gone: no goodbye, and its sockets close.
    func kill() { task.cancel() }

    /// What it ended with.
    func end() async throws { try await task.value }

    var hasEnded: Bool {
        get async { await agent.status() == nil }
    }
}
