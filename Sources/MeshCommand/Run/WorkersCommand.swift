import ArgumentParser
import Foundation
import MeshAgent
import MeshCore

/// Where the supervisor of `sessionmesh run` is asked.
struct ControlOptions: ParsableArguments {
    @Option(
        help: "The supervisor to ask: unix:PATH or HOST:PORT. (default: the one that runs here)", transform: Values.listenAddress)
    var control: ListenAddress?

    @Flag(help: "Prints JSON.")
    var json = false

    /// Prints how it stands once that is done.
    func demand(_ path: String, method: String = "GET") async throws {
        let body = try await AdminClient.find(control, of: .supervisor).demand(path, method: method)
        if json { return Output.write(String(decoding: body, as: UTF8.self)) }
        Output.write(try AdminClient.decode(WorkersReport.self, from: body).text)
    }
}

struct WorkersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "workers",
        abstract: "Lists the processes that `sessionmesh run` keeps.",
        discussion: """
            Examples:
              sessionmesh workers
              sessionmesh workers --json
            """)

    @OptionGroup var control: ControlOptions

    func run() async throws { try await control.demand("/v1/workers") }
}

struct RestartCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "Replaces all workers of `sessionmesh run` by new ones, one after the other; SIGHUP does the same.",
        discussion: """
            A worker is stopped when its replacement is ready, or before it is started where --ports has no port to spare. When one does \
            not become ready, the restart ends, and who serves goes on.

            Examples:
              sessionmesh restart
              sessionmesh restart --control unix:/run/user/1000/sessionmesh/n1.supervisor
            """)

    @OptionGroup var control: ControlOptions

    func run() async throws { try await control.demand("/v1/restart", method: "POST") }
}

struct ScaleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Changes how many workers `sessionmesh run` keeps.",
        discussion: """
            Examples:
              sessionmesh scale 8
            """)

    @Argument(help: "How many workers, 1 to \(SupervisorCore.workersMax).")
    var workers: Int

    @OptionGroup var control: ControlOptions

    func validate() throws {
        guard (1...SupervisorCore.workersMax).contains(workers) else {
            throw ValidationError("the number of workers is a whole number from 1 to \(SupervisorCore.workersMax)")
        }
    }

    func run() async throws { try await control.demand("/v1/scale?workers=\(workers)", method: "POST") }
}

/// What a control listener answers.
struct WorkersReport: Decodable {
    var workers: Int
    var ready: Int
    var processes: [Process]

    struct Process: Decodable {
        var process: String
        var worker: Int?
        var state: String
        var pid: Int32?
        var address: String?
        var since: Int64?
        var restarts: Int
        var memory: UInt64?
        var requests: UInt64?
    }

    var text: String {
        var table = TextTable("PROCESS", "STATE", "PID", "ADDRESS", "SINCE", "RESTARTS", "MEMORY", "REQUESTS")
        for process in processes {
            table.add(
                process.process + (process.worker.map { " \($0)" } ?? ""), process.state, process.pid.map { String($0) } ?? "-",
                process.address ?? "-", process.since.map { Output.date($0) } ?? "-", String(process.restarts),
                process.memory.map { "\($0 >> 20) MiB" } ?? "-", process.requests.map { String($0) } ?? "-")
        }
        return table.text + "\(ready) of \(workers) workers ready\n"
    }
}
