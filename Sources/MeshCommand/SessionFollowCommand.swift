import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct SessionFollowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "follow",
        abstract: "Prints which sessions begin and end from now on, wherever they are, one a line.",
        discussion: """
            Each is told at least once, and again when a node dies or hands sessions over: a repeat has the same key and the same word.

            Example: sessionmesh session follow --json
            """)

    @OptionGroup var reading: ReadingOptions

    func run() async throws {
        try await reading.read({ try await $0.sessionEvents() }, begun: "following all sessions") { notice in
            switch notice {
            case .gap: nil
            case .event(let event): reading.client.json ? JSON(event).line : Self.line(event)
            }
        }
    }

    private static func line(_ event: SessionEvent) -> String {
        "\(Output.date(event.at))  \(event.key)  \(event.kind)" + (event.kind.successor.map { " to \($0)" } ?? "")
    }
}

extension JSON {
    fileprivate init(_ event: SessionEvent) {
        self = .object([
            ("event", .text(event.kind.description)), ("key", .text(event.key.description)), ("at", .number(event.at)),
            ("to", event.kind.successor.map { .text($0.description) }),
        ])
    }
}
