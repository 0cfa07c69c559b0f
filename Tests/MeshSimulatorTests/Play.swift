import MeshCore
import MeshSimulator
import Testing

/// A world with a script's verbs.
struct Play {
    var world: World
    private var generator = SeededGenerator(seed: 7)

    init(seed: UInt64, _ names: String..., with configuration: World.Configuration = .init()) throws {
        world = World(seed: seed, configuration: configuration)
        for name in names { world.start(try NodeName(name)) }
        try settle()
    }

    /// Waits until everybody serves and every slot has its second copy.
    mutating func settle(within limit: Duration = .seconds(30)) throws {
        let isSettled = world.run(for: limit, lookingEvery: .milliseconds(100), until: \.isWhole)
        try #require(isSettled, "\(world.running.map { (world.core(of: $0)?.status).map(String.init(describing:)) ?? "-" })")
    }

    mutating func create(at name: String) throws -> CommitReceipt {
        try committed(at: name, SessionCommit(key: nil, id: CommitID(using: &generator)))
    }

    mutating func increment(_ session: CommitReceipt, at name: String, id: CommitID? = nil) throws -> CommitReceipt {
        let id = id ?? CommitID(using: &generator)
        return try committed(at: name, SessionCommit(key: session.key, id: id, changes: [.increment("n", by: 1)]))
    }

    mutating func committed(at name: String, _ commit: SessionCommit) throws -> CommitReceipt {
        let answer = world.ask(try NodeName(name), .commit(commit))
        guard case .committed(let receipt) = answer else { throw Unexpected(answer: answer) }
        return receipt
    }

    mutating func count(_ session: CommitReceipt, at name: String) throws -> Int64? {
        let answer = world.ask(try NodeName(name), .read(session.key))
        guard case .session(let snapshot) = answer else { throw Unexpected(answer: answer) }
        guard case .integer(let value) = snapshot?.fields.first(where: { $0.name == "n" })?.value else { return nil }
        return value
    }

    mutating func primary(of session: CommitReceipt, asking name: String = "n1") throws -> String? {
        let answer = world.ask(try NodeName(name), .read(session.key))
        guard case .session(let snapshot) = answer else { throw Unexpected(answer: answer) }
        return snapshot?.primary.description
    }

    struct Unexpected: Error { let answer: ClientResponse? }
}
