import Foundation
import Testing

@Suite(.serialized) struct ChatTests {
    private struct Message: Decodable {
        let id: String
        let from: String
        let text: String

        init(of socket: WebSocket) throws { self = try JSONDecoder().decode(Message.self, from: Data(try socket.receive().utf8)) }
    }

    // Ancestors' scenarios 15, 16 and 49.
    @Test func twoVisitorsOnDifferentNodesHearEachOfTwoThousandMessagesOnce() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()
        var visitors = [Browser(mesh.address)]
        let first = try Count(visitors[0].post("/counter")).node
        try eventually("another visitor lands on another node") {
            var other = Browser(mesh.address)
            guard try Count(other.post("/counter")).node != first else { return false }
            visitors.append(other)
            return true
        }
        // As from a page that was loaded just before: the balancer keeps connections to the applications by now.
        for index in visitors.indices { for _ in 1...3 { _ = try visitors[index].get("/whoami") } }
        var sockets: [WebSocket] = []
        for visitor in visitors {
            let socket = try WebSocket(mesh.address, "/chat", cookie: visitor.cookie)
            sockets.append(socket)
            // It is open before the application has subscribed for it; who hears itself has been.
            try socket.send("hello")
            for listener in sockets { #expect(try Message(of: listener).text == "hello") }
        }
        let messages = 1000
        let started = ContinuousClock.now
        let heard = try withThreads(
            sockets.enumerated().map { index, socket in
                Talk(socket: socket, name: "v\(index)", send: messages, hear: messages * sockets.count)
            })
        print("\(messages) messages each way in \(ContinuousClock.now - started)")
        for texts in heard {
            #expect(texts.count == messages * sockets.count)
            #expect(Set(texts).count == texts.count, "a message came twice")
            for name in ["v0", "v1"] {
                #expect(texts.filter { $0.hasPrefix(name + " ") } == (1...messages).map { "\(name) \($0)" }, "of one sender, in order")
            }
        }
    }

    /// One visitor's side of the conversation, on a thread of its own because sockets here block.
    private final class Talk: @unchecked Sendable {
        // Each is used by its own two threads, one sending and one receiving, and read after both have ended.
        let socket: WebSocket
        let name: String
        let send: Int
        let hear: Int
        var texts: [String] = []
        var failure: (any Error)?

        init(socket: WebSocket, name: String, send: Int, hear: Int) {
            self.socket = socket
            self.name = name
            self.send = send
            self.hear = hear
        }

        func speak() {
            do { for number in 1...send { try socket.send("\(name) \(number)") } } catch { failure = error }
        }

        func listen() {
            do {
                while texts.count < hear {
                    texts.append(try Message(of: socket).text)
                }
            } catch { failure = error }
        }
    }

    private func withThreads(_ talks: [Talk]) throws -> [[String]] {
        let group = DispatchGroup()
        for talk in talks {
            for work in [talk.speak, talk.listen] {
                group.enter()
                Thread.detachNewThread {
                    work()
                    group.leave()
                }
            }
        }
        guard group.wait(timeout: .now() + 120) == .success else {
            throw Program.Failure(description: "heard \(talks.map(\.texts.count)) of \(talks.map(\.hear)) in 120 s")
        }
        for talk in talks { if let failure = talk.failure { throw failure } }
        return talks.map(\.texts)
    }
}
