public import MeshCore
import Synchronization

/// The events of a supervisor, from the moment of asking. For one reader; every reader asks for its own.
public struct SupervisorEvents: AsyncSequence, Sendable {
    public typealias Element = SupervisorEvent
    public typealias Failure = Never

    private let stream: AsyncStream<SupervisorEvent>

    init(_ stream: AsyncStream<SupervisorEvent>) { self.stream = stream }

    public func makeAsyncIterator() -> AsyncStream<SupervisorEvent>.Iterator { stream.makeAsyncIterator() }
}

/// Gives every event to every listener.
final class EventHub: Sendable {
    /// Events that wait for one listener; of more, the oldest are dropped. A worker that crashes at once causes five in a second, then fewer.
    private static let waitingMax = 1024

    private struct State {
        var listeners: [UInt64: AsyncStream<SupervisorEvent>.Continuation] = [:]
        var last: UInt64 = 0
        var isFinished = false
    }

    private let state = Mutex(State())

    func listen() -> SupervisorEvents {
        let (stream, continuation) = AsyncStream.makeStream(of: SupervisorEvent.self, bufferingPolicy: .bufferingNewest(Self.waitingMax))
        let id = state.withLock { state -> UInt64? in
            guard !state.isFinished else { return nil }
            state.last += 1
            state.listeners[state.last] = continuation
            return state.last
        }
        if let id {
            continuation.onTermination = { [weak self] _ in self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) } }
        } else {
            continuation.finish()
        }
        return SupervisorEvents(stream)
    }

    func tell(_ event: SupervisorEvent) {
        for listener in state.withLock({ Array($0.listeners.values) }) { listener.yield(event) }
    }

    func finish() {
        let listeners = state.withLock { state in
            state.isFinished = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.finish() }
    }
}
