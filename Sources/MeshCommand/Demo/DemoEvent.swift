import Foundation
import MeshAgent
import MeshCore

/// What runs where.
struct DemoBoard: Sendable {
    var url: String
    var nodes: [Node]
    var balancerPID: pid_t
    var balancerAdmin: String

    struct Node: Sendable {
        var name: String
        var agentPID: pid_t
        var applicationPID: pid_t
        var admin: String
        var gossip: String
        var client: String
        var application: String
    }

    var text: String {
        var table = TextTable("NODE", "PROCESS", "PID", "ADDRESS", "ADMIN")
        for node in nodes {
            table.add(node.name, "agent", String(node.agentPID), node.gossip, node.admin)
            table.add(node.name, "app", String(node.applicationPID), node.application, "")
        }
        table.add("balancer", "balancer", String(balancerPID), url.dropFirst("http://".count).filter { $0 != "/" }, balancerAdmin)
        return """
            \(table.text)
            Open \(url)
            Kill what you like (kill -9 PID, or the button on the page); it starts again \(DemoMesh.restartPause.components.seconds) s later. \
            Ctrl-C ends the demo.

            """
    }
}

/// Something that happens in a demo.
enum DemoEvent: Sendable {
    case ready(DemoBoard)
    case ended(String, process: String, pid: pid_t, ProcessEnding)
    case restarted(String, process: String, pid: pid_t)
    case stopped

    var text: String {
        switch self {
        case .ready(let board): board.text
        case .ended(let name, let process, let pid, let ending): "\(Self.who(name, process)) (pid \(pid)) \(ending)\n"
        case .restarted(let name, let process, let pid): "\(Self.who(name, process)) runs again (pid \(pid))\n"
        case .stopped: "All processes have ended.\n"
        }
    }

    private static func who(_ name: String, _ process: String) -> String { name == process ? "The \(name)" : "\(name)'s \(process)" }

    var json: JSON {
        .object([("time", .number(Int64.now())), ("event", .text(name))] + details)
    }

    private var name: String {
        switch self {
        case .ready: "ready"
        case .ended(_, _, _, .killed): "killed"
        case .ended(_, _, _, .exited): "exited"
        case .restarted: "restarted"
        case .stopped: "stopped"
        }
    }

    private var details: [(String, JSON?)] {
        func number(_ value: Int32) -> JSON { .number(Int64(value)) }
        switch self {
        case .ready(let board):
            return [
                ("url", .text(board.url)),
                (
                    "nodes",
                    .array(
                        board.nodes.map { node in
                            .object([
                                ("name", .text(node.name)), ("agent_pid", number(node.agentPID)), ("app_pid", number(node.applicationPID)),
                                ("admin", .text(node.admin)), ("gossip", .text(node.gossip)), ("client", .text(node.client)),
                                ("app", .text(node.application)),
                            ])
                        })
                ),
                ("balancer", .object([("pid", number(board.balancerPID)), ("admin", .text(board.balancerAdmin))])),
            ]
        case .ended(let name, let process, let pid, .killed(signal: let signal)):
            return [("name", .text(name)), ("process", .text(process)), ("pid", number(pid)), ("signal", number(signal))]
        case .ended(let name, let process, let pid, .exited(code: let code)):
            return [("name", .text(name)), ("process", .text(process)), ("pid", number(pid)), ("code", number(code))]
        case .restarted(let name, let process, let pid):
            return [("name", .text(name)), ("process", .text(process)), ("pid", number(pid))]
        case .stopped: return []
        }
    }
}
