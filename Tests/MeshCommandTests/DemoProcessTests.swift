import Foundation
import FoundationNetworking
import Testing

/// The whole demo, as real processes. One after the other: each is seven processes.
@Suite(.serialized) struct DemoProcessTests {
    private struct Demo {
        let process: CommandProcess
        let url: URL
        let agents: [Int]
        let pids: [Int]

        init(in directory: CommandDirectory) async throws {
            process = try CommandProcess(["demo", "--port", "0", "--json"], in: directory)
            do {
                let ready = try await process.event("ready")
                let nodes = try #require(ready["nodes"] as? [[String: Any]])
                let balancer = try #require(ready["balancer"] as? [String: Any])
                let address = try #require(ready["url"] as? String)
                url = try #require(URL(string: address))
                agents = nodes.compactMap { $0["agent_pid"] as? Int }
                pids = agents + nodes.compactMap { $0["app_pid"] as? Int } + [balancer["pid"] as? Int].compactMap(\.self)
            } catch {
                process.send(SIGKILL)
                throw error
            }
        }

        func allGone() async throws {
            try await eventually("the end of every child") { pids.contains(where: isAlive) ? nil : true }
        }
    }

    @Test func aKilledAgentComesBackAndASignalEndsThemAll() async throws {
        let directory = try CommandDirectory()
        let demo = try await Demo(in: directory)
        defer { demo.process.send(SIGKILL) }
        #expect(demo.pids.count == 7)
        let (page, _) = try await URLSession.shared.data(from: demo.url)
        #expect(String(decoding: page, as: UTF8.self).contains("<title"))

        kill(pid_t(demo.agents[1]), SIGKILL)
        let killed = try await demo.process.event("killed")
        #expect(killed["name"] as? String == "n2")
        #expect(killed["pid"] as? Int == demo.agents[1])
        let restarted = try await demo.process.event("restarted")
        #expect(restarted["name"] as? String == "n2")
        let successor = try #require(restarted["pid"] as? Int)
        #expect(isAlive(successor))

        demo.process.send(SIGTERM)
        #expect(try await demo.process.ended() == 0)
        #expect(demo.process.events.last?["event"] as? String == "stopped")
        #expect(!(demo.pids + [successor]).contains(where: isAlive))
        let left = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(!left.contains { $0.hasPrefix("sessionmesh-demo-") })
    }

    @Test func theKillSwitchKillsAgentAndApplicationOfANode() async throws {
        let directory = try CommandDirectory()
        let demo = try await Demo(in: directory)
        defer { demo.process.send(SIGKILL) }
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: directory.path).first { $0.hasPrefix("sessionmesh-demo-") })
        let handle = try #require(FileHandle(forWritingAtPath: directory.file("\(name)/kill")))
        try handle.write(contentsOf: Data("nobody\nn1\n".utf8))
        try handle.close()
        try await eventually("both of n1 to come back") {
            let back = demo.process.events.filter { $0["event"] as? String == "restarted" && $0["name"] as? String == "n1" }
            return Set(back.compactMap { $0["process"] as? String }) == ["agent", "app"] ? true : nil
        }
        demo.process.send(SIGINT)
        #expect(try await demo.process.ended() == 0)
    }

    @Test func noChildOutlivesADemoThatIsKilled() async throws {
        let demo = try await Demo(in: CommandDirectory())
        demo.process.send(SIGKILL)
        try await demo.allGone()
    }

    @Test func aSignalDuringTheStartEndsIt() async throws {
        let directory = try CommandDirectory()
        let process = try CommandProcess(["demo", "--port", "0"], in: directory)
        defer { process.send(SIGKILL) }
        try await eventually("its first agent") {
            let name = try FileManager.default.contentsOfDirectory(atPath: directory.path).first { $0.hasPrefix("sessionmesh-demo-") }
            return name.flatMap { FileManager.default.fileExists(atPath: directory.file("\($0)/n1.client")) ? true : nil }
        }
        process.send(SIGTERM)
        #expect(try await process.ended() == 0)
    }

    @Test func aPortInUseIsSaidToBe() async throws {
        let directory = try CommandDirectory()
        let holder = try CommandProcess(
            ["balance", "--upstream", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--events", "json"], in: directory)
        defer { holder.send(SIGKILL) }
        let listen = try #require(try await holder.event("ready")["listen"] as? String)
        let port = try #require(listen.split(separator: ":").last.map(String.init))
        let result = try await CommandProcess.run(["demo", "--port", port], in: directory)
        #expect(result.code == 78)
        #expect(result.errors.contains("is in use") && result.errors.contains("--port"), "\(result.errors)")
    }
}
