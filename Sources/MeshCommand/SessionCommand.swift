import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct SessionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session",
        abstract: "Shows, changes and ends sessions.",
        subcommands: [
            SessionGetCommand.self, SessionSetCommand.self, SessionDestroyCommand.self, SessionListCommand.self, SessionRevokeCommand.self,
            SessionFollowCommand.self,
        ])
}

/// Which session is meant. Cookies and keys are base64url, one in 64 begins with a dash, and is no flag.
struct SessionChoice: ParsableArguments {
    @Option(parsing: .unconditional, help: "The value of the browser's session cookie.")
    var cookie: String?

    @Option(
        parsing: .unconditional, help: "The session's key, as logs and /v1/sessions show it: 43 characters.",
        transform: SessionChoice.key)
    var key: SessionKey?

    @Sendable static func key(_ text: String) throws -> SessionKey {
        guard let key = SessionKey(text: text) else { throw ValidationError("a key is 43 characters of base64url") }
        return key
    }

    func validate() throws {
        guard cookie == nil || key == nil else { throw ValidationError("give --cookie or --key, not both") }
    }

    /// For commands that need one.
    func require() throws {
        guard cookie != nil || key != nil else { throw ValidationError("say which session: --cookie or --key") }
    }

    func find(in mesh: SessionMesh) async throws -> Session {
        let session = if let key { try await mesh.read(key) } else { try await mesh.open(cookie: cookie) as Session? }
        guard let session, session.key != nil else {
            throw CommandFailure.failed("there is no such session: it ended, or never was")
        }
        return session
    }
}

struct SessionGetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Shows a session with its fields.",
        discussion: "Example: sessionmesh session get --cookie \"$SID\" --json")

    @OptionGroup var choice: SessionChoice
    @OptionGroup var client: ClientOptions

    func validate() throws { try choice.require() }

    func run() async throws {
        let session = try await client.ask { try await choice.find(in: $0) }
        guard let snapshot = session.snapshot else { return }
        if client.json { Output.line(JSON(snapshot)) } else { Output.write(Self.text(of: snapshot)) }
    }

    static func text(of session: SessionSnapshot) -> String {
        var about = TextTable("KEY", "SLOT", "PRIMARY", "BACKUP", "USER", "IDLE")
        about.add(
            session.key.description, session.key.slot.description, session.primary.description, session.backup?.description ?? "-",
            session.user.isEmpty ? "-" : session.user, "\(session.idleSeconds)s")
        guard !session.fields.isEmpty else { return about.text }
        var fields = TextTable("FIELD", "VALUE")
        for field in session.fields { fields.add(field.name, field.value.text) }
        return about.text + "\n" + fields.text
    }
}

struct SessionSetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Changes a session, or makes one when none is named; all changes count together or not at all.",
        discussion: """
            A value is stored as a JSON string, which applications read as a field of text.

            Examples:
              sessionmesh session set theme=dark --increment visits=1
              sessionmesh session set --key KEY theme=light --remove draft
            """)

    @Argument(help: ArgumentHelp("Fields of text.", valueName: "name=value"), transform: Values.tag)
    var fields: [Values.Tag] = []

    @OptionGroup var choice: SessionChoice

    @Option(
        help: ArgumentHelp("Adds to a counter; may be given more than once.", valueName: "name=number"),
        transform: { text in
            let pair = try Values.tag(text)
            guard let amount = Int64(pair.value) else { throw ValidationError("write it as name=number, such as visits=1") }
            return Increment(name: pair.name, amount: amount)
        })
    var increment: [Increment] = []

    @Option(help: ArgumentHelp("Removes a field; may be given more than once.", valueName: "name"))
    var remove: [String] = []

    @Option(help: "Binds the session to a user.")
    var user: String?

    @OptionGroup var client: ClientOptions

    struct Increment: Hashable, Sendable {
        var name: String
        var amount: Int64
    }

    func run() async throws {
        let (key, outcome) = try await client.ask { mesh in
            let isNew = choice.cookie == nil && choice.key == nil
            var session = isNew ? try await mesh.open(cookie: nil) : try await choice.find(in: mesh)
            for name in remove { session.remove(SessionCounter(name)) }
            for field in fields { session[SessionField<String>(field.name)] = field.value }
            for increment in increment { session.increment(SessionCounter(increment.name), by: increment.amount) }
            if let user { session.bind(user: user) }
            guard session.hasChanges else {
                throw CommandFailure.failed("nothing would change: name a field, --increment, --remove or --user")
            }
            let outcome = try await mesh.commit(&session)
            return (session.key, outcome)
        }
        let counters = outcome.counters.sorted { $0.key < $1.key }
        if client.json {
            Output.line(
                JSON.object([
                    ("key", key.map { .text($0.description) }), ("cookie", outcome.setCookie.map { .text($0.value) }),
                    ("copies", .number(outcome.copies)), ("counters", .object(counters.map { ($0.key, .number($0.value)) })),
                ]))
            return
        }
        var table = TextTable("KEY", "COPIES", "COUNTERS")
        table.add(key?.description ?? "-", String(outcome.copies), counters.map { "\($0.key)=\($0.value)" }.joined(separator: " "))
        Output.write(table.text)
        if let cookie = outcome.setCookie { Output.line("\ncookie: \(cookie.value)") }
    }
}

struct SessionDestroyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "destroy", abstract: "Ends a session for good.", discussion: "Example: sessionmesh session destroy --key KEY")

    @OptionGroup var choice: SessionChoice
    @OptionGroup var client: ClientOptions

    func validate() throws { try choice.require() }

    func run() async throws {
        let key = try await client.ask { mesh in
            var session = try await choice.find(in: mesh)
            let key = session.key
            session.destroy()
            _ = try await mesh.commit(&session)
            return key
        }
        let text = key?.description ?? "-"
        if client.json { Output.line(JSON.object([("destroyed", .text(text))])) } else { Output.line("destroyed \(text)") }
    }
}

extension FieldValue {
    /// For a person: text as it is, other bytes in base64url, a set in braces.
    var text: String {
        switch self {
        case .integer(let value): String(value)
        case .bytes(let bytes): Self.text(bytes)
        case .elements(let elements): "{\(elements.map(Self.text).joined(separator: ", "))}"
        }
    }

    private static func text(_ bytes: [UInt8]) -> String {
        String(validating: bytes, as: UTF8.self) ?? "base64:\(String(decoding: Base64URL.encode(bytes), as: UTF8.self))"
    }
}

extension JSON {
    init(_ session: SessionSnapshot) {
        self = .object([
            ("key", .text(session.key.description)), ("slot", .number(Int64(session.key.slot.rawValue))),
            ("createdAt", .number(session.createdAt)), ("accessedAt", .number(session.accessedAt)),
            ("idleSeconds", .number(Int64(session.idleSeconds))), ("expiresAt", .number(session.expiresAt)),
            ("user", session.user.isEmpty ? .null : .text(session.user)),
            ("primary", .text(session.primary.description)), ("backup", session.backup.map { .text($0.description) } ?? .null),
            ("fields", .object(session.fields.map { ($0.name, JSON($0.value)) })),
        ])
    }

    /// A counter or a maximum is a number, a set an array, text is text, and other bytes are `{"base64url": ...}`.
    private init(_ value: FieldValue) {
        switch value {
        case .integer(let number): self = .number(number)
        case .bytes(let bytes): self.init(bytes)
        case .elements(let elements): self = .array(elements.map(JSON.init))
        }
    }

    private init(_ bytes: [UInt8]) {
        self =
            String(validating: bytes, as: UTF8.self).map { .text($0) }
            ?? .object([("base64url", .text(String(decoding: Base64URL.encode(bytes), as: UTF8.self)))])
    }
}
