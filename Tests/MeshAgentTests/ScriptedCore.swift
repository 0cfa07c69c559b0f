import Logging
import MeshAgent
import ServiceLifecycle
import Synchronization
import Testing

@testable import MeshCore

/// A core that says what the test wants and remembers what it was told.
struct ScriptedCore: AgentStepping {
    var id: MemberID
    var view = MeshView()
    var status = ScriptedCore.quiet
    var keyReport = KeyReport(
        members: [], wanted: TestKeys.mesh.gossip.sealing.mark, used: TestKeys.mesh.gossip.sealing.mark, kept: [])
    var verdicts: [SWIM.Verdict] = []
    var seedsMissing: [Endpoint] = []
    var ends: [SessionKey: SessionEnd] = [:]
    var slots: [SlotReport] = []
    let log: InputLog
    let script: @Sendable (AgentInput) -> [AgentDirective]

    static let quiet: AgentStatus = AgentStatus(
        stage: .serving, isReady: true, sessions: 0, sessionsDiscarded: 0, memoryBytes: 0, primarySlots: 0, backupSlots: 0,
        underReplicatedSlots: 0, leftoverSlots: 0, handOffSlots: 0, doubtedSlots: 0, staleCopies: 0, isPlanned: true, isAlone: true,
        mirror: nil, packetsDropped: [:], membership: .init())

    mutating func step(_ input: AgentInput, at now: Moment, into asked: inout [AgentDirective]) {
        log.append(input)
        asked = script(input)
    }

    func end(of key: SessionKey) -> SessionEnd? { ends[key] }
    mutating func slotReports() -> [SlotReport] { slots }

    mutating func answerAtOnce(_ request: ClientRequest, at now: Moment, to reply: inout [UInt8]) -> Bool { false }
}

/// What a core was told, for a test on another thread.
final class InputLog: Sendable {
    private let inputs = Mutex<[AgentInput]>([])

    func append(_ input: AgentInput) { inputs.withLock { $0.append(input) } }
    var all: [AgentInput] { inputs.withLock { $0 } }
    var count: Int { inputs.withLock { $0.count } }

    /// The first input that `pick` accepts, once it comes.
    func first<Found: Sendable>(
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ pick: @Sendable (AgentInput) -> Found?
    ) async throws -> Found {
        try await eventually(what, sourceLocation: sourceLocation) { all.lazy.compactMap(pick).first }
    }
}

/// The values of a `Mutex`-guarded array, for scripts that need memory.
final class Memory<Value: Sendable>: Sendable {
    private let value: Mutex<Value>

    init(_ value: Value) { self.value = Mutex(value) }

    func with<Result: Sendable>(_ body: (inout sending Value) -> sending Result) -> Result { value.withLock(body) }
    var now: Value { value.withLock { $0 } }
}

struct NeverCame: Error, CustomStringConvertible {
    let description: String
}

/// Asks until there is an answer. The deadline is for a machine that is busy with other tests; nothing waits for it in a good run.
func eventually<Found>(
    _ what: String, within limit: Duration = .seconds(30), sourceLocation: SourceLocation = #_sourceLocation,
    isolation: isolated (any Actor)? = #isolation, _ ask: () async throws -> Found?
) async throws -> Found {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if let found = try await ask() { return found }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("\(what) never came", sourceLocation: sourceLocation)
    throw NeverCame(description: what)
}

func eventually(
    _ what: String, within limit: Duration = .seconds(30), sourceLocation: SourceLocation = #_sourceLocation,
    isolation: isolated (any Actor)? = #isolation, _ ask: () async throws -> Bool
) async throws {
    try await eventually(what, within: limit, sourceLocation: sourceLocation) { try await ask() ? () : nil }
}

/// An agent that runs for the length of a test's closure.
struct RunningAgent {
    let agent: MeshAgent
    let addresses: BoundAddresses
    let log: InputLog
    let services: ServiceGroup

    func leave() async { await services.triggerGracefulShutdown() }
}

enum TestKeys {
    static let mesh = makeKeys(seed: 1)
    static let otherMesh = makeKeys(seed: 2)

    private static func makeKeys(seed: UInt64) -> KeyFile {
        var generator = SeededGenerator(seed: seed)
        return KeyFile.generate(using: &generator)
    }
}

func member(_ name: String, life: UInt64 = 1) throws -> MemberID {
    MemberID(name: try NodeName(name), life: Life(rawValue: life))
}

extension SWIM.Verdict {
    static func ofADeath(of subject: MemberID, by first: String, confirmedBy second: String, deniedBy third: String) throws -> Self {
        func word(_ witness: String, _ finding: Testimony.Finding) throws -> Testimony {
            Testimony(subject: subject, incarnation: 2, witness: try NodeName(witness), finding: finding)
        }
        var confirmation = try word(second, .silent)
        confirmation.pings = 3
        confirmation.heardAgo = .milliseconds(700)
        confirmation.roundTrip = .microseconds(250)
        return SWIM.Verdict(
            subject: subject, incarnation: 2, outcome: .dead, ground: .silent, decidedBy: try NodeName(first), at: 1000,
            took: .seconds(1.5), quorum: 2, testimonies: [try word(first, .silent), confirmation, try word(third, .alive)],
            suspectedBy: try NodeName(first))
    }
}

extension KeyReport {
    static func with(lacking name: NodeName, wanted: KeyMark) -> KeyReport {
        KeyReport(members: [Holder(name: name, keys: [])], wanted: wanted, used: wanted, kept: [])
    }
}

extension AgentShellConfiguration {
    static var anyPort: AgentShellConfiguration { AgentShellConfiguration(bind: .loopback(port: 0)) }
}

/// Runs an agent with a script for its core; ends it at once when `body` is through.
func withAgent<Result: Sendable>(
    _ name: String = "n1", _ configuration: AgentShellConfiguration = .anyPort, keys: KeyFile = TestKeys.mesh,
    rereadKeys: (@Sendable () throws -> KeyFile)? = nil, mirror: (any MeshCore.Mirror)? = nil,
    prepare: @escaping @Sendable (inout ScriptedCore) -> Void = { _ in },
    script: @escaping @Sendable (AgentInput) -> [AgentDirective] = { _ in [] },
    _ body: @escaping @Sendable (RunningAgent) async throws -> Result
) async throws -> Result {
    let log = InputLog()
    let identity = try member(name)
    let agent = MeshAgent(
        configuration: configuration, keys: keys, rereadKeys: rereadKeys, mirror: mirror, logger: quietLogger
    ) { _, _ in
        var core = ScriptedCore(id: identity, log: log, script: script)
        prepare(&core)
        return core
    }
    return try await run(agent, log: log, body)
}

func run<Result: Sendable>(
    _ agent: MeshAgent, log: InputLog = InputLog(), _ body: @escaping @Sendable (RunningAgent) async throws -> Result
) async throws -> Result {
    let services = ServiceGroup(
        configuration: ServiceGroupConfiguration(
            services: [.init(service: agent, successTerminationBehavior: .gracefullyShutdownGroup)], logger: quietLogger))
    return try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask {
            try await services.run()
            return nil
        }
        for await notice in agent.notices {
            guard case .ready(let addresses) = notice.kind else { continue }
            let running = RunningAgent(agent: agent, addresses: addresses, log: log, services: services)
            group.addTask { try await body(running) }
            break
        }
        defer { group.cancelAll() }
        while let result = try await group.next() {
            if let result { return result }
        }
        throw NeverCame(description: "the agent's readiness")
    }
}

let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
