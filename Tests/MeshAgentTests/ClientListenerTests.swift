import MeshCore
import Testing

@testable import MeshAgent

@Suite(.timeLimit(.minutes(2))) struct ClientListenerTests {
    private static func command(_ request: ClientRequest) -> [UInt8] { ClientProtocol.encode(.request(request)).bytes }

    @Test func aClientSpeaksOverAUnixSocket() async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            guard case .unix(let path) = address else { return }
            let mode = try TestDirectory.mode(of: path)
            #expect(mode == 0o600)
            let client = try await TestConnection.connect(to: address)
            client.send("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
            client.send(Self.command(.ping))
            try await eventually("both replies") { client.text.hasSuffix("+PONG\r\n") }
            var parser = RESPParser(limits: .replies)
            parser.append(client.received)
            let greeting = try ClientProtocol.decodeGreeting(try #require(try parser.next()))
            #expect(greeting == ClientGreeting(version: MeshAgent.version, node: try NodeName("n1")))
            await client.close()
            _ = try await agent.log.first("the close") { if case .clientClosed = $0 { true } else { nil } }
        }
    }

    @Test func repliesKeepTheOrderOfTheRequests() async throws {
        let waiting = Memory<[RequestID]>([])
        try await withClients(script: { input in
            guard case .request(let id, _) = input else { return [] }
            return waiting.with { waiting -> [AgentDirective] in
                waiting.append(id)
                guard waiting.count == 4 else { return [] }
                let position = ChannelPosition(epoch: 1, offset: 7)
                let responses: [ClientResponse] = [.done, .session(nil), .published(position), .failure(ClientFailure(.full, "later"))]
                return zip(waiting, responses).reversed().map { .reply($0, $1) }
            }
        }) { agent, address in
            let client = try await TestConnection.connect(to: address)
            let key = try #require(SessionKey(bytes: Array(repeating: 1, count: 32)))
            client.send(
                Self.command(.ping) + Self.command(.read(key)) + Self.command(.publish(channel: "c", payload: [1])) + Self.command(.members)
            )
            try await eventually("all replies") {
                client.text == "+PONG\r\n_\r\n%2\r\n$5\r\nepoch\r\n$1\r\n1\r\n$6\r\noffset\r\n$1\r\n7\r\n-FULL later\r\n"
            }
            await client.close()
        }
    }

    @Test func whatIsAskedInOneTurnIsAnsweredInOneWrite() async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            let client = try await TestConnection.connect(to: address)
            client.send(Array(repeating: Self.command(.ping), count: 50).flatMap(\.self))
            try await eventually("all replies") { client.received.count == 50 * "+PONG\r\n".utf8.count }
            #expect(client.reads == 1)
        }
    }

    @Test func aClientThatTakesNoRepliesIsNotHeardMeanwhileAndLosesNone() async throws {
        let count = 400
        let asked = Memory(0)
        let payload = [UInt8](repeating: 1, count: 64 * 1024)
        let name = try NodeName("n1")
        let key = try #require(SessionKey(bytes: Array(repeating: 1, count: 32)))
        let snapshot = SessionSnapshot(
            key: key, createdAt: 0, accessedAt: 0, idleSeconds: 0, expiresAt: 0, user: "",
            fields: [.init(name: "f", value: .bytes(payload))], primary: name, backup: nil)
        try await withClients(script: { input in
            guard case .request(let id, _) = input else { return [] }
            asked.with { $0 += 1 }
            return [.reply(id, .session(snapshot))]
        }) { agent, address in
            let deaf = try await TestConnection.connect(to: address, isReading: false)
            // More replies than may wait for it.
            deaf.send(Array(repeating: Self.command(.read(key)), count: count).flatMap(\.self))
            try await eventually("the first") { asked.now > 0 }
            let other = try await TestClient.connect(to: address)
            for _ in 0..<20 { _ = try await other.ask(.read(key)) }
            #expect(asked.now < count)
            await deaf.startReading()
            try await eventually("all replies") { deaf.received.count > count * payload.count && asked.now == count + 20 }
            #expect(!deaf.isClosed)
        }
    }

    @Test func aMessageIsPushedToEveryClientNamed() async throws {
        let subscribers = Memory<[ClientID]>([])
        try await withClients(script: { input in
            switch input {
            case .request(let id, .subscribe):
                subscribers.with { $0.append(id.client) }
                return [.reply(id, .done)]
            case .request(let id, .publish(let channel, let payload)):
                let position = ChannelPosition(epoch: 1, offset: 1)
                let message = ChannelMessage(channel: channel, position: position, payload: payload)
                return [.push(subscribers.now, .message(message)), .reply(id, .published(position))]
            default: return []
            }
        }) { agent, address in
            var listeners: [TestConnection] = []
            for _ in 0..<3 {
                let listener = try await TestConnection.connect(to: address)
                listener.send(Self.command(.subscribe(channel: "news")))
                try await eventually("the subscription") { listener.text == "+OK\r\n" }
                listeners.append(listener)
            }
            let speaker = try await TestConnection.connect(to: address)
            speaker.send(Self.command(.publish(channel: "news", payload: Array("hello".utf8))))
            for listener in listeners {
                try await eventually("the message") {
                    listener.text.hasPrefix("+OK\r\n>5\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n")
                }
            }
            #expect(!speaker.text.contains("hello"))
        }
    }

    @Test func aSubscriberThatDoesNotReadIsClosed() async throws {
        let subscriber = Memory<ClientID?>(nil)
        let payload = Array(repeating: UInt8(1), count: 64 * 1024)
        try await withClients(script: { input in
            switch input {
            case .request(let id, .subscribe):
                subscriber.with { $0 = id.client }
                return [.reply(id, .done)]
            case .request(let id, .publish):
                guard let client = subscriber.now else { return [.reply(id, .done)] }
                let message = ChannelMessage(channel: "c", position: ChannelPosition(epoch: 1, offset: 1), payload: payload)
                return Array(repeating: .push([client], .message(message)), count: 64) + [.reply(id, .done)]
            default: return []
            }
        }) { agent, address in
            let deaf = try await TestConnection.connect(to: address, isReading: false)
            deaf.send(Self.command(.subscribe(channel: "c")))
            try await eventually("the subscription") { subscriber.now != nil }
            let speaker = try await TestConnection.connect(to: address)
            speaker.send(Self.command(.publish(channel: "c", payload: [1])))
            let closed = try await agent.log.first("the close") { input in if case .clientClosed(let id) = input { id } else { nil } }
            #expect(closed == subscriber.now)
            try await eventually("the speaker's answer") { speaker.text.hasPrefix("+") || speaker.text.hasPrefix("%") }
            await deaf.close()
        }
    }

    @Test func aClientThatAsksTooMuchWaitsAndLosesNothing() async throws {
        let waiting = Memory<[RequestID]>([])
        try await withClients(script: { input in
            switch input {
            case .request(let id, .ping):
                waiting.with { $0.append(id) }
                return []
            case .request(let id, _):
                let answered = waiting.with { waiting in
                    defer { waiting = [] }
                    return waiting
                }
                return answered.map { .reply($0, .done) } + [.reply(id, .done)]
            default: return []
            }
        }) { agent, address in
            let greedy = try await TestConnection.connect(to: address)
            greedy.send(Array(repeating: Self.command(.ping), count: 3000).flatMap(\.self))
            try await eventually("the bound") { waiting.now.count == 1024 }
            // Whoever asks within the bound is served meanwhile, and frees the other.
            let other = try await TestClient.connect(to: address)
            try await eventually("all replies") {
                _ = try await other.ask(.unsubscribe(channel: "any"))
                #expect(waiting.now.count <= 1024)
                return greedy.received.count == 3000 * "+PONG\r\n".utf8.count
            }
        }
    }

    @Test func anApplicationThatFallsSilentIsClosed() async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            let application = try await TestConnection.connect(to: address)
            let operatorAtATerminal = try await TestConnection.connect(to: address)
            application.send(Self.command(.register(service: "shop", address: "127.0.0.1:8080", weight: 1, cookieName: "sid")))
            try await eventually("the registration") { application.text == "+OK\r\n" }
            let start = ContinuousClock.now
            try await eventually("the end") { application.isClosed }
            #expect(ContinuousClock.now - start > .seconds(2))
            #expect(!operatorAtATerminal.isClosed)
        }
    }

    @Test func anApplicationWithAHeartbeatStays() async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            // On a loaded machine it may well be this process that falls silent: that is another attempt, and says nothing.
            for _ in 0..<5 {
                let application = try await TestConnection.connect(to: address)
                application.send(Self.command(.register(service: "shop", address: "127.0.0.1:8080", weight: 1, cookieName: "sid")))
                let until = ContinuousClock.now + .seconds(5)
                var (last, longest) = (ContinuousClock.now, Duration.zero)
                while last < until {
                    application.send(Self.command(.ping))
                    try await Task.sleep(for: .milliseconds(250))
                    longest = max(longest, ContinuousClock.now - last)
                    last = .now
                }
                if longest > .seconds(1) { continue }
                #expect(!application.isClosed)
                return
            }
            Issue.record("this process stood still for more than a second in each of five attempts")
        }
    }

    @Test func aRequestThatCanNotBeReadIsAnsweredInItsPlace() async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            let client = try await TestConnection.connect(to: address)
            client.send(Self.command(.ping))
            client.send("*1\r\n$5\r\nDANCE\r\n")
            client.send(Self.command(.ping))
            try await eventually("three replies") { client.text.hasPrefix("+PONG\r\n-INVALID ") && client.text.hasSuffix("\r\n+PONG\r\n") }
        }
    }

    @Test(arguments: ["PING\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"])
    func anotherProtocolIsHungUpOnWithoutAWord(bytes: String) async throws {
        try await withClients(script: Self.answerAll) { agent, address in
            let browser = try await TestConnection.connect(to: address)
            browser.send(bytes)
            try await eventually("the end") { browser.isClosed }
            #expect(browser.received == [])
        }
    }

    @Test func aClientTooManyIsToldSoAndTheOthersStay() async throws {
        try await withDirectory { directory in
            var configuration = AgentShellConfiguration.anyPort
            configuration.client = .unix("\(directory)/client.sock")
            configuration.clientsMax = 2
            try await withAgent("n1", configuration, script: Self.answerAll) { agent in
                let address = try #require(agent.addresses.client)
                let (first, second) = (try await TestClient.connect(to: address), try await TestClient.connect(to: address))
                for client in [first, second] {
                    let answer = try await client.ask(.ping)
                    #expect(answer == .done)
                }
                let third = try await TestConnection.connect(to: address)
                try await eventually("the end") { third.isClosed }
                #expect(third.text == "-FULL 2 clients are connected to this agent; close some and try again\r\n")
                await first.close()
                try await eventually("a place for another") {
                    let fourth = try await TestConnection.connect(to: address)
                    fourth.send(Self.command(.ping))
                    try await eventually("an answer") { fourth.isClosed || fourth.text == "+PONG\r\n" }
                    return !fourth.isClosed
                }
            }
        }
    }

    // MARK: TCP

    private static let token = "a token of thirty-two characters"

    @Test func overTCPTheTokenComesFirst() async throws {
        try await withTCPClients { address in
            let client = try await TestConnection.connect(to: address)
            client.send(Self.command(.ping))
            try await eventually("the demand") { client.text.hasPrefix("-NOAUTH ") }
            _ = client.take()
            client.send(ClientProtocol.encode(.authenticate(token: Array(Self.token.utf8))).bytes + Self.command(.ping))
            try await eventually("the welcome") { client.text == "+OK\r\n+PONG\r\n" }
        }
    }

    @Test func aWrongTokenEndsTheConnection() async throws {
        try await withTCPClients { address in
            let client = try await TestConnection.connect(to: address)
            client.send(ClientProtocol.encode(.authenticate(token: Array(Self.token.utf8.dropLast()))).bytes + Self.command(.ping))
            try await eventually("the end") { client.isClosed }
            #expect(client.text.hasPrefix("-WRONGPASS "))
            #expect(!client.text.contains("PONG"))
        }
    }

    @Test func aStrangerMaySend256Bytes() async throws {
        try await withTCPClients { address in
            let client = try await TestConnection.connect(to: address)
            client.send("*2\r\n$4\r\nAUTH\r\n$100000\r\n" + String(repeating: "x", count: 300))
            try await eventually("the end") { client.isClosed }
        }
    }

    @Test func aStrangerHasFiveSeconds() async throws {
        try await withTCPClients { address in
            let client = try await TestConnection.connect(to: address)
            try await eventually("the end") { client.isClosed }
        }
    }

    // MARK: Stage

    @Sendable private static func answerAll(_ input: AgentInput) -> [AgentDirective] {
        if case .request(let id, _) = input { [.reply(id, .done)] } else { [] }
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

    private func withTCPClients(_ body: @escaping @Sendable (ListenAddress) async throws -> Void) async throws {
        var configuration = AgentShellConfiguration.anyPort
        configuration.client = .tcp(.loopback(port: 0))
        configuration.clientToken = Self.token
        try await withAgent("n1", configuration, script: Self.answerAll) { agent in
            try await body(try #require(agent.addresses.client))
        }
    }
}
