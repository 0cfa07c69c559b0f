import ArgumentParser
import Foundation
import MeshAgent
import MeshCore
import SessionMesh

struct MembersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "members",
        abstract: "Lists who is in the mesh and which application processes run, as an agent sees it; or says why one is held for dead.",
        discussion: """
            Examples:
              sessionmesh members
              sessionmesh members --agent 127.0.0.1:7947 --json
              sessionmesh members --why n2      who suspected n2, and who agreed
              sessionmesh members --why n2 --admin unix:n1.admin
            """)

    @OptionGroup var client: ClientOptions

    @Option(
        help: ArgumentHelp("Says how each suspicion of that member ended that the agent remembers.", valueName: "name"),
        transform: Values.nodeName)
    var why: String?

    @OptionGroup(title: "With --why") var listener: AdminOptions

    func run() async throws {
        if let why { return try await explain(try MemberOptions.nodeName(why, flag: "--why")) }
        let view = try await client.ask { try await $0.members() }
        if client.json { Output.line(JSON(view)) } else { Output.write(Self.text(of: view)) }
    }

    private func explain(_ name: NodeName) async throws {
        guard listener.admin != nil || client.agent == nil else {
            throw CommandFailure.configuration("--why is answered by an agent's admin listener: name it with --admin instead of --agent")
        }
        let body = try await AdminClient.find(listener.admin).demand("/v1/members/\(name)")
        if client.json { return Output.write(String(decoding: body, as: UTF8.self)) }
        Output.write(try AdminClient.decode(MemberStory.self, from: body).text(of: name))
    }

    static func text(of view: MeshView) -> String {
        var members = TextTable("MEMBER", "STATUS", "STAGE", "ROLE", "ADDRESS", "WEIGHT", "TAGS")
        for member in view.members {
            members.add(
                member.name.description, member.status.word + (member.isDegraded ? " (degraded)" : ""), member.stage.word, member.role.word,
                member.endpoint.description, String(member.weight),
                member.tags.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "))
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

/// What `/v1/members/NAME` answers: a member, and how the suspicions of it ended, the oldest first.
struct MemberStory: Decodable {
    var member: Member?
    var verdicts: [Verdict]

    struct Member: Decodable {
        var status: String
        var degraded: Bool?
        var address: String
        var life: String
    }

    struct Verdict: Decodable {
        var life: String
        var at: Int64
        var outcome: String
        var reason: String
        var decidedBy: String
        var suspectedBy: String?
        var confirmedBy: [String]
        var vetoedBy: [String]?
        var tookMilliseconds: Int64
        var needed: Int
        var testimonies: [Testimony]
    }

    struct Testimony: Decodable {
        var witness: String
        var finding: String
        var pings: Int
        var heardMillisecondsAgo: Int64?
        var roundTripMicroseconds: Int64?
    }

    func text(of name: NodeName) -> String {
        var text = "\(name) is not known any more"
        if let member {
            let degraded = member.degraded == true ? " and degraded" : ""
            text = "\(name) is \(member.status)\(degraded), life \(member.life) at \(member.address)"
        }
        guard !verdicts.isEmpty else { return text + "; this agent remembers no suspicion of it\n" }
        return text + "\n" + verdicts.map { "\n" + $0.text(life: member?.life) }.joined()
    }
}

extension MemberStory.Verdict {
    /// `life` is the present one; an earlier one is named.
    func text(life present: String?) -> String {
        let date = Date(timeIntervalSince1970: Double(at) / 1000)
        var text = date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) + "  "
        if life != present { text += "(life \(life)) " }
        text += "\(outcome) after \(tookMilliseconds) ms, \(ground); decided by \(decidedBy)\n"
        text += "  suspected by \(suspectedBy ?? "nobody that is known here")"
        if !confirmedBy.isEmpty { text += ", confirmed by \(confirmedBy.joined(separator: " "))" }
        if let vetoedBy { text += ", denied by \(vetoedBy.joined(separator: " "))" }
        text += "; words needed: \(needed)\n"
        guard !testimonies.isEmpty else { return text }
        var table = TextTable("  WITNESS", "FINDING", "PINGS", "LAST HEARD", "ROUND TRIP")
        for word in testimonies {
            table.add(
                "  " + word.witness, word.finding, String(word.pings), word.heardMillisecondsAgo.map { "\($0) ms before" } ?? "never",
                word.roundTripMicroseconds.map { "\(Double($0) / 1000) ms" } ?? "unknown")
        }
        return text + table.text
    }

    private var ground: String {
        switch reason {
        case "refused": "its port refused connections"
        case "silent": "enough found it silent"
        case "alone": "there was nobody else to ask"
        case "timeout": "it did not answer in all that time"
        case "told": "as another said"
        case "answer": "it answered for itself"
        default: reason
        }
    }
}
