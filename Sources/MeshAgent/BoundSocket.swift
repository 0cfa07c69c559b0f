import MeshCore
import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A socket that is bound, and listening when it is a stream, before the event loop gets it.
///
/// Bound here rather than by NIO for three reasons: every mistake of a configuration is found before anything runs and becomes one clear
/// ``AgentStartError``; a Unix socket gets its mode before anybody can connect; and the gossip socket outlives a channel that fails.
struct BoundSocket {
    let descriptor: CInt
    /// The port that the system chose, when it was asked to; 0 for a Unix socket.
    let port: UInt16
    let file: SocketFile?

    /// Connections that wait while the loop is busy. More than that at once is a flood, and a client may try again.
    private static let backlog: CInt = 256

    static func listener(on endpoint: Endpoint) throws(AgentStartError) -> BoundSocket {
        try bound(endpoint, kind: stream, isReused: true) { descriptor in listen(descriptor, backlog) }
    }

    /// Without `SO_REUSEADDR`: on Linux it would let two agents share the port, each hearing half of the gossip.
    static func datagram(on endpoint: Endpoint) throws(AgentStartError) -> BoundSocket {
        try bound(endpoint, kind: datagram, isReused: false) { _ in 0 }
    }

    /// A gossip socket and a peer listener on one port. When the system chooses, it knows of only one of the two, so a clash is tried again.
    static func pair(on endpoint: Endpoint) throws(AgentStartError) -> (listener: BoundSocket, gossip: BoundSocket) {
        var attemptsLeft = endpoint.port == 0 ? 16 : 1
        while true {
            attemptsLeft -= 1
            let listener = try listener(on: endpoint)
            do {
                return (listener, try datagram(on: endpoint.with(port: listener.port)))
            } catch {
                listener.close()
                if attemptsLeft == 0 || error.code != .addressInUse { throw error }
            }
        }
    }

    static func listener(onPath path: String) throws(AgentStartError) -> BoundSocket {
        try ListenAddress.check(path: path)
        try SocketFile.removeStale(path)
        guard let address = try? SocketAddress(unixDomainSocketPath: path) else {
            throw AgentStartError(.socketPath, "\(path) can't name a Unix socket: choose another path")
        }
        let descriptor = try open(AF_UNIX, stream)
        do throws(AgentStartError) {
            // Nobody can connect between bind and listen, so the mode is in force before the first connection.
            guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0, chmod(path, 0o600) == 0,
                listen(descriptor, backlog) == 0
            else { throw SocketFile.error(path, errno) }
            return BoundSocket(descriptor: descriptor, port: 0, file: SocketFile(path: path))
        } catch {
            _ = systemClose(descriptor)
            throw error
        }
    }

    /// Another descriptor of the same socket, to give away; nil when the process has no descriptors left.
    func duplicate() -> CInt? {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        return copy < 0 ? nil : copy
    }

    /// For a socket that the event loop did not get.
    func close() {
        _ = systemClose(descriptor)
        file?.remove()
    }

    private static func bound(
        _ endpoint: Endpoint, kind: CInt, isReused: Bool, _ finish: (CInt) -> CInt
    ) throws(AgentStartError) -> BoundSocket {
        guard let address = endpoint.socketAddress else { throw AgentStartError(.invalidAddress, "\(endpoint) is not an address") }
        let descriptor = try open(endpoint.address.count == 4 ? AF_INET : AF_INET6, kind)
        var yes: CInt = 1
        if isReused { setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<CInt>.size)) }
        guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0, finish(descriptor) == 0,
            let port = port(of: descriptor)
        else {
            let number = errno
            _ = systemClose(descriptor)
            throw error(endpoint, number)
        }
        return BoundSocket(descriptor: descriptor, port: port, file: nil)
    }

    private static func open(_ family: CInt, _ kind: CInt) throws(AgentStartError) -> CInt {
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else {
            throw AgentStartError(.addressUnavailable, "no socket can be opened (\(reason(errno))): raise the limit of open files")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        return descriptor
    }

    /// The port stands in the same place for both families.
    private static func port(of descriptor: CInt) -> UInt16? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) == 0 }
                ? UInt16(bigEndian: UnsafeRawPointer(storage).load(fromByteOffset: 2, as: UInt16.self)) : nil
        }
    }

    private static func error(_ endpoint: Endpoint, _ number: CInt) -> AgentStartError {
        switch number {
        case EADDRINUSE:
            AgentStartError(.addressInUse, "\(endpoint) is in use: stop the process that listens there, or choose another port")
        case EADDRNOTAVAIL:
            AgentStartError(.addressUnavailable, "this machine has no address \(endpoint.host): bind one of its own, or 0.0.0.0")
        case EACCES:
            AgentStartError(.addressUnavailable, "port \(endpoint.port) is not for this user: choose one from 1024 up")
        default:
            AgentStartError(.addressUnavailable, "\(endpoint) can't be bound (\(reason(number))): choose another address")
        }
    }

    static func reason(_ number: CInt) -> String { String(cString: strerror(number)) }

    #if canImport(Glibc)
        private static let stream = CInt(SOCK_STREAM.rawValue)
        private static let datagram = CInt(SOCK_DGRAM.rawValue)
    #else
        private static let stream = SOCK_STREAM
        private static let datagram = SOCK_DGRAM
    #endif
}

/// The file that a Unix socket is found by.
struct SocketFile {
    let path: String
    private let identity: Identity?

    /// Whether the path still leads to our socket is asked before it is removed: a successor may have put its own there.
    private struct Identity: Equatable {
        let device: UInt64
        let inode: UInt64
    }

    init(path: String) {
        self.path = path
        identity = Self.look(path)?.identity
    }

    func remove() {
        guard let identity, Self.look(path)?.identity == identity else { return }
        unlink(path)
    }

    /// Clears the way for a new socket: a file that a killed agent left behind is removed, anything else is left alone.
    static func removeStale(_ path: String) throws(AgentStartError) {
        guard let found = look(path) else { return }
        guard found.isSocket else {
            throw AgentStartError(.socketPath, "\(path) exists and is no socket: remove it, or choose another path")
        }
        guard let answers = answers(path) else {
            throw AgentStartError(.socketPath, "\(path) belongs to somebody else: remove it, or choose another path")
        }
        guard !answers else {
            throw AgentStartError(.socketInUse, "a process answers on \(path): stop it, or choose another path")
        }
        unlink(path)
    }

    static func error(_ path: String, _ number: CInt) -> AgentStartError {
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        return switch number {
        case ENOENT, ENOTDIR: AgentStartError(.socketPath, "\(path) can't be made because \(directory) is no directory: create it first")
        case EACCES, EPERM, EROFS: AgentStartError(.socketPath, "\(path) can't be made: let this user write to \(directory)")
        default: AgentStartError(.socketPath, "\(path) can't be made (\(BoundSocket.reason(number))): choose another path")
        }
    }

    private static func look(_ path: String) -> (identity: Identity, isSocket: Bool)? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return (Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)), status.st_mode & S_IFMT == S_IFSOCK)
    }

    /// Nil when we may not ask. A full backlog is an answer too: somebody holds it.
    private static func answers(_ path: String) -> Bool? {
        guard let address = try? SocketAddress(unixDomainSocketPath: path) else { return nil }
        #if canImport(Glibc)
            let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        #else
            let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
        #endif
        guard descriptor >= 0 else { return nil }
        defer { _ = systemClose(descriptor) }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        if address.withSockAddr({ connect(descriptor, $0, socklen_t($1)) }) == 0 { return true }
        switch errno {
        case ECONNREFUSED, ENOENT: return false
        case EAGAIN, EINPROGRESS: return true
        default: return nil
        }
    }
}

/// Under a name of its own, since the types here have a `close` too.
private func systemClose(_ descriptor: CInt) -> CInt { close(descriptor) }
