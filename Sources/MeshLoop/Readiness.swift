internal import CMeshSystem

/// What the edges said of a socket, remembered until it suits to act on it: a read that has to wait stays due.
package struct Readiness {
    /// There may be something to read.
    package var isReadable = false
    /// The peer has finished sending, or the connection is broken: read until the end shows.
    package private(set) var isPeerDone = false
    /// Reading or writing is certain to fail.
    package private(set) var isBroken = false

    package init() {}

    package mutating func note(_ flags: UInt32) {
        if mesh_says_readable(flags) { isReadable = true }
        if mesh_says_done(flags) { isPeerDone = true }
        if mesh_says_broken(flags) { isBroken = true }
    }

    package enum Received {
        case bytes(Int)
        case end
        case nothing
        case failure
    }

    /// One read. A short one means that the socket is empty, so no second call is made to hear it say so.
    package mutating func receive(from descriptor: Int32, into memory: UnsafeMutableRawPointer, _ room: Int) -> Received {
        let count = mesh_recv(descriptor, memory, room)
        if count > 0 {
            if count < room && !isPeerDone { isReadable = false }
            return .bytes(count)
        }
        isReadable = false
        if count == 0 { return .end }
        return mesh_says_again(count) ? .nothing : .failure
    }
}
