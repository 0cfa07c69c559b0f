import MeshCore
import Testing

@testable import MeshAgent

@Suite(.timeLimit(.minutes(1))) struct LifecycleTests {
    @Test func startComesFirstAndOnce() async throws {
        try await withAgent { agent in
            let socket = try await TestSocket.open()
            try await socket.send([1], to: agent.addresses.endpoint)
            _ = try await agent.log.first("a packet") { if case .datagram = $0 { true } else { nil } }
            #expect(agent.log.all.first == .start)
            #expect(agent.log.all.count { $0 == .start } == 1)
            await socket.close()
        }
    }

    @Test func aShutdownWaitsForTheHandOff() async throws {
        let timer = AgentTimer.housekeeping(round: 1)
        let peer = try await TestSocket.open()
        let endpoint = peer.endpoint
        try await withAgent(script: { input in
            switch input {
            case .leave: [.timer(timer, after: .milliseconds(100))]
            case .timer: [.datagram(Array("goodbye".utf8), to: endpoint), .departed]
            default: []
            }
        }) { agent in
            await agent.leave()
            try await eventually("the end") { await agent.agent.status() == nil }
            #expect(agent.log.all == [.start, .leave, .timer(timer)])
            try await eventually("its last word") { peer.received == [Array("goodbye".utf8)] }
        }
        await peer.close()
    }

    @Test func aHandOffThatNeverEndsIsCutShort() async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.leaveTimeout = .milliseconds(100)
        try await withAgent("n1", configuration) { agent in
            await agent.leave()
            try await eventually("the end") { await agent.agent.status() == nil }
            #expect(agent.log.all == [.start, .leave])
        }
    }

    @Test func theNewestViewIsHanded() async throws {
        let socket = try await TestSocket.open()
        try await withAgent(script: { input in
            guard case .datagram(let bytes, _) = input else { return [] }
            return (1...UInt64(bytes[0])).map { .view(MeshView(epoch: $0)) }
        }) { agent in
            try await socket.send([9], to: agent.addresses.endpoint)
            for await view in agent.agent.views where view.epoch == 9 { break }
        }
        await socket.close()
    }

    @Test func theMirrorIsAskedAndItsAnswersComeBack() async throws {
        let key = try #require(SessionKey(bytes: Array(repeating: 1, count: 32)))
        let record = MirrorRecord(key: key, entries: [], expiresAt: 1)
        try await withAgent(
            "n1", mirror: OneRecordMirror(record: record),
            script: { input in
                input == .start
                    ? [.mirror(.load(key, ticket: 1)), .mirror(.merge([record], ticket: 2)), .mirror(.merge([], ticket: 3))] : []
            }
        ) { agent in
            try await eventually("three answers") { agent.log.count == 4 }
            let inputs = agent.log.all
            #expect(inputs.contains(.mirror(.loaded(ticket: 1, record))))
            #expect(inputs.contains(.mirror(.merged(ticket: 2))))
            #expect(inputs.contains(.mirror(.failed(ticket: 3, MirrorError(.refused, "nothing to merge")))))
        }
    }

    @Test func withoutAMirrorTheAnswerIsUnreachable() async throws {
        let key = try #require(SessionKey(bytes: Array(repeating: 1, count: 32)))
        try await withAgent(script: { $0 == .start ? [.mirror(.load(key, ticket: 1))] : [] }) { agent in
            let code = try await agent.log.first("an answer") { input in
                if case .mirror(.failed(1, let error)) = input { error.code } else { nil }
            }
            #expect(code == .unreachable)
        }
    }
}

private struct OneRecordMirror: MeshCore.Mirror {
    let record: MirrorRecord

    func load(_ key: SessionKey) async throws(MirrorError) -> MirrorRecord? { key == record.key ? record : nil }

    func merge(_ records: [MirrorRecord]) async throws(MirrorError) {
        guard !records.isEmpty else { throw MirrorError(.refused, "nothing to merge") }
    }

    func remove(_ keys: [SessionKey]) async throws(MirrorError) {}
    func sessions(of user: UserKey) async throws(MirrorError) -> [SessionKey] { [] }
    func visit(_ number: UInt64, by name: NodeName) async throws(MirrorError) -> MirrorVisit { MirrorVisit(generation: 1, last: nil) }
    func inspect() async throws(MirrorError) -> MirrorInspection { MirrorInspection(server: "one record") }

    func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark { .beginning }

    func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
        ChannelTail(items: [], mark: .beginning, isGapped: false)
    }

    func run() async { try? await Task.sleep(for: .seconds(3600)) }
}
