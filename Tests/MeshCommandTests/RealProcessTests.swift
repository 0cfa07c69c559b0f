import Foundation
import MeshCore
import Testing

@testable import MeshCommand

/// Real agents and balancers, started as a person would start them.
@Suite struct RealProcessTests {
    private func agent(
        _ name: String, in directory: CommandDirectory, _ more: [String] = [], input: String? = nil
    ) throws -> CommandProcess {
        try CommandProcess(["agent", "--name", name, "--bind", "127.0.0.1:0", "--events", "json"] + more, in: directory, input: input)
    }

    /// n1, and n2 that has it as its seed; with the address of n1.
    private func pair(in directory: CommandDirectory) async throws -> (CommandProcess, CommandProcess, address: String) {
        let first = try agent("n1", in: directory)
        do {
            let address = try #require(try await first.event("ready")["address"] as? String)
            return (first, try agent("n2", in: directory, ["--seed", address]), address)
        } catch {
            first.send(SIGKILL)
            throw error
        }
    }

    @Test func membersShowsARealAgent() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory, ["--tag", "zone=a"])
        defer { agent.send(SIGKILL) }
        let address = try #require(try await agent.event("ready")["address"] as? String)

        let json = try await CommandProcess.run(["members", "--json"], in: directory)
        #expect(json.code == 0, "\(json.errors)")
        let view = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
        let member = try #require((view["members"] as? [[String: Any]])?.first)
        #expect(member["name"] as? String == "n1")
        #expect(member["address"] as? String == address)
        #expect(member["tags"] as? [String: String] == ["zone": "a"])

        let table = try await CommandProcess.run(["members"], in: directory)
        #expect(table.output.hasPrefix("MEMBER") && table.output.contains(address))

        agent.send(SIGTERM)
        #expect(try await agent.ended() == 0)
        #expect(agent.events.contains { $0["status"] as? String == "left" })
        #expect(!FileManager.default.fileExists(atPath: directory.file("sessionmesh/n1.client")))
    }

    @Test func keygenMakesWhatAnAgentTakes() async throws {
        let directory = try CommandDirectory()
        let keys = try await CommandProcess.run(["keygen"], in: directory)
        #expect(keys.code == 0)
        let agent = try agent("n1", in: directory, ["--key-file", "-"], input: keys.output)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("ready")
        #expect(!FileManager.default.fileExists(atPath: directory.file("sessionmesh/mesh.key")))
    }

    @Test func anAddressInUseIsSaidToBe() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        let address = try #require(try await agent.event("ready")["address"] as? String)
        for arguments in [
            ["agent", "--name", "n2", "--bind", address], ["balance", "--upstream", "127.0.0.1:1", "--listen", address],
        ] {
            let second = try await CommandProcess.run(arguments, in: directory, variables: ["SESSIONMESH_LOG_LEVEL": "error"])
            #expect(second.code == 78)
            #expect(second.errors.contains("\(address) is in use"), "\(second.errors)")
            #expect(second.errors.split(separator: "\n").count == 1, "\(second.errors)")
        }
        let namesake = try await CommandProcess.run(["agent", "--name", "n1", "--bind", "127.0.0.1:0"], in: directory)
        #expect(namesake.code == 78)
        #expect(namesake.errors.contains("n1.client"), "\(namesake.errors)")
    }

    @Test func aNameThatIsTakenIsSaidToBe() async throws {
        let directory = try CommandDirectory()
        let (first, second, address) = try await pair(in: directory)
        defer { for agent in [first, second] { agent.send(SIGKILL) } }
        let seed = try #require(try await second.event("ready")["address"] as? String)
        try await eventually("n1 in the view of n2") {
            second.events.contains { $0["member"] as? String == "n1" && $0["status"] as? String == "alive" } ? true : nil
        }
        // Another directory, as on another machine.
        let twin = try await CommandProcess.run(
            ["agent", "--name", "n1", "--bind", "127.0.0.1:0", "--seed", seed, "--key-file", directory.file("sessionmesh/mesh.key")],
            in: CommandDirectory(), variables: ["SESSIONMESH_LOG_LEVEL": "error"])
        #expect(twin.code == 78)
        let line = "the name n1 is taken by a live agent at \(address): give this one another name, or stop that one first\n"
        #expect(twin.errors.hasSuffix(line), "\(twin.errors)")
        #expect(twin.errors.split(separator: "\n").count == 1, "\(twin.errors)")
        #expect(first.isRunning && second.isRunning)
    }

    @Test func whyAMemberIsHeldForDeadIsSaid() async throws {
        let directory = try CommandDirectory()
        let (first, second, _) = try await pair(in: directory)
        defer { for agent in [first, second] { agent.send(SIGKILL) } }
        try await eventually("n2 in the view of n1") {
            first.events.contains { $0["member"] as? String == "n2" && $0["status"] as? String == "alive" } ? true : nil
        }
        let admin = ["--admin", "unix:\(directory.file("sessionmesh/n1.admin"))"]
        let living = try await CommandProcess.run(["members", "--why", "n2"] + admin, in: directory)
        #expect(living.code == 0 && living.output.hasPrefix("n2 is alive"), "\(living)")
        #expect(living.output.split(separator: "\n").count == 1)

        second.send(SIGKILL)
        try await eventually("its death") {
            first.events.contains { $0["member"] as? String == "n2" && $0["status"] as? String == "dead" } ? true : nil
        }
        let dead = try await CommandProcess.run(["members", "--why", "n2"] + admin, in: directory)
        #expect(dead.code == 0, "\(dead.errors)")
        for part in ["n2 is dead", "dead after", "decided by n1", "suspected by n1"] {
            #expect(dead.output.contains(part), "\(dead.output)")
        }
        let story = try await json(["members", "--why", "n2", "--json"] + admin, in: directory)
        let verdict = try #require((story["verdicts"] as? [[String: Any]])?.last)
        #expect(verdict["outcome"] as? String == "dead")
        let nobody = try await CommandProcess.run(["members", "--why", "n9"] + admin, in: directory)
        #expect(nobody.code == 1 && nobody.errors == "sessionmesh: no member is called n9\n", "\(nobody)")
    }

    @Test func twoBalancersNeverShareAPort() async throws {
        let directory = try CommandDirectory()
        let first = try CommandProcess(
            ["balance", "--upstream", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--events", "json"], in: directory)
        defer { first.send(SIGKILL) }
        let listen = try #require(try await first.event("ready")["listen"] as? String)
        let second = try await CommandProcess.run(["balance", "--upstream", "127.0.0.1:1", "--listen", listen], in: directory)
        #expect(second.code == 78)
        first.send(SIGTERM)
        #expect(try await first.ended() == 0)
    }

    @Test func aMirrorThatIsAwayIsNoReasonNotToStart() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory, ["--mirror", "redis://127.0.0.1:1"])
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("ready")
        try await eventually("the warning") { agent.errors.contains("the mirror does not answer") ? true : nil }
    }

    @Test func aKilledAgentLeavesNoSharedMemoryBehind() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        _ = try await agent.event("ready")
        #expect(!FileManager.default.fileExists(atPath: "/dev/shm/mongoc-\(agent.pid)"))
        agent.send(SIGKILL)
        _ = try await agent.ended()
    }

    @Test func aSessionIsMadeReadChangedAndEnded() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("serving")
        let made = try await json(["session", "set", "theme=dark", "--increment", "visits=2", "--json"], in: directory)
        let key = try #require(made["key"] as? String)
        let cookie = try #require(made["cookie"] as? String)
        _ = try await json(["session", "set", "--key", key, "--increment", "visits=3", "--json"], in: directory)

        let read = try await json(["session", "get", "--cookie", cookie, "--json"], in: directory)
        #expect(read["key"] as? String == key)
        #expect((read["fields"] as? [String: Any])?["visits"] as? Int == 5)
        #expect((read["fields"] as? [String: Any])?["theme"] as? String == "\"dark\"")
        let explained = try await json(["explain", "--cookie", cookie, "--json"], in: directory)
        #expect(explained["owner"] as? String == "n1" && explained["copies"] as? Int == 1 && explained["key"] as? String == key)
        let verdict = explained["cookie"] as? [String: any Sendable]
        #expect(verdict?["verdict"] as? String == "opens" && verdict?["key"] as? Int == 1)

        _ = try await json(["session", "destroy", "--key", key, "--json"], in: directory)
        for (value, reason) in [
            (cookie, "ended"), (String(cookie.dropLast()), "malformed"), (cookie.replacing(".1.", with: ".7."), "unknownKey"),
        ] {
            let refused = try await json(["explain", "--cookie", value, "--json"], in: directory)
            #expect((refused["cookie"] as? [String: any Sendable])?["verdict"] as? String == reason)
        }
        let gone = try await CommandProcess.run(["session", "get", "--key", key], in: directory)
        #expect(gone.code == 1)
        #expect(gone.errors.contains("no such session"))
    }

    @Test func aUsersSessionsAreListedWithoutTheirContentsAndRevokedButOne() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("serving")
        var keys: [String] = []
        for user in ["ann", "ann", "ann", "bob"] {
            let made = try await json(["session", "set", "pin=0000-canary", "--user", user, "--json"], in: directory)
            keys.append(try #require(made["key"] as? String))
        }
        let listed = try await CommandProcess.run(["session", "list", "--user", "ann"], in: directory)
        #expect(listed.code == 0, "\(listed.errors)")
        for (number, key) in keys.enumerated() { #expect(listed.output.contains(key) == (number < 3)) }
        #expect(!listed.output.contains("canary"))

        let revoked = try await json(["session", "revoke", "--user", "ann", "--except", keys[0], "--json"], in: directory)
        #expect(revoked["ended"] as? Int == 2)
        let left = try await CommandProcess.run(["session", "list", "--user", "ann", "--json"], in: directory)
        #expect(left.output.contains(keys[0]) && !left.output.contains(keys[1]) && !left.output.contains(keys[2]))
        let all = try await CommandProcess.run(["session", "revoke", "--all"], in: directory)
        #expect(all.output == "ended 2 sessions\n")
        let none = try await CommandProcess.run(["session", "list", "--user", "ann"], in: directory)
        #expect(none.output == "ann has no session\n")
    }

    @Test func whatIsPublishedIsPrintedBySubscribers() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("serving")
        let subscriber = try CommandProcess(["subscribe", "news", "--count", "2", "--json"], in: directory)
        defer { subscriber.send(SIGKILL) }
        try await eventually("the subscription") { subscriber.errors.contains("subscribed") ? true : nil }
        for text in ["one", "two"] {
            let sent = try await CommandProcess.run(["publish", "news", text], in: directory)
            #expect(sent.code == 0, "\(sent.errors)")
        }
        #expect(try await subscriber.ended() == 0)
        #expect(subscriber.events.compactMap { $0["message"] as? String } == ["one", "two"])
    }

    @Test func aBalancerIsReadyWhenItKnowsAnInstance() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        let address = try #require(try await agent.event("ready")["address"] as? String)
        let balancer = try CommandProcess(
            ["balance", "--name", "b1", "--listen", "127.0.0.1:0", "--seed", address, "--events", "json"], in: directory)
        defer { balancer.send(SIGKILL) }
        _ = try await balancer.event("ready")
        try await eventually("the balancer in the agent's view") {
            agent.events.contains { $0["member"] as? String == "b1" && $0["status"] as? String == "alive" } ? true : nil
        }
        balancer.send(SIGTERM)
        #expect(try await balancer.ended() == 0)
        try await eventually("its farewell") {
            agent.events.contains { $0["member"] as? String == "b1" && $0["status"] as? String == "left" } ? true : nil
        }
    }

    @Test func aSeedGivesOneTrace() async throws {
        let arguments = ["simulate", "--seed", "3", "--nodes", "2", "--rounds", "0", "--json"]
        let first = try await json(arguments, in: CommandDirectory())
        let second = try await json(arguments, in: CommandDirectory())
        #expect(first["trace"] as? String == second["trace"] as? String)
        #expect((first["violations"] as? [String])?.isEmpty == true)
    }

    private func json(_ arguments: [String], in directory: CommandDirectory) async throws -> [String: any Sendable] {
        let result = try await CommandProcess.run(arguments, in: directory)
        #expect(result.code == 0, "\(result.errors)")
        return try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: any Sendable])
    }
}
