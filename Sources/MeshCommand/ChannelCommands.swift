import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct PublishCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish",
        abstract: "Sends a message to every subscriber of a channel.",
        discussion: "Example: sessionmesh publish news \"back in five minutes\"")

    @Argument(help: "The channel's name.") var channel: String
    @Argument(help: "The message, up to 64 KiB.") var message: String
    @OptionGroup var client: ClientOptions

    func run() async throws {
        let position = try await client.ask { try await $0.publish(message, to: channel) }
        if client.json {
            Output.line(
                JSON.object([("channel", .text(channel)), ("epoch", .number(position.epoch)), ("offset", .number(position.offset))]))
        } else {
            Output.line("published at offset \(position.offset) of epoch \(position.epoch)")
        }
    }
}

struct SubscribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscribe",
        abstract: "Prints the messages of a channel from now on, one a line.",
        discussion: "Example: sessionmesh subscribe news --json")

    @Argument(help: "The channel's name.") var channel: String

    @OptionGroup var reading: ReadingOptions

    func run() async throws {
        try await reading.read({ try await $0.subscribe(to: channel) }, begun: "subscribed to \(channel)") { event in
            switch event {
            case .gap: nil
            case .message(let message): line(message)
            }
        }
    }

    private func line(_ message: ChannelMessage) -> String {
        let text = FieldValue.bytes(message.payload).text
        guard reading.client.json else { return text }
        return JSON.object([
            ("channel", .text(message.channel)), ("epoch", .number(message.position.epoch)),
            ("offset", .number(message.position.offset)), ("message", .text(text)),
        ]).line
    }
}
