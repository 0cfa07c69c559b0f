import Foundation
import Testing

@testable import MeshCommand

/// What an operator may say about where members are, and what is said about mistakes in it.
@Suite struct SeedProcessTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        var arguments: [String]
        var code: Int32
        var says: String

        var testDescription: String { arguments.joined(separator: " ").prefix(80).description }
    }

    static let mistakes = [
        Mistake(arguments: ["agent", "--seed", "here"], code: 64, says: "HOST:PORT"),
        Mistake(arguments: ["agent", "--seed", "srv:nothing"], code: 64, says: "srv:"),
        Mistake(arguments: ["agent", "--seed", "file:"], code: 64, says: "file:PATH"),
        Mistake(arguments: ["agent", "--seed", "[fe80::1%eth0]:7946"], code: 64, says: "scope"),
        Mistake(arguments: ["balance", "--seed", "a b:7946"], code: 64, says: "HOST:PORT"),
        Mistake(arguments: ["balance", "--seed", "mesh.example.org:7946"], code: 78, says: "--bind"),
        Mistake(arguments: ["agent", "--advertise", "file:x"], code: 64, says: "HOST:PORT"),
        Mistake(arguments: ["agent", "--profile", "moon"], code: 64, says: "patient"),
        Mistake(arguments: ["agent", "--name", String(repeating: "n", count: 65)], code: 78, says: "1 to 64"),
        Mistake(
            arguments: [
                "agent", "--bind", "127.0.0.1:0", "--tag", "a=" + String(repeating: "x", count: 255), "--tag",
                "b=" + String(repeating: "x", count: 255),
            ], code: 78, says: "512 bytes"),
        Mistake(arguments: ["agent", "--bind", "127.0.0.1:0", "--data-dir", "/dev/null"], code: 78, says: "--data-dir"),
        Mistake(arguments: ["agent", "--bind", "127.0.0.1:0", "--data-dir", "/nowhere/deep"], code: 78, says: "--data-dir"),
        Mistake(
            arguments: ["agent", "--bind", "127.0.0.1:0", "--advertise", "no-such-host.invalid:7946"], code: 78,
            says: "no-such-host.invalid"),
    ]

    @Test(arguments: mistakes)
    func aMistakeIsOneLine(mistake: Mistake) async throws {
        let result = try await CommandProcess.run(
            mistake.arguments, in: CommandDirectory(), variables: ["SESSIONMESH_LOG_LEVEL": "error"])
        #expect(result.code == mistake.code, "\(result.errors)")
        #expect(result.errors.contains(mistake.says), "\(result.errors)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
    }

    private func agent(_ name: String, in directory: CommandDirectory, _ more: [String]) throws -> CommandProcess {
        try CommandProcess(["agent", "--name", name, "--events", "json"] + more, in: directory)
    }

    @Test func aBalancerAndAnAgentFindTheMeshByFileAndName() async throws {
        let directory = try CommandDirectory()
        let first = try agent("n1", in: directory, ["--bind", "127.0.0.1:0", "--advertise", "localhost:0"])
        defer { first.send(SIGKILL) }
        let address = try #require(try await first.event("ready")["address"] as? String)
        let port = try #require(address.split(separator: ":").last)
        let path = try directory.write("# the mesh\n\(address)\n", to: "seeds")
        let second = try agent(
            "n2", in: directory, ["--bind", "127.0.0.1:0", "--seed", "file:\(path)", "--seed", "no-such-host.invalid:1"])
        defer { second.send(SIGKILL) }
        let balancer = try CommandProcess(
            [
                "balance", "--name", "b1", "--bind", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--seed", "localhost:\(port)", "--events",
                "json",
            ], in: directory)
        defer { balancer.send(SIGKILL) }
        for name in ["n2", "b1"] {
            try await eventually("\(name) in the view of n1") {
                first.events.contains { $0["member"] as? String == name && $0["status"] as? String == "alive" } ? true : nil
            }
        }
        try await eventually("the line") { second.errors.contains("no-such-host.invalid:1 leads to nobody") ? true : nil }
    }

    @Test func aMeshOnIPv6IsOne() async throws {
        let directory = try CommandDirectory()
        let first = try agent("n1", in: directory, ["--bind", "[::1]:0"])
        defer { first.send(SIGKILL) }
        let address = try #require(try await first.event("ready")["address"] as? String)
        let second = try agent("n2", in: directory, ["--bind", "[::1]:0", "--seed", address])
        defer { second.send(SIGKILL) }
        try await eventually("both in the view of each") {
            [first, second].allSatisfy { agent in
                ["n1", "n2"].allSatisfy { name in
                    agent.events.contains { $0["member"] as? String == name && $0["status"] as? String == "alive" }
                }
            } ? true : nil
        }
    }
}
