import AgentTools
import LabTools
import MeshCore

/// Agents with a load on them, and what a row needs of both.
final class Scene {
    let loop: Loop
    let mesh: Mesh
    let overseer: Overseer
    let load: Load

    /// Starts the agents, and waits until they are one mesh.
    /// - Parameters:
    ///   - mirror: the URI of their mirror; nil: they have none.
    ///   - loop: of another scene that goes on at the same time.
    init(_ agents: Int, with toolbox: Toolbox, mirror: String?, _ shape: Load.Shape, seed: UInt64, in loop: Loop = Loop()) throws {
        self.loop = loop
        let options = ["--idle-timeout", "24h", "--log-level", "warning"] + (mirror.map { ["--mirror", $0] } ?? [])
        mesh = try Mesh(agents, on: .loopback, with: toolbox, options: options, in: loop)
        overseer = Overseer(mesh)
        load = Load(shape, seed: seed, of: mesh)
        try start()
    }

    func end() { mesh.end() }

    /// All agents, anew or for the first time.
    func start() throws {
        for agent in mesh.agents {
            try mesh.start(agent)
            try wait(for: "\(agent.name) to be ready") { agent.isReady }
        }
        let start = loop.now
        try wait(for: "a mesh that is whole") { overseer.isWhole(since: start) }
        try load.connect()
    }

    func turn() throws {
        overseer.look()
        try loop.turn(.milliseconds(1))
        try mesh.watch()
    }

    func wait(for what: String, within patience: Duration = .seconds(60), _ isSo: () throws -> Bool) throws {
        let end = loop.now + patience
        while try !isSo() {
            guard loop.now < end else { throw LabFailure("waited \(patience) for \(what): \(overseer.disorder)") }
            try turn()
        }
    }

    func fill(_ count: Int) throws {
        Say.progress("  making \(count) sessions")
        try load.fill(count) { try turn() }
    }

    func ask(_ rate: Int, _ part: Load.Part, for time: Duration, until isSo: () throws -> Bool = { false }) throws {
        try load.ask(rate, part, for: time, until: isSo) { try turn() }
    }

    func finish() throws { try load.finish { try turn() } }

    func readAll(within patience: Duration = .seconds(60)) throws -> [SessionSnapshot?] {
        try load.readAll(within: patience) { try turn() }
    }

    /// Until the mirror has everything.
    func waitForTheMirror(within patience: Duration = .seconds(60)) throws {
        let start = loop.now
        try wait(for: "a mirror that has everything", within: patience) { overseer.mirrorDirty(since: start) == 0 }
    }
}
