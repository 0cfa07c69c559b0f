import ArgumentParser
import MeshSupervisor

/// Becomes another program that does not outlive who started it. Hidden: supervisors start their processes through it.
struct ExecWorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec-worker", abstract: "Becomes PROGRAM, and dies with the process PARENT.", shouldDisplay: false)

    @Argument var parent: Int32

    @Argument(parsing: .postTerminator) var program: [String]

    func run() throws {
        guard let path = program.first else { throw ValidationError("name a program behind --") }
        throw ExecWorker.become(path, Array(program.dropFirst()), childOf: parent)
    }
}

/// Ends what a supervisor has started when that is gone. Hidden: supervisors start it.
struct WardenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warden", abstract: "Waits for the end of standard input, and then ends what is known by MARK.", shouldDisplay: false)

    @Argument var mark: String
    @Argument var directory: String

    func run() { WardenDuty.run(mark: mark, directory: directory) }
}
