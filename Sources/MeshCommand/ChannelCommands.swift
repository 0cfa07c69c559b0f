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

    @Option(help: "Ends after as many messages. (default: at Ctrl-C)")
    var count: Int?

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard count.map({ $0 > 0 }) ?? true else { throw ValidationError("--count is 1 or more") }
    }

    func run() async throws {
        let reading = Task { try await client.ask { try await read(from: $0) } }
        try await Services.untilSignalled {
            do { try await reading.value } catch let error as SessionError where error.code == .cancelled {} catch is CancellationError {}
        } onSignal: {
            reading.cancel()
        }
    }

    private func read(from mesh: SessionMesh) async throws {
        let subscription = try await mesh.subscribe(to: channel)
        Output.note("subscribed to \(channel)")
        var left = count ?? .max
        for try await event in subscription {
            switch event {
            case .gap: Output.note("the agent was away; messages may be missing here")
            case .message(let message):
                show(message)
                left -= 1
                if left == 0 { return }
            }
        }
    }

    private func show(_ message: ChannelMessage) {
        let text = FieldValue.bytes(message.payload).text
        guard client.json else { return Output.line(text) }
        Output.line(
            JSON.object([
                ("channel", .text(message.channel)), ("epoch", .number(message.position.epoch)),
                ("offset", .number(message.position.offset)),
                ("message", .text(text)),
            ]))
    }
}
