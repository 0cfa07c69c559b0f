internal import CMeshSystem
import Glibc
import MeshCore
import MeshLoop

/// A socket that is bound, and listening when it is a stream, before a loop gets it. So every mistake of a configuration is found before anything runs
/// and becomes one clear ``AgentStartError``.
struct BoundSocket {
    let descriptor: CInt
    /// The port that the system chose, when it was asked to; 0 for a Unix socket.
    let port: UInt16
    let file: SocketFile?

    /// Connections that wait while the loop is busy. More than that at once is a flood, and a client may try again.
    private static let backlog: CInt = 256

    static func listener(on endpoint: Endpoint) throws(AgentStartError) -> BoundSocket {
        try bound(endpoint, backlog: backlog)
    }

    static func datagram(on endpoint: Endpoint) throws(AgentStartError) -> BoundSocket {
        try bound(endpoint, backlog: 0)
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
        let descriptor = mesh_bind_path(path, 0o600, backlog)
        guard descriptor >= 0 else { throw SocketFile.error(path, SystemError(number: -descriptor)) }
        return BoundSocket(descriptor: descriptor, port: 0, file: SocketFile(path: path))
    }

    /// For a socket that no loop got.
    func close() {
        mesh_close(descriptor)
        file?.remove()
    }

    private static func bound(_ endpoint: Endpoint, backlog: CInt) throws(AgentStartError) -> BoundSocket {
        var address = mesh_address(endpoint)
        let descriptor = mesh_bind(&address, backlog)
        guard descriptor >= 0 else { throw error(endpoint, SystemError(number: -descriptor)) }
        let result = mesh_local_address(descriptor, &address)
        guard result == 0 else {
            mesh_close(descriptor)
            throw error(endpoint, SystemError(number: -result))
        }
        return BoundSocket(descriptor: descriptor, port: address.port, file: nil)
    }

    private static func error(_ endpoint: Endpoint, _ reason: SystemError) -> AgentStartError {
        switch reason.number {
        case EADDRINUSE:
            AgentStartError(.addressInUse, "\(endpoint) is in use: stop the process that listens there, or choose another port")
        case EADDRNOTAVAIL:
            AgentStartError(.addressUnavailable, "this machine has no address \(endpoint.host): bind one of its own, or 0.0.0.0")
        case EACCES:
            AgentStartError(.addressUnavailable, "port \(endpoint.port) is not for this user: choose one from 1024 up")
        case EMFILE, ENFILE: .noSocket(reason)
        default:
            AgentStartError(.addressUnavailable, "\(endpoint) can't be bound (\(reason)): choose another address")
        }
    }
}

extension AgentStartError {
    static func noSocket(_ reason: SystemError) -> AgentStartError {
        AgentStartError(.addressUnavailable, "no socket can be opened (\(reason)): raise the limit of open files")
    }

    /// The one limit that epoll has of its own (epoll(7)).
    static let unwatched = AgentStartError(.addressUnavailable, "no more sockets can be watched: raise fs.epoll.max_user_watches")
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

    static func error(_ path: String, _ reason: SystemError) -> AgentStartError {
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        return switch reason.number {
        case ENOENT, ENOTDIR: AgentStartError(.socketPath, "\(path) can't be made because \(directory) is no directory: create it first")
        case EACCES, EPERM, EROFS: AgentStartError(.socketPath, "\(path) can't be made: let this user write to \(directory)")
        case EMFILE, ENFILE: .noSocket(reason)
        default: AgentStartError(.socketPath, "\(path) can't be made (\(reason)): choose another path")
        }
    }

    private static func look(_ path: String) -> (identity: Identity, isSocket: Bool)? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return (Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)), status.st_mode & S_IFMT == S_IFSOCK)
    }

    /// Nil when we may not ask. A full backlog is an answer too: somebody holds it.
    private static func answers(_ path: String) -> Bool? {
        switch -mesh_probe_path(path) {
        case 0, EAGAIN, EINPROGRESS: return true
        case ECONNREFUSED, ENOENT: return false
        default: return nil
        }
    }
}
