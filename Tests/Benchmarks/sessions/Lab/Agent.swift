import Glibc
import LabTools
import MeshCore

/// One agent under its name, through all its lives.
final class Agent {
    let number: Int
    let name: NodeName
    fileprivate(set) var child: Child?
    /// Where it is dialled in its present life; nil until it is ready, and again once it is gone.
    fileprivate(set) var address: String?
    /// Was told to end, or killed.
    fileprivate var mayEnd = false
    /// Its standard output and error, each line with the lab's time.
    fileprivate let log: UnsafeMutablePointer<FILE>?
    fileprivate(set) var lastComplaint = ""

    fileprivate init(_ number: Int, name: NodeName, log path: String) {
        self.number = number
        self.name = name
        log = fopen(path, "w")
    }

    deinit { if let log { fclose(log) } }

    var isRunning: Bool { child?.isRunning ?? false }
    var isReady: Bool { isRunning && address != nil }
}

/// What agents are started from.
struct Toolbox {
    /// The program under test.
    var sessionmesh: String
    /// For sockets, the key file and what agents say.
    var directory: String
    /// A library that shifts an agent's wall clock; nil: none can be shifted.
    var clockShift: String?

    var keyFile: String { "\(directory)/mesh.key" }
}

/// The agents that the lab runs, and nothing else: who is started, stopped and harmed here is known by its process id.
final class Mesh {
    /// All on one loopback, at ports that the system chooses; or each in a network namespace, so that packets can be dropped on their way.
    enum Ground { case loopback, apart }

    let loop: Loop
    private let toolbox: Toolbox
    private let ground: Ground
    private(set) var agents: [Agent] = []

    init(_ count: Int, on ground: Ground, with toolbox: Toolbox, in loop: Loop) throws {
        self.loop = loop
        self.toolbox = toolbox
        self.ground = ground
        if ground == .apart { try Grounds.prepare(Array(1...count)) }
        for number in 1...count { try add(number) }
    }

    deinit { end() }

    func end() {
        for agent in agents {
            agent.child?.signal(SIGKILL)
            agent.child?.end()
        }
    }

    /// One more, that is not started yet.
    @discardableResult
    func add(_ number: Int) throws -> Agent {
        guard let name = try? NodeName("n\(number)") else { throw LabFailure("n\(number) is no name") }
        let agent = Agent(number, name: name, log: "\(toolbox.directory)/\(name).log")
        agents.append(agent)
        return agent
    }

    subscript(number: Int) -> Agent? { agents.first { $0.number == number } }
    subscript(name: NodeName) -> Agent? { agents.first { $0.name == name } }

    var running: [Agent] { agents.filter(\.isRunning) }
    /// Who can be asked. One that is paused can: nobody knows.
    var ready: [Agent] { agents.filter(\.isReady) }

    func clientSocket(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).client" }
    func adminSocket(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).admin" }

    // MARK: Starting

    /// Starts it, with all that are ready as its seeds.
    func start(_ agent: Agent) throws {
        var arguments = [
            toolbox.sessionmesh, "agent", "--name", "\(agent.name)", "--key-file", toolbox.keyFile, "--events", "json",
            "--client", "unix:\(clientSocket(of: agent))", "--admin", "unix:\(adminSocket(of: agent))",
            "--bind", ground == .loopback ? "127.0.0.1:0" : "10.77.0.\(agent.number):7946",
        ]
        for other in ready { if let address = other.address { arguments += ["--seed", address] } }
        if ground == .apart { arguments = ["ip", "netns", "exec", Grounds.name(agent.number)] + arguments }
        var variables = ["XDG_RUNTIME_DIR": toolbox.directory]
        if let library = toolbox.clockShift {
            try Files.write("0\n", to: clockFile(of: agent))
            variables["LD_PRELOAD"] = library
            variables["CLOCK_SHIFT_FILE"] = clockFile(of: agent)
        }
        let child = try Child(arguments, variables: variables)
        agent.child = child
        agent.address = nil
        agent.mayEnd = false
        note("started as process \(child.pid)", of: agent)
        loop.add(LineSource(child, \.output) { [unowned self, unowned agent] line in take(line, from: agent) })
        loop.add(
            LineSource(child, \.errors) { [unowned self, unowned agent] line in
                agent.lastComplaint = String(decoding: line, as: UTF8.self)
                note(agent.lastComplaint, of: agent)
            })
    }

    private func take(_ line: ArraySlice<UInt8>, from agent: Agent) {
        note(String(decoding: line, as: UTF8.self), of: agent)
        if line.text(of: "event") == "ready", let address = line.text(of: "address") { agent.address = address }
    }

    func note(_ text: String, of agent: Agent) {
        guard let log = agent.log else { return }
        fputs("\(loop.now.seconds.fixed(3)) \(text)\n", log)
        fflush(log)
    }

    // MARK: Harming

    func signal(_ number: Int32, _ agent: Agent) {
        note("signal \(number)", of: agent)
        agent.child?.signal(number)
        if number == SIGTERM { agent.mayEnd = true }
    }

    /// At once and for good.
    func kill(_ agent: Agent) {
        note("killed", of: agent)
        agent.child?.end()
        agent.address = nil
    }

    /// Sets its wall clock so many milliseconds wrong.
    func setClock(of agent: Agent, error: Int64) throws {
        guard toolbox.clockShift != nil else { throw LabFailure("clocks can't be shifted without --clock-shift") }
        note("wall clock \(error) ms wrong", of: agent)
        try Files.write("\(error)\n", to: clockFile(of: agent))
    }

    private func clockFile(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).clock" }

    /// Nothing gets from `other` to `agent`.
    func cut(_ agent: Agent, from other: Agent) throws {
        note("hears nothing of \(other.name)", of: agent)
        try Grounds.cut(agent.number, from: "10.77.0.\(other.number)")
    }

    func mend() throws {
        for agent in agents { note("hears everybody", of: agent) }
        try Grounds.clear(agents.map(\.number))
    }

    /// Notices who has ended.
    /// - Throws: for somebody who was not told to.
    func watch() throws {
        for agent in agents where agent.address != nil && agent.child.map({ $0.output.isAtEnd && $0.reap() }) ?? false {
            note("ended with \(agent.child?.exitCode.map { "code \($0)" } ?? "a signal")", of: agent)
            agent.address = nil
            guard agent.mayEnd else { throw LabFailure("\(agent.name) ended by itself: \(agent.lastComplaint)") }
        }
    }
}
