import MeshAgent
import MeshCore
import MeshSupervisor

/// What the supervisor of `sessionmesh run` answers on its control listener.
struct SupervisorAdmin: AdminService {
    private let supervisor: ClusterSupervisor

    init(_ supervisor: ClusterSupervisor) { self.supervisor = supervisor }

    private enum Route: Hashable {
        case workers, health, readiness, metrics, restart
        case scale(Int)

        var changes: Bool {
            switch self {
            case .restart, .scale: true
            case .workers, .health, .readiness, .metrics: false
            }
        }
    }

    func answer(_ request: AdminRequest, then respond: @escaping @Sendable (AdminAnswer) -> Void) -> Bool {
        if let refusal = request.refusalOfBrowsers {
            respond(AdminAnswer(refusal))
            return true
        }
        switch Self.route(request) {
        case .failure(let refusal): respond(AdminAnswer(refusal))
        case .success(let route):
            Task { [supervisor] in
                switch route {
                case .restart: supervisor.restart()
                case .scale(let count): supervisor.scale(to: count)
                case .workers, .health, .readiness, .metrics: break
                }
                let measures = route == .workers || route == .metrics
                respond(Self.answer(route, measures ? await supervisor.status : await supervisor.statusWithoutMemory))
            }
        }
        return true
    }

    private static func route(_ request: AdminRequest) -> Result<Route, AdminRefusal> {
        let parts = request.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let route: Route
        switch parts.first ?? "" {
        case "/v1/workers": route = .workers
        case "/healthz": route = .health
        case "/readyz": route = .readiness
        case "/metrics": route = .metrics
        case "/v1/restart": route = .restart
        case "/v1/scale":
            guard parts.count == 2, parts[1].hasPrefix("workers="), let count = Int(parts[1].dropFirst("workers=".count)),
                (1...SupervisorCore.workersMax).contains(count)
            else { return .failure(AdminRefusal(400, "say ?workers=N, a whole number from 1 to \(SupervisorCore.workersMax)")) }
            route = .scale(count)
        default:
            return .failure(
                AdminRefusal(404, "nothing is here: see /v1/workers, /v1/restart, /v1/scale?workers=N, /healthz, /readyz or /metrics"))
        }
        let wanted = route.changes ? ["POST"] : ["GET", "HEAD"]
        guard wanted.contains(request.method) else {
            return .failure(AdminRefusal(405, "use \(wanted[0]) here", allow: wanted.joined(separator: ", ")))
        }
        return .success(route)
    }

    private static func answer(_ route: Route, _ status: ClusterStatus) -> AdminAnswer {
        switch route {
        case .workers: AdminAnswer(json: JSON(status))
        case .restart, .scale: AdminAnswer(202, json: JSON(status))
        case .health:
            AdminAnswer(json: .object([("status", .text("ok")), ("workers", .number(status.workers)), ("ready", .number(status.ready))]))
        case .readiness: readiness(status)
        case .metrics: metrics(status)
        }
    }

    private static func readiness(_ status: ClusterStatus) -> AdminAnswer {
        let isReady = status.ready > 0 && !status.isStopping
        let stage = status.isStopping ? "stopping" : "\(status.ready) of \(status.workers) workers ready"
        return AdminAnswer(isReady ? 200 : 503, json: .object([("ready", .bool(isReady)), ("stage", .text(stage))]))
    }

    private static func metrics(_ status: ClusterStatus) -> AdminAnswer {
        var page = PrometheusText()
        page.add("supervisor_workers", .gauge, "Workers that should run.", status.workers)
        page.add("supervisor_workers_ready", .gauge, "Workers that get requests.", status.ready)
        page.add(
            "supervisor_workers_crash_looping", .gauge, "Workers that crash again and again.",
            status.processes.count { $0.status.state == .crashLooping })
        page.add("supervisor_spawned_total", .counter, "Processes that were started.", status.counters.spawned)
        page.add("supervisor_crashes_total", .counter, "Processes that ended and should not have.", status.counters.crashes)
        page.add("supervisor_restarts_total", .counter, "Processes that were ready again after a crash.", status.counters.restarts)
        page.add(
            "supervisor_hangs_total", .counter, "Processes that were aborted because their heartbeats had ceased.", status.counters.hangs)
        page.add(
            "supervisor_replacements_total", .counter, "Workers that were replaced, for a restart or because they were due.",
            status.counters.replacements)
        page.add(
            "supervisor_memory_bytes", .gauge, "Resident memory of a process and its children.", label: "process",
            // While a worker is replaced, two processes have its name.
            status.processes.reduce(into: [String: UInt64]()) { sums, process in
                if let memory = process.status.memory { sums[process.status.post.description, default: 0] += memory }
            }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        return AdminAnswer(200, .metrics, page.text)
    }
}

extension JSON {
    init(_ status: ClusterStatus) {
        self = .object([
            ("workers", .number(status.workers)), ("ready", .number(status.ready)), ("stopping", .bool(status.isStopping)),
            ("processes", .array(status.processes.map { JSON($0) })),
        ])
    }

    fileprivate init(_ process: ClusterStatus.Process) {
        let status = process.status
        self = .object([
            ("process", .text(status.post.kindWord)), ("worker", status.post.worker.map { .number($0) }),
            ("state", .text(status.state.rawValue)), ("pid", status.pid.map { .number(Int64($0)) }),
            ("address", process.address.map { .text($0) }), ("since", status.since.map { .number($0) }),
            ("restarts", .number(status.restarts)), ("memory", status.memory.map { .number($0) }),
            ("requests", status.requests.map { .number($0) }),
        ])
    }
}
