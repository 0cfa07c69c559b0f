import Foundation
import Glibc

/// `sessionmesh demo`, running, and what it said of itself.
final class DemoMesh {
    struct Node: Decodable {
        let name: String
        var agent_pid: pid_t
        var app_pid: pid_t
        let admin: String
        let gossip: String
        let client: String
        let app: String
    }

    private struct Event: Decodable {
        let event: String
        var url: String?
        var nodes: [Node]?
        var balancer: Balancer?
        // Of a process that was started again.
        var name: String?
        var process: String?
        var pid: pid_t?
    }

    struct Balancer: Decodable {
        let pid: pid_t
        let admin: String?
    }

    let program: Program
    /// `127.0.0.1:PORT` of the balancer.
    let address: String
    let balancer: Balancer

    init(_ arguments: String..., environment: [String: String] = [:]) throws {
        let program = try Program(Program.path(of: "sessionmesh"), ["demo", "--json", "--port", "0"] + arguments, environment: environment)
        self.program = program
        try eventually("the demo is ready", within: 60) {
            if let code = program.exitCode { throw Program.Failure(description: "the demo ended with \(code): \(program.lines)") }
            return program.lines.contains { $0.contains("\"ready\"") }
        }
        guard let ready = Self.events(program).first(where: { $0.event == "ready" }), let url = ready.url, let balancer = ready.balancer
        else {
            throw Program.Failure(description: "no address in \(program.lines)")
        }
        address = String(url.dropFirst("http://".count).prefix { $0 != "/" })
        self.balancer = balancer
    }

    private static func events(_ program: Program) -> [Event] {
        program.lines.compactMap { try? JSONDecoder().decode(Event.self, from: Data($0.utf8)) }
    }

    /// The nodes as they are now: a restart gives a node new processes.
    var nodes: [Node] {
        var nodes: [Node] = []
        for event in Self.events(program) {
            if let all = event.nodes { nodes = all }
            guard event.event == "restarted", let pid = event.pid, let index = nodes.firstIndex(where: { $0.name == event.name }) else {
                continue
            }
            if event.process == "agent" { nodes[index].agent_pid = pid } else { nodes[index].app_pid = pid }
        }
        return nodes
    }

    func node(_ name: String) throws -> Node {
        guard let node = nodes.first(where: { $0.name == name }) else { throw Program.Failure(description: "no node \(name)") }
        return node
    }

    /// The processes of a node, gone without a word.
    func kill(_ name: String) throws {
        let node = try node(name)
        Glibc.kill(node.agent_pid, SIGKILL)
        Glibc.kill(node.app_pid, SIGKILL)
    }

    /// One metric of one node's agent.
    func metric(_ name: String, of node: Node) throws -> Double? {
        let text = try HTTP.ask(node.admin, "GET", "/metrics").body
        return text.split(separator: "\n").first { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
            .flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }
    }

    /// Whether everybody serves and holds everything twice.
    func isWhole() -> Bool {
        nodes.allSatisfy { node in
            (try? HTTP.ask(node.admin, "GET", "/readyz", patience: 2).status) == 200
                && (try? metric("sessionmesh_under_replicated_slots", of: node)) == 0
                && (try? seesEverybody(node)) == true
        }
    }

    /// Whether a node's agent sees every node serve, each with its application.
    private func seesEverybody(_ node: Node) throws -> Bool {
        let answer = try HTTP.ask(node.admin, "GET", "/v1/members", patience: 2)
        let view = try JSONDecoder().decode(View.self, from: Data(answer.body.utf8))
        let serving = view.members.filter { $0.role == "node" && $0.status == "alive" && $0.stage == "serving" }.map(\.name)
        return Set(serving).count == nodes.count && Set(view.instances.map(\.node)) == Set(serving)
    }

    private struct View: Decodable {
        struct Member: Decodable {
            let name: String
            let role: String
            let status: String
            let stage: String
        }
        struct Instance: Decodable {
            let node: String
        }
        let members: [Member]
        let instances: [Instance]
    }

    func waitUntilWhole(within seconds: Int = 60) throws {
        try eventually("every slot is held twice", within: seconds) { isWhole() }
    }

    func stop() throws {
        let code = try program.stop()
        guard code == 0 else { throw Program.Failure(description: "the demo ended with \(code)") }
    }
}

/// What `POST /counter` answers.
struct Count: Decodable, Equatable {
    let count: Int
    let node: String
    let user: String

    init(_ answer: HTTPAnswer) throws {
        guard answer.status == 200 else { throw Program.Failure(description: "\(answer.status) \(answer.body)") }
        self = try JSONDecoder().decode(Count.self, from: Data(answer.body.utf8))
    }
}

struct Whoami: Decodable {
    let node: String
    let user: String
    let primary: String?
    let backup: String?

    init(_ answer: HTTPAnswer) throws {
        guard answer.status == 200 else { throw Program.Failure(description: "\(answer.status) \(answer.body)") }
        self = try JSONDecoder().decode(Whoami.self, from: Data(answer.body.utf8))
    }
}
