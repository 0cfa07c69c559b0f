/// What an agent has counted since it started. Sums only, so that any two moments can be compared.
///
/// What applications asked is counted by the agent that they asked, whoever carried it out; what became of sessions by their owner.
public struct AgentCounters: Hashable, Sendable {
    // Asked here.

    /// Sessions shown, by cookie and by key.
    public var opens: UInt64 = 0
    public var reads: UInt64 = 0
    /// Commits by how they were answered, creations, moves and destructions among them.
    public var commitsDone: UInt64 = 0
    public var commitsInConflict: UInt64 = 0
    public var commitsWithoutSession: UInt64 = 0
    public var commitsInvalid: UInt64 = 0
    public var commitsRefusedAsFull: UInt64 = 0
    public var commitsUnavailable: UInt64 = 0
    /// Requests that were sent on to another agent, once for each time.
    public var forwards: UInt64 = 0

    // Unavailable, by where that was found: here, for an application or for another agent that asked.

    /// Nobody could be reached before the deadline.
    public var unavailableAtDeadline: UInt64 = 0
    /// Who may hold the session is out of reach.
    public var unavailableInDoubt: UInt64 = 0
    /// Only the mirror may have the session, and it doesn't answer.
    public var unavailableWithoutMirror: UInt64 = 0
    /// A strict commit was not certain that nobody else answers for the session.
    public var unavailableWithoutAssent: UInt64 = 0
    /// The session was changing hands, or was moved under a cookie key that is not known here.
    public var unavailableMoving: UInt64 = 0

    // At the owner.

    public var created: UInt64 = 0
    public var moved: UInt64 = 0
    public var destroyed: UInt64 = 0
    public var expired: UInt64 = 0
    /// From a change to the word of its second copy. What had nobody to wait for is not in it.
    public var commitWaits = DurationHistogram()
    /// Times that a slot's late commits were sent to another node as well.
    public var secondWays: UInt64 = 0
    /// Slots that were sent whole, to make or mend a second copy, and the sessions in them.
    public var slotsSynced: UInt64 = 0
    public var sessionsSynced: UInt64 = 0

    /// Times that those who follow were not told something, and heard so: at the owner, once for each agent.
    public var eventGaps: UInt64 = 0

    // Cookies.

    /// Cookies that opened no session, by the reason, counted by the agent that was shown them.
    public var cookiesMalformed: UInt64 = 0
    public var cookiesOfUnknownKeys: UInt64 = 0
    public var cookiesOfBadSignature: UInt64 = 0
    public var cookiesOfEndedSessions: UInt64 = 0

    /// Cookies of an older key that were answered with one of the key in use.
    public var cookiesRenewed: UInt64 = 0

    public init() {}

    mutating func refused(_ reason: SessionAbsence) {
        switch reason {
        case .malformed: cookiesMalformed += 1
        case .unknownKey: cookiesOfUnknownKeys += 1
        case .badSignature: cookiesOfBadSignature += 1
        case .ended: cookiesOfEndedSessions += 1
        }
    }

    mutating func answered(_ response: ClientResponse, to body: SessionOperation) {
        switch response {
        case .opened(_, let renewal):
            opens += 1
            if renewal != nil { cookiesRenewed += 1 }
        case .session: reads += 1
        case .committed, .done: commitsDone += 1
        case .conflict: commitsInConflict += 1
        case .failure(let failure):
            guard body.changesSession else { return }
            switch failure.code {
            case .notFound: commitsWithoutSession += 1
            case .invalid: commitsInvalid += 1
            case .full: commitsRefusedAsFull += 1
            case .unavailable: commitsUnavailable += 1
            }
        case .absent(let reason): refused(reason)
        case .listed, .revoked, .published, .members, .placement: break
        }
    }
}
