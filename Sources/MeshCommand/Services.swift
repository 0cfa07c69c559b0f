import Foundation
import Logging
import ServiceLifecycle
import UnixSignals

/// Runs services until they are done or a signal comes.
enum Services {
    /// SIGTERM or SIGINT ends them gracefully, the last one first; the second signal ends the process at once. SIGHUP, which would end it
    /// too, is left to `onHangup` where that is given.
    static func run(_ services: [any Service], onHangup: (@Sendable () -> Void)? = nil) async throws {
        var watcher: Task<Void, Never>?
        if let onHangup {
            let hangups = await UnixSignalsSequence(trapping: .sighup)
            watcher = Task { for await _ in hangups { onHangup() } }
        }
        defer { watcher?.cancel() }
        // It would tell a person of each step, and of errors that are reported by whoever called.
        let silent = Logger(label: "sessionmesh.services") { _ in SwiftLogNoOpLogHandler() }
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map {
                    .init(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                },
                logger: silent))
        try await untilSignalled {
            try await group.run()
        } onSignal: {
            await group.triggerGracefulShutdown()
        }
    }

    static func untilSignalled<Value: Sendable>(
        _ body: @Sendable () async throws -> Value, onSignal: @escaping @Sendable () async -> Void,
        onSecond: @escaping @Sendable () -> Void = {}
    ) async throws -> Value {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let watcher = Task {
            var isFirst = true
            for await signal in signals {
                guard isFirst else {
                    onSecond()
                    _exit(128 + signal.rawValue)
                }
                isFirst = false
                Task { await onSignal() }
            }
        }
        defer { watcher.cancel() }
        return try await body()
    }
}
