import Foundation
import MeshAgent
import SessionMesh

/// Tells whoever started this process, systemd or a supervisor, that it is ready, and now and then that it lives: sd_notify(3).
enum ServiceNotices {
    /// Until the task is cancelled. Its end is the end of notices, so cancel it when the agent has ended.
    static func follow(_ agent: MeshAgent) -> Task<Void, Never>? {
        guard let socket = NotifySocket(environment: ProcessInfo.processInfo.environment) else { return nil }
        return Task {
            // All listeners are open from the moment that its loop answers.
            while await agent.status() == nil, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
            guard !Task.isCancelled else { return }
            socket.send(["READY": "1"])
            guard let heartbeat = socket.heartbeat else { return }
            while !Task.isCancelled {
                if await agent.status() != nil { socket.send(["WATCHDOG": "1"]) }
                try? await Task.sleep(for: heartbeat)
            }
        }
    }
}
