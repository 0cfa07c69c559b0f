/// What an agent has counted since it started. Sums only, so that any two moments can be compared.
public struct AgentCounters: Hashable, Sendable {
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
}
