import ArgumentParser
import Foundation
import MeshAgent

/// `sessionmesh`, of which everything else here is a subcommand.
struct SessionMeshCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessionmesh",
        abstract: "Keeps web sessions in memory on two nodes, and sends every request to the node that has its session.",
        discussion: """
            Every flag can also be set by a variable: --key-file by SESSIONMESH_KEY_FILE, and so on. A list's values are set apart by \
            commas. What stands on the command line wins.

            Exit codes: 0 done, 1 it failed, 64 the command line is wrong, 78 the configuration can't work.

            Try it: sessionmesh demo
            """,
        version: MeshAgent.version,
        subcommands: [
            RunCommand.self, WorkersCommand.self, RestartCommand.self, ScaleCommand.self, AgentCommand.self, BalanceCommand.self,
            DemoCommand.self, KeygenCommand.self, KeysCommand.self, MembersCommand.self, HealthCommand.self, SessionCommand.self,
            PublishCommand.self,
            SubscribeCommand.self, ExplainCommand.self, MirrorCommand.self, SimulateCommand.self, ExecWorkerCommand.self,
            WardenCommand.self,
        ])
}

@main
enum Main {
    static func main() async {
        // A reader that went away shows as a failed write.
        signal(SIGPIPE, SIG_IGN)
        fillStandardDescriptors()
        exit(await run(Array(CommandLine.arguments.dropFirst()), environment: ProcessInfo.processInfo.environment))
    }

    /// Who is started with one of them closed would open a socket in its place, and print into that.
    private static func fillStandardDescriptors() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 { _ = open("/dev/null", O_RDWR) }
    }

    /// - Returns: the exit code.
    static func run(_ arguments: [String], environment: [String: String]) async -> Int32 {
        let completed = Variables.complete(arguments, of: SessionMeshCommand.self, from: environment)
        do {
            var command = try SessionMeshCommand.parseAsRoot(completed.arguments)
            defer { LogStream.standardError.flush() }
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
            return 0
        } catch {
            // What went wrong is the last line.
            return report(error, completed)
        }
    }

    private static func report(_ error: any Error, _ completed: Variables.Completed) -> Int32 {
        if let failure = CommandFailure(error) {
            Output.complain(([failure.line] + completed.origins(of: failure.line)).joined(separator: "; "))
            return failure.code
        }
        let code = SessionMeshCommand.exitCode(for: error)
        let text = SessionMeshCommand.message(for: error)
        if code.isSuccess {
            // Help that was asked for, or the version.
            Output.write(SessionMeshCommand.fullMessage(for: error) + "\n")
        } else if !text.isEmpty {
            Output.complain(UsageLine(text, completed).description)
        }
        return code.rawValue
    }
}

extension Variables.Completed {
    /// Which variables set the flags that a line speaks of.
    fileprivate func origins(of line: String) -> [String] {
        let flags = Set(line.split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
        return variables.filter { flags.contains($0.key) }.sorted { $0.key < $1.key }.map { "\($0.key) was set by \($0.value)" }
    }
}

/// What the argument parser has to say, as one line that also says which variable a wrong value came from.
struct UsageLine: CustomStringConvertible {
    let description: String

    init(_ text: String, _ completed: Variables.Completed) {
        let line = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ")
        description =
            ([line] + completed.origins(of: line)).joined(separator: "; ")
            + " (\((["sessionmesh"] + completed.command).joined(separator: " ")) --help says more)"
    }
}
