import ArgumentParser
import Foundation
import MeshAgent

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Shows which keys the members of the mesh accept and use, and has a member read its key file again.",
        discussion: """
            A member accepts a new key at once, and uses it when all members accept it. An old gossip key goes when nobody uses it, a \
            cookie key at once. So key files may be changed one by one, in any order, under a mesh that runs.

            Examples:
              sessionmesh keys                  who accepts which key
              sessionmesh keys reload           reads the key file, as after SIGHUP
              sessionmesh keys reload --force   for a key that has leaked
              sessionmesh keys --admin unix:n1.admin --json
            """)

    enum Action: String, ExpressibleByArgument, CaseIterable {
        case reload
    }

    @Argument(help: "reload has the member read its key file again first.")
    var action: Action?

    @Flag(help: "With reload: uses the file's last key at once, and drops at once what is no longer in the file.")
    var force = false

    @OptionGroup var listener: AdminOptions

    @Flag(help: "Prints JSON.")
    var json = false

    func validate() throws {
        guard !force || action == .reload else { throw ValidationError("--force goes with `sessionmesh keys reload`") }
    }

    func run() async throws {
        let client = try AdminClient.find(listener.admin)
        let body =
            switch action {
            case nil: try await client.demand("/v1/keys")
            case .reload: try await client.demand("/v1/keys/reload\(force ? "?force=true" : "")", method: "POST")
            }
        if json { return Output.write(String(decoding: body, as: UTF8.self)) }
        Output.write(try AdminClient.decode(Report.self, from: body).text)
    }

    /// What `/v1/keys` answers.
    struct Report: Decodable {
        var summary: String
        var wanted: Key
        var members: [Member]
        var cookies: Cookies?

        struct Key: Decodable { var number: Int }

        struct Cookies: Decodable { var wanted: Key }

        struct Member: Decodable {
            var name: String
            var gossip: Ring
            var cookies: Ring?

            private enum CodingKeys: CodingKey {
                case name, cookies
            }

            init(from decoder: any Decoder) throws {
                let values = try decoder.container(keyedBy: CodingKeys.self)
                name = try values.decode(String.self, forKey: .name)
                cookies = try values.decodeIfPresent(Ring.self, forKey: .cookies)
                gossip = try Ring(from: decoder)
            }
        }

        /// What a member says of one of its rings.
        struct Ring: Decodable {
            var acceptsWanted: Bool
            var accepts: [Key]
            var uses: Key?
        }

        var text: String {
            var text = Self.table("USES", wanted, members.map { ($0.name, $0.gossip) })
            if let cookies { text += "\n" + Self.table("SIGNS WITH", cookies.wanted, members.map { ($0.name, $0.cookies) }) }
            return text + summary.replacing("; cookie key", with: "\ncookie key") + "\n"
        }

        private static func table(_ use: String, _ wanted: Key, _ members: [(name: String, ring: Ring?)]) -> String {
            var table = TextTable("MEMBER", "ACCEPTS", use, "")
            for (name, ring) in members {
                let numbers = ring?.accepts.map(\.number) ?? []
                let acceptsWanted = ring?.acceptsWanted ?? false
                let isAnother = !acceptsWanted && numbers.contains(wanted.number)
                table.add(
                    name, numbers.map(String.init).joined(separator: " "), (ring?.uses).map { String($0.number) } ?? "",
                    acceptsWanted ? "" : isAnother ? "another secret under \(wanted.number)" : "lacks \(wanted.number)")
            }
            return table.text
        }
    }
}

/// Which admin listener a command asks.
struct AdminOptions: ParsableArguments {
    @Option(
        help: "The admin listener to ask: unix:PATH or HOST:PORT. (default: that of the member that runs here)",
        transform: Values.listenAddress)
    var admin: ListenAddress?
}
