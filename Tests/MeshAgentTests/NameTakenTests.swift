import MeshAgent
import MeshCore
import Testing

/// One name, two addresses, with real sockets.
@Suite(.timeLimit(.minutes(3))) struct NameTakenTests {
    @Test func aDuplicateEndsWithTheReasonAndAReplacementIsTaken() async throws {
        try await withDirectory { directory in
            let first = try await RealAgent.start("n1", in: directory)
            let second = try await RealAgent.start("n2", in: directory, seeds: [first.addresses.endpoint])
            let third = try await RealAgent.start("n3", in: directory, seeds: [second.addresses.endpoint])
            defer { for agent in [first, second, third] { agent.kill() } }
            for agent in [first, second, third] { try await see("n1", at: first, by: agent, among: 3) }
            let life = await first.agent.view()?.member(try NodeName("n1"))?.id

            for seed in [first, second] {
                try await withDirectory { elsewhere in
                    let started = ContinuousClock.now
                    let twin = try await RealAgent.start("n1", in: elsewhere, seeds: [seed.addresses.endpoint])
                    defer { twin.kill() }
                    do {
                        try await twin.end()
                        Issue.record("it left by itself")
                    } catch let error as AgentStartError {
                        print("a duplicate with \(seed.name) as its seed was refused within \(ContinuousClock.now - started)")
                        #expect(error.code == .nameTaken)
                        #expect(
                            error.description == "the name n1 is taken by a live agent at \(first.addresses.endpoint): "
                                + "give this one another name, or stop that one first")
                    }
                }
            }
            for agent in [first, second, third] {
                #expect(await agent.agent.view()?.member(try NodeName("n1"))?.id == life)
            }

            // The same again when the first is gone; until it is, it holds on to its name.
            first.kill()
            _ = try? await first.end()
            try await withDirectory { elsewhere in
                let started = ContinuousClock.now
                let successor = try await RealAgent.start("n1", in: elsewhere, seeds: [second.addresses.endpoint])
                defer { successor.kill() }
                for agent in [second, third, successor] { try await see("n1", at: successor, by: agent, among: 3) }
                print("a replacement was in all views within \(ContinuousClock.now - started)")
                for agent in [second, third, successor] { #expect(await !agent.hasEnded) }
            }
        }
    }

    private func see(_ name: String, at agent: RealAgent, by observer: RealAgent, among count: Int) async throws {
        try await eventually("\(name) at \(agent.addresses.endpoint), as \(observer.name) sees it") {
            guard let view = await observer.agent.view(), let member = view.member(try NodeName(name)) else { return false }
            return member.endpoint == agent.addresses.endpoint && member.status == .alive
                && view.members.count { $0.status == .alive } == count
        }
    }
}
