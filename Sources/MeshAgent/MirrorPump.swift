import MeshCore

/// Carries the core's requests to the mirror, each in a child task, and the answers back.
///
/// The core has only so many tickets out at once, so the number of tasks is bounded by it.
struct MirrorPump: Sendable {
    let mirror: any Mirror
    let requests: AsyncStream<MirrorRequest>
    let answer: @Sendable (MirrorAnswer) -> Void

    /// Far above the tickets that the core has out: a safety valve. What does not fit is answered as unreachable.
    static let queueMax = 4096

    /// Until the requests end or the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await request in requests {
                group.addTask { answer(await perform(request)) }
            }
        }
    }

    private func perform(_ request: MirrorRequest) async -> MirrorAnswer {
        do throws(MirrorError) {
            switch request {
            case .load(let key, let ticket): return .loaded(ticket: ticket, try await mirror.load(key))
            case .merge(let records, let ticket):
                try await mirror.merge(records)
                return .merged(ticket: ticket)
            case .sessions(let user, let ticket): return .found(ticket: ticket, try await mirror.sessions(of: user))
            case .visit(let number, let name, let ticket): return .visited(ticket: ticket, try await mirror.visit(number, by: name))
            }
        } catch {
            return .failed(ticket: request.ticket, error)
        }
    }
}
