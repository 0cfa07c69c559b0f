import Synchronization

/// What work in a pool knows of the call it is done for.
///
/// There is no task around it: `Task.isCancelled` says nothing here, and this does.
public struct ComputeContext: Sendable {
    /// When the caller stops waiting. Nil when it waits for as long as it takes.
    public let deadline: ContinuousClock.Instant?
    let signal: Signal

    /// Whether nobody waits for the result any more: the caller was cancelled, the deadline is past, or the pool is stopped at once. Cheap:
    /// ask once a loop, and return or throw.
    public var isCancelled: Bool { signal.isRaised }

    /// - Throws: `CancellationError` when ``isCancelled``. Nobody sees it; it is a way out of the work.
    public func checkCancellation() throws(CancellationError) { if isCancelled { throw CancellationError() } }

    /// Raised once. Also what a call is known by while it lives.
    final class Signal: Sendable {
        private let state = Atomic(false)

        var isRaised: Bool { state.load(ordering: .relaxed) }
        func raise() { state.store(true, ordering: .relaxed) }
    }
}
