import AgentTools
import LabTools
import MeshCore

/// All agents are killed at once under load and started again; the store lives.
struct Restart {
    let store: StoreKind
    var seed: UInt64 = 1

    private static let rate = 1000
    private static let sessions = 2000
    private static let time = Duration.seconds(10)
    /// What write-behind may lose.
    private static let ageMax = Duration.milliseconds(200)

    func run(with toolbox: Toolbox) throws -> [Figure] {
        let server = try Store(store, in: "\(toolbox.directory)/store")
        defer { server.kill() }
        // Every second session's commits are acknowledged when the mirror has them too.
        let shape = Load.Shape(commitShare: 50, makeShare: 5, evenLevel: .mirrored)
        let scene = try Scene(3, with: toolbox, mirror: server.place.uri(), shape, seed: seed)
        defer { scene.end() }
        let load = scene.load
        try scene.fill(Self.sessions)
        try scene.waitForTheMirror()
        try scene.ask(Self.rate, .quiet, for: Self.time)

        load.expectsTheEnd = true
        let killed = scene.loop.now
        scene.mesh.killAll()
        // What agents had answered is still to be read.
        try scene.finish()
        guard load.failed == 0 else { throw LabFailure("requests failed before the agents were killed: \(load.failures)") }
        let again = scene.loop.now
        try scene.start()
        let whole = scene.loop.now
        let found = try scene.readAll()
        let read = scene.loop.now

        var mirrored = 0
        var mirroredLost = 0
        var late = 0
        var oldest = Duration.zero
        var changes = 0
        var lost = 0
        for (session, snapshot) in zip(load.sessions, found) {
            let number = load.number(in: snapshot?.registers ?? [:])
            let promised = session.acknowledgements.last(where: \.isMirrored)?.number ?? 0
            mirrored += session.acknowledgements.count(where: \.isMirrored)
            if number < promised { mirroredLost += 1 }
            changes += session.acknowledgements.count
            for acknowledgement in session.acknowledgements where acknowledgement.number > number {
                lost += 1
                oldest = max(oldest, killed - acknowledgement.at)
                if killed - acknowledgement.at > Self.ageMax { late += 1 }
            }
        }
        return [
            Figure("sessions", load.sessions.count),
            Figure("changes acknowledged as mirrored", mirrored),
            Figure("sessions that lack one of them", mirroredLost, goal: .atMost(0)),
            Figure("changes acknowledged in all", changes),
            Figure("of them lost", lost),
            Figure("of them lost, older than 200 ms", late, goal: .atMost(0)),
            Figure("age of the oldest that is lost", oldest.seconds * 1000, "ms", goal: .atMost(Self.ageMax.seconds * 1000)),
            Figure("agents whole again after", (whole - again).seconds, "s"),
            Figure("all sessions read through the mesh in", (read - whole).seconds, "s"),
        ]
    }
}
