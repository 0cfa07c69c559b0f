internal import CMeshSystem
import Glibc
import MeshCore
import MeshLoop

/// What a loop is made from, on its way to its thread.
struct LoopStart: Sendable {
    let configuration: BalancerConfiguration
    /// Of how many loops it is one.
    let loops: Int
    let table: RoutingTable
    let listener: Listener
    let mailbox: Mailbox<LoopLetters>
    let log: @Sendable (String) -> Void
    let counters = LoopCounters()
}

/// What is wanted of a balancer's loop.
struct LoopLetters: Sendable {
    /// Only the newest table matters.
    var table: RoutingTable?
    /// Uptime in nanoseconds after which nothing is waited for.
    var stopBy: Int64?
}

/// One thread's event loop and everything that its connections share.
///
/// Not Sendable, and never leaves its thread. Reads go into one scratch buffer, so a connection that waits for bytes holds none; who has read
/// something acts on it, or copies what it must keep, before anybody reads again.
final class BalancerLoop {
    let configuration: BalancerConfiguration
    /// The configuration's timeouts.
    let waits: Waits
    let counters: LoopCounters
    /// Uptime in nanoseconds when this turn of the loop began.
    private(set) var now: Int64
    /// Set once it is told to stop: every answer closes its connection.
    private(set) var isDraining = false

    var router: RequestRouter
    private(set) var pools: [UpstreamPool] = []
    var scanner = HeadScanner()
    var lines = LineBuffer()
    var buffers = BufferPool()
    var wheel: TimerWheel
    var silence: SilenceLimit
    var complaints: Complaints
    /// Requests going on, and how many of them are repeats: the retry budget.
    var activeRequests = 0
    var activeRetries = 0

    /// Where reads land: ``Scratch/room`` bytes behind a head room in which a rewritten head grows.
    let scratch = Scratch()
    /// `X-Forwarded-Proto` and `-Port`: the same for every request of a listener.
    let forwardedLines: [UInt8]

    private let listener: Listener
    private let mailbox: Mailbox<LoopLetters>
    private let poll: Poll
    private var connections: [Connection?] = []
    private var generation: UInt64 = 0
    private var clientCount = 0
    private let clientsMax: Int
    private var isAccepting = false
    private var acceptAgainAt: Int64 = .max
    private var stopBy: Int64 = .max
    /// Taken off a full batch, so that one who always has more to read does not keep the rest waiting.
    private var postponed: [Connection] = []

    private static let acceptsPerTurnMax = 64

    struct Scratch {
        static let headRoom = 4096
        /// 124 KiB: large reads are what makes large bodies cheap. With the head room it is what one ``ByteBuffer`` holds.
        static let room = BufferPool.largest - headRoom
        let start: UnsafeMutableRawPointer = .allocate(byteCount: BufferPool.largest, alignment: 4096)
        /// Where reads go.
        var base: UnsafeMutableRawPointer { start + Self.headRoom }
    }

    /// Timeouts in nanoseconds: arithmetic on `Duration` is 128 bits wide, and every request sets four.
    struct Waits {
        let connect, suspect, requestHead, requestBodyIdle, silence, responseHead, responseBodyIdle: Int64
        let clientStall, clientIdle, upstreamIdle, tunnelIdle, linger: Int64

        init(_ timeouts: BalancerConfiguration.Timeouts) {
            connect = timeouts.connect.nanoseconds
            suspect = timeouts.suspect.nanoseconds
            requestHead = timeouts.requestHead.nanoseconds
            requestBodyIdle = timeouts.requestBodyIdle.nanoseconds
            silence = timeouts.silence.nanoseconds
            responseHead = timeouts.responseHead.nanoseconds
            responseBodyIdle = timeouts.responseBodyIdle.nanoseconds
            clientStall = timeouts.clientStall.nanoseconds
            clientIdle = timeouts.clientIdle.nanoseconds
            upstreamIdle = timeouts.upstreamIdle.nanoseconds
            tunnelIdle = timeouts.tunnelIdle.nanoseconds
            linger = timeouts.linger.nanoseconds
        }
    }

    /// Nil when the system gives no epoll descriptor.
    init?(_ start: LoopStart) {
        guard let poll = try? Poll(), poll.add(start.mailbox.descriptor, Poll.readable, tag: UInt64(UInt32(start.mailbox.descriptor)))
        else {
            start.log("a balancer loop can't start: no epoll descriptor")
            return nil
        }
        self.poll = poll
        configuration = start.configuration
        waits = Waits(start.configuration.timeouts)
        counters = start.counters
        listener = start.listener
        mailbox = start.mailbox
        now = mesh_uptime()
        wheel = TimerWheel(now: now)
        router = RequestRouter(table: start.table, algorithm: start.configuration.algorithm())
        silence = SilenceLimit(shortest: start.configuration.timeouts.silence)
        complaints = Complaints(log: start.log)
        forwardedLines = Array("X-Forwarded-Proto: http\r\nX-Forwarded-Port: \(start.listener.address.port)\r\n".utf8)
        let wanted = start.configuration.limits.clientConnectionsMax
        let derived = Int(clamping: mesh_descriptor_limit() / 2) - 64
        clientsMax = max(1, (wanted > 0 ? wanted : max(derived, 16)) / start.loops)
        postponed.reserveCapacity(64)
        adopt(start.table)
    }

    deinit {
        scratch.start.deallocate()
        lines.release()
        buffers.releaseAll()
    }

    // MARK: Turning

    func run() {
        while !(isDraining && (clientCount == 0 || now >= stopBy)) {
            keepAccepting()
            let wait = postponed.isEmpty ? millisecondsToWait() : 0
            let count = poll.wait(milliseconds: wait)
            now = mesh_uptime()
            for index in 0..<count { handleEvent(index) }
            let again = postponed
            if !again.isEmpty {
                postponed.removeAll(keepingCapacity: true)
                for connection in again where !connection.isClosed { connection.proceed(in: self) }
            }
            expireDeadlines()
        }
        for connection in connections { connection?.close(in: self) }
        // Objects that point at each other let go when closed; this is the last reference to them.
        connections = []
        pools = []
    }

    private func handleEvent(_ index: Int32) {
        let (tag, flags) = poll.event(index)
        let descriptor = Int(UInt32(truncatingIfNeeded: tag))
        if tag >> 32 == 0 {
            if Int32(descriptor) == mailbox.descriptor { readMail() } else { acceptClients() }
            return
        }
        // An event of this batch may be about a connection that an earlier event closed, and whose number has a new owner.
        guard descriptor < connections.count, let connection = connections[descriptor], connection.tag == tag else { return }
        connection.note(flags)
        connection.proceed(in: self)
    }

    /// Has a connection go on in the next turn.
    func postpone(_ connection: Connection) {
        postponed.append(connection)
    }

    private func millisecondsToWait() -> Int32 {
        var wait = wheel.millisecondsToNext(at: now) ?? -1
        for moment in [stopBy, acceptAgainAt] where moment != .max {
            let until = Int32(clamping: max(0, (moment - now) / 1_000_000 + 1))
            wait = wait < 0 ? until : min(wait, until)
        }
        return wait
    }

    private func expireDeadlines() {
        while let (tick, tags) = wheel.next(at: now) {
            for tag in tags {
                let descriptor = Int(UInt32(truncatingIfNeeded: tag))
                guard descriptor < connections.count, let connection = connections[descriptor], connection.tag == tag,
                    connection.filedTick == tick
                else { continue }
                connection.filedTick = .max
                if connection.deadline <= now {
                    connection.expired(in: self)
                } else if connection.deadline != .max {
                    connection.setDeadline(connection.deadline, in: self)
                }
            }
        }
    }

    func deadline(after nanoseconds: Int64) -> Int64 {
        let (sum, overflow) = now.addingReportingOverflow(nanoseconds)
        return overflow ? .max : sum
    }

    // MARK: Connections

    /// Registers a socket and makes its connection; the descriptor is closed and nil returned when epoll refuses it.
    func register<Made: Connection>(_ descriptor: Int32, _ make: (_ tag: UInt64) -> Made) -> Made? {
        generation = generation == UInt64(UInt32.max) ? 1 : generation + 1
        let tag = generation << 32 | UInt64(UInt32(descriptor))
        guard poll.add(descriptor, Poll.edges, tag: tag) else {
            mesh_close(descriptor)
            return nil
        }
        let connection = make(tag)
        if Int(descriptor) >= connections.count {
            connections.append(contentsOf: repeatElement(nil, count: Int(descriptor) + 64 - connections.count))
        }
        connections[Int(descriptor)] = connection
        if connection is ClientConnection {
            clientCount += 1
            counters.clientsOpen.add()
        } else {
            counters.upstreamsOpen.add()
        }
        return connection
    }

    func forget(_ connection: Connection) {
        connections[Int(connection.descriptor)] = nil
        mesh_close(connection.descriptor)
        if connection is ClientConnection {
            clientCount -= 1
            counters.clientsOpen.add(-1)
        } else {
            counters.upstreamsOpen.add(-1)
        }
    }

    private func keepAccepting() {
        let wanted = !isDraining && clientCount < clientsMax
        if wanted, !isAccepting, acceptAgainAt == .max || now >= acceptAgainAt {
            acceptAgainAt = .max
            isAccepting = poll.add(listener.descriptor, Poll.readable, tag: UInt64(UInt32(listener.descriptor)))
        } else if !wanted, isAccepting {
            poll.remove(listener.descriptor)
            isAccepting = false
        }
    }

    private func acceptClients() {
        var peer = mesh_address()
        for _ in 0..<Self.acceptsPerTurnMax where clientCount < clientsMax && isAccepting {
            let descriptor = mesh_accept(listener.descriptor, &peer)
            if descriptor >= 0 {
                counters.clientsAccepted.add()
                guard let client = register(descriptor, { ClientConnection(descriptor: descriptor, tag: $0, host: peer.host) }) else {
                    continue
                }
                client.setDeadline(deadline(after: waits.clientIdle), in: self)
                continue
            }
            if descriptor == -Int32(EAGAIN) { return }
            // Out of descriptors: asking at once again would spin.
            complaints.complain(.descriptors, at: now, "can't accept clients: error \(-descriptor); raise the open files limit")
            poll.remove(listener.descriptor)
            isAccepting = false
            acceptAgainAt = deadline(after: 100_000_000)
            return
        }
    }

    // MARK: Mail

    private func readMail() {
        let letters = mailbox.collect(leaving: LoopLetters())
        if let table = letters.table {
            router.replace(with: table)
            adopt(table)
        }
        guard let stopBy = letters.stopBy else { return }
        self.stopBy = min(self.stopBy, stopBy)
        isDraining = true
        keepAccepting()
        listener.close()
        for case let client as ClientConnection in connections { client.drain(in: self) }
    }

    /// Gives every target of the table its pool, and retires the pools of those that are gone.
    private func adopt(_ table: RoutingTable) {
        var known = Dictionary(pools.map { ($0.number, $0) }, uniquingKeysWith: { first, _ in first })
        var nowSuspect = false
        pools = table.targets.indices.map { index in
            let number = router.loads[index].number
            let target = table.targets[index]
            guard let pool = known.removeValue(forKey: number) else {
                return UpstreamPool(target: target, number: number, index: index, idleMax: configuration.limits.idlePerInstanceMax)
            }
            nowSuspect = nowSuspect || (target.isSuspect && !pool.isSuspect)
            pool.update(index: index, isSuspect: target.isSuspect)
            return pool
        }
        for connection in known.values {
            connection.update(index: nil, isSuspect: connection.isSuspect)
            connection.closeIdle(in: self)
        }
        guard nowSuspect || !known.isEmpty else { return }
        for case let upstream as UpstreamConnection in connections { upstream.poolChanged(in: self) }
    }
}
