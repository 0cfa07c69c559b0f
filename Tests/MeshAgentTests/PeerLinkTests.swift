import Glibc
import MeshCore
import NIOCore
import Testing

@testable import MeshAgent

@Suite(.timeLimit(.minutes(2))) struct PeerLinkTests {
    @Test func agentsExchangeMessagesOverALink() async throws {
        try await withAgent(
            "answerer",
            script: { input in
                if case .linkMessage(let link, let message) = input { [.linkMessage(link, message.reversed())] } else { [] }
            }
        ) { answerer in
            let target = answerer.addresses.endpoint
            try await withAgent(
                "asker",
                script: { input in
                    switch input {
                    case .start: [.connect(target)]
                    case .linkUp(let link, _, _): [.linkMessage(link, [1, 2, 3]), .linkMessage(link, Array(repeating: 7, count: 100_000))]
                    default: []
                    }
                }
            ) { asker in
                let peer = try await asker.log.first("the link") { input in
                    if case .linkUp(_, let peer, let endpoint) = input { (peer, endpoint) } else { nil }
                }
                let answererID = try member("answerer")
                #expect(peer.0 == answererID)
                #expect(peer.1 == target)
                let caller = try await answerer.log.first("the link, at the other side") { input in
                    if case .linkUp(_, let peer, let endpoint) = input { (peer, endpoint) } else { nil }
                }
                let askerID = try member("asker")
                #expect(caller.0 == askerID)
                #expect(caller.1 == asker.addresses.endpoint)

                try await eventually("both answers") {
                    asker.log.all.count { if case .linkMessage = $0 { true } else { false } } == 2
                }
                let messages = asker.log.all.compactMap { input -> [UInt8]? in
                    if case .linkMessage(_, let message) = input { message } else { nil }
                }
                #expect(messages == [[3, 2, 1], Array(repeating: 7, count: 100_000)])
            }
        }
    }

    @Test func aLinkThatClosesIsReportedOnce() async throws {
        let ended = Memory<InputLog?>(nil)
        try await withAgent("stays") { stays in
            let target = stays.addresses.endpoint
            try await withAgent("goes", script: { $0 == .start ? [.connect(target)] : [] }) { goes in
                _ = try await goes.log.first("the link") { if case .linkUp = $0 { true } else { nil } }
            }
            let link = try await stays.log.first("the end") { input in if case .linkDown(let link) = input { link } else { nil } }
            #expect(stays.log.all.contains { if case .linkUp(link, _, _) = $0 { true } else { false } })
            ended.with { $0 = stays.log }
        }
        let downs = ended.now?.all.count { if case .linkDown = $0 { true } else { false } }
        #expect(downs == 1)
    }

    @Test func theCoreClosesALink() async throws {
        try await withAgent(
            "closer",
            script: { input in
                if case .linkUp(let link, _, _) = input { [.linkMessage(link, [9]), .closeLink(link)] } else { [] }
            }
        ) { closer in
            let target = closer.addresses.endpoint
            try await withAgent("other", script: { $0 == .start ? [.connect(target)] : [] }) { other in
                _ = try await other.log.first("the end") { if case .linkDown = $0 { true } else { nil } }
                #expect(other.log.all.contains { if case .linkMessage(_, [9]) = $0 { true } else { false } })
                _ = try await closer.log.first("the end, at the closer") { if case .linkDown = $0 { true } else { nil } }
            }
        }
    }

    @Test func aPortWhereNobodyListensRefuses() async throws {
        let failure = try await withPort { try await dial($0) }
        #expect(failure == .refused)
    }

    @Test func aListenerThatSaysNothingIsSilent() async throws {
        let failure = try await withListener { try await dial($0) }
        #expect(failure == .silent)
    }

    @Test func aListenerThatSpeaksAnotherProtocolIsRejected() async throws {
        let failure = try await withListener(answer: {
            $0.writeAndFlush(ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"), promise: nil)
        }) {
            try await dial($0)
        }
        #expect(failure == .rejected)
    }

    @Test func aListenerThatHangsUpIsRejected() async throws {
        // It reads our hello first; otherwise the kernel would answer with a reset, which says nothing about the key.
        let failure = try await withListener(answer: { _ = $0.pipeline.addHandler(HangUpHandler()) }) { try await dial($0) }
        #expect(failure == .rejected)
    }

    @Test func anotherKeyIsRejectedAndNeverALink() async throws {
        try await withAgent("stranger", keys: TestKeys.otherMesh) { stranger in
            let failure = try await dial(stranger.addresses.endpoint)
            #expect(failure == .rejected)
            #expect(!stranger.log.all.contains { if case .linkUp = $0 { true } else { false } })
        }
    }

    @Test func anAddressThatCanNotBeDialledIsSilent() async throws {
        let failure = try await dial(.loopback(port: 0))
        #expect(failure == .silent)
    }

    @Test func strangersHaveEightPlacesAnAddressAndFiveSeconds() async throws {
        try await withAgent { agent in
            let start = ContinuousClock.now
            var waiting: [TestConnection] = []
            for _ in 0..<8 { waiting.append(try await TestConnection.connect(to: agent.addresses.endpoint)) }
            let ninth = try await TestConnection.connect(to: agent.addresses.endpoint)
            try await eventually("the ninth is closed") { ninth.isClosed }
            if ContinuousClock.now - start < .seconds(4) { #expect(waiting.allSatisfy { !$0.isClosed }) }
            try await eventually("the others are closed") { waiting.allSatisfy(\.isClosed) }

            let target = agent.addresses.endpoint
            try await withAgent("late", script: { $0 == .start ? [.connect(target)] : [] }) { late in
                _ = try await late.log.first("a link, now that there is room") { if case .linkUp = $0 { true } else { nil } }
            }
        }
    }

    @Test func aPeerThatStopsReadingLosesItsLink() async throws {
        let message = Array(repeating: UInt8(0), count: 1 << 16)
        var configuration = AgentShellConfiguration.anyPort
        configuration.linkPendingBytesMax = 1 << 20
        // More than both ends' kernels hold, and the bound on top.
        try await withAgent(
            "sender", configuration,
            script: { input in
                if case .linkUp(let link, _, _) = input { Array(repeating: .linkMessage(link, message), count: 200) } else { [] }
            }
        ) { sender in
            let connection = try await TestConnection.connect(to: sender.addresses.endpoint)
            var machine = PeerLinkMachine(
                role: .initiator, ring: TestKeys.mesh.gossip, label: "sessionmesh", nonce: Array(repeating: 5, count: 32),
                local: try member("deaf"), endpoint: .loopback(port: 1))
            for case .send(let bytes) in machine.start() { connection.send(bytes) }
            let answer = try await eventually("hello and proof") { connection.received.count > 40 ? connection.take() : nil }
            await connection.stopReading()
            for case .send(let bytes) in try machine.receive(answer) { connection.send(bytes) }
            _ = try await sender.log.first("the link is given up") { if case .linkDown = $0 { true } else { nil } }
            await connection.close()
        }
    }

    @Test func aLinkWhosePeerTakesNothingIsGivenUpInThreeSeconds() {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        PeerLinks.setOptions(of: descriptor)
        var timeout: CUnsignedInt = 0
        var length = socklen_t(MemoryLayout<CUnsignedInt>.size)
        #expect(getsockopt(descriptor, CInt(IPPROTO_TCP), TCP_USER_TIMEOUT, &timeout, &length) == 0)
        #expect(timeout == 3000)
    }

    private func dial(_ endpoint: Endpoint) async throws -> ConnectFailure {
        try await withAgent("dialler", script: { $0 == .start ? [.connect(endpoint)] : [] }) { dialler in
            try await dialler.log.first("a failure") { input in
                if case .connectFailed(endpoint, let failure) = input { failure } else { nil }
            }
        }
    }
}

private final class HangUpHandler: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.close(promise: nil) }
}
