import Foundation
import SessionMesh
import SessionMeshHummingbird

/// One browser's place in the chat: what it says goes to the channel, what the channel says goes to it.
struct Chat: Sendable {
    let mesh: SessionMesh

    static let channel = "chat"
    /// Bytes of one message: far below a channel's bound, so that its JSON always fits, however much must be escaped.
    static let textBytesMax = 4096

    struct Message: Codable, Equatable {
        var id: String
        var from: String
        var text: String
    }

    /// Something that concerns this browser alone.
    private struct Notice: Codable {
        var notice: String
    }

    func serve(_ connection: WebSocketConnection, as user: String) async throws {
        let subscription: ChannelSubscription
        do { subscription = try await mesh.subscribe(to: Self.channel) } catch {
            return try await connection.close(code: .tryAgainLater, reason: error.message)
        }
        // Whichever ends first ends the other: a peer that left, or a subscription that failed.
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await publish(connection, as: user) }
            group.addTask { try await deliver(subscription, to: connection) }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func publish(_ connection: WebSocketConnection, as user: String) async throws {
        for try await message in connection.messages {
            guard case .text(let text) = message, !text.isEmpty else { continue }
            let json = try JSONEncoder().encode(Message(id: DemoServer.randomHex(), from: user, text: text))
            do { try await mesh.publish(json, to: Self.channel) } catch {
                try await connection.write(text: Self.json(Notice(notice: "Not sent: \(error.message)")))
            }
        }
    }

    private func deliver(_ subscription: ChannelSubscription, to connection: WebSocketConnection) async throws {
        do {
            for try await event in subscription {
                switch event {
                case .message(let message): try await connection.write(text: String(decoding: message.payload, as: UTF8.self))
                case .gap: try await connection.write(text: Self.json(Notice(notice: "The mesh was away; some messages may be missing.")))
                }
            }
        } catch let error as SessionError {
            try await connection.close(code: .tryAgainLater, reason: error.message)
        }
    }

    private static func json(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }
}
