/// Everything that can happen to an agent, as its shell tells the core.
public enum AgentInput: Hashable, Sendable {
    /// The listeners are up. Given once, first.
    case start
    /// A UDP packet, as it came.
    case datagram([UInt8], from: Endpoint)
    /// A timer fired. A timer that no longer matters is ignored.
    case timer(AgentTimer)
    /// A peer link is proven by both sides, whoever dialled it.
    case linkUp(LinkID, peer: MemberID, endpoint: Endpoint)
    /// One whole message came over a link. Messages of a link come in the order they were sent.
    case linkMessage(LinkID, [UInt8])
    /// A link is gone, for whatever reason. Its number is never used again.
    case linkDown(LinkID)
    /// A ``AgentDirective/connect(_:)`` came to nothing.
    case connectFailed(Endpoint, ConnectFailure)
    /// An application asks. Each request is answered by exactly one ``AgentDirective/reply(_:_:)``, unless its client closes first.
    case request(RequestID, ClientRequest)
    /// An application's connection closed: its subscriptions, requests and instance go with it.
    case clientClosed(ClientID)
    /// The mirror answered.
    case mirror(MirrorAnswer)
    /// What the seeds were found to stand for, all of them; `isComplete` is false while one is yet to be looked up.
    case seeds([Endpoint], isComplete: Bool)
    /// Hand off and leave; the end is ``AgentDirective/departed``.
    case leave
    /// The key file was read again. Answered by one ``AgentDirective/keysReloaded(_:)``.
    case reloadKeys(KeyFile, force: Bool)
}

/// A peer link of this agent, numbered by the shell.
public struct LinkID: RawRepresentable, Hashable, Comparable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static func < (lhs: LinkID, rhs: LinkID) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// An application's connection to this agent, numbered by the shell.
public struct ClientID: RawRepresentable, Hashable, Comparable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static func < (lhs: ClientID, rhs: ClientID) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// One request of a client, numbered by the shell within that client.
public struct RequestID: Hashable, Comparable, Sendable {
    public let client: ClientID
    public let number: UInt64

    public init(client: ClientID, number: UInt64) {
        self.client = client
        self.number = number
    }

    public static func < (lhs: RequestID, rhs: RequestID) -> Bool { (lhs.client, lhs.number) < (rhs.client, rhs.number) }
}

public enum ConnectFailure: UInt8, Hashable, Sendable {
    /// The host answered that nobody listens there: the process is gone.
    case refused
    /// Nothing came back in time, or the host can't be reached. Says nothing about the process.
    case silent
    /// Somebody answered who doesn't hold the gossip key, or speaks another protocol.
    case rejected
}

/// A timer of the core, carrying the fact it was set for.
public enum AgentTimer: Hashable, Sendable {
    case swim(SWIM.Timer)
    /// Looks after deadlines, hand-offs, expiry and the mirror's queue; sets itself again.
    case housekeeping(round: UInt64)
    /// The next stretch of those that go through all sessions.
    case walk
    /// The next message to a node that joins.
    case sync
    /// The memory of the next sessions that were let go of.
    case discard
}

/// What a mirror did with a ``MirrorRequest`` of the same ticket.
public enum MirrorAnswer: Hashable, Sendable {
    case loaded(ticket: UInt64, MirrorRecord?)
    case merged(ticket: UInt64)
    case visited(ticket: UInt64, MirrorVisit)
    case found(ticket: UInt64, [SessionKey])
    case failed(ticket: UInt64, MirrorError)
}
