internal import CMeshSystem
import MeshCore
import MeshLoop

/// The thread on which an agent lives: its sockets, its timers, and letters from other threads.
///
/// It turns: it waits until something is ready, has each socket do what it can, then those that were not through in the turn before, then the
/// timers that are due; and before it waits again, everybody who has something to say writes it, once.
/// Not Sendable, and never leaves its thread. Reads go into one scratch buffer, so a connection that waits for bytes holds none.
final class AgentLoop {
    /// Where reads land. What is read at once is also what a connection is given in one turn, so that a large transfer keeps nobody waiting.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    /// Uptime in nanoseconds when this turn began.
    private(set) var now = mesh_uptime()
    /// How many more commands clients may give in this turn.
    var commandsLeft = AgentLoop.commandsMax
    private let poll: Poll
    private let mailbox: Mailbox<AgentLetters>
    private let mailTag: UInt64
    private var sources: [LoopSource?] = []
    private var generation: UInt64 = 0
    /// Who was not through in this turn. At most all sources.
    private var postponed: [LoopSource] = []
    private var timers = TimerQueue()
    private var timersHeldBack = 0
    private var isStopped = false

    /// Some milliseconds' work, after which gossip and timers have their turn.
    private static let commandsMax = 1024
    /// Under a flood that never ends, time goes on all the same: after 8 turns the timers count.
    private static let timersHeldBackMax = 8

    /// - Throws: when the system gives no descriptor, or watches none.
    init(_ mailbox: Mailbox<AgentLetters>) throws(AgentStartError) {
        do throws(SystemError) { poll = try Poll() } catch { throw .noSocket(error) }
        self.mailbox = mailbox
        mailTag = UInt64(UInt32(mailbox.descriptor))
        guard poll.add(mailbox.descriptor, Poll.readable, tag: mailTag) else { throw .unwatched }
    }

    deinit { scratch.deallocate() }

    // MARK: Turning

    /// Until ``stop()``. Letters that come too late are told so.
    func run(_ driver: AgentDriver) {
        while !isStopped {
            driver.flushAll()
            let count = poll.wait(milliseconds: millisecondsToWait())
            now = mesh_uptime()
            commandsLeft = Self.commandsMax
            for index in 0..<count { handle(poll.event(index), driver) }
            goOnWithPostponed()
            // A timeout is judged only after everything that the kernel already received was heard, or a busy agent would suspect the living.
            if driver.mayHearMore || count == Poll.eventsMax, timersHeldBack < Self.timersHeldBackMax {
                timersHeldBack += 1
            } else {
                timersHeldBack = 0
                fireTimers()
            }
        }
        for letter in mailbox.collect(leaving: AgentLetters(isClosed: true)).waiting { letter(driver) }
        timers = TimerQueue()
    }

    /// After this turn.
    func stop() { isStopped = true }

    private func handle(_ event: (tag: UInt64, flags: UInt32), _ driver: AgentDriver) {
        if event.tag == mailTag {
            for letter in mailbox.collect(leaving: AgentLetters()).waiting { letter(driver) }
            return
        }
        let descriptor = Int(UInt32(truncatingIfNeeded: event.tag))
        // An event of this turn may be about a socket that an earlier one closed, and whose number has a new owner.
        guard descriptor < sources.count, let source = sources[descriptor], source.tag == event.tag else { return }
        source.readiness.note(event.flags)
        source.proceed()
    }

    private func goOnWithPostponed() {
        guard !postponed.isEmpty else { return }
        let again = postponed
        postponed.removeAll(keepingCapacity: true)
        for source in again {
            source.isPostponed = false
            if source.isRegistered { source.proceed() }
        }
    }

    /// What they set anew waits for the next turn, however soon it is due.
    private func fireTimers() {
        let last = timers.lastNumber
        while let body = timers.take(until: now, upTo: last) { body() }
    }

    private func millisecondsToWait() -> Int32 {
        if isStopped || timersHeldBack > 0 || !postponed.isEmpty { return 0 }
        guard let next = timers.next() else { return -1 }
        // Up to the next whole one: a timer never comes early.
        return Int32(clamping: max(0, (next - mesh_uptime() + 999_999) / 1_000_000))
    }

    // MARK: Sockets

    /// False when the kernel refuses it; then the descriptor is the caller's still.
    func register(_ source: LoopSource, _ interest: UInt32) -> Bool {
        generation = generation == UInt64(UInt32.max) ? 1 : generation + 1
        let tag = generation << 32 | UInt64(UInt32(source.descriptor))
        guard poll.add(source.descriptor, interest, tag: tag) else { return false }
        source.tag = tag
        let index = Int(source.descriptor)
        if index >= sources.count { sources.append(contentsOf: repeatElement(nil, count: index + 64 - sources.count)) }
        sources[index] = source
        return true
    }

    func change(_ source: LoopSource, _ interest: UInt32) {
        if source.isRegistered { poll.change(source.descriptor, interest, tag: source.tag) }
    }

    /// Takes it out; the descriptor stays open.
    func remove(_ source: LoopSource) {
        guard source.isRegistered else { return }
        poll.remove(source.descriptor)
        sources[Int(source.descriptor)] = nil
        source.tag = 0
    }

    /// Takes it out and closes its descriptor.
    func close(_ source: LoopSource) {
        if source.isRegistered { sources[Int(source.descriptor)] = nil }
        source.tag = 0
        mesh_close(source.descriptor)
    }

    /// Has it go on in the next turn.
    func postpone(_ source: LoopSource) {
        guard !source.isPostponed else { return }
        source.isPostponed = true
        postponed.append(source)
    }

    // MARK: Time

    /// Once, so much later: at least, and by no more than a millisecond and what the turn takes.
    @discardableResult
    func schedule(after delay: Duration, _ body: @escaping () -> Void) -> LoopTimer {
        // Not from the beginning of the turn, for a timeout must not begin before what is waited for was asked.
        let (sum, overflow) = mesh_uptime().addingReportingOverflow(max(0, delay.nanoseconds))
        return timers.add(at: overflow ? .max : sum, body)
    }

    func cancel(_ timer: LoopTimer) { timers.cancel(timer) }
}

/// A socket in the agent's loop.
class LoopSource {
    let descriptor: Int32
    /// Names it in events: a descriptor's number is reused, its tag never. 0 while it is in no loop.
    final fileprivate(set) var tag: UInt64 = 0
    final var readiness = Readiness()
    final fileprivate var isPostponed = false

    init(descriptor: Int32) { self.descriptor = descriptor }

    final var isRegistered: Bool { tag != 0 }

    /// Does whatever can be done now.
    func proceed() {}
}

/// What other threads want of an agent. Each asks for one thing at a time, or waits for its answer: the connections of the admin listener, lookups of
/// seeds, calls of the mirror, the snapshot. So there are never more letters than those.
struct AgentLetters: Sendable {
    var waiting: [@Sendable (AgentDriver) -> Void] = []
    /// Nobody reads them any more.
    var isClosed = false
}
