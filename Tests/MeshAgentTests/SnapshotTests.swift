import LogCapture
import Logging
import MeshCore
import Testing

@testable import MeshAgent

/// What an agent keeps of whom it knew.
@Suite(.timeLimit(.minutes(3))) struct SnapshotTests {
    private static func start(
        _ name: String, in directory: String, at endpoint: Endpoint = .loopback(port: 0), seeds: [Endpoint] = [],
        logger: Logger = quietLogger
    ) async throws -> RealAgent {
        try await RealAgent.start(name, in: directory, seeds: seeds, logger: logger) { shell, _ in
            shell.bind = endpoint
            shell.dataDirectory = directory
        }
    }

    private static func see(_ count: Int, by agent: RealAgent) async throws {
        try await eventually("\(agent.name) sees \(count) serve") {
            await agent.agent.view()?.members.count { $0.status == .alive && $0.stage == .serving } == count
        }
    }

    @Test func agentsThatAllStoppedFindEachOtherAgainWithoutASeed() async throws {
        try await withDirectory { directory in
            let names = ["n1", "n2", "n3"]
            var agents: [RealAgent] = []
            for name in names {
                agents.append(try await Self.start(name, in: directory, seeds: agents.prefix(1).map(\.addresses.endpoint)))
            }
            for agent in agents { try await Self.see(3, by: agent) }
            let endpoints = agents.map(\.addresses.endpoint)
            for agent in agents {
                let admin = try #require(agent.addresses.admin)
                _ = try await askHTTP("POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", at: admin)
                try await agent.end()
                #expect(try TestDirectory.mode(of: "\(directory)/\(agent.name).snapshot") == 0o600)
            }

            // The first finds nobody, serves alone, and must not forget the others meanwhile.
            agents = [try await Self.start(names[0], in: directory, at: endpoints[0])]
            try await Self.see(1, by: agents[0])
            for index in [1, 2] { agents.append(try await Self.start(names[index], in: directory, at: endpoints[index])) }
            defer { for agent in agents { agent.kill() } }
            for agent in agents { try await Self.see(3, by: agent) }
        }
    }

    @Test func aFileThatIsNoSnapshotOfThisMeshIsToldOfAndIgnored() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/n1.snapshot"
            let good = Snapshot(label: "sessionmesh", members: []).encoded
            let contents: [(bytes: [UInt8], says: String)] = [
                ([], "damaged"), (Array("a shopping list, with eggs".utf8), "another program"), (good.dropLast() + [0], "damaged"),
                (Snapshot(label: "another", members: []).encoded, "the mesh \"another\""),
                (Array(repeating: 0, count: Snapshot.bytesMax + 1), "too large"),
            ]
            for (bytes, says) in contents {
                #expect(SmallFile.replace(path, with: bytes) == nil)
                let log = LogCapture()
                let agent = try await Self.start("n1", in: directory, logger: log.logger(.notice))
                try await Self.see(1, by: agent)
                #expect(log.messages.count { $0.contains(path) } == 1 && log.messages.contains { $0.contains(says) }, "\(log.messages)")
                agent.kill()
                try? await agent.end()
            }
        }
    }

    @Test func aRunThatFoundNobodyForgetsNobody() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/n1.snapshot"
            let other = Member(id: try member("n2"), endpoint: .loopback(port: 9))
            let me = Member(id: try member("n1", life: 2), endpoint: .loopback(port: 8))
            #expect(SmallFile.replace(path, with: Snapshot(label: "shop", members: [other]).encoded) == nil)

            let file = SnapshotFile(path: path, label: "shop")
            #expect(file.read(quietLogger) == [other])
            #expect(file.write(MeshView(epoch: 2, members: [me]), of: me.name) == nil)
            #expect(SnapshotFile(path: path, label: "shop").read(quietLogger) == [me, other])

            // An older view, late from its thread, changes nothing any more.
            #expect(file.write(MeshView(epoch: 1, members: []), of: me.name) == nil)
            #expect(SnapshotFile(path: path, label: "shop").read(quietLogger) == [me, other])

            // Once somebody was met, the mesh remembers for itself.
            let third = Member(id: try member("n3"), endpoint: .loopback(port: 7))
            #expect(file.write(MeshView(epoch: 3, members: [me, third]), of: me.name) == nil)
            #expect(SnapshotFile(path: path, label: "shop").read(quietLogger) == [me, third])
            #expect(!TestDirectory.exists("\(path).new"))
        }
    }

    @Test func aDirectoryThatIsGoneIsAReason() async throws {
        try await withDirectory { directory in
            let file = SnapshotFile(path: "\(directory)/none/n1.snapshot", label: "shop")
            #expect(file.read(quietLogger).isEmpty)
            let name = try NodeName("n1")
            #expect(file.write(MeshView(epoch: 1), of: name) != nil)
        }
    }
}
