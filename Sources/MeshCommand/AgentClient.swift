import ArgumentParser
import Foundation
import Logging
import SessionMesh

/// How a command reaches an agent.
struct ClientOptions: ParsableArguments {
    @Option(help: "The agent to ask: unix:PATH or HOST:PORT. (default: the agent that runs here)")
    var agent: String?

    @Option(help: "A file with the token that an agent on TCP wants; $SESSIONMESH_TOKEN does as well.")
    var tokenFile: String?

    @Flag(help: "Prints JSON.")
    var json = false

    @OptionGroup var log: QuietLogOptions

    func validate() throws {
        guard let agent else { return }
        do { _ = try AgentAddress(agent) } catch { throw ValidationError("--agent: \(error.message)") }
    }

    /// Asks an agent, on a connection that is there for as long as `body` runs.
    func ask<Value: Sendable>(_ body: @Sendable (SessionMesh) async throws -> Value) async throws -> Value {
        let address = try address()
        let token = try tokenFile.map(TokenFile.read) ?? ProcessInfo.processInfo.environment["SESSIONMESH_TOKEN"]
        let mesh = SessionMesh(configuration: SessionMeshConfiguration(agent: address, token: token), logger: log.logger())
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await mesh.run() }
            defer { group.cancelAll() }
            do { return try await body(mesh) } catch let error as SessionError {
                guard await mesh.isConnected else {
                    throw CommandFailure.configuration(
                        "no agent answers on \(address): start one with `sessionmesh agent`, or say --agent (\(error.message))")
                }
                throw error
            }
        }
    }

    private func address() throws -> AgentAddress {
        if let agent { return try AgentAddress(agent) }
        let directory = try RunDirectory.open()
        let sockets = directory.clientSockets
        guard let socket = sockets.first else {
            throw CommandFailure.configuration("no agent of this user runs here: start one with `sessionmesh agent`, or say --agent")
        }
        guard sockets.count == 1 else {
            let choices = sockets.map { "unix:\($0)" }.joined(separator: " or ")
            throw CommandFailure.configuration("several agents run here: say --agent \(choices)")
        }
        return .unix(path: socket)
    }
}

/// Like ``LogOptions``, for commands that say what is wrong by themselves.
struct QuietLogOptions: ParsableArguments {
    @Option(help: "How much is logged to standard error.")
    var logLevel: Logger.Level = .error

    func logger() -> Logger { Logger("sessionmesh", level: logLevel) }
}
