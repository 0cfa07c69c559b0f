internal import CMeshSystem
import Glibc
public import MeshCore
import Synchronization

/// The data path: takes requests in, gives each to an instance, brings the answer back.
///
/// Each loop is one thread with its own listener on the shared port, its own connections to the instances and its own copy of the routing table;
/// loops share nothing that a request touches.
public final class Balancer: Sendable {
    /// Where clients reach it: the configured address, with the port that the system chose.
    public let address: Endpoint
    private let mailboxes: [Mailbox]
    private let loopCounters: [LoopCounters]
    private let ending: Ending

    /// Binds and starts the threads.
    /// - Parameters:
    ///   - log: called from the loops' threads with one line for a person, at most once a second of each kind.
    /// - Throws: ``BalancerError`` when the address can't be bound.
    public init(
        _ configuration: BalancerConfiguration, table: RoutingTable, log: @escaping @Sendable (String) -> Void
    ) throws(BalancerError) {
        let count = max(1, configuration.loops)
        var listen = configuration.listen
        var loops: [LoopStart] = []
        for _ in 0..<count {
            let listener = try Listener(listen)
            listen = listener.address
            loops.append(
                LoopStart(configuration: configuration, loops: count, table: table, listener: listener, mailbox: try Mailbox(), log: log))
        }
        address = listen
        mailboxes = loops.map(\.mailbox)
        loopCounters = loops.map(\.counters)
        ending = Ending(running: count)
        let ending = ending
        do throws(BalancerError) {
            for start in loops {
                try Self.startThread {
                    BalancerLoop(start)?.run()
                    ending.oneEnded()
                }
            }
        } catch {
            for mailbox in mailboxes { mailbox.leave(stopBy: .min) }
            throw error
        }
    }

    deinit {
        // Nobody can call stop(drain:) any more.
        for mailbox in mailboxes { mailbox.leave(stopBy: .min) }
    }

    /// Hands a new table to every loop. What is going on goes on; what comes is routed anew.
    public func update(_ table: RoutingTable) {
        for mailbox in mailboxes { mailbox.leave(table: table) }
    }

    /// Stops accepting, lets what is going on finish, and returns when all threads have ended.
    /// - Parameter drain: after that long everything still open is closed, tunnels too. 30 s is usual.
    public func stop(drain: Duration) async {
        let by = drain.nanoseconds.addingReportingOverflow(mesh_uptime())
        for mailbox in mailboxes { mailbox.leave(stopBy: by.overflow ? .max : by.partialValue) }
        await ending.wait()
    }

    public var counters: BalancerCounters { BalancerCounters(of: loopCounters) }

    private static func startThread(_ body: @escaping @Sendable () -> Void) throws(BalancerError) {
        let box = Unmanaged.passRetained(ThreadBody(body))
        var thread = pthread_t()
        let error = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        guard error == 0 else {
            box.release()
            throw BalancerError(.threads, errno: error, "can't start a thread")
        }
        pthread_detach(thread)
    }
}

private final class ThreadBody {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Waits for the threads without holding one.
private final class Ending: Sendable {
    private struct State {
        var running: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(running: Int) { state = Mutex(State(running: running)) }

    func oneEnded() {
        let done = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.running -= 1
            guard state.running == 0 else { return [] }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in done { continuation.resume() }
    }

    func wait() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.running > 0 { state.waiting.append(continuation) }
                return state.running == 0
            }
            if isOver { continuation.resume() }
        }
    }
}

/// Why a balancer could not start.
public struct BalancerError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// The address is in use, not of this machine, or a port below 1024 without the right to it.
        case address
        case descriptors
        case threads
    }

    public var code: Code
    /// One line for a person.
    public var description: String

    init(_ code: Code, errno: Int32, _ text: String) {
        self.code = code
        description = "\(text): \(String(cString: strerror(errno)))"
    }
}
