import Foundation
import Testing

@testable import MeshCommand

/// `sessionmesh health`, as a container's health check asks it.
@Suite struct HealthTests {
    @Test func aMemberThatServesIsReady() async throws {
        let directory = try CommandDirectory()
        let agent = try CommandProcess(["agent", "--name", "n1", "--bind", "127.0.0.1:0", "--events", "json"], in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("ready")
        try await eventually("n1 is ready") {
            try await CommandProcess.run(["health"], in: directory).code == 0 ? true : nil
        }
        let text = try await CommandProcess.run(["health"], in: directory)
        #expect(text.code == 0 && text.output == "ready: serving\n" && text.errors.isEmpty, "\(text)")
        let json = try await CommandProcess.run(["health", "--json"], in: directory)
        #expect(json.code == 0 && json.output.contains(#""ready":true"#), "\(json)")

        // Its socket stays behind, and nobody listens.
        agent.send(SIGKILL)
        try await agent.ended()
        let gone = try await CommandProcess.run(["health"], in: directory)
        #expect(gone.code == 1 && gone.errors.contains("n1.admin") && gone.errors.split(separator: "\n").count == 1, "\(gone)")
    }

    /// A seed that takes connections and says nothing may know of a mesh, so the agent forms none of its own.
    @Test func aMemberThatWaitsForItsSeedIsNot() async throws {
        let directory = try CommandDirectory()
        let seed = try SilentListener()
        let agent = try CommandProcess(
            ["agent", "--name", "n1", "--bind", "127.0.0.1:0", "--seed", "127.0.0.1:\(seed.port)", "--events", "json"], in: directory)
        defer { agent.send(SIGKILL) }
        _ = try await agent.event("ready")
        let text = try await CommandProcess.run(["health"], in: directory)
        #expect(text.code == 1 && text.errors == "sessionmesh: not ready: syncing\n" && text.output.isEmpty, "\(text)")
        let json = try await CommandProcess.run(["health", "--json"], in: directory)
        #expect(json.code == 1 && json.output.contains(#""ready":false"#) && json.errors.isEmpty, "\(json)")
    }
}

/// A port on loopback where connections wait for ever.
private final class SilentListener {
    let port: UInt16
    private let descriptor: Int32

    init() throws {
        let made = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        descriptor = made
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                bind(made, name, length) == 0 && listen(made, 16) == 0 && getsockname(made, name, &length) == 0
            }
        }
        try #require(isListening)
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(descriptor) }
}
