import AgentTools
import Foundation
import LabTools
import MeshCore

/// Compares, at rest, what agents hold: of each slot the digest that its owner has with that of the second copy.
final class Copies {
    private let mesh: Mesh
    private var pages: [NodeName: Pages] = [:]
    private var nextAt: Duration = .zero
    /// What was found when all agents had been asked; nil before.
    private(set) var finding: Finding?

    struct Finding {
        /// Second copies that were compared.
        var compared = 0
        /// A line for each slot without one owner, or whose copies are not known to be equal.
        var differing: [String] = []
    }

    private struct Answer: Decodable {
        var slots: [Held]
    }

    private struct Held: Decodable {
        var slot: Int
        var part: String
        var sessions: Int
        var digest: String?
    }

    init(_ mesh: Mesh) { self.mesh = mesh }

    private static let interval = Duration.milliseconds(200)

    /// Whether all copies are equal. Asks all agents again and again while they are not.
    func areEqual() -> Bool {
        if let finding, finding.differing.isEmpty { return true }
        let now = mesh.loop.now
        if pages.isEmpty {
            guard now >= nextAt else { return false }
            for agent in mesh.running { pages[agent.name] = Pages(["/v1/slots"], of: mesh.adminSocket(of: agent), in: mesh.loop) }
        } else if pages.values.allSatisfy(\.isOver) {
            finding = compare()
            pages = [:]
            nextAt = now + Self.interval
        }
        return finding?.differing.isEmpty ?? false
    }

    /// Nil when an agent did not answer.
    private func compare() -> Finding? {
        var holders: [Int: [(agent: NodeName, held: Held)]] = [:]
        for (name, pages) in pages.sorted(by: { $0.key < $1.key }) {
            guard let text = pages.text, let body = text.range(of: "\r\n\r\n"),
                let answer = try? JSONDecoder().decode(Answer.self, from: Data(text[body.upperBound...].utf8))
            else { return nil }
            for held in answer.slots where held.part != "none" { holders[held.slot, default: []].append((name, held)) }
        }
        var finding = Finding()
        for slot in 0..<Slot.count {
            let holders = holders[slot] ?? []
            let owners = holders.filter { $0.held.part == "owner" }
            let copies = holders.filter { $0.held.part == "synced" }
            finding.compared += copies.count
            let isEqual = owners.count == 1 && owners[0].held.digest != nil && copies.allSatisfy { $0.held.digest == owners[0].held.digest }
            if !isEqual || copies.count < holders.count - 1 {
                let parts = holders.map { "\($0.agent) \($0.held.part) \($0.held.sessions) \($0.held.digest ?? "unknown")" }
                finding.differing.append("slot \(slot): \(parts.joined(separator: ", "))")
            }
        }
        return finding
    }
}
