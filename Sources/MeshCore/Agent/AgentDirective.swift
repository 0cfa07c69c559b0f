/// What the core asks its shell to do. The shell carries them out in order and decides nothing.
public enum AgentDirective: Hashable, Sendable {
    /// Send one UDP packet. May be lost.
    case datagram([UInt8], to: Endpoint)
    /// Dial a peer link. The answer is a ``AgentInput/linkUp(_:peer:endpoint:)`` or a ``AgentInput/connectFailed(_:_:)``.
    case connect(Endpoint)
    /// Send one message over a link.
    case linkMessage(LinkID, [UInt8])
    case closeLink(LinkID)
    /// Fire the timer once, so much later.
    case timer(AgentTimer, after: Duration)
    /// That timer need not fire; if it does it is ignored.
    case cancelTimer(AgentTimer)
    case reply(RequestID, ClientResponse)
    /// Hand this to every client named.
    case push([ClientID], ClientPush)
    case mirror(MirrorRequest)
    case event(AgentEvent)
    /// The view changed: balancers route by it, and it is what `members` shows.
    case view(MeshView)
    /// The agent has left; nothing will be asked any more.
    case departed
    /// Accept and dial peer links with these keys from now on, and close those that are sealed with another.
    case ring(GossipKeyRing)
    /// What came of a ``AgentInput/reloadKeys(_:force:)``.
    case keysReloaded(KeyReload)
    /// The agent's name is that of a living member. It must end at once and say so; it was never part of the mesh, or is no more.
    case nameTaken(by: Member)
}

/// What came of reading the key file again.
public enum KeyReload: Hashable, Sendable {
    case done(KeyReport)
    /// Nothing changed.
    case refused(KeyRotation.Problem)
}

/// A question or an order to the mirror. The ticket comes back with the answer.
public enum MirrorRequest: Hashable, Sendable {
    case load(SessionKey, ticket: UInt64)
    case merge([MirrorRecord], ticket: UInt64)
    /// To leave a number, by the agent's own name.
    case visit(UInt64, by: NodeName, ticket: UInt64)
    case sessions(of: UserKey, ticket: UInt64)

    public var ticket: UInt64 {
        switch self {
        case .load(_, let ticket), .merge(_, let ticket), .visit(_, _, let ticket), .sessions(_, let ticket): ticket
        }
    }
}

/// Something an operator may want to know at once.
public enum AgentEvent: Hashable, Sendable {
    /// A member, this one included, has another status or stage now, or is degraded or no longer so. Of one that died, why.
    case member(Member, epoch: UInt64, verdict: SWIM.Verdict? = nil)
    /// This agent has pulled what it ranks for and serves.
    case serving
    /// The mirror stopped answering; the mesh goes on alone.
    case mirrorLost(String)
    case mirrorBack
    /// The mirror was emptied, swapped for another, or came back with older data: all that is held is written anew.
    case mirrorStale
    /// An application's registration was not taken.
    case instanceRefused(number: UInt32, SWIM.InstanceRefusal)
    /// This run was believed dead, or another run took its name: it goes on as a new life and pulls its slots again.
    case newLife(Life)
    /// This agent was cut off from most of its mesh for too long for what it holds to be merged. It begins anew, without any session.
    case discarded(sessions: Int)
    /// This agent leaves, and so many slots are still held here: others did not take them in time, and go on with what copies they have.
    case handOffUnfinished(slots: Int)
    /// Other gossip keys are accepted here, or another is used.
    case keys(KeyReport)
}
