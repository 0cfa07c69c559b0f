import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshSupervisor
import SessionMesh

/// Tells who started `sessionmesh run` how it goes: events as JSON, and systemd when everything is ready.
struct RunAnnouncer: Sendable {
    let workers: Int
    let balance: Endpoint?
    let printsEvents: Bool
    let systemd: NotifySocket?

    func follow(_ events: SupervisorEvents, _ logger: Logger) async {
        var readyPosts: Set<Post> = []
        var isReady = false
        let wanted = workers + 1 + (balance == nil ? 0 : 1)
        for await event in events {
            if printsEvents { Output.line(JSON(event)) }
            guard !isReady, case .ready = event.kind else { continue }
            readyPosts.insert(event.post)
            guard readyPosts.count == wanted else { continue }
            isReady = true
            systemd?.send(["READY": "1", "STATUS": "\(workers) workers are ready"])
            let place = balance.map { "; open http://\($0)/" } ?? ""
            logger.info("\(workers == 1 ? "the worker is" : "\(workers) workers are") ready\(place)")
            if printsEvents {
                Output.line(
                    JSON.object([
                        ("time", .number(event.time)), ("event", .text("up")), ("workers", .number(workers)),
                        ("listen", balance.map { .text($0.description) }),
                    ]))
            }
        }
        systemd?.send(["STOPPING": "1"])
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
