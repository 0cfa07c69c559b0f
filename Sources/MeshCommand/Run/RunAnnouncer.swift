import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshSupervisor
import SessionMesh

/// Tells who started `sessionmesh run` how it goes: events as JSON, and systemd when everything has started, and that it lives.
struct RunAnnouncer: Sendable {
    let supervisor: ClusterSupervisor
    let balance: Endpoint?
    /// Where events are printed, if they are.
    let output: LogStream?
    let systemd: NotifySocket?

    /// What stands in place of events that nobody read.
    static func dropped(_ count: Int) -> String {
        JSON.object([("event", .text("dropped")), ("events", .number(Int64(count)))]).line + "\n"
    }

    /// Returns after the last event.
    func follow(_ events: SupervisorEvents, _ logger: Logger) async {
        var isUp = false
        for await event in events {
            output?.write(JSON(event).line + "\n")
            guard !isUp else { continue }
            let status = await supervisor.statusWithoutMemory
            guard status.isUp else { continue }
            isUp = true
            announce(status, at: event.time, logger)
        }
        systemd?.send(["STOPPING": "1"])
    }

    private func announce(_ status: ClusterStatus, at time: Int64, _ logger: Logger) {
        let line = "\(status.ready) of \(status.workers) workers are ready"
        systemd?.send(["READY": "1", "STATUS": line])
        logger.info("\(line)\(balance.map { "; open http://\($0)/" } ?? "")")
        let event = JSON.object([
            ("time", .number(time)), ("event", .text("up")), ("workers", .number(status.workers)), ("ready", .number(status.ready)),
            ("listen", balance.map { .text($0.description) }),
        ])
        output?.write(event.line + "\n")
    }

    /// Until the task is cancelled. The supervisor is asked each time, so that one which stands still says nothing.
    func beat() async {
        guard let systemd, let heartbeat = systemd.heartbeat else { return }
        while !Task.isCancelled {
            _ = await supervisor.statusWithoutMemory
            systemd.send(["WATCHDOG": "1"])
            try? await Task.sleep(for: heartbeat)
        }
    }
}

extension ClusterStatus {
    /// Whether there is nothing more to wait for: a worker that crashes again and again, or that has ended, doesn't keep the others from being
    /// announced.
    fileprivate var isUp: Bool {
        !isStopping && !processes.isEmpty
            && processes.allSatisfy { process in
                switch process.status.state {
                case .ready, .silent, .crashLooping, .ended: true
                case .starting, .waiting, .stopping: false
                }
            }
    }
}

extension JSON {
    init(_ event: SupervisorEvent) {
        let head: [(String, JSON?)] = [
            ("time", .number(event.time)), ("event", .text(event.kind.word)), ("process", .text(event.post.kindWord)),
            ("worker", event.post.worker.map { .number($0) }), ("pid", event.pid.map { .number(Int64($0)) }),
        ]
        self = .object(head + event.kind.details)
    }

    fileprivate static func milliseconds(_ duration: Duration) -> JSON { .number(duration.milliseconds) }
}

extension Post {
    var kindWord: String {
        switch self {
        case .worker: "worker"
        case .sidecar(let name): name
        }
    }
}

extension SupervisorEvent.Kind {
    var word: String {
        switch self {
        case .spawned: "spawned"
        case .ready: "ready"
        case .restarted: "restarted"
        case .hung: "hung"
        case .crashed: "crashed"
        case .crashLooping: "crash-looping"
        case .replacing: "replacing"
        case .notReplaced: "not-replaced"
        case .stopped: "stopped"
        }
    }

    fileprivate var details: [(String, JSON?)] {
        switch self {
        case .spawned: []
        case .ready(let after), .restarted(let after): [("after_ms", .milliseconds(after))]
        case .hung(let silence): [("silence_ms", .milliseconds(silence))]
        case .crashed(let crash): crash.details
        case .crashLooping(let crashes): [("crashes", .number(crashes))]
        case .replacing(let why): [("why", .text(why.rawValue))]
        case .notReplaced(let why, let crash): [("why", .text(why.rawValue))] + crash.details
        case .stopped(let ending): ending.details
        }
    }
}

extension Crash {
    fileprivate var details: [(String, JSON?)] {
        let ending: [(String, JSON?)] =
            switch reason {
            case .ended(let ending), .hung(let ending): ending.details
            case .notSpawned, .notReady, .forkedAway: []
            }
        return ending + [
            ("reason", .text(words)), ("was_ready", .bool(wasReady)), ("stderr", .array(lastLines.map { .text($0) })),
        ]
    }
}

extension ProcessEnding {
    fileprivate var details: [(String, JSON?)] {
        switch self {
        case .exited(let code): [("code", .number(Int64(code)))]
        case .killed(let signal): [("signal", .number(Int64(signal)))]
        }
    }
}
