import DequeModule
import Logging
import MeshCore
import NIOCore
import NIOPosix

/// The one connection to the agent, and everything that waits for it. Lives on an event loop, so that requests are written in the order
/// in which they were asked and replies find them in that order.
actor AgentLink {
    private let configuration: SessionMeshConfiguration
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let meter: SessionMeter
    nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    private var state = State.offline
    /// Counts connections: what a handler of an earlier one says is ignored.
    private var generation = 0
    /// Asked, but not yet sent over this connection.
    private var waiting: Deque<Call> = []
    /// Sent, in the order in which replies come.
    private var unanswered: Deque<Expectation> = []
    /// Bytes of all calls in `waiting` and `unanswered`.
    private var queuedBytes = 0
    /// Numbers calls and tasks that wait for the agent.
    private var lastCallID: UInt64 = 0
    /// Tasks in ``waitUntilOnline()``, by their numbers.
    private var arrivals: [UInt64: CheckedContinuation<Result<Void, SessionError>, Never>] = [:]
    private var feeds: [Topic: Feed] = [:]
    private var subscriptionCount = 0
    private var registration: SessionMeshConfiguration.Registration?
    private var heartbeatsMissed = 0
    private var nextHeartbeat = NIODeadline.uptimeNanoseconds(0)
    private var isTicking = false
    /// Attempts in a row, each of which ended before the agent's greeting.
    private var attemptsFailed = 0
    private var lastFailure: (any Error)?
    /// Whether the log has the outage that is going on. It is told once, not with each attempt.
    private var isOutageTold = false
    /// The agent's node, from its last greeting.
    private(set) var node: NodeName

    private enum State {
        /// No connection. Can transition to greeting, closed.
        case offline
        /// Connected; the greeting is awaited. Can transition to online, offline, closed.
        case greeting(any Channel, since: NIODeadline)
        /// Requests flow. Can transition to offline, closed.
        case online(any Channel)
        /// Shut down. Final.
        case closed
    }

    /// One request of the application.
    private struct Call {
        let id: UInt64
        let kind: ClientRequest.Kind
        let bytes: [UInt8]
        /// Fails as unavailable when it was not sent by then.
        var sendBy: NIODeadline
        /// Fails as unavailable when it was not answered by then, over however many connections.
        let answerBy: NIODeadline
        /// Nil once the caller has been told something; the reply is then awaited only to keep the order.
        var caller: CheckedContinuation<Result<ClientResponse, SessionError>, Never>?

        /// Sent again after a reconnect: all but a publish are harmless twice.
        var isRepeatable: Bool { kind != .publish }
    }

    /// What the next reply answers.
    private enum Expectation {
        case authentication
        case greeting
        case heartbeat
        case registration
        /// What was subscribed to before the connection broke.
        case resubscription(Topic)
        case unsubscription
        case call(Call)
    }

    /// The local subscribers to one topic.
    private struct Feed {
        var buffers: [SubscriptionBuffer] = []
        /// Whether this connection's agent knows of it.
        var isActive = false
        /// Whether any connection's agent ever did. Until then, the request of the first subscriber waits like every other.
        var wasActive = false
    }

    /// Unanswered heartbeats after which the connection is given up.
    private static let heartbeatsMissedMax = 3

    init(configuration: SessionMeshConfiguration, eventLoop: any EventLoop, logger: Logger, meter: SessionMeter) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        self.meter = meter
        registration = configuration.supervisor == nil ? configuration.registration : nil
        node = .unknown
    }

    var isOnline: Bool {
        if case .online = state { true } else { false }
    }

    // MARK: Connecting

    /// Tells the supervisor now and then that this loop turns, and the threads of the pool that tasks run on, until the task is cancelled.
    func reportToSupervisor(served: @Sendable () -> UInt64) async {
        guard let supervisor = configuration.supervisor, let pause = supervisor.heartbeat else { return }
        while !Task.isCancelled {
            supervisor.send(["WATCHDOG": "1", "X_SESSIONMESH_COOKIE": configuration.cookie.name, "X_SESSIONMESH_REQUESTS": "\(served())"])
            try? await Task.sleep(for: pause)
        }
    }

    /// Connects, and connects again, until the task is cancelled.
    func run() async {
        meter.disconnected()
        while !Task.isCancelled {
            do {
                let channel = try await connect()
                await withTaskCancellationHandler {
                    _ = try? await channel.closeFuture.get()
                } onCancel: {
                    channel.close(promise: nil)
                }
            } catch {
                lastFailure = error
                logger.debug(
                    "the agent can't be reached", metadata: [LoggingKeys.agent: "\(configuration.agent)", LoggingKeys.error: "\(error)"])
            }
            disconnected(generation: generation)
            guard !Task.isCancelled else { break }
            tellOutage()
            try? await Task.sleep(for: pause)
            attemptsFailed += 1
        }
        shutDown()
    }

    private var pause: Duration {
        let doubled = configuration.backoff.lowerBound * (1 << min(attemptsFailed, 16))
        return min(doubled, configuration.backoff.upperBound) * Double.random(in: 0.5...1.5)
    }

    private func tellOutage() {
        guard !isOutageTold else { return }
        isOutageTold = true
        meter.outageBegan()
        var metadata: Logger.Metadata = [LoggingKeys.agent: "\(configuration.agent)"]
        if let lastFailure { metadata[LoggingKeys.error] = "\(lastFailure)" }
        logger.warning("the agent is away; until it is back, sessions are unavailable", metadata: metadata)
    }

    private func connect() async throws -> any Channel {
        generation += 1
        let generation = generation
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(.seconds(2))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AgentLinkHandler(link: self, generation: generation))
                }
            }
        let channel =
            switch configuration.agent {
            case .unix(let path): try await bootstrap.connect(unixDomainSocketPath: path).get()
            case .tcp(let host, let port): try await bootstrap.connect(host: host, port: port).get()
            }
        // The task may have been cancelled, or the connection lost, while it was being made.
        guard channel.isActive, !Task.isCancelled else {
            channel.close(promise: nil)
            throw ChannelError.alreadyClosed
        }
        state = .greeting(channel, since: .now())
        if let token = configuration.token {
            send(.authentication, ClientProtocol.encode(.authenticate(token: Array(token.utf8))).bytes)
        }
        send(.greeting, ClientProtocol.encode(.hello).bytes)
        scheduleTick()
        return channel
    }

    private func greeted(by greeting: ClientGreeting, over channel: any Channel) {
        state = .online(channel)
        node = greeting.node
        attemptsFailed = 0
        lastFailure = nil
        heartbeatsMissed = 0
        meter.connected()
        nextHeartbeat = .now() + TimeAmount(configuration.heartbeat)
        logger.log(
            level: isOutageTold ? .notice : .info, isOutageTold ? "the agent is back" : "connected to the agent",
            metadata: [LoggingKeys.agent: "\(configuration.agent)", LoggingKeys.node: "\(node)"])
        isOutageTold = false
        endArrivals(.success(()))
        // A registration that still waits is sent below; twice would be two.
        if let registration, !waiting.contains(where: { $0.kind == .register }) {
            send(.registration, ClientProtocol.encode(.request(request(registering: registration))).bytes)
        }
        for topic in feeds.keys.sorted() where feeds[topic]?.wasActive == true {
            send(.resubscription(topic), ClientProtocol.encode(.request(topic.subscribing)).bytes)
        }
        while let call = waiting.popFirst() { send(.call(call), call.bytes) }
    }

    /// Puts everything back that may be repeated. Idempotent: both the handler and the connecting task tell of it.
    func disconnected(generation: Int) {
        guard generation == self.generation else { return }
        switch state {
        case .offline, .closed: return
        case .greeting, .online: state = .offline
        }
        meter.disconnected()
        for topic in feeds.keys { feeds[topic]?.isActive = false }
        let sendBy = NIODeadline.now() + TimeAmount(configuration.connectionWaitMax)
        var repeated: Deque<Call> = []
        for case .call(var call) in unanswered {
            guard call.caller != nil else {
                queuedBytes -= call.bytes.count
                continue
            }
            guard call.isRepeatable else {
                finish(call, .failure(SessionError(.interrupted, "the connection to the agent broke; the message may have been delivered")))
                continue
            }
            call.sendBy = min(sendBy, call.answerBy)
            meter.repeated("\(call.kind)")
            repeated.append(call)
        }
        unanswered = []
        waiting.insert(contentsOf: repeated, at: 0)
    }

    private func shutDown() {
        disconnected(generation: generation)
        state = .closed
        let error = SessionError(.shutdown, "this process is shutting down")
        while let call = waiting.popFirst() { finish(call, .failure(error)) }
        endArrivals(.failure(error))
        for feed in feeds.values { for buffer in feed.buffers { buffer.finish(error) } }
        feeds = [:]
        subscriptionCount = 0
    }

    /// Returns when there is a connection. Unlike a request, it waits as long as that takes.
    func waitUntilOnline() async throws(SessionError) {
        if isOnline { return }
        if case .closed = state { throw SessionError(.shutdown, "this process is shutting down") }
        guard arrivals.count < configuration.requestsMax else {
            throw SessionError(.overloaded, "\(arrivals.count) tasks wait for the agent; try again later")
        }
        lastCallID += 1
        let id = lastCallID
        let result: Result<Void, SessionError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // Cancelled before there was anything to cancel.
                guard !Task.isCancelled else { return continuation.resume(returning: .failure(.cancelled)) }
                arrivals[id] = continuation
            }
        } onCancel: {
            Task { await self.stopWaiting(id) }
        }
        try result.get()
    }

    private func stopWaiting(_ id: UInt64) {
        arrivals.removeValue(forKey: id)?.resume(returning: .failure(.cancelled))
    }

    private func endArrivals(_ result: Result<Void, SessionError>) {
        let ended = arrivals
        arrivals = [:]
        for continuation in ended.values { continuation.resume(returning: result) }
    }

    // MARK: Asking

    /// The agent's answer to a request; a failure of the agent is thrown.
    func request(_ request: ClientRequest) async throws(SessionError) -> ClientResponse {
        let asked = NIODeadline.now()
        var outcome = "ok"
        defer { meter.answered(outcome, afterNanoseconds: (NIODeadline.now() - asked).nanoseconds) }
        do throws(SessionError) {
            return try await answer(to: request)
        } catch {
            outcome = error.code.description
            throw error
        }
    }

    private func answer(to request: ClientRequest) async throws(SessionError) -> ClientResponse {
        let command = ClientProtocol.encode(.request(request))
        // The limits are stated once, where commands are read: what the agent would refuse doesn't travel.
        do { _ = try ClientProtocol.decode(command) } catch { throw SessionError(error) }
        let bytes = command.bytes
        if case .closed = state { throw SessionError(.shutdown, "this process is shutting down") }
        guard waiting.count + unanswered.count < configuration.requestsMax, queuedBytes + bytes.count <= configuration.requestBytesMax
        else {
            throw SessionError(.overloaded, "\(waiting.count + unanswered.count) requests wait for the agent; try again later")
        }
        lastCallID += 1
        let id = lastCallID
        let result: Result<ClientResponse, SessionError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // Cancelled before there was anything to cancel.
                guard !Task.isCancelled else { return continuation.resume(returning: .failure(SessionError.cancelled)) }
                enqueue(id, request.kind, bytes, continuation)
            }
        } onCancel: {
            Task { await self.cancel(id) }
        }
        let response = try result.get()
        if case .failure(let failure) = response { throw SessionError(failure) }
        return response
    }

    private func enqueue(
        _ id: UInt64, _ kind: ClientRequest.Kind, _ bytes: [UInt8],
        _ caller: CheckedContinuation<Result<ClientResponse, SessionError>, Never>
    ) {
        let now = NIODeadline.now()
        let answerBy = now + TimeAmount(configuration.requestTimeout)
        let sendBy = min(now + TimeAmount(configuration.connectionWaitMax), answerBy)
        let call = Call(id: id, kind: kind, bytes: bytes, sendBy: sendBy, answerBy: answerBy, caller: caller)
        queuedBytes += bytes.count
        if isOnline {
            send(.call(call), bytes)
        } else {
            meter.waited()
            waiting.append(call)
        }
        scheduleTick()
    }

    private func cancel(_ id: UInt64) {
        if let index = waiting.firstIndex(where: { $0.id == id }) {
            finish(waiting.remove(at: index), .failure(.cancelled))
            return
        }
        for index in unanswered.indices {
            guard case .call(var call) = unanswered[index], call.id == id else { continue }
            call.caller.take()?.resume(returning: .failure(.cancelled))
            unanswered[index] = .call(call)
        }
    }

    private func finish(_ call: Call, _ result: Result<ClientResponse, SessionError>) {
        queuedBytes -= call.bytes.count
        call.caller?.resume(returning: result)
    }

    private func send(_ expectation: Expectation, _ bytes: [UInt8]) {
        let channel: any Channel
        switch state {
        case .greeting(let current, _), .online(let current): channel = current
        case .offline, .closed: return
        }
        unanswered.append(expectation)
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    func register(_ registration: SessionMeshConfiguration.Registration) async throws(SessionError) -> ClientResponse {
        if let supervisor = configuration.supervisor {
            supervisor.send([
                "READY": "1", "X_SESSIONMESH_ADDRESS": registration.address, "X_SESSIONMESH_COOKIE": configuration.cookie.name,
            ])
            return .done
        }
        self.registration = registration
        return try await request(request(registering: registration))
    }

    private func request(registering registration: SessionMeshConfiguration.Registration) -> ClientRequest {
        .register(
            service: registration.service, address: registration.address, weight: registration.weight,
            cookieName: configuration.cookie.name)
    }

    // MARK: Hearing

    func received(_ value: RESPValue, generation: Int) {
        guard generation == self.generation else { return }
        do {
            if case .push(let values) = value {
                switch try ClientProtocol.decodePush(values) {
                case .message(let message)?: deliver(.message(message), to: .channel(message.channel))
                case .event(let event)?: deliver(.event(event), to: .sessions)
                case .gap?: deliver(.gap, to: .sessions)
                case nil: break
                }
            } else if let expectation = unanswered.popFirst() {
                try handle(value, for: expectation)
            } else {
                throw ClientProtocolError("a reply to nothing")
            }
        } catch {
            abandon(because: error)
        }
    }

    private func handle(_ value: RESPValue, for expectation: Expectation) throws(ClientProtocolError) {
        switch expectation {
        case .authentication:
            if case .error(let line) = value { throw ClientProtocolError("the agent refused the token: \(line)") }
        case .greeting:
            if case .error(let line) = value { throw ClientProtocolError("the agent refused the handshake: \(line)") }
            let greeting = try ClientProtocol.decodeGreeting(value)
            if case .greeting(let channel, _) = state { greeted(by: greeting, over: channel) }
        case .heartbeat: heartbeatsMissed = 0
        case .registration:
            if case .error(let line) = value {
                logger.warning("the agent refused the registration", metadata: [LoggingKeys.error: "\(line)"])
            }
        case .resubscription(let topic):
            if case .failure(let failure) = try ClientProtocol.decode(value, to: topic.subscribing.kind) {
                end(topic, with: SessionError(failure))
            } else {
                feeds[topic]?.isActive = true
                deliver(.gap, to: topic)
            }
        case .unsubscription: break
        case .call(let call):
            do throws(ClientProtocolError) {
                finish(call, .success(try ClientProtocol.decode(value, to: call.kind)))
            } catch {
                finish(call, .failure(SessionError(.unavailable, "the agent's reply was not understood", cause: error)))
                throw error
            }
        }
    }

    /// Gives the connection up; the connecting task makes a new one.
    func abandon(because error: any Error) {
        lastFailure = error
        logger.debug("giving up the connection to the agent", metadata: [LoggingKeys.error: "\(error)"])
        switch state {
        case .greeting(let channel, _), .online(let channel): channel.close(promise: nil)
        case .offline, .closed: break
        }
    }

    // MARK: Subscriptions

    func subscribe(to topic: Topic, _ buffer: SubscriptionBuffer) async throws(SessionError) {
        guard subscriptionCount < configuration.subscriptionsMax else {
            throw SessionError(.overloaded, "this process has \(subscriptionCount) subscriptions; cancel some")
        }
        if case .closed = state { throw SessionError(.shutdown, "this process is shutting down") }
        // Before the agent is asked: its first message may come with its answer.
        feeds[topic, default: Feed()].buffers.append(buffer)
        subscriptionCount += 1
        guard feeds[topic]?.isActive == false else { return }
        do {
            _ = try await request(topic.subscribing)
            feeds[topic]?.isActive = isOnline
            feeds[topic]?.wasActive = true
        } catch {
            unsubscribe(from: topic, buffer)
            throw error
        }
    }

    func unsubscribe(from topic: Topic, _ buffer: SubscriptionBuffer) {
        guard let index = feeds[topic]?.buffers.firstIndex(where: { $0 === buffer }) else { return }
        feeds[topic]?.buffers.remove(at: index)
        subscriptionCount -= 1
        guard feeds[topic]?.buffers.isEmpty == true else { return }
        feeds[topic] = nil
        if isOnline { send(.unsubscription, ClientProtocol.encode(.request(topic.unsubscribing)).bytes) }
    }

    private func deliver(_ push: ClientPush, to topic: Topic) {
        guard let feed = feeds[topic] else { return }
        for buffer in feed.buffers where !buffer.offer(push) { unsubscribe(from: topic, buffer) }
    }

    private func end(_ topic: Topic, with error: SessionError) {
        guard let feed = feeds.removeValue(forKey: topic) else { return }
        subscriptionCount -= feed.buffers.count
        for buffer in feed.buffers { buffer.finish(error) }
    }

    // MARK: Time

    private var tickInterval: TimeAmount {
        TimeAmount(min(.milliseconds(100), configuration.heartbeat / 2, configuration.connectionWaitMax / 4))
    }

    /// Runs only while something can come due, and holds the link no longer than that.
    private func scheduleTick() {
        guard !isTicking else { return }
        isTicking = true
        eventLoop.scheduleTask(in: tickInterval) { [weak self] in
            self?.assumeIsolated { $0.tick() }
        }
    }

    private func tick() {
        isTicking = false
        let now = NIODeadline.now()
        expire(now)
        beat(now)
        if case .greeting = state { scheduleTick() }
        if isOnline || !waiting.isEmpty { scheduleTick() }
    }

    private func expire(_ now: NIODeadline) {
        // Calls that were put back stand in front of others with an earlier deadline, so all are looked at.
        for call in waiting where call.sendBy <= now {
            finish(
                call,
                .failure(SessionError(.unavailable, "the agent at \(configuration.agent) is not connected; try again", cause: lastFailure)))
        }
        waiting.removeAll { $0.sendBy <= now }
        for index in unanswered.indices {
            guard case .call(var call) = unanswered[index] else { continue }
            guard call.answerBy <= now else { break }
            call.caller.take()?.resume(returning: .failure(SessionError(.unavailable, "the agent did not answer in time; try again")))
            unanswered[index] = .call(call)
        }
    }

    private func beat(_ now: NIODeadline) {
        switch state {
        case .offline, .closed: break
        case .greeting(_, let since):
            if now - since > TimeAmount(configuration.heartbeat) * Self.heartbeatsMissedMax {
                abandon(because: ClientProtocolError("the agent did not answer the handshake"))
            }
        case .online:
            guard nextHeartbeat <= now else { return }
            guard heartbeatsMissed < Self.heartbeatsMissedMax else {
                return abandon(because: ClientProtocolError("the agent missed \(heartbeatsMissed) heartbeats"))
            }
            nextHeartbeat = now + TimeAmount(configuration.heartbeat)
            heartbeatsMissed += 1
            send(.heartbeat, ClientProtocol.encode(.request(.ping)).bytes)
        }
    }
}

extension NodeName {
    /// Before the first greeting.
    fileprivate static var unknown: NodeName {
        do { return try NodeName("unknown") } catch { preconditionFailure("a literal name is valid") }
    }
}

extension SessionError {
    static var cancelled: SessionError { SessionError(.cancelled, "the task was cancelled") }

    init(_ failure: ClientFailure) {
        let code: Code =
            switch failure.code {
            case .unavailable: .unavailable
            case .notFound: .notFound
            case .invalid: .invalid
            case .full: .full
            }
        self.init(code, failure.description)
    }
}

enum LoggingKeys {
    static let agent = "agent"
    static let error = "error"
    static let node = "node"
}
