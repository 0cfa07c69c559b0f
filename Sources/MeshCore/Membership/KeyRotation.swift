/// Which gossip keys this member accepts and seals with, while key files change one by one under a mesh that runs.
///
/// The file says what is wanted. What is in force follows it no faster than the mesh can hear:
/// - a key that is new in the file is accepted at once;
/// - the last key of the file is used once every reachable member accepts it; until then the last one that all accept, or the one in use;
/// - a key that was taken out is refused at once, unless it is the one in use or a reachable member still seals with it: then it is kept
///   until that changes.
///
/// So files may be changed in any order, and no member stops hearing another. To force it is to follow the file at once: for a key that
/// has leaked, whose holder would otherwise count as a member that still seals with it.
public struct KeyRotation: Sendable {
    /// What the key file says.
    public private(set) var file: GossipKeyRing
    /// What is in force.
    public private(set) var ring: GossipKeyRing
    private var isForced = false

    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        /// The file gives the number of a key in force to another secret: packets name keys by number.
        case numberReused(UInt16)
        /// The same of a cookie key: cookies name keys by number.
        case cookieNumberReused(UInt16)

        public var description: String {
            switch self {
            case .numberReused(let number): Self.reused("gossip", number)
            case .cookieNumberReused(let number): Self.reused("cookie", number)
            }
        }

        private static func reused(_ ring: String, _ number: UInt16) -> String {
            "\(ring) key \(number) has another secret than the key \(number) in use: give a new key a new number (sessionmesh keygen --add)"
        }
    }

    public init(_ file: GossipKeyRing) {
        self.file = file
        ring = file
    }

    /// Takes what a file says now; call ``consider(_:)`` next.
    public mutating func load(_ file: GossipKeyRing, force: Bool) throws(Problem) {
        for key in file.keys {
            if let known = ring[key.number], known != key { throw .numberReused(key.number) }
        }
        self.file = file
        isForced = force
    }

    /// Whether the other members can make a difference: mostly there is one key.
    var hasChoice: Bool { file.keys.count > 1 || ring != file }

    /// Puts in force what the keys of the other reachable members allow.
    /// - Returns: whether anything changed.
    public mutating func consider(_ others: some Collection<Member>) -> Bool {
        guard hasChoice else { return false }
        let sealing = isForced ? file.sealing : file.keys.last { $0.isAccepted(byAll: others) } ?? ring.sealing
        let kept = ring.keys.filter { key in
            guard file[key.number] == nil else { return false }
            return key == sealing || !isForced && others.contains { $0.keys.last == key.mark }
        }
        let all = kept + file.keys
        let next = GossipKeyRing(accepting: all.filter { $0 != sealing }, sealing: sealing)
        guard next != ring else { return false }
        ring = next
        return true
    }

    /// Keys that the file no longer holds and that are accepted still.
    public var kept: [GossipKey] { ring.keys.filter { file[$0.number] == nil } }
}

extension GossipKey {
    fileprivate func isAccepted(byAll members: some Collection<Member>) -> Bool {
        members.allSatisfy { $0.keys.contains(mark) }
    }
}

/// How far the keys of a mesh are, as one member sees it.
public struct KeyReport: Hashable, Sendable {
    /// Every reachable member, this one included, in the order of names; of each the keys it accepts, the one it seals with last.
    public var members: [Holder]
    /// The last key of this member's file: the one to be used.
    public var wanted: KeyMark
    /// The key this member seals with.
    public var used: KeyMark
    /// Keys that are not in the file any more and are accepted because a member still seals with them.
    public var kept: [KeyMark]
    /// Of the cookie ring; nil for who has none.
    public var cookies: Cookies?

    public struct Holder: Hashable, Sendable {
        public var name: NodeName
        public var keys: [KeyMark]
        /// The cookie keys it accepts, the one it signs with last.
        public var cookieKeys: [KeyMark] = []
    }

    public struct Cookies: Hashable, Sendable {
        /// The last cookie key of this member's file.
        public var wanted: KeyMark
        /// The one this member signs with.
        public var used: KeyMark
    }

    /// Who doesn't accept the key that is wanted.
    public var lacking: [NodeName] { members.filter { !$0.keys.contains(wanted) }.map(\.name) }

    /// Who doesn't accept the cookie key that is wanted.
    public var lackingCookie: [NodeName] {
        cookies.map { cookies in members.filter { !$0.cookieKeys.contains(cookies.wanted) }.map(\.name) } ?? []
    }

    /// One line for a log, or for who asked for the reload.
    public var summary: String { cookies.map { "\(gossipSummary); \(cookieSummary($0))" } ?? gossipSummary }

    private func cookieSummary(_ cookies: Cookies) -> String {
        let lacking = lackingCookie
        guard cookies.used != cookies.wanted else { return "cookie key \(cookies.wanted.number) signs" }
        return "cookie key \(cookies.wanted.number) is accepted by \(members.count - lacking.count) of \(members.count) members; "
            + "key \(cookies.used.number) signs until all do" + Self.missing(lacking)
    }

    private static func missing(_ names: [NodeName]) -> String {
        names.isEmpty ? "" : " (missing at \(names.prefix(8).map(\.description).joined(separator: ", ")))"
    }

    private var gossipSummary: String {
        let accepted = members.count - lacking.count
        var line = "gossip key \(wanted.number) is "
        line += used == wanted ? "used" : "accepted by \(accepted) of \(members.count) members; key \(used.number) is used until all do"
        line += Self.missing(lacking)
        if !kept.isEmpty { line += "; kept, as a member seals with it: \(kept.map { String($0.number) }.joined(separator: ", "))" }
        return line
    }
}
