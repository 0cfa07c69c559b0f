internal import CMeshSystem
import Glibc
public import MeshCore
import MeshLoop

/// The data path: takes requests in, gives each to an instance, brings the answer back.
///
/// Each loop is one thread with its own listener on the shared port, its own connections to the instances and its own copy of the routing table;
/// loops share nothing that a request touches.
public final class Balancer: Sendable {
    /// Where clients reach it: the configured address, with the port that the system chose.
    public let address: Endpoint
    private let mailboxes: [Mailbox<LoopLetters>]
    private let loopCounters: [LoopCounters]
    private let ending: LoopEnding

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
            let mailbox: Mailbox<LoopLetters>
            do { mailbox = try Mailbox(LoopLetters()) } catch {
                throw BalancerError(.descriptors, error, "can't make an event descriptor")
            }
            loops.append(
                LoopStart(configuration: configuration, loops: count, table: table, listener: listener, mailbox: mailbox, log: log))
        }
        address = listen
        mailboxes = loops.map(\.mailbox)
        loopCounters = loops.map(\.counters)
        ending = LoopEnding(running: count)
        let ending = ending
        do throws(SystemError) {
            for start in loops {
                try LoopThread.start {
                    BalancerLoop(start)?.run()
                    ending.oneEnded()
                }
            }
        } catch {
            stopLoops(by: .min)
            throw BalancerError(.threads, error, "can't start a thread")
        }
    }

    deinit {
        // Nobody can call stop(drain:) any more.
        stopLoops(by: .min)
    }

    /// Hands a new table to every loop. What is going on goes on; what comes is routed anew.
    public func update(_ table: RoutingTable) {
        for mailbox in mailboxes { mailbox.leave { $0.table = table } }
    }

    /// Stops accepting, lets what is going on finish, and returns when all threads have ended.
    /// - Parameter drain: after that long everything still open is closed, tunnels too. 30 s is usual.
    public func stop(drain: Duration) async {
        let by = drain.nanoseconds.addingReportingOverflow(mesh_uptime())
        stopLoops(by: by.overflow ? .max : by.partialValue)
        await ending.wait()
    }

    public var counters: BalancerCounters { BalancerCounters(of: loopCounters) }

    private func stopLoops(by uptime: Int64) {
        for mailbox in mailboxes { mailbox.leave { $0.stopBy = uptime } }
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

    init(_ code: Code, _ reason: SystemError, _ text: String) {
        self.code = code
        description = "\(text): \(reason)"
    }
}
