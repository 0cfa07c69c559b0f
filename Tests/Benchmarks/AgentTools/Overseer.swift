import Glibc
import LabTools
import MeshCore

/// Asks every agent's admin listener again and again how it stands, without ever waiting for one of them.
package final class Overseer {
    /// What one agent said of itself.
    package struct Standing {
        /// When it was asked.
        var asked: Duration
        var isReady: Bool
        var primarySlots: Int
        var underReplicated: Int
        var leftover: Int
        var handOff: Int
        var doubted: Int
        /// Held there, in either rank.
        package var sessions: Int
        /// That the mirror doesn't have yet as they are; 0 without one.
        package var mirrorDirty: Int
        /// Of the view that it has of the mesh.
        var digest: String
    }

    private let mesh: Mesh
    private var standings: [NodeName: Standing] = [:]
    private var inquiries: [NodeName: Pages] = [:]
    private var nextAt: Duration = .zero

    package init(_ mesh: Mesh) { self.mesh = mesh }

    private static let interval = Duration.milliseconds(100)
    private static let patience = Duration.seconds(2)

    package func look() {
        let now = mesh.loop.now
        guard now >= nextAt else { return }
        nextAt = now + Self.interval
        for agent in mesh.agents {
            if let inquiry = inquiries[agent.name] {
                if let standing = inquiry.standing { standings[agent.name] = standing }
                guard inquiry.isOver || now - inquiry.asked > Self.patience else { continue }
                inquiry.close()
                inquiries[agent.name] = nil
            }
            guard agent.isReady else {
                standings[agent.name] = nil
                continue
            }
            inquiries[agent.name] = Pages(["/v1/members", "/metrics"], of: mesh.adminSocket(of: agent), in: mesh.loop)
        }
    }

    /// Whether all that run, asked after `instant`, have one view, one owner for each slot, and a second copy of each.
    package func isWhole(since instant: Duration) -> Bool {
        let running = mesh.running
        let answers = running.compactMap { standings[$0.name] }
        guard answers.count == running.count, let first = answers.first else { return false }
        return answers.allSatisfy { standing in
            standing.asked >= instant && standing.isReady && standing.digest == first.digest
                && standing.underReplicated + standing.leftover + standing.handOff + standing.doubted == 0
        } && answers.reduce(0) { $0 + $1.primarySlots } == Slot.count
    }

    package func sessions(of agent: Agent) -> Int? { standings[agent.name]?.sessions }

    /// Sessions whose last change the mirror doesn't have, over all that run; nil when not all of them have said so since `instant`.
    package func mirrorDirty(since instant: Duration) -> Int? {
        let answers = mesh.running.map { standings[$0.name] }
        guard answers.allSatisfy({ $0.map { $0.asked >= instant } ?? false }) else { return nil }
        return answers.reduce(0) { $0 + ($1?.mirrorDirty ?? 0) }
    }

    /// What is to be said of a mesh that should be whole and is not.
    package var disorder: String {
        mesh.running.map { agent in
            guard let standing = standings[agent.name] else { return "\(agent.name) doesn't say" }
            return "\(agent.name)\(standing.isReady ? "" : ", not ready"), owns \(standing.primarySlots), "
                + "\(standing.underReplicated) without a copy, \(standing.handOff) to hand off, \(standing.leftover) left over, "
                + "\(standing.doubted) in doubt, view \(standing.digest)"
        }.joined(separator: "; ")
    }
}

extension Pages {
    /// Nil until all is there.
    fileprivate var standing: Overseer.Standing? {
        guard let text, let digest = Array(text.utf8)[...].text(of: "digest") else { return nil }
        var figures: [Substring: Int] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix("sessionmesh_") {
            let words = line.split(separator: " ")
            if words.count == 2, let value = Int(words[1]) { figures[words[0].dropFirst("sessionmesh_".count)] = value }
        }
        guard let ready = figures["ready"], let primary = figures["slots{rank=\"primary\"}"], let under = figures["under_replicated_slots"],
            let leftover = figures["leftover_slots"], let handOff = figures["hand_off_slots"], let doubted = figures["doubted_slots"],
            let sessions = figures["sessions"]
        else { return nil }
        return Overseer.Standing(
            asked: asked, isReady: ready == 1, primarySlots: primary, underReplicated: under, leftover: leftover, handOff: handOff,
            doubted: doubted, sessions: sessions, mirrorDirty: figures["mirror_dirty"] ?? 0, digest: digest)
    }
}
