import Foundation
import Testing

/// `sessionmesh session follow` beside real agents.
@Suite struct SessionFollowTests {
    private func agent(_ name: String, in directory: CommandDirectory, _ more: [String] = []) throws -> CommandProcess {
        try CommandProcess(["agent", "--name", name, "--bind", "127.0.0.1:0", "--events", "json"] + more, in: directory)
    }

    private func at(_ name: String, in directory: CommandDirectory) -> [String] {
        ["--agent", "unix:\(directory.file("sessionmesh/\(name).client"))"]
    }

    private func reader(of name: String, in directory: CommandDirectory) async throws -> CommandProcess {
        let reader = try CommandProcess(["session", "follow", "--json"] + at(name, in: directory), in: directory)
        try await eventually("that it follows") { reader.errors.contains("following all sessions") ? true : nil }
        return reader
    }

    private func told(_ reader: CommandProcess, _ event: String) -> Set<String> {
        Set(reader.events.filter { $0["event"] as? String == event }.compactMap { $0["key"] as? String })
    }

    /// The key of a session that was made, nil when no agent answers.
    private func made(at name: String, in directory: CommandDirectory) async throws -> String? {
        let result = try await CommandProcess.run(["session", "set", "a=1", "--json"] + at(name, in: directory), in: directory)
        guard result.code == 0 else { return nil }
        let answer = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
        return answer?["key"] as? String
    }

    @Test func howEverySessionBeginsAndEndsIsPrinted() async throws {
        let directory = try CommandDirectory()
        let agent = try agent("n1", in: directory, ["--idle-timeout", "1s"])
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("serving")
        let reader = try await reader(of: "n1", in: directory)
        defer { reader.send(SIGKILL) }
        let destroyed = try #require(try await made(at: "n1", in: directory))
        let expiring = try #require(try await made(at: "n1", in: directory))
        let end = try await CommandProcess.run(["session", "destroy", "--key", destroyed], in: directory)
        #expect(end.code == 0, "\(end.errors)")
        try await eventually("both begun, one destroyed") {
            told(reader, "created") == [destroyed, expiring] && told(reader, "destroyed") == [destroyed] ? true : nil
        }
        // Who asks makes its owner notice, which looks at each session once a minute.
        try await eventually("one expired") {
            _ = try await CommandProcess.run(["session", "get", "--key", expiring], in: directory)
            return told(reader, "expired") == [expiring] ? true : nil
        }
        reader.send(SIGTERM)
        #expect(try await reader.ended() == 0)
    }

    @Test func whatAnAgentAcknowledgedBeforeItWasKilledIsToldByTheOthers() async throws {
        let directory = try CommandDirectory()
        let first = try agent("n1", in: directory)
        defer { first.send(SIGKILL) }
        let seed = try #require(try await first.event("ready")["address"] as? String)
        let others = [try agent("n2", in: directory, ["--seed", seed]), try agent("n3", in: directory, ["--seed", seed])]
        defer { for agent in others { agent.send(SIGKILL) } }
        for agent in [first] + others { _ = try await agent.event("serving") }
        let reader = try await reader(of: "n3", in: directory)
        defer { reader.send(SIGKILL) }
        // Several ask at a time, so that some are under way when the agent dies.
        let keys = try await withThrowingTaskGroup(of: [String].self) { group in
            for _ in 0..<3 {
                group.addTask {
                    var keys: [String] = []
                    while keys.count < 40, let key = try await made(at: "n1", in: directory) { keys.append(key) }
                    return keys
                }
            }
            group.addTask {
                try await eventually("some sessions") { told(reader, "created").count >= 10 ? true : nil }
                first.send(SIGKILL)
                return []
            }
            return try await group.reduce(into: Set<String>()) { $0.formUnion($1) }
        }
        #expect((10..<120).contains(keys.count), "\(keys.count) sessions were made before the kill")
        try await eventually("every session that was acknowledged") { told(reader, "created").isSuperset(of: keys) ? true : nil }
        #expect(!reader.errors.contains("something may be missing"))
    }
}
