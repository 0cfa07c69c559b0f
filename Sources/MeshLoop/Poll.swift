internal import CMeshSystem

/// The sockets of one thread, and which of them have something to say: epoll. A socket is told by the tag that it was added with.
package final class Poll {
    private let descriptor: Int32
    private let events: UnsafeMutableRawPointer

    /// Told of in one turn; of more the rest is told of in the next, in turns of their own.
    package static let eventsMax: Int32 = 512

    /// Once for every change and for everything: what came is remembered in a ``Readiness``.
    package static var edges: UInt32 { mesh_epoll_edges() }
    /// The same without room to write. A Unix socket has room anew whenever its peer reads, and would tell of it each time.
    package static var readingEdges: UInt32 { mesh_epoll_reading_edges() }
    /// As long as there is something to read, or somebody to accept.
    package static var readable: UInt32 { mesh_epoll_readable() }

    /// - Throws: the system's reason when it gives no descriptor.
    package init() throws(SystemError) {
        descriptor = mesh_epoll_create()
        guard descriptor >= 0 else { throw SystemError(number: -descriptor) }
        events = .allocate(byteCount: Int(Self.eventsMax) * mesh_epoll_event_size(), alignment: 16)
    }

    deinit {
        events.deallocate()
        mesh_close(descriptor)
    }

    /// False when the kernel refuses it.
    package func add(_ socket: Int32, _ interest: UInt32, tag: UInt64) -> Bool {
        mesh_epoll_add(descriptor, socket, interest, tag) == 0
    }

    /// Has what is the case already told of again.
    package func change(_ socket: Int32, _ interest: UInt32, tag: UInt64) {
        _ = mesh_epoll_change(descriptor, socket, interest, tag)
    }

    package func remove(_ socket: Int32) {
        _ = mesh_epoll_remove(descriptor, socket)
    }

    /// Waits, for ever when `milliseconds` is negative, and says how many events there are.
    package func wait(milliseconds: Int32) -> Int32 {
        max(0, mesh_epoll_wait(descriptor, events, Self.eventsMax, milliseconds))
    }

    package func event(_ index: Int32) -> (tag: UInt64, flags: UInt32) {
        var flags: UInt32 = 0
        let tag = mesh_epoll_event(events, index, &flags)
        return (tag, flags)
    }
}

/// Why the system refused something: an `errno`.
package struct SystemError: Error, Hashable, CustomStringConvertible {
    package let number: Int32

    package init(number: Int32) { self.number = number }

    package var description: String { String(cString: mesh_error_text(number)) }
}
