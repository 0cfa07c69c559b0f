import AgentTools
import LabTools
import MeshCore

/// Reads sessions through agents, each until it is there or is known not to be.
final class MeshReader: Asker {
    private let keys: [SessionKey]
    private let sockets: [String]
    private let loop: Loop
    private var connections: [Connection] = []
    private var waiting: [Int]
    private var isKnown: [Bool]
    private var known = 0
    private(set) var found: [SessionSnapshot?]
    private(set) var complaints: [String: Int] = [:]

    private static let depth = 64

    init(_ keys: [SessionKey], over sockets: [String], in loop: Loop) {
        self.keys = keys
        self.sockets = sockets
        self.loop = loop
        waiting = Array(keys.indices)
        isKnown = Array(repeating: false, count: keys.count)
        found = Array(repeating: nil, count: keys.count)
    }

    var isDone: Bool { known == keys.count }

    func ask() throws {
        if connections.isEmpty {
            connections = try sockets.map { try Connection(to: $0, for: self) }
            for connection in connections { loop.add(connection) }
        }
        for connection in connections {
            while connection.unanswered < Self.depth, let index = waiting.popLast() { connection.ask(index, .read(keys[index])) }
        }
    }

    func close() {
        for connection in connections { connection.close() }
        connections.removeAll()
    }

    func answered(_ ticket: Int, _ response: ClientResponse) {
        guard case .session(let snapshot) = response else {
            if case .failure(let failure) = response { complaints[failure.code.rawValue, default: 0] += 1 }
            return waiting.insert(ticket, at: 0)
        }
        guard !isKnown[ticket] else { return }
        isKnown[ticket] = true
        known += 1
        found[ticket] = snapshot
    }

    func lost(_ ticket: Int) { if !isKnown[ticket] { waiting.insert(ticket, at: 0) } }
}
