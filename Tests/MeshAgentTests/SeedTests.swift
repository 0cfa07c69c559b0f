import LogCapture
import Logging
import MeshCore
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import MeshAgent

/// How agents find each other.
@Suite(.timeLimit(.minutes(3))) struct SeedTests {
    // MARK: What an operator writes

    @Test(arguments: [
        "127.0.0.1:7946", "[0:0:0:0:0:0:0:1]:7946", "mesh.example.org:7946", "node_1:1", "srv:_sessionmesh._udp.example.org",
        "file:/etc/mesh/seeds",
    ])
    func seedsAreRead(text: String) throws {
        #expect(try SeedAddress(parsing: text).description == text)
    }

    @Test(arguments: [
        "", "here", "here:", ":1", "here:0", "here:65536", "here:+1", "a b:1", "1.2.3:1", "[::1:1", "[fe80::1%eth0]:1", "0.0.0.0:1",
        "[::]:1",
        "127.0.0.1:0", "srv:", "srv:nodots", "srv:a..b", "file:", "http://here:1", "x-.\u{1}:1",
        String(repeating: "x", count: 64) + ".org:1",
    ])
    func whatIsNoSeedIsRefused(text: String) {
        #expect(throws: AgentStartError.self) { try SeedAddress(parsing: text) }
    }

    @Test func aScopedAddressIsExplained() {
        do {
            _ = try SeedAddress(parsing: "[fe80::1%eth0]:7946")
            Issue.record("it was taken")
        } catch { #expect(error.description.contains("scope")) }
    }

    // MARK: What it stands for

    @Test func anAddressNeedsNoResolver() throws {
        #expect(SeedLookup().answer(.endpoint(.loopback(port: 1))) == SeedAnswer(endpoints: [.loopback(port: 1)]))
    }

    @Test func aNameIsAllItsAddresses() throws {
        let answer = SeedLookup().answer(.host("localhost", port: 7))
        #expect(answer.isKnown && answer.problem == nil)
        #expect(answer.endpoints.contains(.loopback(port: 7)))
        #expect(Set(answer.endpoints).count == answer.endpoints.count)
    }

    /// A name server says that there is no such name, or none is there to say so.
    @Test func aNameThatDoesNotExistIsNobody() throws {
        let answer = SeedLookup().answer(try SeedAddress(parsing: "no-such-host.invalid:7946"))
        #expect(answer.endpoints.isEmpty)
        #expect(answer.problem?.contains("no-such-host.invalid") == true)
    }

    @Test func aFileIsItsLines() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/seeds"
            try TestDirectory.write("# ours\n\n127.0.0.1:1 # the first\r\n  [::1]:2\t\n127.0.0.1:1\n", to: path)
            let answer = SeedLookup().answer(.file(path))
            let second = try Endpoint(parsing: "[::1]:2")
            #expect(answer == SeedAnswer(endpoints: [.loopback(port: 1), second]))

            try TestDirectory.write("127.0.0.1:1\nhere and there\nfile:\(path)\n127.0.0.1:2\n", to: path)
            let flawed = SeedLookup().answer(.file(path))
            #expect(flawed.endpoints == [.loopback(port: 1), .loopback(port: 2)], "a line that is none costs only itself")
            #expect(flawed.problem?.contains("line") == true)

            try TestDirectory.write("# nobody yet\n", to: path)
            #expect(SeedLookup().answer(.file(path)) == .nobody("the file \(path) names no seed"))
        }
    }

    @Test func aFileOfAnyKindIsRead() async throws {
        try await withDirectory { directory in
            #expect(SeedLookup().answer(.file("\(directory)/none")) == .nobody("there is no file \(directory)/none"))
            let folder = SeedLookup().answer(.file(directory))
            #expect(!folder.isKnown && folder.endpoints.isEmpty)
            let endless = SeedLookup().answer(.file("/dev/zero"))
            #expect(!endless.isKnown && endless.endpoints.isEmpty, "\(endless)")
            let path = "\(directory)/long"
            try TestDirectory.write((1...1000).map { "127.0.0.1:\($0)\n" }.joined(), to: path)
            let long = SeedLookup().answer(.file(path))
            #expect(long.endpoints == (1...64).map { .loopback(port: $0) })
            #expect(long.problem?.contains("more than 64") == true)
        }
    }

    // MARK: Services

    @Test func aServiceIsTheHostsItNames() async throws {
        let answer = try await NameServer.lookUp(
            answering: .records([(20, 8001, "localhost"), (10, 8002, "no-such-host.invalid"), (5, 8003, "localhost"), (1, 8004, ".")]))
        #expect(answer.endpoints.first?.port == 8003, "the preferred come first")
        #expect(answer.endpoints.contains(.loopback(port: 8001)))
        #expect(answer.endpoints.allSatisfy { $0.port != 8002 && $0.port != 8004 })
        #expect(answer.problem?.contains("no-such-host.invalid") == true)
    }

    @Test func aServiceThatDoesNotExistIsNobody() async throws {
        let answer = try await NameServer.lookUp(answering: .noSuchName)
        #expect(answer == .nobody("there is no service _sessionmesh._udp.example.org"))
    }

    @Test func anAnswerThatWasCutSaysNothing() async throws {
        for count in 0..<30 {
            let answer = try await NameServer.lookUp(answering: .cut(to: count))
            #expect(!answer.isKnown && answer.endpoints.isEmpty, "\(count): \(answer)")
        }
    }

    // MARK: Agents

    @Test func anAgentWhoseSeedFileIsEmptyJoinsOnceItIsNot() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/seeds"
            try TestDirectory.write("", to: path)
            let first = try await RealAgent.start("n1", in: directory)
            let second = try await RealAgent.start("n2", in: directory) { shell, core in
                shell.seeds = [.file(path)]
                core.swim.seedInterval = .milliseconds(50)
            }
            defer { for agent in [first, second] { agent.kill() } }
            try await eventually("n2 serves by itself") { await second.agent.status()?.isReady == true }
            try TestDirectory.write("\(first.addresses.endpoint)\n", to: path)
            for agent in [first, second] {
                try await eventually("\(agent.name) sees both") { await agent.agent.view()?.members.count { $0.status == .alive } == 2 }
            }
        }
    }

    @Test func anAgentWithASeedThatLeadsNowhereSaysSoOnceAndWorks() async throws {
        try await withDirectory { directory in
            let first = try await RealAgent.start("n1", in: directory)
            let log = LogCapture()
            let second = try await RealAgent.start("n2", in: directory, logger: log.logger(.notice)) { shell, core in
                shell.seeds = [.host("no-such-host.invalid", port: 7946), .endpoint(first.addresses.endpoint), .file("\(directory)/none")]
                core.swim.seedInterval = .milliseconds(20)
            }
            defer { for agent in [first, second] { agent.kill() } }
            try await eventually("n2 serves") {
                let view = await second.agent.view()
                return view?.members.count { $0.status == .alive && $0.stage == .serving } == 2
            }
            try await eventually("the lines") {
                ["no-such-host.invalid:7946", "\(directory)/none"].allSatisfy { seed in
                    log.messages.contains { $0.contains("leads to nobody") && $0.contains(seed) }
                }
            }
            // A later seed than these has been looked up again and again meanwhile.
            try TestDirectory.write("127.0.0.1:1\nnonsense\n", to: "\(directory)/none")
            let third = try await RealAgent.start("n3", in: directory, seeds: [second.addresses.endpoint])
            defer { third.kill() }
            try await eventually("n3 is seen") { await second.agent.view()?.members.count { $0.status == .alive } == 3 }
            #expect(log.messages.count { $0.contains("no-such-host.invalid") } == 1, "\(log.messages)")
        }
    }

    @Test func agentsMeetAndReplicateOverIPv6() async throws {
        try await withDirectory { directory in
            let loopback = try Endpoint(parsing: "[::1]:0")
            let first = try await RealAgent.start("n1", in: directory) { shell, _ in shell.bind = loopback }
            let second = try await RealAgent.start("n2", in: directory) { shell, _ in
                shell.bind = loopback
                shell.seeds = [.endpoint(first.addresses.endpoint)]
            }
            defer { for agent in [first, second] { agent.kill() } }
            #expect(second.addresses.endpoint.description.hasPrefix("[0:0:0:0:0:0:0:1]:"))
            for agent in [first, second] {
                try await eventually("\(agent.name) sees both serve") {
                    await agent.agent.view()?.members.count { $0.status == .alive && $0.stage == .serving } == 2
                }
            }
            let client = try await TestClient.connect(to: try #require(second.addresses.client))
            var random = SystemRandomNumberGenerator()
            let commit = SessionCommit(key: nil, id: CommitID(using: &random), changes: [.set("cart", Array("apples".utf8))])
            let receipt = try await eventually("the commit") {
                if case .committed(let receipt) = try await client.ask(.commit(commit)) { receipt } else { nil }
            }
            #expect(receipt.copies == 2)
            second.kill()
            let other = try await TestClient.connect(to: try #require(first.addresses.client))
            try await eventually("the session at n1") {
                guard case .session(let session?) = try await other.ask(.read(receipt.key)) else { return false }
                return session.fields == [.init(name: "cart", value: .bytes(Array("apples".utf8)))]
            }
        }
    }

    /// Bound to every address of both families, and reached over IPv4 alone.
    @Test func aMemberOnBothFamiliesHasOneEndpoint() async throws {
        try await withDirectory { directory in
            let first = try await RealAgent.start("n1", in: directory) { shell, _ in
                shell.bind = try Endpoint(parsing: "[::]:0")
                shell.advertise = .loopback(port: 0)
            }
            let second = try await RealAgent.start("n2", in: directory, seeds: [first.addresses.endpoint])
            defer { for agent in [first, second] { agent.kill() } }
            for agent in [first, second] {
                try await eventually("\(agent.name) sees both") {
                    let members = await agent.agent.view()?.members.filter { $0.status == .alive } ?? []
                    return Set(members.map(\.endpoint)) == [first.addresses.endpoint, second.addresses.endpoint]
                }
            }
        }
    }
}

/// A name server that knows one thing.
struct NameServer: Sendable {
    enum Answer: Sendable {
        /// Priority, port and target.
        case records([(UInt16, UInt16, String)])
        case noSuchName
        /// Two good records of which only so many bytes come.
        case cut(to: Int)
    }

    private let channel: any Channel
    private var endpoint: Endpoint { .loopback(port: UInt16(channel.localAddress?.port ?? 0)) }

    /// What a lookup of a service makes of that answer.
    static func lookUp(answering answer: Answer) async throws -> SeedAnswer {
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler(answer: answer)) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var lookup = SeedLookup()
        lookup.nameServer = NameServer(channel: channel).endpoint
        let found = try await NIOThreadPool.singleton.runIfActive { [lookup] in lookup.answer(.service("_sessionmesh._udp.example.org")) }
        try? await channel.close().get()
        return found
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>
        private let answer: Answer

        init(answer: Answer) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let envelope = unwrapInboundIn(data)
            let bytes = NameServer.message(answer, to: Array(envelope.data.readableBytesView))
            let reply = AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: bytes))
            context.writeAndFlush(wrapOutboundOut(reply), promise: nil)
        }
    }

    fileprivate static func message(_ answer: Answer, to question: [UInt8]) -> [UInt8] {
        switch answer {
        case .noSuchName: return head(question, code: 3, count: 0)
        case .records(let records): return head(question, code: 0, count: records.count) + records.flatMap { record($0.0, $0.1, $0.2) }
        case .cut(let count):
            return head(question, code: 0, count: 2) + (record(1, 8001, "localhost") + record(1, 8002, "localhost")).prefix(count)
        }
    }

    private static func head(_ question: [UInt8], code: UInt8, count: Int) -> [UInt8] {
        // The question's name ends with an empty part, and type and class follow.
        let end = (question.dropFirst(12).firstIndex(of: 0) ?? 12) + 5
        return Array(question.prefix(2)) + [0x84, code, 0, 1, 0, UInt8(count), 0, 0, 0, 0] + question[12..<min(end, question.count)]
    }

    private static func record(_ priority: UInt16, _ port: UInt16, _ target: String) -> [UInt8] {
        var data = [UInt8(priority >> 8), UInt8(priority & 0xFF), 0, 0, UInt8(port >> 8), UInt8(port & 0xFF)]
        for part in target.split(separator: ".") { data += [UInt8(part.utf8.count)] + Array(part.utf8) }
        data.append(0)
        // The name is the question's; SRV, IN, a minute.
        return [0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, UInt8(data.count)] + data
    }
}
