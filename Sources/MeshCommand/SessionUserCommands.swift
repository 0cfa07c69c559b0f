import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct SessionListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Shows the sessions of a user, wherever they are, without their contents.",
        discussion: """
            Sessions that only the mirror has, because nobody asked for them since the mesh began anew, are not shown.

            Example: sessionmesh session list --user ann
            """)

    @Option(help: "Whose sessions.")
    var user: String

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let sessions = try await client.ask { mesh in
            var page = try await mesh.sessions(of: user)
            var sessions = page.sessions
            while let next = page.next {
                page = try await mesh.sessions(of: user, after: next)
                sessions += page.sessions
            }
            return sessions
        }
        guard !client.json else { return Output.line(JSON.array(sessions.map(JSON.init))) }
        var table = TextTable("KEY", "CREATED", "LAST REQUEST", "EXPIRES", "FIELDS", "BYTES")
        for session in sessions {
            table.add(
                session.key.description, Output.date(session.createdAt), Output.date(session.accessedAt), Output.date(session.expiresAt),
                String(session.fields), String(session.bytes))
        }
        Output.write(sessions.isEmpty ? "\(user) has no session\n" : table.text)
    }
}

struct SessionRevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Ends all sessions of a user, or of everybody, for good.",
        discussion: """
            One session is ended by `sessionmesh session destroy`.

            Examples:
              sessionmesh session revoke --user ann
              sessionmesh session revoke --all
            """)

    @Option(help: "Whose sessions.")
    var user: String?

    @Flag(help: "Everybody's sessions.")
    var all = false

    @Option(parsing: .unconditional, help: "The key of a session that goes on.", transform: SessionChoice.key)
    var except: SessionKey?

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard (user != nil) != all else { throw ValidationError("say whose sessions: --user NAME or --all") }
    }

    func run() async throws {
        let count = try await client.ask { mesh in
            if let user { try await mesh.endSessions(of: user, except: except) } else { try await mesh.endAllSessions(except: except) }
        }
        if client.json {
            Output.line(JSON.object([("ended", .number(count))]))
        } else {
            Output.line(count == 1 ? "ended 1 session" : "ended \(count) sessions")
        }
    }
}

extension JSON {
    fileprivate init(_ session: SessionSummary) {
        self = .object([
            ("key", .text(session.key.description)), ("createdAt", .number(session.createdAt)), ("accessedAt", .number(session.accessedAt)),
            ("expiresAt", .number(session.expiresAt)), ("fields", .number(Int64(session.fields))), ("bytes", .number(Int64(session.bytes))),
        ])
    }
}
