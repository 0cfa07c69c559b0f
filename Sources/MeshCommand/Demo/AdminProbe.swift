import Foundation
import MeshAgent

/// Whether the agents of a demo have found each other.
enum AdminProbe {
    private struct Health: Decodable {
        var stage: String
        var underReplicatedSlots: Int
    }

    private struct Members: Decodable {
        struct Member: Decodable { var status: String }
        var members: [Member]
    }

    /// Whether this agent serves, sees `count` members, all of them alive, and every slot it answers for has its second copy.
    static func isSettled(_ socket: String, members count: Int) async -> Bool {
        guard let health = await get("/healthz", Health.self, from: socket), health.stage == "serving", health.underReplicatedSlots == 0,
            let members = await get("/v1/members", Members.self, from: socket)?.members
        else { return false }
        return members.count == count && members.allSatisfy { $0.status == "alive" }
    }

    private static func get<Answer: Decodable>(_ path: String, _: Answer.Type, from socket: String) async -> Answer? {
        let answer = await AdminClient(address: .unix(socket)).ask("GET", path, timeout: 1)
        return answer.flatMap { try? JSONDecoder().decode(Answer.self, from: $0.body) }
    }
}
