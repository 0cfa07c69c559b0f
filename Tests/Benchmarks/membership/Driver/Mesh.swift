import Glibc
import LabTools

/// Where members live.
enum Ground {
    /// 127.0.0.x of one network namespace.
    case loopback
    /// A network namespace each, on one bridge, so that packets of one member can be dropped on their way, TCP's too.
    case apart
}

/// One member that runs or ran.
final class Node {
    let plan: MemberPlan
    let index: Int
    let child: Child
    fileprivate(set) var isReady = false
    /// What it believes, by name.
    fileprivate(set) var view: [String: Status] = [:]
    fileprivate(set) var addresses: [String: String] = [:]
    fileprivate(set) var logLines = 0
    fileprivate(set) var lastLog = ""
    /// Stopped by SIGSTOP: not asked for its view.
    var isPaused = false
    /// Its end is part of the play.
    var mayEnd = false
    fileprivate var application: Application?

    fileprivate init(_ plan: MemberPlan, index: Int, child: Child) {
        self.plan = plan
        self.index = index
        self.child = child
    }

    var name: String { plan.name }
    var isObserving: Bool { child.isRunning && !isPaused }

    func signal(_ number: Int32) {
        child.signal(number)
        if number == SIGSTOP { isPaused = true }
        if number == SIGCONT { isPaused = false }
    }
}

/// The members of one system that run together, and what they have said.
final class Mesh {
    let system: System
    private let toolbox: Toolbox
    private let ground: Ground
    private(set) var nodes: [Node] = []
    /// Since the last ``mark()``.
    private(set) var sightings: [Sighting] = []
    /// What a balancer has said since the last ``mark()`` about how many instances it knows.
    private(set) var routes: [(at: Instant, targets: Int)] = []
    /// The newest of them, from before the mark too.
    private(set) var routeCount = 0
    private var nextPing = Instant.now

    init(_ system: System, on ground: Ground = .loopback, with toolbox: Toolbox) {
        self.system = system
        self.ground = ground
        self.toolbox = toolbox
    }

    func host(_ number: Int) -> String { ground == .loopback ? "127.0.0.\(number)" : "10.77.0.\(number)" }

    // MARK: Starting and stopping

    /// - Parameters:
    ///   - number: makes the name and the address.
    ///   - host: another number for the address.
    @discardableResult
    func start(_ number: Int, host: Int? = nil, isBalancer: Bool = false) throws -> Node {
        let host = host ?? number
        let plan = MemberPlan(
            name: isBalancer ? "b\(number)" : "n\(number)", host: self.host(host), seed: self.host(1), isBalancer: isBalancer)
        var arguments = toolbox.arguments(of: plan, in: system)
        if ground == .apart { arguments = ["ip", "netns", "exec", Grounds.name(host)] + arguments }
        let node = Node(plan, index: nodes.count, child: try Child(arguments, variables: ["XDG_RUNTIME_DIR": toolbox.directory]))
        nodes.append(node)
        return node
    }

    /// Starts members 1 to `count`, the first alone, and waits until everybody sees everybody.
    func form(_ count: Int, within limit: Duration = .seconds(120)) throws {
        let first = try start(1)
        try wait(.seconds(20), for: "the first member") { first.isReady }
        for number in 2...max(2, count) where number <= count {
            try start(number)
            try run(for: .milliseconds(count > 32 ? 40 : 15))
        }
        try whole(within: limit)
        // What a start stirs up settles: the second copies, the first round trips.
        try run(for: .seconds(3))
    }

    /// A member of this mesh but for its key, or but for its label.
    func startStranger(_ number: Int, withAnotherKey isKey: Bool) throws {
        var toolbox = toolbox
        if isKey {
            toolbox.keyFile = "\(toolbox.directory)/another.key"
            try Files.write(try Child.run([toolbox.sessionmesh, "keygen"]), to: toolbox.keyFile)
        }
        let plan = MemberPlan(name: "n\(number)", host: host(number), seed: host(1))
        let arguments = toolbox.arguments(of: plan, in: system) + (isKey ? [] : ["--label", "another"])
        nodes.append(Node(plan, index: nodes.count, child: try Child(arguments, variables: ["XDG_RUNTIME_DIR": toolbox.directory])))
    }

    func end() {
        for node in nodes where node.child.isRunning { node.child.signal(SIGKILL) }
        for node in nodes { node.child.end() }
    }

    subscript(_ name: String) -> Node? { nodes.last { $0.name == name && $0.child.isRunning } }

    /// A member that may be harmed: another each round, never the seed.
    func victim(_ round: Int, of count: Int) throws -> Node {
        let number = 2 + round % (count - 1)
        guard let node = self["n\(number)"] else { throw LabFailure("n\(number) does not run") }
        return node
    }

    func survivors(of victims: [Node]) -> [Node] {
        nodes.filter { node in node.isObserving && !node.plan.isBalancer && !victims.contains { $0 === node } }
    }

    // MARK: Watching

    func mark() {
        sightings.removeAll()
        routes.removeAll()
    }

    /// Reads on for that long.
    func run(for duration: Duration) throws {
        let end = Instant.now + duration
        while .now < end { try pump(until: end) }
    }

    /// Reads on until `isTrue`; false when it took longer than `limit`.
    func poll(_ limit: Duration, until isTrue: () -> Bool) throws -> Bool {
        let end = Instant.now + limit
        while !isTrue() {
            if .now >= end { return false }
            try pump(until: end)
        }
        return true
    }

    func wait(_ limit: Duration, for what: String, until isTrue: () -> Bool) throws {
        guard try poll(limit, until: isTrue) else {
            let silent = nodes.first { !$0.child.isRunning && !$0.mayEnd }
            let reason = silent.map { "; \($0.name) ended: \($0.lastLog)" } ?? ""
            throw LabFailure("\(what) did not come within \(limit)\(reason)")
        }
    }

    /// Until every member that runs sees all that run, and nobody else.
    func whole(within limit: Duration = .seconds(60)) throws {
        try wait(limit, for: "one view of all \(nodes.count { $0.child.isRunning }) members") { self.isWhole }
    }

    var isWhole: Bool {
        let running = Set(nodes.filter { $0.child.isRunning && !$0.isPaused }.map(\.name))
        return nodes.allSatisfy { node in !node.isObserving || node.sees(running) }
    }

    /// When each of `observers` first said so since the mark; nil for one that has not.
    func first(_ status: Status, of subject: String, by observers: [Node], since start: Instant? = nil) -> [Instant?] {
        var found: [Int: Instant] = [:]
        for sighting in sightings where sighting.subject == subject && sighting.status == status && found[sighting.observer] == nil {
            if let start, sighting.at < start { continue }
            found[sighting.observer] = sighting.at
        }
        return observers.map { found[$0.index] }
    }

    /// How often somebody called one of `subjects` dead.
    func deaths(of subjects: [Node]) -> Int {
        let names = Set(subjects.map(\.name))
        return sightings.count { $0.status == .dead && names.contains($0.subject) }
    }

    private func pump(until end: Instant) throws {
        try Interruption.check()
        // Its output ends a moment before it does.
        for node in nodes where node.child.output.isAtEnd { node.child.reap() }
        if .now >= nextPing {
            for node in nodes { node.application?.ping() }
            nextPing = .now + .seconds(1)
        }
        var descriptors: [pollfd] = []
        var owners: [Node] = []
        for node in nodes {
            for reader in [node.child.output, node.child.errors] where !reader.isAtEnd {
                descriptors.append(pollfd(fd: reader.descriptor, events: Int16(POLLIN), revents: 0))
                owners.append(node)
            }
        }
        let patience = min(max(0, (end - .now).milliseconds), 50)
        guard Glibc.poll(&descriptors, nfds_t(descriptors.count), Int32(patience)) > 0 else { return }
        let now = Instant.now
        for (descriptor, node) in zip(descriptors, owners) where descriptor.revents != 0 { read(node, at: now) }
    }

    private func read(_ node: Node, at now: Instant) {
        node.child.output.read { take(Line($0, of: system), from: node, at: now) }
        node.child.errors.read { line in
            node.logLines += 1
            node.lastLog = String(decoding: line, as: UTF8.self)
        }
        if node.child.output.isAtEnd { node.application = nil }
    }

    private func take(_ line: Line, from node: Node, at now: Instant) {
        if system == .serf { node.logLines += 1 }
        switch line {
        case .ready: node.isReady = true
        case .routes(let targets):
            routes.append((now, targets))
            routeCount = targets
        case .sighting(let subject, let status, let address, let epoch):
            // serf logs a suspicion and its refutation only where they arise, so a view is made of its events alone.
            if system == .ours || status != .suspect { node.view[subject] = status }
            if !address.isEmpty { node.addresses[subject] = address }
            sightings.append(
                Sighting(at: now, observer: node.index, subject: subject, status: status, address: address, epoch: epoch))
        case .other: break
        }
    }

    // MARK: Applications

    /// Registers an instance behind each node, as an application would, so that a balancer has somebody to send requests to.
    func registerApplications() throws {
        for node in nodes where !node.plan.isBalancer && node.child.isRunning && node.application == nil {
            node.application = try Application(socket: toolbox.clientSocket(of: node.plan), address: "\(node.plan.host):3000")
        }
    }

    /// A figure of the admin listener; nil when it is not there.
    func metric(_ name: String, of node: Node) -> Int? {
        Admin.metrics(socket: toolbox.adminSocket(of: node.plan)).first { $0.key == "sessionmesh_\(name)" }?.value
    }

    func metrics(of node: Node) -> [String: Int] { Admin.metrics(socket: toolbox.adminSocket(of: node.plan)) }
}

extension Node {
    fileprivate func sees(_ names: Set<String>) -> Bool {
        guard view.count >= names.count else { return false }
        var alive = 0
        for (name, status) in view where status == .alive {
            guard names.contains(name) else { return false }
            alive += 1
        }
        return alive == names.count
    }
}
