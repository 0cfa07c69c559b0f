import Hummingbird
import HummingbirdCore
import LogCapture
import Logging
import NIOCore
import ScriptedAgent
import ServiceLifecycle
import Synchronization

/// Runs an application at a port of the system's choice. `body` gets the port and a way to begin the shutdown; the server must have
/// ended when this returns.
func withServer<Responder: HTTPResponder>(
    _ responder: Responder, server: HTTPServerBuilder = .http1(), log: LogCapture = LogCapture(),
    _ body: @Sendable (Int, @Sendable () async -> Void) async throws -> Void
) async throws where Responder.Context: InitializableFromSource<ApplicationRequestContextSource> {
    let logger = log.logger(.warning)
    let port = Mutex<Int?>(nil)
    let app = Application(
        responder: responder, server: server, configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
        onServerRunning: { channel in port.withLock { $0 = channel.localAddress?.port } }, logger: logger)
    let group = ServiceGroup(configuration: ServiceGroupConfiguration(services: [app], logger: logger))
    try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { try await group.run() }
        try await eventually("listening") { port.withLock { $0 != nil } }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body(port.withLock { $0 } ?? 0) { await group.triggerGracefulShutdown() })
        } catch { outcome = .failure(error) }
        await group.triggerGracefulShutdown()
        try await tasks.waitForAll()
        try outcome.get()
    }
}
