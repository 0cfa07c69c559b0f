import ArgumentParser
import Foundation
import MeshAgent

struct HealthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Says whether a member is ready: ends with 0 when it is, with 1 when it isn't or doesn't answer.",
        discussion: """
            An agent is ready while it answers for its slots, a balancer while it also knows somebody to send requests to, `sessionmesh run` \
            while a worker gets requests. Where that runs it is asked, otherwise the only member, unless --admin says whom to ask. Made to be \
            a container's health check: it has its answer within two seconds.

            Examples:
              sessionmesh health
              sessionmesh health --admin unix:n1.admin --json
            """)

    @OptionGroup var listener: AdminOptions

    @Flag(help: "Prints JSON.")
    var json = false

    /// What `/readyz` answers.
    private struct Readiness: Decodable {
        var ready: Bool
        var stage: String
    }

    func run() async throws {
        let answer = try await ask()
        let readiness = try AdminClient.decode(Readiness.self, from: answer.body)
        if json { Output.write(String(decoding: answer.body, as: UTF8.self)) }
        guard readiness.ready else {
            if json { throw ExitCode.failure }
            throw CommandFailure.failed("not ready: \(readiness.stage)")
        }
        if !json { Output.line("ready: \(readiness.stage)") }
    }

    private func ask() async throws -> AdminClient.Answer {
        let client = try whoIsAsked()
        guard let answer = await client.ask("GET", "/readyz", timeout: 2) else {
            throw CommandFailure.failed("nobody answers on \(client.address): it is starting, stands still or has ended")
        }
        return answer
    }

    /// Whatever is wrong, who checks health knows two answers.
    private func whoIsAsked() throws -> AdminClient {
        do {
            let hasSupervisor = try listener.admin == nil && AdminClient.Service.supervisor.runs(in: RunDirectory.open())
            return try AdminClient.find(listener.admin, of: hasSupervisor ? .supervisor : .member, flag: "--admin")
        } catch let failure as CommandFailure {
            throw CommandFailure.failed(failure.line)
        }
    }
}
