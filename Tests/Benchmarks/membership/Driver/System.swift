import LabTools

/// Whose members are run.
enum System: String, CaseIterable {
    case ours, serf
}

/// What one member says of another.
enum Status: String {
    case alive, suspect, dead, left
}

/// One line of a member's output that says something about a member.
struct Sighting {
    var at: Instant
    /// Who says it.
    var observer: Int
    var subject: String
    var status: Status
    var address: String
    var epoch: Int?
}

/// What is needed to start one member.
struct MemberPlan {
    var name: String
    /// Its host alone; every member has a port 7946 of its own host.
    var host: String
    var seed: String
    var isBalancer = false
}

/// What the programs of one run have in common.
struct Toolbox {
    /// The program under test.
    var sessionmesh: String
    /// For key files and sockets; removed by who started the lab.
    var directory: String
    var keyFile: String
    var serfKey: String

    func arguments(of plan: MemberPlan, in system: System) -> [String] {
        switch (system, plan.isBalancer) {
        case (.ours, false):
            [
                sessionmesh, "agent", "--name", plan.name, "--bind", "\(plan.host):7946", "--seed", "\(plan.seed):7946",
                "--key-file", keyFile, "--events", "json", "--client", "unix:\(clientSocket(of: plan))",
                "--admin", "unix:\(adminSocket(of: plan))",
            ]
        case (.ours, true):
            [
                sessionmesh, "balance", "--name", plan.name, "--bind", "\(plan.host):7946", "--seed", "\(plan.seed):7946",
                "--key-file", keyFile, "--events", "json", "--listen", "\(plan.host):8080", "--service", "lab", "--threads", "1",
                "--admin", "unix:\(adminSocket(of: plan))",
            ]
        case (.serf, _):
            [
                "serf", "agent", "-node", plan.name, "-bind", "\(plan.host):7946", "-rpc-addr", "\(plan.host):7373",
                "-encrypt", serfKey, "-retry-join", "\(plan.seed):7946", "-retry-interval", "5s", "-profile", "lan",
            ]
        }
    }

    /// By host, because two may have one name.
    func clientSocket(of plan: MemberPlan) -> String { "\(directory)/\(plan.host).client" }
    func adminSocket(of plan: MemberPlan) -> String { "\(directory)/\(plan.host).admin" }
}

/// What a line of output means.
enum Line {
    case ready
    case sighting(subject: String, status: Status, address: String, epoch: Int?)
    /// Of a balancer: how many instances it sends requests to.
    case routes(Int)
    case other

    init(_ bytes: ArraySlice<UInt8>, of system: System) {
        self = system == .ours ? Line.ours(bytes) : Line.serf(bytes)
    }

    private static func ours(_ line: ArraySlice<UInt8>) -> Line {
        switch line.text(of: "event") {
        case "ready": return .ready
        case "routes": return line.number(of: "targets").map(Line.routes) ?? .other
        case "member":
            guard let subject = line.text(of: "member"), let status = line.text(of: "status").flatMap(Status.init) else { return .other }
            return .sighting(subject: subject, status: status, address: line.text(of: "address") ?? "", epoch: line.number(of: "epoch"))
        default: return .other
        }
    }

    /// serf logs, such as `2026/11/21 03:01:25 [INFO] serf: EventMemberJoin: n2 127.0.0.2`.
    private static func serf(_ line: ArraySlice<UInt8>) -> Line {
        let words = String(decoding: line, as: UTF8.self).split(separator: " ")
        if line.contains("agent: Serf agent starting") { return .ready }
        guard let mark = words.firstIndex(where: { $0 == "serf:" || $0 == "memberlist:" }), mark + 2 < words.count else { return .other }
        let subject = String(words[mark + 2])
        let address = mark + 3 < words.count ? String(words[mark + 3]) : ""
        switch words[mark + 1] {
        case "EventMemberJoin:", "EventMemberUpdate:": return .sighting(subject: subject, status: .alive, address: address, epoch: nil)
        case "EventMemberFailed:": return .sighting(subject: subject, status: .dead, address: address, epoch: nil)
        case "EventMemberLeave:": return .sighting(subject: subject, status: .left, address: address, epoch: nil)
        case "Suspect": return .sighting(subject: subject, status: .suspect, address: "", epoch: nil)
        default: return .other
        }
    }
}
