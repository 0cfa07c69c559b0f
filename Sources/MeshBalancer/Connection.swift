internal import CMeshSystem
import Glibc
import MeshCore
import MeshLoop

/// A socket in a loop: readiness, unsent output, one deadline.
///
/// It is registered once, edge-triggered, for everything. What the edges said is remembered here and acted on when it suits: a read that has to wait
/// for a slow peer stays due, and whoever drains that peer calls ``proceed(in:)`` again.
class Connection {
    let descriptor: Int32
    /// Names the connection in events and timers: a descriptor's number is reused, its tag never.
    let tag: UInt64
    final private(set) var isClosed = false

    private final var readiness = Readiness()
    final var isReadable: Bool {
        get { readiness.isReadable }
        set { readiness.isReadable = newValue }
    }
    final var isPeerDone: Bool { readiness.isPeerDone }
    final var isBroken: Bool { readiness.isBroken }

    /// A tunnel's peer has finished sending, and its end was passed on.
    final var hasFinished = false

    /// What the peer has not taken yet: at most one read's worth, because nobody reads for a peer that has an outbox.
    final private(set) var outbox: ByteBuffer?

    /// When ``expired(in:)`` is due, and the tick under which the wheel has the connection.
    final private(set) var deadline: Int64 = .max
    final var filedTick: Int64 = .max

    init(descriptor: Int32, tag: UInt64) {
        self.descriptor = descriptor
        self.tag = tag
    }

    /// Does whatever can be done now.
    func proceed(in loop: BalancerLoop) {}
    /// The deadline passed.
    func expired(in loop: BalancerLoop) {}
    /// Gives back what a subclass holds. The descriptor is still open.
    func willClose(in loop: BalancerLoop) {}

    final func note(_ flags: UInt32) { readiness.note(flags) }

    final func setDeadline(_ deadline: Int64, in loop: BalancerLoop) {
        self.deadline = deadline
        let tick = TimerWheel.tick(of: deadline)
        if tick < filedTick { filedTick = loop.wheel.insert(tag, at: tick) }
    }

    final func close(in loop: BalancerLoop) {
        if isClosed { return }
        willClose(in: loop)
        isClosed = true
        if let outbox { loop.buffers.giveBack(outbox) }
        outbox = nil
        loop.forget(self)
    }

    // MARK: Reading

    final func receive(into memory: UnsafeMutableRawPointer, _ room: Int) -> Readiness.Received {
        readiness.receive(from: descriptor, into: memory, room)
    }

    // MARK: Writing

    enum Sent {
        case all
        /// The rest is in the outbox.
        case part
        case failure
    }

    final func send(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) -> Sent {
        if let waiting = outbox {
            guard waiting.count + bytes.count <= BufferPool.largest else { return .failure }
            var grown = loop.buffers.grow(waiting, by: bytes.count)
            grown.append(bytes)
            outbox = grown
            return .part
        }
        var sent = mesh_send(descriptor, bytes.baseAddress, bytes.count)
        if sent == bytes.count { return .all }
        if sent < 0 {
            guard sent == -Int(EAGAIN) else { return .failure }
            sent = 0
        }
        keep(UnsafeRawBufferPointer(rebasing: bytes[sent...]), in: loop)
        return .part
    }

    /// Puts bytes into the empty outbox, for a socket that can't take any yet.
    final func keep(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        var box = loop.buffers.take(bytes.count)
        box.append(bytes)
        outbox = box
    }

    /// Sends what waits.
    final func flush(in loop: BalancerLoop) -> Sent {
        guard var box = outbox else { return .all }
        let sent = mesh_send(descriptor, box.bytes.baseAddress, box.count)
        if sent < 0 { return sent == -Int(EAGAIN) ? .part : .failure }
        box.removeFirst(sent)
        if box.count > 0 {
            outbox = box
            return .part
        }
        loop.buffers.giveBack(box)
        outbox = nil
        return .all
    }

    /// Takes the outbox away: none of it was sent, and somebody else is to have it.
    final func takeOutbox() -> ByteBuffer? {
        defer { outbox = nil }
        return outbox
    }
}
