import Foundation
import Glibc
import Hummingbird
import Logging
import MetricsTestKit
import ServiceLifecycle
import SessionMesh
import SessionMeshHummingbird
import Synchronization
import TemporaryDirectory

/// Two agents and a balancer, each a process of its own, and an application of the test's own in front of each agent, in this process: so
/// a test can hold a handler where it wants it.
final class ShopMesh: Sendable {
    struct Node: Sendable {
        let name: String
        let agent: Program
        /// `unix:PATH` of its admin listener.
        let admin: String
        /// Where others reach it.
        let gossip: String
        /// `unix:PATH` of its listener for applications.
        let client: String
        let mesh: SessionMesh
        let metrics: TestMetrics
        /// `127.0.0.1:PORT` of its application.
        let app: String
        /// Its agent's log, of every level.
        let log: String
    }

    let nodes: [Node]
    /// `127.0.0.1:PORT` of the balancer.
    let address: String
    let balancer: Program
    let balancerLog: String
    let gate: Gate

    private init(nodes: [Node], address: String, balancer: Program, balancerLog: String, gate: Gate) {
        self.nodes = nodes
        self.address = address
        self.balancer = balancer
        self.balancerLog = balancerLog
        self.gate = gate
    }

    /// A visitor that comes through the balancer.
    func visitor(cookie: String? = nil) -> Visitor { Visitor(browser: Browser(address, cookie: cookie)) }

    /// One that comes to a node's application directly.
    func visitor(at node: Node, cookie: String? = nil) -> Visitor { Visitor(browser: Browser(node.app, cookie: cookie)) }

    /// Requests that the applications' libraries have made to their agents.
    var requestsToAgents: Int64 { nodes.map { $0.metrics.counterTotal(label: "sessionmesh_client_requests_total") }.reduce(0, +) }

    func freezeAgents() throws { for node in nodes { try node.agent.freeze() } }
    func signalAgents(_ number: Int32) { for node in nodes { node.agent.signal(number) } }

    // MARK: Starting

    /// Starts it all, runs `body` once everything is held twice, and ends it all.
    /// - Parameter options: more flags for both agents.
    static func run(keys: Keys? = nil, _ options: String..., body: @Sendable (ShopMesh) async throws -> Void) async throws {
        let keys = try keys ?? Keys()
        let directory = try TemporaryDirectory()
        // Until the processes are gone that have their keys and sockets there.
        defer { withExtendedLifetime((directory, keys)) {} }
        var programs: [Program] = []
        // Also those that stand still.
        defer { for program in programs { program.signal(SIGKILL) } }

        let gate = Gate()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            var nodes: [Node] = []
            var groups: [ServiceGroup] = []
            var seed: [String] = []
            for name in ["n1", "n2"] {
                let (log, socket) = (directory.file("\(name).log"), directory.file("\(name).sock"))
                let admin = "unix:" + directory.file("\(name).admin")
                let agent = try logged(
                    [
                        "agent", "--name", name, "--bind", "127.0.0.1:0", "--client", "unix:\(socket)", "--admin", admin, "--key-file",
                        keys.path, "--events", "json", "--log-level", "trace",
                    ] + seed + options, to: log)
                programs.append(agent)
                let ready = try await event("ready", of: agent)
                guard let gossip = ready["address"] as? String else { throw Program.Failure(description: "no address in \(ready)") }
                if seed.isEmpty { seed = ["--seed", gossip] }

                let metrics = TestMetrics()
                var quiet = Logger(label: "shop")
                quiet.logLevel = .critical
                let mesh = SessionMesh(
                    configuration: SessionMeshConfiguration(agent: .unix(path: socket)), logger: quiet, metrics: metrics)
                let port = Mutex(0)
                let app = Application(
                    router: Shop(name: name, mesh: mesh, gate: gate).router,
                    configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)), services: [mesh],
                    onServerRunning: { channel in port.withLock { $0 = channel.localAddress?.port ?? 0 } }, logger: quiet)
                let group = ServiceGroup(configuration: ServiceGroupConfiguration(services: [app], logger: quiet))
                groups.append(group)
                tasks.addTask { try await group.run() }
                try await awaiting("\(name)'s application listens") { port.withLock { $0 } != 0 }
                let address = "127.0.0.1:\(port.withLock { $0 })"
                try await mesh.register(service: "shop", address: address)
                nodes.append(
                    Node(
                        name: name, agent: agent, admin: admin, gossip: gossip, client: "unix:\(socket)", mesh: mesh, metrics: metrics,
                        app: address,
                        log: log))
            }
            let balancerLog = directory.file("balancer.log")
            let balancer = try logged(
                ["balance", "--listen", "127.0.0.1:0", "--key-file", keys.path, "--events", "json", "--log-level", "trace"] + seed,
                to: balancerLog)
            programs.append(balancer)
            guard let address = try await event("ready", of: balancer)["listen"] as? String else {
                throw Program.Failure(description: "no address of the balancer in \(balancer.lines)")
            }
            let shop = ShopMesh(nodes: nodes, address: address, balancer: balancer, balancerLog: balancerLog, gate: gate)
            let outcome: Result<Void, any Error>
            do {
                try await shop.waitUntilWhole()
                outcome = .success(try await body(shop))
            } catch { outcome = .failure(error) }
            gate.open()
            for group in groups { await group.triggerGracefulShutdown() }
            try await tasks.waitForAll()
            try outcome.get()
        }
    }

    private static func logged(_ arguments: [String], to log: String) throws -> Program {
        try Program("/bin/sh", ["-c", #"log=$1; shift; exec "$@" 2>"$log""#, "sh", log, Program.path(of: "sessionmesh")] + arguments)
    }

    private static func event(_ name: String, of program: Program) async throws -> [String: Any] {
        var found: [String: Any]?
        try await awaiting("the event \(name)") {
            if let code = program.exitCode { throw Program.Failure(description: "ended with \(code): \(program.lines)") }
            found = program.lines.lazy.compactMap { try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
                .first { $0["event"] as? String == name }
            return found != nil
        }
        return found ?? [:]
    }

    /// Until both nodes hold everything, and the balancer knows both applications.
    func waitUntilWhole() async throws {
        try await awaiting("everything is held twice") {
            for node in nodes {
                let admin = node.admin
                let (ready, text) = try await onThread {
                    (try HTTP.ask(admin, "GET", "/readyz").status, try HTTP.ask(admin, "GET", "/metrics").body)
                }
                guard ready == 200, text.contains("\nsessionmesh_under_replicated_slots 0\n") else { return false }
                let view = try await node.mesh.members()
                guard view.instances.count == nodes.count, view.members.count == nodes.count + 1 else { return false }
            }
            var first = visitor()
            return try await first.get("/open").status == 200
        }
    }
}

/// The application. A path under `/slow` loads the session and then waits at the gate, as a handler waits for a slow database.
private struct Shop: Sendable {
    let name: String
    let mesh: SessionMesh
    let gate: Gate

    struct Context: SessionRequestContext {
        var coreContext: CoreRequestContextStorage
        var sessionStorage = SessionStorage()
        init(source: Source) { coreContext = CoreRequestContextStorage(source: source) }
    }

    struct Cart: Codable, Sendable {
        struct Item: Codable, Sendable { var name: String }
        var items: [Item] = []
        var notes: [String: [String]] = [:]
    }

    /// What a later version of the application made of the cart.
    struct NewCart: Codable, Sendable {
        var lines: [Int]
    }

    static let visits = SessionCounter("visits")
    static let theme = SessionField<String>("theme")
    static let language = SessionField<String>("language", codec: .text)
    static let cart = SessionField<Cart>("cart")
    static let newCart = SessionField<NewCart>("cart")

    var router: Router<Context> {
        let router = Router(context: Context.self)
        let visited = router.group().add(middleware: SessionMiddleware<Context>(mesh))
        visited.get("open") { _, _ in "open to all\n" }
        visited.get("session") { _, context in ShopPage(try await context.session.load(), at: name) }
        visited.get("session/newer") { _, context in
            let session = try await context.session.load()
            return session[Self.newCart] == nil ? "no cart, \(session[Self.visits]) visits\n" : "a cart\n"
        }
        visited.post("count") { _, context in
            try await context.session.update { $0.increment(Self.visits) }
            return "\(try await context.session.commit()[Self.visits] ?? 0)"
        }
        visited.post("cart/:item") { _, context in
            let item = try context.parameters.require("item")
            try await context.session.update { session in
                if session[Self.cart] == nil { session[Self.cart] = Cart() }
                session[Self.cart]?.items.append(Cart.Item(name: item))
                session[Self.cart]?.notes["seen", default: []].append(item)
            }
            return "added\n"
        }
        visited.post("cart/:item/update") { _, context in
            let item = try context.parameters.require("item")
            // What is there is copied, changed inside, and put back only if nobody came between.
            return try await context.session.update(Self.cart) { cart in
                if cart == nil { cart = Cart() }
                cart?.items.append(Cart.Item(name: item))
                cart?.notes["seen", default: []].append(item)
                return "\(cart?.items.count ?? 0)"
            }
        }
        visited.post("age/:seconds") { _, context in
            try await visit(context) { $0.expire(after: $1) }
            return "mortal\n"
        }
        visited.post("short/:seconds") { _, context in
            try await visit(context) { $0.expire(afterIdle: $1) }
            return "short\n"
        }
        visited.post("login") { _, context in
            try await context.session.update { session in
                session.bind(user: "ann")
                session.regenerate()
            }
            return "hello\n"
        }
        visited.post("logout") { _, context in
            try await context.session.update { $0.destroy() }
            return "bye\n"
        }
        visited.post("logout/elsewhere") { _, context in
            let session = try await context.session.load()
            return "\(try await mesh.endSessions(of: session.user ?? "nobody", except: session.key))"
        }
        visited.get("logins") { _, context in
            let session = try await context.session.load()
            return "\(try await mesh.sessions(of: session.user ?? "nobody").sessions.count)"
        }
        visited.post("slow/theme/:value") { _, context in
            let value = try context.parameters.require("value")
            try await changeSlowly(context) { $0[Self.theme] = value }
            return "set\n"
        }
        visited.post("slow/language/:value") { _, context in
            let value = try context.parameters.require("value")
            try await changeSlowly(context) { $0[Self.language] = value }
            return "set\n"
        }
        visited.post("slow/count") { _, context in
            try await changeSlowly(context) { $0.increment(Self.visits) }
            return "counted\n"
        }
        // Looks without being an access.
        router.get("peek/:key") { _, context in
            guard let key = SessionKey(text: try context.parameters.require("key")) else { throw HTTPError(.badRequest) }
            return try await mesh.read(key) == nil ? "gone" : "there"
        }
        return router
    }

    /// Counts a visit to a session that is to end after so many `:seconds`.
    private func visit(_ context: Context, _ expire: @Sendable (inout Session, Duration) -> Void) async throws {
        let seconds = try context.parameters.require("seconds", as: Int.self)
        try await context.session.update { session in
            expire(&session, .seconds(seconds))
            session.increment(Self.visits)
        }
    }

    /// Loads the session as it is before the gate, and changes it behind.
    private func changeSlowly(_ context: Context, _ change: @Sendable (inout Session) -> Void) async throws {
        _ = try await context.session.load()
        await gate.pass()
        try await context.session.update(change)
    }
}

/// What a session holds, as the application shows it.
struct ShopPage: ResponseCodable, Sendable {
    var node: String
    /// Empty when there is no session.
    var key: String
    var primary: String
    var user: String
    var visits: Int64
    var theme: String?
    var language: String?
    var items: [String]
    var notes: [String: [String]]

    fileprivate init(_ session: Session, at node: String) {
        self.node = node
        key = session.key?.description ?? ""
        primary = session.primary?.description ?? ""
        user = session.user ?? ""
        visits = session[Shop.visits]
        theme = session[Shop.theme]
        language = session[Shop.language]
        items = session[Shop.cart]?.items.map(\.name) ?? []
        notes = session[Shop.cart]?.notes ?? [:]
    }
}

/// Holds handlers until a test lets them go on.
final class Gate: Sendable {
    private struct State {
        var isOpen = true
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    var waitingCount: Int { state.withLock { $0.waiting.count } }

    func close() { state.withLock { $0.isOpen = false } }

    func open() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func pass() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}

/// A browser that blocks a thread of its own rather than one that the applications of this process need.
struct Visitor: Sendable {
    private(set) var browser: Browser

    init(browser: Browser) { self.browser = browser }

    var cookie: String? { browser.cookie }

    mutating func get(_ path: String) async throws -> HTTPAnswer {
        try await ask { try $0.get(path) }
    }

    mutating func post(_ path: String) async throws -> HTTPAnswer {
        try await ask { try $0.post(path) }
    }

    mutating func session() async throws -> ShopPage {
        let answer = try await get("/session")
        guard answer.status == 200 else { throw Program.Failure(description: "\(answer.status) \(answer.body)") }
        return try JSONDecoder().decode(ShopPage.self, from: Data(answer.body.utf8))
    }

    private mutating func ask(_ body: @escaping @Sendable (inout Browser) throws -> HTTPAnswer) async throws -> HTTPAnswer {
        let before = browser
        let (answer, after) = try await onThread {
            var browser = before
            return (try body(&browser), browser)
        }
        browser = after
        return answer
    }
}

/// Runs what blocks on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}

/// Looks as `eventually` does, for who must not block a thread.
func awaiting(_ what: String, within seconds: Int = 60, _ isSo: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(seconds)
    while try await !isSo() {
        guard ContinuousClock.now < end else { throw Program.Failure(description: "not within \(seconds) s: \(what)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}
