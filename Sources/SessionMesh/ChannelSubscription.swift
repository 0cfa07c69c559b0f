import DequeModule
public import MeshCore
import Synchronization

/// What a subscriber learns.
public enum ChannelEvent: Hashable, Sendable {
    case message(ChannelMessage)
    /// The agent was away. Messages of that time are lost to this subscription; those that follow are not.
    case gap
}

/// The messages of one channel, in order.
///
/// Read it from one task. When the reader falls behind by more than ``SessionMeshConfiguration/subscriptionMessagesMax`` messages or
/// ``SessionMeshConfiguration/subscriptionBytesMax`` bytes, it gets what is buffered, then `.slowConsumer`: nothing is left out silently,
/// and nobody else waits. Ends when its task is cancelled, when ``cancel()`` is called, or when nobody holds it any more.
public final class ChannelSubscription: AsyncSequence, Sendable {
    public typealias Element = ChannelEvent
    public typealias Failure = SessionError

    public let channel: String
    private let buffer: SubscriptionBuffer
    private let link: AgentLink

    init(channel: String, buffer: SubscriptionBuffer, link: AgentLink) {
        self.channel = channel
        self.buffer = buffer
        self.link = link
    }

    /// The backstop for a subscription that was dropped: without it, a quiet channel would stay subscribed for ever.
    deinit { cancel() }

    public func cancel() {
        buffer.finish(nil)
        Task { [link, channel, buffer] in await link.unsubscribe(from: channel, buffer) }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(subscription: self) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        public typealias Element = ChannelEvent
        public typealias Failure = SessionError
        let subscription: ChannelSubscription

        public mutating func next(isolation actor: isolated (any Actor)? = #isolation) async throws(SessionError) -> ChannelEvent? {
            let subscription = subscription
            let result = await withTaskCancellationHandler {
                await subscription.buffer.next()
            } onCancel: {
                subscription.cancel()
            }
            return try result.get()
        }

        public mutating func next() async throws(SessionError) -> ChannelEvent? { try await next(isolation: nil) }
    }
}

/// Stands between the connection, which never waits, and one reader.
final class SubscriptionBuffer: Sendable {
    typealias Outcome = Result<ChannelEvent?, SessionError>

    private let messagesMax: Int
    private let bytesMax: Int
    private let state = Mutex(State())

    private struct State {
        var events: Deque<ChannelEvent> = []
        var bytes = 0
        var reader: CheckedContinuation<Outcome, Never>?
        /// Set once; what is buffered is still read before it.
        var end: Outcome?
    }

    init(messagesMax: Int, bytesMax: Int) {
        self.messagesMax = messagesMax
        self.bytesMax = bytesMax
    }

    /// False when the reader is too slow; the subscription has ended then.
    func offer(_ event: ChannelEvent) -> Bool {
        let (reader, outcome, isAccepted): (CheckedContinuation<Outcome, Never>?, Outcome, Bool) = state.withLock { state in
            guard state.end == nil else { return (nil, .success(nil), true) }
            if let reader = state.reader.take() { return (reader, .success(event), true) }
            // A second gap behind a first one says nothing new.
            if event == .gap, state.events.last == .gap { return (nil, .success(nil), true) }
            let bytes = Self.cost(event)
            guard state.events.count < messagesMax, state.bytes + bytes <= bytesMax else {
                state.end = .failure(
                    SessionError(.slowConsumer, "the subscription was read more slowly than its channel was written; subscribe again"))
                return (nil, .success(nil), false)
            }
            state.events.append(event)
            state.bytes += bytes
            return (nil, .success(nil), true)
        }
        reader?.resume(returning: outcome)
        return isAccepted
    }

    func finish(_ error: SessionError?) {
        let outcome: Outcome = error.map { .failure($0) } ?? .success(nil)
        let reader = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
            guard state.end == nil else { return nil }
            state.end = outcome
            return state.reader.take()
        }
        reader?.resume(returning: outcome)
    }

    func next() async -> Outcome {
        await withCheckedContinuation { continuation in
            let outcome = state.withLock { state -> Outcome? in
                if let event = state.events.popFirst() {
                    state.bytes -= Self.cost(event)
                    return .success(event)
                }
                if let end = state.end { return end }
                guard state.reader == nil else {
                    return .failure(SessionError(.invalid, "two tasks read one subscription; subscribe once for each"))
                }
                state.reader = continuation
                return nil
            }
            if let outcome { continuation.resume(returning: outcome) }
        }
    }

    private static func cost(_ event: ChannelEvent) -> Int {
        switch event {
        case .message(let message): message.payload.count + message.channel.utf8.count
        case .gap: 0
        }
    }
}
