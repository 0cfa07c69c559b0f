import Logging
import MeshAgent
import MeshCore
import Synchronization
import Testing

/// What comes from anywhere must cost next to nothing and stop nobody.
@Suite(.serialized, .timeLimit(.minutes(5))) struct JunkTests {
    private static let datagrams = 10_000
    private static let connections = 1_000
    private static let token = "a token of thirty-two characters"

    @Test func junkDatagramsStopNobody() async throws {
        try await withVictim { victim in
            let socket = try await TestSocket.open()
            try await costsNothing(victim) { generator in
                for number in 0..<Self.datagrams {
                    try await socket.send(Junk.datagram(&generator), to: victim.agent.addresses.endpoint)
                    // The kernel drops what the agent has no turn for; a pause now and then lets most of it through.
                    if number % 200 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                }
            }
            await socket.close()
        }
    }

    @Test func junkConnectionsToThePeerPortStopNobody() async throws {
        try await withVictim { try await flood($0, .tcp($0.agent.addresses.endpoint)) }
    }

    @Test func junkConnectionsToTheClientSocketStopNobody() async throws {
        try await withVictim { try await flood($0, try #require($0.agent.addresses.client)) }
    }

    @Test func junkConnectionsToTheClientPortStopNobody() async throws {
        try await withVictim(token: Self.token) { try await flood($0, try #require($0.agent.addresses.client)) }
    }

    @Test func junkConnectionsToTheAdminPortStopNobody() async throws {
        try await withVictim { try await flood($0, try #require($0.agent.addresses.admin)) }
    }

    private struct Victim: Sendable {
        let agent: RealAgent
        let lines: LineCount
        let directory: String
    }

    private func withVictim(token: String? = nil, _ body: @escaping @Sendable (Victim) async throws -> Void) async throws {
        try await withDirectory { directory in
            let lines = LineCount()
            let logger = Logger(label: "victim") { _ in CountingLogHandler(lines: lines) }
            let agent = try await RealAgent.start("victim", in: directory, tcpClients: token, logger: logger)
            defer { agent.kill() }
            try await eventually("readiness") { await agent.agent.status()?.isReady == true }
            try await body(Victim(agent: agent, lines: lines, directory: directory))

            // It still does all it did: another agent meets it, over UDP and TCP, and admin answers.
            let friend = try await RealAgent.start("friend", in: directory, seeds: [agent.addresses.endpoint])
            defer { friend.kill() }
            try await eventually("a mesh of two") { await friend.agent.status()?.isReady == true }
            if token == nil {
                let client = try await TestClient.connect(to: try #require(agent.addresses.client))
                let answer = try await client.ask(.ping)
                #expect(answer == .done)
                await client.close()
            }
            let admin = try #require(agent.addresses.admin)
            try await eventually("readiness, after the friend has joined") {
                try await askHTTP("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", at: admin).contains("sessionmesh_ready 1\n")
            }
        }
    }

    private func flood(_ victim: Victim, _ address: ListenAddress) async throws {
        try await costsNothing(victim) { generator in
            // A few at a time: the test has descriptors of its own to spare.
            for _ in 0..<(Self.connections / 20) {
                let junk = (0..<20).map { _ in Junk.stream(&generator) }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for bytes in junk {
                        group.addTask {
                            let connection = try await TestConnection.connect(to: address)
                            connection.send(bytes)
                            await connection.close()
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    /// Memory is the whole process', other tests included, so a round that they disturb is repeated; a leak would show in every round.
    private func costsNothing(_ victim: Victim, _ attack: (inout SeededGenerator) async throws -> Void) async throws {
        let start = ContinuousClock.now
        var growth = Int.max
        for round in 0..<10 where growth >= 8 << 20 {
            var generator = SeededGenerator(seed: UInt64(round))
            let before = try TestDirectory.residentBytes()
            try await attack(&generator)
            _ = await victim.agent.agent.status()
            growth = try TestDirectory.residentBytes() - before
        }
        #expect(growth < 8 << 20)
        let seconds = Int((ContinuousClock.now - start).components.seconds) + 1
        for (trouble, count) in victim.lines.counts { #expect(count <= seconds + 1, "\(trouble)") }
    }
}

private enum Junk {
    static func datagram(_ generator: inout SeededGenerator) -> [UInt8] {
        bytes(Int.random(in: 0...1472, using: &generator), &generator)
    }

    /// Noise, and beginnings of protocols that go wrong at once, later or never.
    static func stream(_ generator: inout SeededGenerator) -> [UInt8] {
        let noise = bytes(Int.random(in: 0...2000, using: &generator), &generator)
        let beginnings: [[UInt8]] = [
            [], Array("GET / HTTP/1.1\r\nHost: localhost\r\n".utf8), Array("POST /v1/drain HTTP/1.1\r\nHost: evil.example\r\n\r\n".utf8),
            Array("*1000000000\r\n".utf8), Array("*2\r\n$4\r\nAUTH\r\n$999999999\r\n".utf8), Array("*1\r\n$4\r\nPING\r\n*".utf8),
            [0x16, 0x03, 0x01, 0x02, 0x00, 0x01], [0, 0, 0, 36, 1, 0x49, 0, 1], [0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0],
        ]
        return (beginnings.randomElement(using: &generator) ?? []) + noise
    }

    private static func bytes(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}

/// How many lines were logged for each kind of trouble.
private final class LineCount: Sendable {
    private let byTrouble = Mutex<[String: Int]>([:])

    func add(_ trouble: String) { byTrouble.withLock { $0[trouble, default: 0] += 1 } }
    var counts: [String: Int] { byTrouble.withLock { $0 } }
}

private struct CountingLogHandler: LogHandler {
    let lines: LineCount
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    init(lines: LineCount) { self.lines = lines }

    func log(event: LogEvent) {
        lines.add(event.metadata?["trouble"].map { "\($0)" } ?? "\(event.message)")
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
}
