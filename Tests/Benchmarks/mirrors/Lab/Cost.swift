import AgentTools
import LabTools

/// The same commits at the same rate, to two agents with a mirror and to two without, in turn: the difference is what mirroring takes of an agent.
struct Cost {
    var rounds = 5
    var seed: UInt64 = 1

    /// Commits a second. Each is to the session that was changed longest ago, which is fifteen seconds before: every one of them is written.
    private static let rate = 4000
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
        let plain = try Scene(2, with: other, mirror: nil, shape, seed: seed)
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
            var costs: [Bool: Double] = [:]
            var written = 0
            var asked = 0
            for hasMirror in round % 2 == 0 ? [false, true] : [true, false] {
                let scene = hasMirror ? mirrored : plain
                let before = try (
                    time: Self.time(of: scene), scripts: server.place.scriptsRun(), store: ProcessTime.nanoseconds(of: server.pid)
                )
                let former = scene.load.requestCount
                try scene.ask(Self.rate, .quiet, for: Self.roundTime)
                try scene.finish()
                let end = scene.loop.now + Self.quietTime
                while scene.loop.now < end { try scene.turn() }
                if hasMirror { try scene.waitForTheMirror(within: .seconds(5)) }
                let count = scene.load.requestCount - former
                costs[hasMirror] = Double(Self.time(of: scene) - before.time) / 1000 / Double(count)
                guard hasMirror else { continue }
                asked = count
                written = try server.place.scriptsRun() - before.scripts
                if round > 0 {
                    commits += count
                    storeCost.add(Double(ProcessTime.nanoseconds(of: server.pid) - before.store) / 1000 / Double(written))
                }
            }
            // The first round warms both, and no figure of it is kept.
            guard round > 0, let with = costs[true], let without = costs[false] else { continue }
            writes += written
            let perWrite = (with - without) * Double(asked) / Double(written)
            Say.progress(
                "  round \(round): \(without.fixed(2)) us a commit without, \(with.fixed(2)) us with; \(written) writes; \(perWrite.fixed(2)) us a write"
            )
            added.add(perWrite)
            plainCost.add(without)
            mirroredCost.add(with)
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

    private static func time(of scene: Scene) -> Int {
        scene.mesh.agents.compactMap(\.child?.pid).reduce(0) { $0 + ProcessTime.nanoseconds(of: $1) }
    }
}
