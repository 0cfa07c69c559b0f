public import CoreMetrics
import Foundation
public import LogCapture
import Logging
import ServiceLifecycle
public import SessionMesh
import TemporaryDirectory

public struct StillNot: Error, CustomStringConvertible {
    public let description: String
}

/// Polls until a condition holds. The deadline is generous: it is met only by what never comes.
public func eventually(_ what: String, within limit: Duration = .seconds(30), _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw StillNot(description: "still not: \(what)")
}

/// Runs a body with an agent at a Unix socket in a directory of its own, and a mesh linked to it.
public func withLinkedMesh<Result: Sendable>(
    token: String? = nil, log: LogCapture = LogCapture(), metrics: (any MetricsFactory)? = nil,
    _ configure: @Sendable (inout SessionMeshConfiguration) -> Void = { _ in },
    _ body: @Sendable (SessionMesh, ScriptedAgent) async throws -> Result
) async throws -> Result {
    try await withSocketPath { path in
        let agent = try ScriptedAgent(token: token)
        try await agent.start(path: path)
        var configuration = SessionMeshConfiguration(agent: .unix(path: path), token: token)
        configuration.backoff = .milliseconds(5) ... .milliseconds(50)
        // A loaded machine must not turn a slow start into a failure; the tests of these limits set their own.
        configuration.connectionWaitMax = .seconds(20)
        configuration.requestTimeout = .seconds(30)
        configure(&configuration)
        let mesh = SessionMesh(configuration: configuration, logger: log.logger(.notice), metrics: metrics)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await mesh.run() }
            let outcome: Swift.Result<Result, any Error>
            do { outcome = .success(try await body(mesh, agent)) } catch { outcome = .failure(error) }
            group.cancelAll()
            await agent.stop()
            return try outcome.get()
        }
    }
}

/// A path for a socket in a new directory, which is removed afterwards.
public func withSocketPath<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    let directory = try TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    return try await body(directory.file("a.sock"))
}
