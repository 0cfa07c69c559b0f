import MeshLoop

/// An agent as other threads have it.
struct AgentHandle: Sendable {
    let mailbox: Mailbox<AgentLetters>
    let troubles: TroubleLedger

    /// Has `body` run on the agent's thread, some time soon.
    /// - Returns: false when the agent has ended; then it never runs.
    @discardableResult
    func execute(_ body: @escaping @Sendable (AgentDriver) -> Void) -> Bool {
        mailbox.leave { letters in
            guard !letters.isClosed else { return false }
            letters.waiting.append(body)
            return true
        }
    }

    /// Nil when the agent has ended.
    func ask<Answer: Sendable>(_ question: @escaping @Sendable (AgentDriver) -> Answer) async -> Answer? {
        await withCheckedContinuation { continuation in
            let isAsked = execute { continuation.resume(returning: question($0)) }
            if !isAsked { continuation.resume(returning: nil) }
        }
    }
}
