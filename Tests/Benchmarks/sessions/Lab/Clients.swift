import AgentTools
import LabTools
import MeshCore
import MeshSimulator

/// Carries a workload's requests to agents and the answers back: one request at a time on a connection, as many connections as that takes.
final class Clients: Asker {
    private let mesh: Mesh
    private(set) var workload: Workload
    private var idle: [NodeName: [Connection]] = [:]
    private var busy: [Int: Errand] = [:]

    private struct Errand {
        var connection: Connection
        var agent: NodeName
        var began: Duration
    }

    init(_ workload: Workload, of mesh: Mesh) {
        self.workload = workload
        self.mesh = mesh
    }

    private var now: Duration { mesh.loop.now }
    /// Longer than the workload waits before it asks somebody else. Then a client hangs up.
    private static let patience = Duration.seconds(5)

    /// Sends what is due now.
    func ask() {
        send(workload.requests(at: now, of: mesh.ready.map(\.name)))
        let late = busy.values.filter { now - $0.began > Self.patience }
        for errand in late { errand.connection.close() }
    }

    /// Every session read once by way of each agent.
    func readAll() { send(workload.readAll(at: now, of: mesh.ready.map(\.name))) }

    func areWaiting(for agent: Agent) -> Bool { busy.values.contains { $0.agent == agent.name } }

    func stop() { workload.stop() }
    func interruptionBegan() { workload.interruptionBegan(at: now) }
    func interruptionEnded() { workload.interruptionEnded(at: now) }

    /// Closes every connection.
    func end() {
        for errand in Array(busy.values) { errand.connection.close() }
        for connection in idle.values.joined() { connection.close() }
        idle.removeAll()
    }

    private func send(_ requests: [Workload.Request]) {
        for request in requests {
            guard let connection = connection(to: request.agent) else {
                workload.lost(request.ticket, at: now)
                continue
            }
            busy[request.ticket] = Errand(connection: connection, agent: request.agent, began: now)
            connection.ask(request.ticket, request.body)
        }
    }

    private func connection(to name: NodeName) -> Connection? {
        while let connection = idle[name]?.popLast() {
            if connection.descriptor >= 0 { return connection }
        }
        guard let agent = mesh[name], let connection = try? Connection(to: mesh.clientSocket(of: agent), for: self) else { return nil }
        mesh.loop.add(connection)
        return connection
    }

    func answered(_ ticket: Int, _ response: ClientResponse) {
        // What was asked in the meantime was sent before this was read; a time taken now is late by a moment, and never early.
        workload.answered(ticket, response, at: now)
        guard let errand = busy.removeValue(forKey: ticket) else { return }
        idle[errand.agent, default: []].append(errand.connection)
    }

    func lost(_ ticket: Int) {
        busy[ticket] = nil
        workload.lost(ticket, at: now)
    }
}
