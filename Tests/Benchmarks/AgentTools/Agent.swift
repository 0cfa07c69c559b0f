import Glibc
package import LabTools
package import MeshCore

/// One agent under its name, through all its lives.
package final class Agent {
    package let number: Int
    package let name: NodeName
    package fileprivate(set) var child: Child?
    /// Where it is dialled in its present life; nil until it is ready, and again once it is gone.
    package fileprivate(set) var address: String?
    /// Was told to end, or killed.
    fileprivate var mayEnd = false
    /// Its standard output and error, each line with the lab's time.
    fileprivate let log: UnsafeMutablePointer<FILE>?
    package fileprivate(set) var lastComplaint = ""

    fileprivate init(_ number: Int, name: NodeName, log path: String) {
        self.number = number
        self.name = name
        log = fopen(path, "w")
    }

    deinit { if let log { fclose(log) } }

    package var isRunning: Bool { child?.isRunning ?? false }
    package var isReady: Bool { isRunning && address != nil }
}

/// The agents that the lab runs, and nothing else: who is started, stopped and harmed here is known by its process id.
package final class Mesh {
    /// All on one loopback, at ports that the system chooses; or each in a network namespace, so that packets can be dropped on their way.
    package enum Ground { case loopback, apart }

    package let loop: Loop
    private let toolbox: Toolbox
    private let ground: Ground
    /// Given to each that is started.
    private let options: [String]
    package private(set) var agents: [Agent] = []

    /// - Parameter options: given to each agent beside what it needs to be one of this mesh.
    package init(_ count: Int, on ground: Ground, with toolbox: Toolbox, options: [String] = [], in loop: Loop) throws {
        self.loop = loop
        self.toolbox = toolbox
        self.ground = ground
        self.options = options
        if ground == .apart { try Grounds.prepare(Array(1...count)) }
        for number in 1...count { try add(number) }
    }

    deinit { end() }

    package func end() {
        for agent in agents {
            agent.child?.signal(SIGKILL)
            agent.child?.end()
        }
    }

    /// One more, that is not started yet.
    @discardableResult
    package func add(_ number: Int) throws -> Agent {
        guard let name = try? NodeName("n\(number)") else { throw LabFailure("n\(number) is no name") }
        let agent = Agent(number, name: name, log: "\(toolbox.directory)/\(name).log")
        agents.append(agent)
        return agent
    }

    package subscript(number: Int) -> Agent? { agents.first { $0.number == number } }
    package subscript(name: NodeName) -> Agent? { agents.first { $0.name == name } }

    package var running: [Agent] { agents.filter(\.isRunning) }
    /// Who can be asked. One that is paused can: nobody knows.
    package var ready: [Agent] { agents.filter(\.isReady) }

    package func clientSocket(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).client" }
    package func adminSocket(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).admin" }

    // MARK: Starting

    /// Starts it, with all that are ready as its seeds.
    package func start(_ agent: Agent) throws {
        var arguments = [
            toolbox.sessionmesh, "agent", "--name", "\(agent.name)", "--key-file", toolbox.keyFile, "--events", "json",
            "--client", "unix:\(clientSocket(of: agent))", "--admin", "unix:\(adminSocket(of: agent))",
            "--bind", ground == .loopback ? "127.0.0.1:0" : "10.77.0.\(agent.number):7946",
        ]
        arguments += options
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

    package func note(_ text: String, of agent: Agent) {
        guard let log = agent.log else { return }
        fputs("\(loop.now.seconds.fixed(3)) \(text)\n", log)
        fflush(log)
    }

    // MARK: Harming

    package func signal(_ number: Int32, _ agent: Agent) {
        note("signal \(number)", of: agent)
        agent.child?.signal(number)
        if number == SIGTERM { agent.mayEnd = true }
    }

    /// At once and for good.
    package func kill(_ agent: Agent) {
        note("killed", of: agent)
        agent.child?.end()
        agent.address = nil
    }

    /// All at once and for good.
    package func killAll() {
        for agent in agents { agent.child?.signal(SIGKILL) }
        for agent in agents { kill(agent) }
    }

    /// Sets its wall clock so many milliseconds wrong.
    package func setClock(of agent: Agent, error: Int64) throws {
        guard toolbox.clockShift != nil else { throw LabFailure("clocks can't be shifted without --clock-shift") }
        note("wall clock \(error) ms wrong", of: agent)
        try Files.write("\(error)\n", to: clockFile(of: agent))
    }

    private func clockFile(of agent: Agent) -> String { "\(toolbox.directory)/\(agent.name).clock" }

    /// Nothing gets from `other` to `agent`.
    package func cut(_ agent: Agent, from other: Agent) throws {
        note("hears nothing of \(other.name)", of: agent)
        try Grounds.cut(agent.number, from: "10.77.0.\(other.number)")
    }

    package func mend() throws {
        for agent in agents { note("hears everybody", of: agent) }
        try Grounds.clear(agents.map(\.number))
    }

    /// Notices who has ended.
    /// - Throws: for somebody who was not told to.
    package func watch() throws {
        for agent in agents where agent.address != nil && agent.child.map({ $0.output.isAtEnd && $0.reap() }) ?? false {
            note("ended with \(agent.child?.exitCode.map { "code \($0)" } ?? "a signal")", of: agent)
            agent.address = nil
            guard agent.mayEnd else { throw LabFailure("\(agent.name) ended by itself: \(agent.lastComplaint)") }
        }
    }
}
