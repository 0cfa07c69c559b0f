import Foundation
import Glibc
import LabTools
import Synchronization

/// Stands between agents and a store, and gives on what either says: at once, or, while it is told so, what the store says after a delay.
///
/// It has a thread of its own, so that the lab's load doesn't wait for it. What waits here is as much as agents ask of a store.
final class DelayProxy: Sendable {
    let port: UInt16
    private let milliseconds = Atomic<Int>(0)
    private let isOver = Atomic<Bool>(false)

    init(to store: UInt16) throws {
        let (listener, port) = try Loopback.bound()
        guard listen(listener, 128) == 0 else { throw LabFailure("port \(port) can't be listened to") }
        _ = fcntl(listener, F_SETFL, O_NONBLOCK)
        self.port = port
        Thread.detachNewThread { [weak self] in
            var shuttle = Shuttle(listener, to: store)
            while let self, !self.isOver.load(ordering: .relaxed) {
                shuttle.turn(delay: .milliseconds(self.milliseconds.load(ordering: .relaxed)))
            }
            shuttle.end()
        }
    }

    /// Of each answer from now on. Zero also lets go of those that wait.
    func delay(by delay: Duration) { milliseconds.store(Int(delay.milliseconds), ordering: .relaxed) }

    func end() { isOver.store(true, ordering: .relaxed) }
}

/// What the proxy's thread does.
private struct Shuttle {
    private let listener: Int32
    private let store: UInt16
    private var pairs: [Pair] = []

    /// Bytes that wait to go one way.
    private struct Way {
        var chunks: [(due: Instant, bytes: ArraySlice<UInt8>)] = []
        /// Whoever speaks has hung up.
        var isEnding = false
    }

    private struct Pair {
        let agent: Int32
        let store: Int32
        var asked = Way()
        var answered = Way()
        var isOver = false
    }

    /// A change of the delay is noticed after so many milliseconds at most.
    private static let turnMax: Int32 = 10

    init(_ listener: Int32, to store: UInt16) {
        self.listener = listener
        self.store = store
    }

    mutating func turn(delay: Duration) {
        var descriptors = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
        for pair in pairs {
            descriptors.append(pollfd(fd: pair.agent, events: Self.events(reads: pair.asked, writes: pair.answered), revents: 0))
            descriptors.append(pollfd(fd: pair.store, events: Self.events(reads: pair.answered, writes: pair.asked), revents: 0))
        }
        guard poll(&descriptors, nfds_t(descriptors.count), Self.turnMax) >= 0 else { return }
        let now = Instant.now
        for index in pairs.indices {
            if descriptors[1 + 2 * index].revents != 0 { Self.read(pairs[index].agent, into: &pairs[index].asked, due: now) }
            if descriptors[2 + 2 * index].revents != 0 { Self.read(pairs[index].store, into: &pairs[index].answered, due: now + delay) }
            let goesOn =
                Self.write(&pairs[index].asked, to: pairs[index].store, at: now, all: true)
                && Self.write(&pairs[index].answered, to: pairs[index].agent, at: now, all: delay == .zero)
            if !goesOn {
                close(pairs[index].agent)
                close(pairs[index].store)
                pairs[index].isOver = true
            }
        }
        pairs.removeAll(where: \.isOver)
        if descriptors[0].revents != 0 { accept() }
    }

    mutating func end() {
        close(listener)
        for pair in pairs {
            close(pair.agent)
            close(pair.store)
        }
        pairs.removeAll()
    }

    private static func events(reads: Way, writes: Way) -> Int16 {
        let isDue = writes.chunks.first.map { $0.due <= .now } ?? false
        return Int16((reads.isEnding ? 0 : POLLIN) | (isDue ? POLLOUT : 0))
    }

    private mutating func accept() {
        let agent = Glibc.accept(listener, nil, nil)
        guard agent >= 0 else { return }
        _ = fcntl(agent, F_SETFD, FD_CLOEXEC)
        let store = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard Loopback.connect(store, to: self.store) else {
            close(agent)
            close(store)
            return
        }
        var yes: Int32 = 1
        for descriptor in [agent, store] {
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        pairs.append(Pair(agent: agent, store: store))
    }

    private static func read(_ descriptor: Int32, into way: inout Way, due: Instant) {
        guard !way.isEnding else { return }
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count > 0 { way.chunks.append((due, Array(buffer[..<count])[...])) }
            if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) { way.isEnding = true }
        }
    }

    /// - Returns: false when this way is at its end.
    private static func write(_ way: inout Way, to descriptor: Int32, at now: Instant, all: Bool) -> Bool {
        while let first = way.chunks.first, all || first.due <= now {
            let count = first.bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            if count == first.bytes.count { way.chunks.removeFirst() } else { way.chunks[0].bytes = first.bytes.dropFirst(count) }
        }
        return !(way.isEnding && way.chunks.isEmpty)
    }
}
