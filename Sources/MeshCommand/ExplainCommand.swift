import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Says which nodes hold a slot, a session or a channel, in the order in which they are asked.",
        discussion: """
            Examples:
              sessionmesh explain --slot 7
              sessionmesh explain --cookie "$SID"
            """)

    @Option(help: "A slot, 0 to 4095.")
    var slot: UInt16?

    // One in 64 begins with a dash.
    @Option(parsing: .unconditional, help: "The value of a session cookie.")
    var cookie: String?

    @Option(help: "A channel's name.")
    var channel: String?

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard [slot != nil, cookie != nil, channel != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("give one of --slot, --cookie and --channel")
        }
        if let slot, Slot(rawValue: slot) == nil { throw ValidationError("--slot is a whole number from 0 to \(Slot.count - 1)") }
    }

    func run() async throws {
        let (session, placement) = try await client.ask { mesh in
            let session = try await SessionChoice.find(cookie: cookie, in: mesh)
            let slot = session?.key?.slot ?? channel.map { Slot(channel: $0) } ?? Slot(masking: slot ?? 0)
            return (session, try await mesh.placement(of: slot))
        }
        if client.json {
            Output.line(JSON.object(Self.members(of: placement) + (session.map { Self.members(of: $0) } ?? [])))
        } else {
            Output.write(Self.text(of: placement, session: session))
        }
    }

    private static func members(of placement: PlacementAnswer) -> [(String, JSON?)] {
        [
            ("slot", .number(Int64(placement.slot.rawValue))), ("term", .number(placement.term)),
            ("ranking", .array(placement.ranking.map { .text($0.description) })),
        ]
    }

    private static func members(of session: Session) -> [(String, JSON?)] {
        [
            ("key", (session.key?.description).map { .text($0) }), ("primary", (session.primary?.description).map { .text($0) }),
            ("backup", (session.backup?.description).map { .text($0) }),
        ]
    }

    static func text(of placement: PlacementAnswer, session: Session?) -> String {
        var text = ""
        if let session, let key = session.key {
            text += "session \(key) is at \(session.primary?.description ?? "nobody"), "
            text += "its second copy at \(session.backup?.description ?? "nobody")\n"
        }
        text += "slot \(placement.slot), term \(placement.term)\n"
        var table = TextTable("RANK", "NODE", "PART")
        for (rank, node) in placement.ranking.enumerated() {
            table.add(String(rank), node.description, rank == 0 ? "primary" : rank == 1 ? "backup" : "")
        }
        return text + table.text
    }
}

extension SessionChoice {
    /// Nil without a cookie.
    static func find(cookie: String?, in mesh: SessionMesh) async throws -> Session? {
        guard let cookie else { return nil }
        let session = try await mesh.open(cookie: cookie)
        guard session.key != nil else { throw CommandFailure.failed("the mesh has no session of this cookie: it ended, or never was") }
        return session
    }
}
