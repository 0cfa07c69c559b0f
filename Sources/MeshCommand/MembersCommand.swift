import ArgumentParser
import MeshAgent
import MeshCore
import SessionMesh

struct MembersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "members",
        abstract: "Lists who is in the mesh and which application processes run, as an agent sees it.",
        discussion: """
            Examples:
              sessionmesh members
              sessionmesh members --agent 127.0.0.1:7947 --json
            """)

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let view = try await client.ask { try await $0.members() }
        if client.json { Output.line(JSON(view)) } else { Output.write(Self.text(of: view)) }
    }

    static func text(of view: MeshView) -> String {
        var members = TextTable("MEMBER", "STATUS", "STAGE", "ROLE", "ADDRESS", "WEIGHT", "TAGS")
        for member in view.members {
            members.add(
                member.name.description, member.status.word, member.stage.word, member.role.word, member.endpoint.description,
                String(member.weight), member.tags.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "))
        }
        guard !view.instances.isEmpty else { return members.text }
        var instances = TextTable("NODE", "SERVICE", "ADDRESS", "WEIGHT", "COOKIE")
        for instance in view.instances {
            instances.add(
                instance.node.name.description, instance.service, instance.address, String(instance.weight), instance.cookieName)
        }
        return members.text + "\n" + instances.text
    }
}
