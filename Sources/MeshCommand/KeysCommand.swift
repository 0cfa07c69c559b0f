import ArgumentParser
import Foundation
import MeshAgent

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Shows which gossip keys the members of the mesh accept and use, and has a member read its key file again.",
        discussion: """
            A member accepts a new key at once, uses it when all members accept it, and lets an old one go when nobody uses it. So key \
            files may be changed one by one, in any order, under a mesh that runs.

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
        var members: [Holder]

        struct Key: Decodable { var number: Int }

        struct Holder: Decodable {
            var name: String
            var acceptsWanted: Bool
            var accepts: [Key]
            var uses: Key?
        }

        var text: String {
            var table = TextTable("MEMBER", "ACCEPTS", "USES", "")
            for member in members {
                let numbers = member.accepts.map(\.number)
                let isAnother = !member.acceptsWanted && numbers.contains(wanted.number)
                table.add(
                    member.name, numbers.map(String.init).joined(separator: " "), member.uses.map { String($0.number) } ?? "",
                    member.acceptsWanted ? "" : isAnother ? "another secret under \(wanted.number)" : "lacks \(wanted.number)")
            }
            return table.text + summary + "\n"
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
