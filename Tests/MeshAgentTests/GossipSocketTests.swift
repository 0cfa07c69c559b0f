import MeshAgent
import MeshCore
import Testing

@Suite(.timeLimit(.minutes(2))) struct GossipSocketTests {
    @Test func packetsGoOutAndComeIn() async throws {
        let socket = try await TestSocket.open()
        let peer = socket.endpoint
        try await withAgent(script: { input in
            if case .datagram(let packet, peer) = input { [.datagram(packet.reversed(), to: peer)] } else { [] }
        }) { agent in
            try await socket.send([1, 2, 3], to: agent.addresses.endpoint)
            try await eventually("the answer") { socket.received == [[3, 2, 1]] }
        }
        await socket.close()
    }

    @Test func aPacketLongerThanAFrameIsDropped() async throws {
        let socket = try await TestSocket.open()
        try await withAgent { agent in
            for count in [1501, 4000, 60_000, 1500] {
                try await socket.send(Array(repeating: 1, count: count), to: agent.addresses.endpoint)
            }
            let first = try await agent.log.first("a packet") { input in if case .datagram(let packet, _) = input { packet } else { nil } }
            #expect(first.count == 1500)
        }
        await socket.close()
    }

    /// No address, and a broadcast without leave: the kernel refuses to send.
    @Test(arguments: [[127, 0, 0, 1, 0, 0], [255, 255, 255, 255, 0, 9]] as [[UInt8]])
    func anAddressThatNoPacketReachesDoesNotStopTheReceiver(bytes: [UInt8]) async throws {
        let unreachable = try #require(Endpoint(address: Array(bytes[..<4]), port: UInt16(bytes[5])))
        let socket = try await TestSocket.open()
        let peer = socket.endpoint
        try await withAgent(script: { input in
            if case .datagram(let packet, peer) = input { [.datagram([0], to: unreachable), .datagram(packet, to: peer)] } else { [] }
        }) { agent in
            for round in 1...20 as ClosedRange<UInt8> {
                // Gossip may be lost; what is asked again is heard.
                try await eventually("answer \(round)") {
                    try await socket.send([round], to: agent.addresses.endpoint)
                    return agent.log.all.contains(.datagram([round], from: peer))
                }
            }
        }
        await socket.close()
    }

    @Test func aTimerFiresOnceAfterItsDelay() async throws {
        let timer = AgentTimer.housekeeping(round: 1)
        try await withAgent(script: { $0 == .start ? [.timer(timer, after: .milliseconds(20))] : [] }) { agent in
            _ = try await agent.log.first("the timer") { $0 == .timer(timer) ? true : nil }
            #expect(agent.log.all == [.start, .timer(timer)])
        }
    }
}
