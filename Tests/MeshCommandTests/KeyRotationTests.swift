import Foundation
import MeshAgent
import MeshCore
import Testing

@testable import MeshCommand

/// The gossip key of real agents is changed while they run, as the README tells operators to.
@Suite struct KeyRotationTests {
    @Test func aMeshChangesItsKeyAndLosesNobody() async throws {
        let directory = try CommandDirectory()
        let names = ["n1", "n2", "n3"]
        let old = KeyFiles.newText()
        for name in names { _ = try directory.write(old, to: "\(name).key") }
        _ = try directory.write(old, to: "old.key")
        var agents: [CommandProcess] = []
        defer { for agent in agents { agent.send(SIGKILL) } }
        var seed: [String] = []
        for name in names {
            let agent = try agent(name, in: directory, seed)
            agents.append(agent)
            seed = ["--seed", try #require(try await agent.event("ready")["address"] as? String)]
        }
        for (name, agent) in zip(names, agents) {
            try await eventually("\(name) sees all serve") {
                names.allSatisfy { other in
                    agent.events.contains {
                        $0["member"] as? String == other && $0["status"] as? String == "alive" && $0["stage"] as? String == "serving"
                    }
                } ? true : nil
            }
        }

        // The first moments of a mesh on a busy machine are another matter.
        let before = agents.map(\.events.count)
        // One file, made once, given to one after the other.
        let added = try await CommandProcess.run(["keygen", "--add", directory.file("n1.key")], in: directory)
        #expect(added.code == 0 && added.output == "gossip key 2 is in \(directory.file("n1.key"))\n", "\(added)")
        let both = try String(contentsOfFile: directory.file("n1.key"), encoding: .utf8)
        for (index, agent) in agents.enumerated() {
            if index > 0 { _ = try directory.write(both, to: "\(names[index]).key") }
            agent.send(SIGHUP)
            try await eventually("\(names[index]) accepts key 2") {
                try await keys(of: names[index], in: directory).accepts(2, at: names[index]) ? true : nil
            }
            if index < 2 { #expect(try await keys(of: names[index], in: directory).uses(1, at: names[index])) }
        }
        for name in names {
            try await eventually("\(name) sees all use key 2") {
                let report = try await keys(of: name, in: directory)
                return names.allSatisfy { report.uses(2, at: $0) } ? true : nil
            }
        }

        let dropped = try await CommandProcess.run(["keygen", "--drop", "1", directory.file("n1.key")], in: directory)
        #expect(dropped.code == 0, "\(dropped.errors)")
        let new = try String(contentsOfFile: directory.file("n1.key"), encoding: .utf8)
        for name in names {
            _ = try directory.write(new, to: "\(name).key")
            let reloaded = try await CommandProcess.run(["keys", "reload", "--admin", admin(name, directory)], in: directory)
            #expect(reloaded.code == 0 && reloaded.output.contains("gossip key 2 is used"), "\(reloaded)")
        }
        for name in names {
            try await eventually("\(name) sees that nobody accepts key 1") {
                let report = try await keys(of: name, in: directory)
                return names.contains { report.accepts(1, at: $0) } ? nil : true
            }
        }

        // Who has the old key alone is a stranger now: it stays by itself.
        let stranger = try agent("stranger", in: directory, seed, keys: "old.key")
        defer { stranger.send(SIGKILL) }
        _ = try await stranger.event("ready")
        try await eventually("the refusal of its peer link") {
            let metrics = try await AdminClient(address: .unix(directory.file("sessionmesh/n3.admin"))).demand("/metrics")
            return String(decoding: metrics, as: UTF8.self).contains(/troubles_total\{kind="link_rejected"\} [1-9]/) ? true : nil
        }
        for (agent, count) in zip(agents, before) {
            for event in agent.events.dropFirst(count) where event["event"] as? String == "member" {
                // A machine that gives a process no time makes suspects; only who is not heard any more is lost.
                #expect(["alive", "suspect"].contains(event["status"] as? String), "\(event)")
                #expect(event["member"] as? String != "stranger")
            }
        }
        for secret in both.split(whereSeparator: \.isWhitespace) where secret.count == 43 {
            for name in names {
                let shown = try await CommandProcess.run(["keys", "--json", "--admin", admin(name, directory)], in: directory)
                #expect(!shown.output.contains(secret) && !shown.errors.contains(secret))
            }
            for agent in agents { #expect(!agent.errors.contains(secret) && !agent.output.contains(secret)) }
        }
    }

    @Test func aBadKeyFileChangesNothing() async throws {
        let directory = try CommandDirectory()
        _ = try directory.write(KeyFiles.newText(), to: "n1.key")
        let agent = try agent("n1", in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("ready")
        let before = try await keys(of: "n1", in: directory)
        _ = try directory.write("gossip 1 short\n", to: "n1.key")
        agent.send(SIGHUP)
        try await eventually("the line in the log") { agent.errors.contains("the keys stay as they are") ? true : nil }
        let refused = try await CommandProcess.run(["keys", "reload"], in: directory)
        #expect(refused.code == 1 && refused.errors.contains("line 1"), "\(refused)")
        #expect(refused.errors.split(separator: "\n").count == 1)
        // Another secret under the number in use.
        _ = try directory.write(KeyFiles.newText(), to: "n1.key")
        let reused = try await CommandProcess.run(["keys", "reload"], in: directory)
        #expect(reused.code == 1 && reused.errors.contains("another secret"), "\(reused)")
        #expect(try await keys(of: "n1", in: directory).summary == before.summary)
        #expect(agent.isRunning)
    }

    @Test func aBalancerReadsItsKeyFileAgain() async throws {
        let directory = try CommandDirectory()
        let path = try directory.write(KeyFiles.newText(), to: "b1.key")
        let balancer = try CommandProcess(
            [
                "balance", "--name", "b1", "--listen", "127.0.0.1:0", "--seed", "127.0.0.1:1", "--bind", "127.0.0.1:0", "--key-file", path,
                "--events", "json",
            ], in: directory)
        defer { balancer.send(SIGKILL) }
        _ = try await balancer.event("ready")
        let added = try await CommandProcess.run(["keygen", "--add", path], in: directory)
        #expect(added.code == 0, "\(added.errors)")
        balancer.send(SIGHUP)
        try await eventually("key 2 is used, as nobody else is there") {
            try await keys(of: "b1", in: directory).uses(2, at: "b1") ? true : nil
        }
        balancer.send(SIGTERM)
        #expect(try await balancer.ended() == 0)
    }

    @Test func aChangedKeyFileKeepsItsModeAndComments() async throws {
        let directory = try CommandDirectory()
        let path = try directory.write("# ours\n" + KeyFiles.newText(), to: "mesh.key", mode: 0o400)
        try FileManager.default.createSymbolicLink(atPath: directory.file("link"), withDestinationPath: path)
        let added = try await CommandProcess.run(["keygen", "--add", directory.file("link")], in: directory)
        #expect(added.code == 0, "\(added.errors)")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.hasPrefix("# ours\n") && text.contains("\ngossip 2 "))
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o400)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: directory.file("link")) == path)
        let unknown = try await CommandProcess.run(["keygen", "--drop", "7", path], in: directory)
        #expect(unknown.code == 78 && unknown.errors.contains("no gossip key of that number"), "\(unknown)")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
    }

    private func agent(_ name: String, in directory: CommandDirectory, _ more: [String] = [], keys: String? = nil) throws -> CommandProcess
    {
        let path = directory.file(keys ?? "\(name).key")
        return try CommandProcess(
            ["agent", "--name", name, "--bind", "127.0.0.1:0", "--key-file", path, "--events", "json", "--profile", "patient"] + more,
            in: directory)
    }

    private func admin(_ name: String, _ directory: CommandDirectory) -> String { "unix:\(directory.file("sessionmesh/\(name).admin"))" }

    private func keys(of name: String, in directory: CommandDirectory) async throws -> KeysCommand.Report {
        let result = try await CommandProcess.run(["keys", "--json", "--admin", admin(name, directory)], in: directory)
        #expect(result.code == 0, "\(result.errors)")
        return try JSONDecoder().decode(KeysCommand.Report.self, from: Data(result.output.utf8))
    }
}

extension KeysCommand.Report {
    fileprivate func accepts(_ number: Int, at name: String) -> Bool {
        members.contains { $0.name == name && $0.gossip.accepts.contains { $0.number == number } }
    }

    fileprivate func uses(_ number: Int, at name: String) -> Bool {
        members.contains { $0.name == name && $0.gossip.uses?.number == number }
    }
}
