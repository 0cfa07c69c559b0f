import AgentTools
import LabTools

/// The same commits at the same rate, to two agents with a mirror and to two without, both at the same time, so that what else happens on the machine
/// is the same for both: the difference is what mirroring takes of an agent.
struct Cost {
    var rounds = 5
    var seed: UInt64 = 1

    /// Commits a second to each of the two. Each is to the session that was changed longest ago, twenty seconds before: every one of them is written.
    private static let rate = 3000
    private static let sessions = 60_000
    private static let roundTime = Duration.seconds(5)
    /// For what is written behind.
    private static let quietTime = Duration.milliseconds(500)

    func run(with toolbox: Toolbox) throws -> [Figure] {
        let server = try Store(.redis, in: "\(toolbox.directory)/store")
        defer { server.kill() }
        let shape = Load.Shape(fields: ["alpha", "delta", "gamma"], valueBytes: 20, commitShare: 100, isInTurn: true)
        let mirrored = try Scene(2, with: toolbox, mirror: server.place.uri(), shape, seed: seed)
        defer { mirrored.end() }
        let other = try Toolbox(sessionmesh: toolbox.sessionmesh, directory: "\(toolbox.directory)/without")
        let plain = try Scene(2, with: other, mirror: nil, shape, seed: seed, in: mirrored.loop)
        defer { plain.end() }
        for scene in [mirrored, plain] { try scene.fill(Self.sessions) }
        try mirrored.waitForTheMirror()

        var added = Sample()
        var plainCost = Sample()
        var mirroredCost = Sample()
        var storeCost = Sample()
        var writes = 0
        var commits = 0
        for round in 0...rounds {
            let before = try Reading(plain, mirrored, server)
            try ask(plain, mirrored)
            let after = try Reading(plain, mirrored, server)
            // The first round warms all, and no figure of it is kept.
            guard round > 0 else { continue }
            let written = after.writes - before.writes
            let without = Double(after.plain - before.plain) / 1000
            let with = Double(after.mirrored - before.mirrored) / 1000
            added.add((with - without) / Double(written))
            plainCost.add(without / Double(after.commits - before.commits))
            mirroredCost.add(with / Double(after.commits - before.commits))
            storeCost.add(Double(after.store - before.store) / 1000 / Double(written))
            writes += written
            commits += after.commits - before.commits
            Say.progress("  round \(round): \(added.values.last?.fixed(2) ?? "") us a write, \(written) writes")
        }
        for scene in [mirrored, plain] where scene.load.failed > 0 { throw LabFailure("commits failed: \(scene.load.failures)") }
        return [
            Figure("added CPU a mirrored write, both agents", added.percentile(50), "us", goal: .atMost(12)),
            Figure("CPU a commit without a mirror, both agents", plainCost.percentile(50), "us"),
            Figure("CPU a commit with one, both agents", mirroredCost.percentile(50), "us"),
            Figure("CPU a write, the store", storeCost.percentile(50), "us"),
            Figure("commits", commits),
            Figure("mirrored writes", writes),
        ]
    }

    private func ask(_ plain: Scene, _ mirrored: Scene) throws {
        let loop = mirrored.loop
        var paces = [plain, mirrored].map { ($0.load, Load.Pace(rate: Self.rate, start: loop.now, time: Self.roundTime)) }
        let end = loop.now + Self.roundTime
        while loop.now < end {
            for index in paces.indices { paces[index].0.ask(&paces[index].1, .quiet) }
            try turn(plain, mirrored)
        }
        for scene in [plain, mirrored] { try scene.load.finish { try turn(plain, mirrored) } }
        let quiet = loop.now + Self.quietTime
        while loop.now < quiet { try turn(plain, mirrored) }
    }

    private func turn(_ plain: Scene, _ mirrored: Scene) throws {
        plain.overseer.look()
        try mirrored.turn()
    }

    /// What has been used and done so far, in nanoseconds of CPU and in numbers.
    private struct Reading {
        let plain: Int
        let mirrored: Int
        let store: Int
        let writes: Int
        /// Of each of the two.
        let commits: Int

        init(_ plain: Scene, _ mirrored: Scene, _ server: Store) throws {
            self.plain = Self.time(of: plain)
            self.mirrored = Self.time(of: mirrored)
            store = ProcessTime.nanoseconds(of: server.pid)
            writes = try server.place.scriptsRun()
            commits = mirrored.load.requestCount
        }

        private static func time(of scene: Scene) -> Int {
            scene.mesh.agents.compactMap(\.child?.pid).reduce(0) { $0 + ProcessTime.nanoseconds(of: $1) }
        }
    }
}
