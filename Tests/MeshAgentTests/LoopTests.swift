import Glibc
import MeshCore
import MeshLoop
import Testing

@testable import MeshAgent

struct TimerQueueTests {
    @Test func timersAreTakenInTheOrderInWhichTheyAreDue() {
        var timers = TimerQueue()
        let taken = Memory<[Int]>([])
        for (at, name) in [(30, 4), (10, 1), (20, 2), (20, 3)] as [(Int64, Int)] {
            _ = timers.add(at: at) { taken.with { $0.append(name) } }
        }
        #expect(timers.next() == 10)
        while let body = timers.take(until: 20, upTo: timers.lastNumber) { body() }
        #expect(taken.now == [1, 2, 3])
        #expect(timers.next() == 30)
    }

    @Test func oneThatWasCancelledIsNotTaken() {
        var timers = TimerQueue()
        let first = timers.add(at: 1) { Issue.record("it was cancelled") }
        let second = timers.add(at: 2) {}
        timers.cancel(first)
        timers.cancel(first)
        #expect(timers.count == 1)
        #expect(timers.take(until: 5, upTo: 2) != nil)
        // It has fired, or is about to.
        timers.cancel(second)
        #expect(timers.count == 0)
        #expect(timers.take(until: 5, upTo: 2) == nil)
    }

    @Test func oneThatIsSetMeanwhileWaitsForTheNextTurn() {
        var timers = TimerQueue()
        _ = timers.add(at: 5) {}
        let last = timers.lastNumber
        #expect(timers.take(until: 5, upTo: last) != nil)
        _ = timers.add(at: 5) {}
        #expect(timers.take(until: 5, upTo: last) == nil)
        #expect(timers.take(until: 5, upTo: timers.lastNumber) != nil)
    }

    @Test func theCancelledTakeNoMemory() {
        var timers = TimerQueue()
        _ = timers.add(at: 1_000_000) {}
        for round in 0..<10_000 as Range<Int64> { timers.cancel(timers.add(at: round) {}) }
        #expect(timers.count == 1)
        #expect(timers.entryCount < 200)
        #expect(timers.next() == 1_000_000)
        #expect(timers.entryCount == 1)
    }
}

struct OutboxTests {
    @Test func whatTheKernelDoesNotTakeWaitsInItsOrder() throws {
        try withPair { ours, theirs in
            var outbox = Outbox()
            var received: [UInt8] = []
            let piece = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
            for _ in 0..<20 { outbox.bytes += piece }
            #expect(outbox.write(to: ours) == .part)
            #expect(outbox.count < 2_000_000)
            outbox.bytes += [1, 2, 3]
            while received.count < 2_000_003 {
                received += read(theirs)
                _ = outbox.write(to: ours)
            }
            #expect(outbox.count == 0)
            #expect(received == Array(repeating: piece, count: 20).flatMap(\.self) + [1, 2, 3])
        }
    }

    @Test func nothingIsWrittenWithoutNeed() throws {
        try withPair { ours, _ in
            var outbox = Outbox()
            // It would fail.
            #expect(outbox.write(to: -1) == .all)
            outbox.bytes = [1]
            #expect(outbox.write(to: -1) == .failure)
            #expect(outbox.write(to: ours) == .all)
        }
    }

    private func withPair(_ body: (Int32, Int32) throws -> Void) throws {
        var pair: [Int32] = [0, 0]
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &pair) == 0)
        defer { for descriptor in pair { close(descriptor) } }
        try body(pair[0], pair[1])
    }

    private func read(_ descriptor: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }
}

struct AgentHandleTests {
    @Test func whoAsksAnAgentThatHasEndedIsToldSo() async throws {
        let mailbox = try Mailbox(AgentLetters(isClosed: true))
        let handle = AgentHandle(mailbox: mailbox, troubles: TroubleLedger(logger: quietLogger))
        #expect(!handle.execute { _ in })
        #expect(await handle.ask { $0.status } == nil)
    }
}

@Suite(.timeLimit(.minutes(1))) struct TurnTests {
    @Test func aClientWithMuchToAskKeepsNobodyWaiting() async throws {
        let isAsked = Memory(false)
        try await withClients(script: { input in
            // Holds the loop until everybody has asked, whoever is first.
            if case .request = input { wait(for: isAsked) }
            return if case .request(let id, _) = input { [.reply(id, .done)] } else { [] }
        }) { agent, address in
            let greedy = try await TestConnection.connect(to: address)
            let other = try await TestConnection.connect(to: address)
            let ping = ClientProtocol.encode(.request(.ping)).bytes
            greedy.send(Array(repeating: ping, count: 3000).flatMap(\.self))
            _ = try await agent.log.first("the first command") { if case .request = $0 { true } else { nil } }
            let socket = try await TestSocket.open()
            try await socket.send([7], to: agent.addresses.endpoint)
            await other.sendAndWait(ping)
            isAsked.with { $0 = true }
            try await eventually("all replies") { greedy.received.count == 3000 * "+PONG\r\n".utf8.count && other.text == "+PONG\r\n" }
            let inputs = agent.log.all
            let clients = inputs.compactMap { if case .request(let id, _) = $0 { id.client } else { nil } }
            let place = try #require(clients.firstIndex { $0 != clients[0] })
            #expect(place < 3 * ClientConnection.commandsPerTurn)
            let gossip = try #require(inputs.firstIndex { if case .datagram = $0 { true } else { false } })
            #expect(gossip < 3 * ClientConnection.commandsPerTurn)
            await socket.close()
        }
    }

    @Test func aTimerThatIsLateWaitsForWhatWasReceivedBeforeIt() async throws {
        let timer = AgentTimer.housekeeping(round: 1)
        let isSent = Memory(false)
        try await withAgent(script: { input in
            switch input {
            case .datagram([1], _): return [.timer(timer, after: .seconds(1))]
            case .datagram([0], _):
                // As one who got no time: the timer is due, and what was said meanwhile is in the kernel.
                wait(for: isSent)
                usleep(1_100_000)
            default: break
            }
            return []
        }) { agent in
            let socket = try await TestSocket.open()
            for packet in [[1], [0]] as [[UInt8]] { try await socket.send(packet, to: agent.addresses.endpoint) }
            _ = try await agent.log.first("the packet that holds the loop") { if case .datagram([0], _) = $0 { true } else { nil } }
            for number in 2...200 as ClosedRange<UInt8> { try await socket.send([number], to: agent.addresses.endpoint) }
            isSent.with { $0 = true }
            _ = try await agent.log.first("the timer") { $0 == .timer(timer) ? true : nil }
            let inputs = agent.log.all
            #expect(inputs.last == .timer(timer))
            #expect(inputs.contains(.datagram([200], from: socket.endpoint)))
            await socket.close()
        }
    }

    @Test func whatWasAskedBeforeAHangUpIsAnswered() async throws {
        try await withClients(script: { input in
            if case .request(let id, _) = input { [.reply(id, .done)] } else { [] }
        }) { agent, address in
            let client = try await TestConnection.connect(to: address)
            let ping = ClientProtocol.encode(.request(.ping)).bytes
            await client.sendAndWait(Array(repeating: ping, count: 500).flatMap(\.self))
            await client.finishWriting()
            try await eventually("the end") { client.isClosed }
            #expect(client.received.count == 500 * "+PONG\r\n".utf8.count)
            _ = try await agent.log.first("the close") { if case .clientClosed = $0 { true } else { nil } }
        }
    }

    private func withClients(
        script: @escaping @Sendable (AgentInput) -> [AgentDirective],
        _ body: @escaping @Sendable (RunningAgent, ListenAddress) async throws -> Void
    ) async throws {
        try await withDirectory { directory in
            var configuration = AgentShellConfiguration.anyPort
            configuration.client = .unix("\(directory)/client.sock")
            try await withAgent("n1", configuration, script: script) { agent in
                try await body(agent, try #require(agent.addresses.client))
            }
        }
    }
}

/// On the agent's thread, which stands still meanwhile.
private func wait(for flag: Memory<Bool>) {
    let deadline = ContinuousClock.now + .seconds(20)
    while !flag.now, ContinuousClock.now < deadline { usleep(1000) }
}
