public import MeshCore

/// What the shell drives: ``MeshCore/AgentCore``, or a test's script in its place.
///
/// The shell calls it on one thread, one step at a time, and carries out the directives in their order.
public protocol AgentStepping: Sendable {
    /// This run of the agent, as peer links introduce it. Changes when the core takes a new life.
    var id: MemberID { get }
    var view: MeshView { get }
    var status: AgentStatus { get }
    var keyReport: KeyReport { get }
    /// How the last suspicions ended, the oldest first.
    var verdicts: [SWIM.Verdict] { get }

    /// The seeds that nobody within reach stands behind.
    var seedsMissing: [Endpoint] { get }

    /// Nil when no end of that session is known here.
    func end(of key: SessionKey) -> SessionEnd?
    /// What is held of each slot.
    mutating func slotReports() -> [SlotReport]

    /// Puts what is to be done into `asked`, which is empty before.
    mutating func step(_ input: AgentInput, at now: Moment, into asked: inout [AgentDirective])

    /// Writes the reply to a request that changes nothing and waits for nothing; false, and nothing is written, for one that is to be a step's
    /// input, before any other.
    mutating func answerAtOnce(_ request: ClientRequest, at now: Moment, to reply: inout [UInt8]) -> Bool
}

extension AgentCore: AgentStepping {}
