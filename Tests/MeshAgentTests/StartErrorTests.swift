import MeshAgent
import MeshCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct StartErrorTests {
    @Test func aPortInUseIsNamed() async throws {
        try await withAgent { first in
            let error = await startError(AgentShellConfiguration(bind: first.addresses.endpoint))
            #expect(error?.code == .addressInUse)
            #expect(
                error?.description == "\(first.addresses.endpoint) is in use: stop the process that listens there, or choose another port")
        }
    }

    @Test func aGossipPortInUseIsNamed() async throws {
        let socket = try await TestSocket.open()
        #expect(await startError(AgentShellConfiguration(bind: socket.endpoint))?.code == .addressInUse)
        await socket.close()
    }

    @Test func anAddressOfAnotherMachineIsRefused() async throws {
        let elsewhere = try Endpoint(parsing: "192.0.2.1:0")
        #expect(await startError(AgentShellConfiguration(bind: elsewhere))?.code == .addressUnavailable)
    }

    @Test func everyAddressNeedsOneToAdvertise() async throws {
        let error = await startError(AgentShellConfiguration(bind: try Endpoint(parsing: "0.0.0.0:0")))
        #expect(error?.code == .advertiseMissing)
        var configuration = AgentShellConfiguration(bind: try Endpoint(parsing: "0.0.0.0:0"))
        configuration.advertise = .loopback(port: 0)
        try await withAgent("n1", configuration) { agent in
            #expect(agent.addresses.endpoint.host == "127.0.0.1")
            #expect(agent.addresses.endpoint.port != 0)
        }
    }

    @Test func clientsAndAdminAreForThisMachineAlone() async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.admin = .tcp(try Endpoint(parsing: "0.0.0.0:0"))
        #expect(await startError(configuration)?.code == .notLoopback)
        configuration = .anyPort
        configuration.client = .tcp(try Endpoint(parsing: "10.0.0.1:7000"))
        configuration.clientToken = "a token of thirty-two characters"
        #expect(await startError(configuration)?.code == .notLoopback)
    }

    @Test func clientsOverTCPNeedAToken() async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.client = .tcp(.loopback(port: 0))
        #expect(await startError(configuration)?.code == .clientToken)
        configuration.clientToken = "short"
        #expect(await startError(configuration)?.code == .clientToken)
    }

    @Test func aSocketInNoDirectoryIsExplained() async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.client = .unix("/nonexistent/mesh.sock")
        let error = await startError(configuration)
        #expect(error?.code == .socketPath)
        #expect(error?.description.contains("create it first") == true)
        configuration.client = .unix(String(repeating: "x", count: 200))
        #expect(await startError(configuration)?.code == .socketPath)
    }

    @Test func aFileThatIsNoSocketIsLeftAlone() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/precious"
            try TestDirectory.write("precious", to: path)
            var configuration = AgentShellConfiguration.anyPort
            configuration.client = .unix(path)
            #expect(await startError(configuration)?.code == .socketPath)
            #expect(TestDirectory.exists(path))
        }
    }

    @Test func aLivingSocketIsRefusedAndAStaleOneReplaced() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/client.sock"
            let configuration = AgentShellConfiguration(bind: .loopback(port: 0), client: .unix(path))
            try await withAgent("n1", configuration) { first in
                #expect(await startError(configuration)?.code == .socketInUse)
                let client = try await TestConnection.connect(to: .unix(path))
                #expect(!client.isClosed)
            }
            #expect(!TestDirectory.exists(path))

            try StaleSocket.leave(at: path)
            #expect(TestDirectory.exists(path))
            try await withAgent("n1", configuration) { second in
                _ = try await TestConnection.connect(to: .unix(path))
            }
        }
    }

    @Test func nothingStaysOpenAfterAFailedStart() async throws {
        let port = try await withAgent { $0.addresses.endpoint }
        var configuration = AgentShellConfiguration(bind: port)
        configuration.client = .unix("/nonexistent/mesh.sock")
        #expect(await startError(configuration)?.code == .socketPath)
        configuration.client = nil
        try await withAgent("n1", configuration) { #expect($0.addresses.endpoint == port) }
    }

    @Test(arguments: ["", "7946", "host:", ":7946", "host:65536", "1.2.3:1", "[::1:1", "a b:1"])
    func whatIsNoAddressIsRefused(text: String) {
        #expect(throws: AgentStartError.self) { try Endpoint(parsing: text) }
    }

    @Test func addressesAreRead() throws {
        #expect(try Endpoint(parsing: "127.0.0.1:1").description == "127.0.0.1:1")
        #expect(try Endpoint(parsing: "localhost:1") == .loopback(port: 1))
        #expect(try Endpoint(parsing: "[::1]:7946").address.count == 16)
        #expect(try Endpoint.resolving("localhost:7") == .loopback(port: 7))
        #expect(try ListenAddress(parsing: "unix:/run/mesh.sock") == .unix("/run/mesh.sock"))
        #expect(try ListenAddress(parsing: "127.0.0.1:9") == .tcp(.loopback(port: 9)))
    }

    private func startError(_ configuration: AgentShellConfiguration) async -> AgentStartError? {
        do {
            try await withAgent("failing", configuration) { _ in }
            return nil
        } catch { return error as? AgentStartError }
    }
}
