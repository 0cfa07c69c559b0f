public import Logging
public import MeshCore
public import ServiceLifecycle
import Synchronization

/// Keeps the processes of a program running: cluster mode.
///
/// ```swift
/// let supervisor = ClusterSupervisor(configuration, logger: logger)
/// Task { for await crash in supervisor.crashes { alert(crash) } }
/// try await supervisor.run()
/// ```
///
/// A worker gets its port in `PORT` and its number in `SESSIONMESH_WORKER`, and requests when it is ready. One that ends with anything but code 0
/// is started again. No process outlives the supervisor, even if that is killed.
public final class ClusterSupervisor: Service {
    private let configuration: ClusterConfiguration
    private let logger: Logger
    private let hub = EventHub()
    private let stage = Mutex(Stage.new)

    private enum Stage {
        /// Can transition to over.
        case new
        /// Can transition to over.
        case running(SupervisorShell)
        /// Not to be run again; running once its shell is there.
        case over
    }

    /// - Parameter logger: what people should know is a notice, a crash a warning, a crash loop an error.
    public init(_ configuration: ClusterConfiguration, logger: Logger = Logger(label: "sessionmesh.supervisor")) {
        self.configuration = configuration
        self.logger = logger
    }

    /// Starts everything, and returns when nothing runs any more: after a graceful shutdown, which lets requests finish; when all workers have
    /// ended with code 0; or when the task was cancelled, which kills.
    /// - Throws: ``SupervisorError`` when something can't work, before anything is started, or a sidecar doesn't come up.
    public func run() async throws {
        try stage.withLock { stage throws(SupervisorError) in
            guard case .new = stage else { throw SupervisorError(.running, "this supervisor was run before: make another") }
            stage = .over
        }
        defer {
            stage.withLock { $0 = .over }
            hub.finish()
        }
        let shell = try SupervisorShell(try configuration.checked(), hub: hub, logger: logger)
        stage.withLock { $0 = .running(shell) }
        // Not a part of this task, which may be cancelled: what runs is killed then, and that takes its time as well.
        let work = Task { await shell.run() }
        let outcome = await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await work.value
            } onGracefulShutdown: {
                shell.ask(.stop)
            }
        } onCancel: {
            shell.killAll()
        }
        if case .failed(let sidecar, let crash) = outcome {
            throw SupervisorError(.sidecar, "the \(sidecar) did not start: it \(crash.words)")
        }
    }

    /// Everything that happens from now on. Each call gives a listener of its own, for which the last 1024 events are kept.
    public var events: SupervisorEvents { hub.listen() }

    /// The crashes from now on, of workers and sidecars, with what led to each.
    public var crashes: some AsyncSequence<(event: SupervisorEvent, crash: Crash), Never> & Sendable {
        events.compactMap { event in if case .crashed(let crash) = event.kind { (event, crash) } else { nil } }
    }

    /// Replaces all workers by new ones, one after the other, each when its replacement is ready. Ends when a replacement doesn't become ready: the
    /// others go on as they are. Returns at once; events tell of it.
    public func restart() { running?.ask(.restart) }

    /// Has so many workers run from now on, 1 to 255; the last ones are stopped when there are fewer. Other numbers change nothing.
    public func scale(to count: Int) { running?.ask(.scale(to: count)) }

    /// What is known of each process; nothing before the start and after the end.
    public var status: ClusterStatus {
        get async {
            var status = await statusWithoutMemory
            // Every process of the machine is looked at, which nobody else should wait for.
            let memory = ProcessScan.memoryByGroup()
            for index in status.processes.indices {
                status.processes[index].status.memory = status.processes[index].status.pid.flatMap { memory[$0] }
            }
            return status
        }
    }

    package var statusWithoutMemory: ClusterStatus { get async { await running?.status ?? ClusterStatus() } }

    private var running: SupervisorShell? {
        stage.withLock { stage in if case .running(let shell) = stage { shell } else { nil } }
    }
}

/// A supervisor at one moment.
public struct ClusterStatus: Hashable, Sendable {
    public var processes: [Process] = []
    public var counters = SupervisorCounters()
    /// How many workers there should be.
    public var workers = 0
    /// How many get requests.
    public var ready = 0
    public var isStopping = false

    public struct Process: Hashable, Sendable {
        public var status: WorkerStatus
        /// Where it is registered; nil for a sidecar, and for a worker without a process.
        public var address: String?
    }
}

extension Crash {
    /// What happened, behind a name: "was killed by signal 9".
    public var words: String {
        switch reason {
        case .ended(let ending): ending.description
        case .notSpawned(let reason): "could not be started: \(reason)"
        case .notReady(let after, let hint):
            "was not ready after \(after.components.seconds) s" + (hint.map { ": \($0)" } ?? "")
        case .hung(let ending): "was hung and \(ending)"
        case .forkedAway: "went on in the background: have it run in the foreground, so that it can be looked after"
        }
    }
}
