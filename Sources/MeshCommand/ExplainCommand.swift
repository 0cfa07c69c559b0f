import ArgumentParser
import Foundation
import MeshAgent
import MeshCore
import SessionMesh

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Says which nodes hold a slot, a session or a channel, in the order in which they are asked, and what a cookie is worth.",
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
        let found = try await client.ask { mesh in
            let cookie = try await cookie.asyncMap { ExplainedCookie($0, try await mesh.open(cookie: $0)) }
            let named = channel.map { Slot(channel: $0) } ?? slot.map { Slot(masking: $0) }
            let placement = try await (cookie.map(\.slot) ?? named).asyncMap { try await mesh.placement(of: $0) }
            return Findings(cookie: cookie, placement: placement)
        }
        if client.json { Output.line(JSON(found)) } else { Output.write(found.text) }
    }

    struct Findings: Sendable {
        var cookie: ExplainedCookie?
        /// Nil for a cookie of no session.
        var placement: PlacementAnswer?

        var text: String {
            var text = cookie?.text ?? ""
            guard let placement else { return text }
            text += "slot \(placement.slot), term \(placement.term)\n"
            var table = TextTable("RANK", "NODE", "PART")
            for (rank, node) in placement.ranking.enumerated() {
                table.add(String(rank), node.description, rank == 0 ? "primary" : rank == 1 ? "backup" : "")
            }
            return text + table.text
        }
    }
}

/// What is to be known of a cookie without showing anything of its session.
struct ExplainedCookie: Hashable, Sendable {
    /// Nil when it opens a session.
    var absence: SessionAbsence?
    /// Nil for what is no cookie value.
    var keyNumber: UInt16?
    /// Known of what this mesh signed.
    var key: SessionKey?
    var session: SessionSnapshot?

    var slot: Slot? { key?.slot }

    /// Nodes that hold it: the owner, and who has the second copy.
    var copies: Int? { session.map { $0.backup == nil ? 1 : 2 } }

    var text: String {
        let number = keyNumber.map(String.init) ?? "?"
        guard let session, let copies else {
            let why =
                switch absence {
                case .malformed, nil: "it is no cookie value of any mesh"
                case .unknownKey: "the agent's key file has no cookie key \(number)"
                case .badSignature: "cookie key \(number) did not sign it"
                case .ended: "key \(number) signed it, and there is no such session any more"
                }
            let ended = key.map { "session \($0)\n" } ?? ""
            return "the cookie opens no session (\((absence ?? .malformed).rawValue)): \(why)\n" + ended
        }
        let second = session.backup.map { " (the second at \($0))" } ?? ""
        return "the cookie opens a session; key \(number) signed it\n"
            + "session \(session.key): owner \(session.primary), \(copies == 1 ? "1 copy" : "\(copies) copies")\(second), expires at "
            + "\(Date(timeIntervalSince1970: Double(session.expiresAt) / 1000).ISO8601Format())\n"
    }
}

extension ExplainedCookie {
    init(_ text: String, _ opened: Session) {
        let value = CookieValue(parsing: text.utf8)
        // The id of what this mesh didn't sign means nothing here.
        let key = opened.key ?? (opened.absence == .ended ? value.map { SessionKey(of: $0.id) } : nil)
        self.init(absence: opened.absence, keyNumber: value?.keyNumber, key: key, session: opened.snapshot)
    }
}

extension JSON {
    init(_ found: ExplainCommand.Findings) {
        var pairs: [(String, JSON?)] = []
        if let cookie = found.cookie {
            let verdict: [(String, JSON?)] = [
                ("verdict", .text(cookie.absence?.rawValue ?? "opens")), ("key", cookie.keyNumber.map { .number(Int64($0)) }),
            ]
            pairs += [
                ("cookie", .object(verdict)), ("key", cookie.key.map { .text($0.description) }),
                ("owner", cookie.session.map { .text($0.primary.description) }),
                ("backup", (cookie.session?.backup).map { .text($0.description) }), ("copies", cookie.copies.map { .number($0) }),
                ("expiresAt", cookie.session.map { .number($0.expiresAt) }),
            ]
        }
        if let placement = found.placement {
            pairs += [
                ("slot", .number(Int64(placement.slot.rawValue))), ("term", .number(placement.term)),
                ("ranking", .array(placement.ranking.map { .text($0.description) })),
            ]
        }
        self = .object(pairs)
    }
}

extension Optional {
    fileprivate func asyncMap<Value>(_ transform: (Wrapped) async throws -> Value) async rethrows -> Value? {
        if let self { try await transform(self) } else { nil }
    }
}
