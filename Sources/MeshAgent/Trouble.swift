import Logging
import MeshCore
import Synchronization

/// Everything that can go wrong at a socket without being the end of anything. Each is counted; `/metrics` shows the counts.
enum Trouble: String, CaseIterable {
    case datagramTooLong = "datagram_too_long"
    /// The socket's buffer is full. Gossip is made to be lost.
    case datagramUnsent = "datagram_unsent"
    /// An address that no packet can go to, such as port 0 or another family than the socket's.
    case datagramUnaddressable = "datagram_unaddressable"
    case gossipSocketFailed = "gossip_socket_failed"
    case acceptFailed = "accept_failed"
    case linksUnprovenFull = "links_unproven_full"
    case linksFull = "links_full"
    case linkHandshakeTimeout = "link_handshake_timeout"
    case linkRejected = "link_rejected"
    case linkOverflow = "link_overflow"
    case clientsFull = "clients_full"
    case clientProtocol = "client_protocol"
    case clientUnauthenticated = "client_unauthenticated"
    case clientSlow = "client_slow"
    case clientSilent = "client_silent"
    case adminFull = "admin_full"
    case adminProtocol = "admin_protocol"
    case mirrorQueueFull = "mirror_queue_full"
}

/// Counts troubles, and logs at most one line a second for each kind: whoever floods a listener must not fill the disk too. On any thread.
final class TroubleLedger: Sendable {
    private let entries = Mutex<[Trouble: Entry]>([:])
    private let logger: Logger

    private struct Entry {
        var count: UInt64 = 0
        var loggedAt: Int64?
        var unlogged: UInt64 = 0
    }

    private static let lineInterval: Int64 = 1_000_000_000

    init(logger: Logger) {
        self.logger = logger
    }

    func note(_ trouble: Trouble, at now: Moment = SystemClock.now(), _ detail: @autoclosure () -> String) {
        let unlogged = entries.withLock { entries -> UInt64? in
            var entry = entries[trouble, default: Entry()]
            defer { entries[trouble] = entry }
            entry.count += 1
            if let loggedAt = entry.loggedAt, now.uptime - loggedAt < Self.lineInterval {
                entry.unlogged += 1
                return nil
            }
            defer { entry.unlogged = 0 }
            entry.loggedAt = now.uptime
            return entry.unlogged
        }
        guard let unlogged else { return }
        logger.warning("\(detail())", metadata: [LogKeys.trouble: "\(trouble.rawValue)", LogKeys.unlogged: "\(unlogged)"])
    }

    /// Every kind with its count, those of 0 included, so that a graph has its line before the first trouble.
    var counts: [(Trouble, UInt64)] {
        let entries = entries.withLock { $0 }
        return Trouble.allCases.map { ($0, entries[$0]?.count ?? 0) }
    }
}

/// Keys of log metadata, in the words of the glossary.
enum LogKeys {
    static let trouble = "trouble"
    /// How many lines of the same kind were held back since the last one.
    static let unlogged = "unlogged"
    static let endpoint = "endpoint"
    static let client = "client"
    static let admin = "admin"
    static let member = "member"
    static let status = "status"
    static let stage = "stage"
    static let reason = "reason"
    static let sessions = "sessions"
    static let slots = "slots"
}
