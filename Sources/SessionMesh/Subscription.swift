import DequeModule
public import MeshCore
import Synchronization

/// What a subscriber to a channel learns.
public enum ChannelEvent: Hashable, Sendable {
    case message(ChannelMessage)
    /// The agent was away. Messages of that time are lost to this subscription; those that follow are not.
    case gap
}

/// What becomes of sessions, wherever they are in the mesh.
public enum SessionNotice: Hashable, Sendable {
    case event(SessionEvent)
    /// Something was not told and won't be: the agent was away, or cut off from others. What follows is whole again.
    case gap
}

public typealias ChannelSubscription = Subscription<ChannelEvent>

/// What is told of one channel, or of all sessions, in order.
///
/// Read it from one task. When the reader falls behind by more than ``SessionMeshConfiguration/subscriptionMessagesMax`` messages or
/// ``SessionMeshConfiguration/subscriptionBytesMax`` bytes, it gets what is buffered, then `.slowConsumer`: nothing is left out silently,
/// and nobody else waits. Ends when its task is cancelled, when ``cancel()`` is called, or when nobody holds it any more.
public final class Subscription<Element: Sendable>: AsyncSequence, Sendable {
    public typealias Failure = SessionError

    private let topic: Topic
    private let buffer: SubscriptionBuffer
    private let link: AgentLink
    private let element: @Sendable (ClientPush) -> Element?

    /// - Parameter element: what the reader gets of a push; nil for one that is not of this topic.
    init(_ topic: Topic, buffer: SubscriptionBuffer, link: AgentLink, element: @escaping @Sendable (ClientPush) -> Element?) {
        self.topic = topic
        self.buffer = buffer
        self.link = link
        self.element = element
    }

    /// The backstop for a subscription that was dropped: without it, a quiet channel would stay subscribed for ever.
    deinit { cancel() }

    public func cancel() {
        buffer.finish(nil)
        Task { [link, topic, buffer] in await link.unsubscribe(from: topic, buffer) }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(subscription: self) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        public typealias Failure = SessionError
        let subscription: Subscription

        public mutating func next(isolation actor: isolated (any Actor)? = #isolation) async throws(SessionError) -> Element? {
            let subscription = subscription
            while true {
                let result = await withTaskCancellationHandler {
                    await subscription.buffer.next()
                } onCancel: {
                    subscription.cancel()
                }
                guard let push = try result.get() else { return nil }
                if let element = subscription.element(push) { return element }
            }
        }

        public mutating func next() async throws(SessionError) -> Element? { try await next(isolation: nil) }
    }
}

/// What a process subscribes to at its agent, once for however many readers it has.
enum Topic: Hashable, Comparable, Sendable {
    case channel(String)
    case sessions

    var subscribing: ClientRequest {
        switch self {
        case .channel(let name): .subscribe(channel: name)
        case .sessions: .follow
        }
    }

    var unsubscribing: ClientRequest {
        switch self {
        case .channel(let name): .unsubscribe(channel: name)
        case .sessions: .unfollow
        }
    }
}

/// Stands between the connection, which never waits, and one reader.
final class SubscriptionBuffer: Sendable {
    typealias Outcome = Result<ClientPush?, SessionError>

    private let messagesMax: Int
    private let bytesMax: Int
    private let state = Mutex(State())

    private struct State {
        var pushes: Deque<ClientPush> = []
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
    func offer(_ push: ClientPush) -> Bool {
        let (reader, outcome, isAccepted): (CheckedContinuation<Outcome, Never>?, Outcome, Bool) = state.withLock { state in
            guard state.end == nil else { return (nil, .success(nil), true) }
            if let reader = state.reader.take() { return (reader, .success(push), true) }
            // A second gap behind a first one says nothing new.
            if push == .gap, state.pushes.last == .gap { return (nil, .success(nil), true) }
            let bytes = Self.cost(push)
            guard state.pushes.count < messagesMax, state.bytes + bytes <= bytesMax else {
                state.end = .failure(
                    SessionError(.slowConsumer, "the subscription was read more slowly than it was written to; subscribe again"))
                return (nil, .success(nil), false)
            }
            state.pushes.append(push)
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
                if let push = state.pushes.popFirst() {
                    state.bytes -= Self.cost(push)
                    return .success(push)
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

    private static func cost(_ push: ClientPush) -> Int {
        switch push {
        case .message(let message): message.payload.count + message.channel.utf8.count
        case .event, .gap: 0
        }
    }
}
