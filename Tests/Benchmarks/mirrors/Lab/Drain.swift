import AgentTools
import Glibc
import LabTools

/// Two agents hold sessions that their store has never seen, because it was not there; then it is.
struct Drain {
    let store: StoreKind
    var sessions = 100_000
    var seed: UInt64 = 1

    private static let patience = Duration.seconds(120)
    /// Between two looks at how many the store has.
    private static let step: Int32 = 10
    /// What a store may hold beside sessions: what visitors leave.
    private static let othersMax = 16

    private var goal: Double {
        switch store {
        case .redis: 50_000
        case .memcached: 30_000
        case .mongodb: 10_000
        }
    }

    func run(with toolbox: Toolbox) throws -> [Figure] {
        let server = try Store(store, in: "\(toolbox.directory)/store")
        defer { server.kill() }
        server.kill()
        let shape = Load.Shape(fields: ["alpha", "delta", "gamma"], valueBytes: 20)
        let scene = try Scene(2, with: toolbox, mirror: server.place.uri(), shape, seed: seed)
        defer { scene.end() }
        try scene.fill(sessions)
        let filled = scene.loop.now
        try scene.wait(for: "all sessions to be dirty") { scene.overseer.mirrorDirty(since: filled) == sessions }

        try server.startAgain()
        let deadline = Instant.now + Self.patience
        while !server.place.answers {
            guard Instant.now < deadline else { throw LabFailure("the store did not come back") }
            try scene.turn()
        }
        let back = Instant.now
        let pids = scene.mesh.agents.compactMap(\.child?.pid)
        let agentTime = pids.reduce(0) { $0 + ProcessTime.nanoseconds(of: $1) }
        let storeTime = ProcessTime.nanoseconds(of: server.pid)
        let talk = try StoreTalk(port: server.place.port)
        var begun: Instant?
        var lastEmpty = back
        var counts: [(Double, Int)] = []
        while true {
            let now = Instant.now
            let count = try server.place.count(over: talk)
            if count <= Self.othersMax { lastEmpty = now } else if begun == nil { begun = lastEmpty }
            counts.append((now.seconds(since: back), count))
            if count >= sessions, isClean(scene) { break }
            guard now < deadline else { throw LabFailure("the store has \(count) of \(sessions) sessions after \(Self.patience)") }
            poll(nil, 0, Self.step)
            try Interruption.check()
        }
        let end = Instant.now
        let agentBusy = Double(pids.reduce(0) { $0 + ProcessTime.nanoseconds(of: $1) } - agentTime) / 1000 / Double(sessions)
        let storeBusy = Double(ProcessTime.nanoseconds(of: server.pid) - storeTime) / 1000 / Double(sessions)
        let seconds = end.seconds(since: begun ?? back)
        Say.progress("  s since the store answers, and what it has: \(Self.outline(counts))")
        return [
            Figure("sessions a second", Double(sessions) / seconds, goal: .atLeast(goal)),
            Figure("first write after the store answers", (begun ?? back).seconds(since: back), "s"),
            Figure("from the first write to the last", seconds, "s"),
            Figure("CPU a session, both agents", agentBusy, "us"),
            Figure("CPU a session, the store", storeBusy, "us"),
        ]
    }

    private func isClean(_ scene: Scene) -> Bool {
        scene.mesh.agents.allSatisfy { Admin.metrics(socket: scene.mesh.adminSocket(of: $0))["sessionmesh_mirror_dirty"] == 0 }
    }

    private static func outline(_ counts: [(Double, Int)]) -> String {
        counts.enumerated().filter { $0.offset % max(1, counts.count / 20) == 0 }
            .map { "\($0.element.0.fixed(2)): \($0.element.1)" }.joined(separator: ", ")
    }
}
