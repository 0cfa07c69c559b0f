internal import CMeshSystem
import MeshCore

/// A connection from a client: takes requests one after the other, and answers them in that order.
final class ClientConnection: Connection {
    enum State {
        /// Between requests, or a head is on its way. Can transition to exchanging, lingering.
        case idle
        /// A request was taken and its answer has not ended. What comes behind it waits. Can transition to idle, tunnel, lingering.
        case exchanging
        /// Raw bytes both ways.
        case tunnel
        /// The last answer waits in the outbox. Can transition to lingering.
        case finishing
        /// Everything was said; what the client still sends is thrown away until it closes, so that it can read the answer.
        case lingering
    }

    private(set) var state = State.idle
    var exchange = Exchange()

    /// A head that is not whole, or what came behind the request that is being answered.
    private var inbox: ByteBuffer?
    /// How much of the inbox a scan has seen. 0: it was not scanned at all.
    private var scannedCount = 0
    private var requests = 0
    private var lingeredBytes = 0
    private var isProceeding = false
    /// `X-Forwarded-For` with the client's address.
    private let forwardedFor: [UInt8]

    init(descriptor: Int32, tag: UInt64, host: String) {
        forwardedFor = Array("X-Forwarded-For: \(host)\r\n".utf8)
        super.init(descriptor: descriptor, tag: tag)
    }

    // MARK: Progress

    override func proceed(in loop: BalancerLoop) {
        // An answer that ends calls back here from within; the loop below goes on from the new state.
        if isProceeding || isClosed { return }
        isProceeding = true
        defer { isProceeding = false }

        if outbox != nil && !flushOutbox(in: loop) { return }
        if isBroken, state == .exchanging { return abort(in: loop) }
        if let upstream = exchange.upstream, upstream.isReadable, outbox == nil { upstream.proceed(in: loop) }
        var turns = 0
        while !isClosed {
            let goesOn =
                switch state {
                case .idle: outbox == nil && readHead(in: loop)
                case .exchanging: forwardBody(in: loop)
                case .tunnel: forwardTunnel(in: loop)
                case .finishing: false
                case .lingering: discard(in: loop)
                }
            if !goesOn { return }
            turns += 1
            if turns == 16 { return loop.postpone(self) }
        }
    }

    /// False when nothing else can be done now.
    private func flushOutbox(in loop: BalancerLoop) -> Bool {
        let before = outbox?.count ?? 0
        switch flush(in: loop) {
        case .failure:
            abort(in: loop)
            return false
        case .part:
            if let outbox, outbox.count < before { stalled(in: loop) }
            // What the other way carries goes on meanwhile.
            return state == .tunnel || state == .exchanging
        case .all:
            switch state {
            case .idle: setDeadline(loop.deadline(after: loop.waits.clientIdle), in: loop)
            case .exchanging: awaitBody(in: loop)
            case .tunnel: tunnelMoved(in: loop)
            case .finishing: linger(in: loop)
            case .lingering: break
            }
            return true
        }
    }

    /// The client has an answer waiting and does not take it.
    func stalled(in loop: BalancerLoop) {
        setDeadline(loop.deadline(after: loop.waits.clientStall), in: loop)
    }

    override func expired(in loop: BalancerLoop) {
        switch state {
        case .idle where inbox != nil && outbox == nil: refuse(408, .requestTimeout, in: loop)
        case .exchanging where outbox == nil && !exchange.requestBody.isEnded:
            if let upstream = exchange.upstream, upstream.outbox != nil { return awaitBody(in: loop) }
            if exchange.isAnswerBegun { return abort(in: loop) }
            letGo(in: loop)
            refuse(408, .requestTimeout, in: loop)
        case .exchanging where outbox == nil: break
        default: abort(in: loop)
        }
    }

    /// Closes both sides at once, so that a truncated answer can be seen to be one.
    func abort(in loop: BalancerLoop) {
        close(in: loop)
    }

    /// The balancer is about to stop.
    func drain(in loop: BalancerLoop) {
        if state == .idle && inbox == nil && outbox == nil { close(in: loop) }
    }

    override func willClose(in loop: BalancerLoop) {
        if state == .tunnel { loop.counters.tunnelsOpen.add(-1) }
        letGo(in: loop)
        if let inbox { loop.buffers.giveBack(inbox) }
        inbox = nil
    }

    /// Drops the exchange, its instance's connection with it.
    private func letGo(in loop: BalancerLoop) {
        if let upstream = exchange.upstream {
            exchange.upstream = nil
            if state == .exchanging, let index = upstream.pool.index {
                loop.router.ended(index, succeeded: false, latency: .nanoseconds(loop.now - exchange.startedAt))
            }
            upstream.close(in: loop)
        }
        endExchange(in: loop)
    }

    private func endExchange(in loop: BalancerLoop) {
        dropReplay(in: loop)
        guard state == .exchanging else { return }
        state = .idle
        loop.activeRequests -= 1
        if exchange.retries > 0 { loop.activeRetries -= 1 }
    }

    // MARK: Heads

    /// Reads until a request is whole. False when more must come first.
    private func readHead(in loop: BalancerLoop) -> Bool {
        if let box = inbox {
            if scannedCount == 0 { return scanInbox(box, in: loop) }
            return readMoreHead(box, in: loop)
        }
        guard isReadable else { return false }
        switch receive(into: loop.scratch.base, BalancerLoop.Scratch.room) {
        case .nothing: return false
        case .end, .failure:
            close(in: loop)
            return false
        case .bytes(let count): return takeHead(count, in: loop)
        }
    }

    private func readMoreHead(_ box: ByteBuffer, in loop: BalancerLoop) -> Bool {
        guard isReadable else { return false }
        var box = loop.buffers.grow(box, by: 1)
        inbox = box
        let memory = box.free
        switch receive(into: memory, box.room) {
        case .nothing: return false
        case .end, .failure:
            close(in: loop)
            return false
        case .bytes(let count):
            box.grew(by: count)
            inbox = box
            // A head that comes byte by byte is looked at when it may have ended, or has doubled: never again for every byte.
            guard box.count >= 2 * scannedCount || Self.mayEnd(box.bytes, new: count) else { return true }
            return scanInbox(box, in: loop)
        }
    }

    private func scanInbox(_ box: ByteBuffer, in loop: BalancerLoop) -> Bool {
        let count = min(box.count, BalancerLoop.Scratch.room)
        loop.scratch.base.copyMemory(from: box.bytes.baseAddress ?? UnsafeRawPointer(loop.scratch.base), byteCount: count)
        inbox = nil
        loop.buffers.giveBack(box)
        return takeHead(count, in: loop)
    }

    /// Whether a blank line, or what a careless client takes for one, ends among the last `new` bytes.
    private static func mayEnd(_ bytes: UnsafeRawBufferPointer, new: Int) -> Bool {
        for position in max(1, bytes.count - new)..<max(1, bytes.count) where bytes[position] == 0x0A {
            if bytes[position - 1] == 0x0A || (position >= 2 && bytes[position - 1] == 0x0D && bytes[position - 2] == 0x0A) { return true }
        }
        return false
    }

    /// Acts on the first `count` bytes of the scratch buffer. False when more must come.
    private func takeHead(_ count: Int, in loop: BalancerLoop) -> Bool {
        let bytes = UnsafeRawBufferPointer(start: loop.scratch.base, count: count)
        switch loop.scanner.scanRequest(bytes) {
        case .head(let head):
            scannedCount = 0
            begin(head, bytes, in: loop)
            return true
        case .fault(let fault):
            loop.complaints.complain(.malformedRequest, at: loop.now, "refused a request with \(fault.status): \(fault)")
            refuse(fault.status, .requestError, in: loop)
            return true
        case .incomplete:
            if scannedCount == 0 { setDeadline(loop.deadline(after: loop.waits.requestHead), in: loop) }
            scannedCount = count
            setInbox(bytes, in: loop)
            return isReadable
        }
    }

    private func setInbox(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        var box = loop.buffers.take(bytes.count)
        box.append(bytes)
        inbox = box
    }

    // MARK: A request

    private func begin(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        requests += 1
        loop.counters.requests.add()
        exchange = Exchange()
        exchange.method = head.method
        exchange.isHTTP11 = head.isHTTP11
        exchange.isPersistent = head.isPersistent
        exchange.hasIdempotencyKey = head.hasIdempotencyKey
        exchange.requestBody = BodyTracker(head.framing)
        exchange.startedAt = loop.now
        let behind = UnsafeRawBufferPointer(rebasing: bytes[head.byteCount...])
        guard let taken = exchange.requestBody.consume(behind) else {
            return refuse(400, .requestError, in: loop)
        }
        if taken < behind.count { setInbox(UnsafeRawBufferPointer(rebasing: behind[taken...]), in: loop) }
        if head.asksForWebSocket {
            exchange.webSocketAccept = WebSocketAccept.expected(for: UnsafeRawBufferPointer(rebasing: bytes[head.webSocketKey])) ?? []
        }
        if head.hasCookies { readSlot(bytes, in: loop) }

        writeLines(head, bytes, in: loop)
        let base = loop.scratch.base
        let line = head.normaliseRequestLine(at: base)
        let start = HeadRewriter.rewrite(
            base, firstLine: line, fields: loop.scanner.fields, adding: loop.lines.bytes, end: head.byteCount)
        let request = UnsafeRawBufferPointer(start: base + start, count: head.byteCount + taken - start)
        keepReplay(request, in: loop)

        state = .exchanging
        loop.activeRequests += 1
        awaitBody(in: loop)
        guard let choice = loop.router.choose(for: exchange.slot, tried: exchange.tried, at: loop.now) else {
            loop.complaints.complain(.nobodyThere, at: loop.now, "no instance is there to answer")
            return answerItself(503, .destinationUnavailable, in: loop)
        }
        give(request, to: choice, onNewConnection: false, in: loop)
    }

    private func readSlot(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        switch loop.router.slot(in: bytes, fields: loop.scanner.fields) {
        case .none: break
        case .tampered: loop.counters.stickyTampered.add()
        case .slot(let slot): exchange.slot = slot
        }
    }

    /// The lines that the balancer adds to a request. They replace what the client claimed under the same names.
    private func writeLines(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        loop.lines.removeAll()
        loop.lines.append(forwardedFor)
        loop.lines.append(loop.forwardedLines)
        if !head.authority.isEmpty {
            let authority = UnsafeRawBufferPointer(rebasing: bytes[head.authority])
            loop.lines.append("X-Forwarded-Host: ")
            loop.lines.append(authority)
            if head.isAbsoluteForm {
                loop.lines.append("\r\nHost: ")
                loop.lines.append(authority)
            }
            loop.lines.append("\r\n")
        }
        if exchange.webSocketAccept != nil { loop.lines.append("Connection: Upgrade\r\nUpgrade: websocket\r\n") }
    }

    /// Waits for the body, if there is more of it, or for the instance, whose own clock runs then.
    private func awaitBody(in loop: BalancerLoop) {
        setDeadline(
            exchange.requestBody.isEnded ? .max : loop.deadline(after: loop.waits.requestBodyIdle), in: loop)
    }

    /// Passes more of the body on. False when there is nothing to pass on now.
    private func forwardBody(in loop: BalancerLoop) -> Bool {
        guard !exchange.requestBody.isEnded, isReadable, let upstream = exchange.upstream, upstream.state != .connecting,
            upstream.outbox == nil, !exchange.hasAbandonedBody
        else { return false }
        switch receive(into: loop.scratch.base, BalancerLoop.Scratch.room) {
        case .nothing: return false
        case .end, .failure:
            abort(in: loop)
            return false
        case .bytes(let count):
            let bytes = UnsafeRawBufferPointer(start: loop.scratch.base, count: count)
            guard let taken = exchange.requestBody.consume(bytes) else {
                if exchange.isAnswerBegun {
                    abort(in: loop)
                } else {
                    letGo(in: loop)
                    refuse(400, .requestError, in: loop)
                }
                return true
            }
            if taken < count { setInbox(UnsafeRawBufferPointer(rebasing: bytes[taken...]), in: loop) }
            let body = UnsafeRawBufferPointer(rebasing: bytes[..<taken])
            extendReplay(body, in: loop)
            awaitBody(in: loop)
            if case .failure = upstream.sendBody(body, in: loop) { bodyWasRefused(by: upstream, in: loop) }
            return true
        }
    }

    /// The instance takes no more of the body. It may have answered early, and then that answer is the one to pass on.
    private func bodyWasRefused(by upstream: UpstreamConnection, in loop: BalancerLoop) {
        exchange.hasAbandonedBody = true
        upstream.isReadable = true
        upstream.proceed(in: loop)
        if exchange.upstream === upstream, !exchange.isAnswerBegun { attemptFailed(upstream, .reset, in: loop) }
    }

    // MARK: Replay

    private func keepReplay(_ request: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        guard request.count <= loop.configuration.limits.replayBytesMax else {
            exchange.isReplayable = false
            return
        }
        var box = loop.buffers.take(request.count)
        box.append(request)
        exchange.replay = box
    }

    private func extendReplay(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        guard let box = exchange.replay else { return }
        guard box.count + bytes.count <= loop.configuration.limits.replayBytesMax else { return dropReplay(in: loop) }
        var grown = loop.buffers.grow(box, by: bytes.count)
        grown.append(bytes)
        exchange.replay = grown
    }

    /// From here on the request can't be repeated.
    func dropReplay(in loop: BalancerLoop) {
        exchange.isReplayable = false
        guard let box = exchange.replay else { return }
        exchange.replay = nil
        loop.buffers.giveBack(box)
    }

    // MARK: Attempts

    /// Gives the request to an instance, or, when that can't take it, to whoever the policy says is next.
    private func give(_ request: UnsafeRawBufferPointer, to first: RequestRouter.Choice, onNewConnection: Bool, in loop: BalancerLoop) {
        exchange.hasAbandonedBody = false
        var next: Next? = Next(choice: first, onNewConnection: onNewConnection)
        while let attempt = next {
            let pool = loop.pools[attempt.choice.target]
            loop.router.began(attempt.choice.target)
            exchange.rank = attempt.choice.rank
            guard let upstream = connection(to: pool, onNewConnection: attempt.onNewConnection, in: loop) else {
                next = afterFailure(at: pool, .connect, .nothingWritten, wasKept: false, in: loop)
                continue
            }
            exchange.upstream = upstream
            if upstream.begin(request, for: self, in: loop) { return }
            exchange.upstream = nil
            let wasKept = upstream.hasServed
            upstream.close(in: loop)
            next = afterFailure(at: pool, .reset, .nothingWritten, wasKept: wasKept, in: loop)
        }
    }

    private struct Next {
        var choice: RequestRouter.Choice
        var onNewConnection: Bool
    }

    private func connection(to pool: UpstreamPool, onNewConnection: Bool, in loop: BalancerLoop) -> UpstreamConnection? {
        // Many servers can upgrade only the first request of a connection.
        if !onNewConnection, exchange.webSocketAccept == nil {
            while let kept = pool.take() {
                // What can't be repeated is not sent into a connection that has closed meanwhile: one more look, for these requests only.
                if exchange.method.isIdempotent || mesh_is_quiet(kept.descriptor) { return kept }
                kept.close(in: loop)
            }
        }
        var address = pool.address
        let descriptor = mesh_connect(&address)
        guard descriptor >= 0 else { return nil }
        loop.counters.upstreamsDialled.add()
        return loop.register(descriptor) { UpstreamConnection(descriptor: descriptor, tag: $0, pool: pool) }
    }

    /// An attempt ended before any of its answer was passed on.
    func attemptFailed(_ upstream: UpstreamConnection, _ cause: AttemptFailure, in loop: BalancerLoop) {
        var progress = RetryPolicy.Progress.written
        if upstream.state == .connecting {
            progress = .nothingWritten
            // Too large to be kept for another try, but none of it has left.
            if exchange.replay == nil, let unsent = upstream.takeOutbox() {
                exchange.replay = unsent
                exchange.isReplayable = true
            }
        } else if !exchange.isReplayable && exchange.replay == nil && upstream.hasAnswered {
            progress = .answered
        }
        let wasKept = upstream.hasServed
        exchange.upstream = nil
        upstream.close(in: loop)
        if let next = afterFailure(at: upstream.pool, cause, progress, wasKept: wasKept, in: loop) { repeatRequest(next, in: loop) }
        proceed(in: loop)
    }

    private func repeatRequest(_ next: Next, in loop: BalancerLoop) {
        guard let replay = exchange.replay else { return answerItself(502, .connectionTerminated, in: loop) }
        give(replay.bytes, to: next.choice, onNewConnection: next.onNewConnection, in: loop)
        if let replay = exchange.replay, replay.count > loop.configuration.limits.replayBytesMax { dropReplay(in: loop) }
    }

    /// The instance is silent. True when somebody else is asked now.
    func movesOn(from upstream: UpstreamConnection, in loop: BalancerLoop) -> Bool {
        guard decide(.written, wasKept: false, in: loop) == .elsewhere else { return false }
        var tried = exchange.tried
        tried.insert(upstream.pool.number)
        guard let choice = loop.router.choose(for: exchange.slot, tried: tried, at: loop.now), loop.router.loads[choice.target].isOpen
        else {
            return false
        }
        if let index = upstream.pool.index {
            loop.router.ended(index, succeeded: false, latency: .nanoseconds(loop.now - exchange.startedAt))
        }
        exchange.tried = tried
        exchange.upstream = nil
        upstream.close(in: loop)
        countRetry(.silence, in: loop)
        repeatRequest(Next(choice: choice, onNewConnection: false), in: loop)
        proceed(in: loop)
        return true
    }

    private func decide(_ progress: RetryPolicy.Progress, wasKept: Bool, in loop: BalancerLoop) -> RetryPolicy.Decision {
        loop.configuration.retry.decide(
            RetryPolicy.Failure(
                method: exchange.method, hasIdempotencyKey: exchange.hasIdempotencyKey, progress: progress,
                isReplayable: exchange.isReplayable || progress == .nothingWritten, wasKept: wasKept, retries: exchange.retries,
                activeRequests: loop.activeRequests, activeRetries: loop.activeRetries))
    }

    /// Who gets the request next. Nil when nobody does; then it has been answered.
    private func afterFailure(
        at pool: UpstreamPool, _ cause: AttemptFailure, _ progress: RetryPolicy.Progress, wasKept: Bool, in loop: BalancerLoop
    ) -> Next? {
        if let index = pool.index {
            loop.router.ended(index, succeeded: false, latency: .nanoseconds(loop.now - exchange.startedAt))
            if cause.isRefusal, !wasKept {
                loop.router.refused(index, at: loop.now)
                loop.complaints.complain(.instanceRefused, at: loop.now, "\(pool.target.endpoint) does not answer (\(cause))")
            }
        }
        guard cause.mayBeRepeated else {
            answerItself(cause.status, cause.error, in: loop)
            return nil
        }
        let decision = decide(progress, wasKept: wasKept, in: loop)
        if decision == .reconnect, let index = pool.index {
            countRetry(.reconnect, in: loop)
            return Next(choice: RequestRouter.Choice(target: index, rank: exchange.rank), onNewConnection: true)
        }
        exchange.tried.insert(pool.number)
        if case .giveUp = decision {
        } else if let choice = loop.router.choose(for: exchange.slot, tried: exchange.tried, at: loop.now) {
            countRetry(cause.isConnecting ? .connect : .reset, in: loop)
            return Next(choice: choice, onNewConnection: false)
        }
        // Nobody has seen the request: the client may simply come again.
        if progress == .nothingWritten {
            answerItself(503, .destinationUnavailable, in: loop)
        } else {
            answerItself(cause.status, cause.error, in: loop)
        }
        return nil
    }

    private enum RetryKind { case reconnect, connect, reset, silence }

    private func countRetry(_ kind: RetryKind, in loop: BalancerLoop) {
        if exchange.retries == 0 { loop.activeRetries += 1 }
        exchange.retries += 1
        switch kind {
        case .reconnect: loop.counters.retriesReconnect.add()
        case .connect: loop.counters.retriesConnect.add()
        case .reset: loop.counters.retriesReset.add()
        case .silence: loop.counters.retriesSilence.add()
        }
    }

    // MARK: Answers

    func isAtRequestLimit(_ loop: BalancerLoop) -> Bool { requests >= loop.configuration.limits.requestsPerConnectionMax }

    /// The final answer's head has come.
    func answerBegins(_ status: Int, from upstream: UpstreamConnection, in loop: BalancerLoop) {
        exchange.isAnswerBegun = true
        loop.counters.countAnswer(status)
        if let index = upstream.pool.index { loop.router.answered(index) }
        if status != 101 { loop.silence.record(milliseconds: Int((loop.now - exchange.startedAt) / 1_000_000)) }
        switch (exchange.slot, exchange.rank) {
        case (nil, _): loop.counters.stickyNew.add()
        case (_, 0): loop.counters.stickyHit.add()
        case (_, 1): loop.counters.stickyFailoverReplica.add()
        default: loop.counters.stickyFailoverOther.add()
        }
    }

    /// The answer has ended; `upstream` takes care of itself.
    func answerEnded(from upstream: UpstreamConnection, in loop: BalancerLoop) {
        exchange.upstream = nil
        if let index = upstream.pool.index {
            loop.router.ended(index, succeeded: true, latency: .nanoseconds(loop.now - exchange.startedAt))
        }
        finishExchange(in: loop)
    }

    private func finishExchange(in loop: BalancerLoop) {
        endExchange(in: loop)
        guard exchange.isPersistent, exchange.requestBody.isEnded else {
            state = .finishing
            if outbox == nil { linger(in: loop) }
            return
        }
        if outbox == nil { setDeadline(loop.deadline(after: loop.waits.clientIdle), in: loop) }
    }

    /// The balancer's own answer to a request that it could not place.
    private func answerItself(_ status: Int, _ error: OwnError, in loop: BalancerLoop) {
        if exchange.isAnswerBegun { return abort(in: loop) }
        if !exchange.requestBody.isEnded || loop.isDraining { exchange.isPersistent = false }
        loop.counters.countAnswer(status)
        let bytes = OwnAnswer.bytes(status: status, error: error, closes: !exchange.isPersistent, withBody: exchange.method != .head)
        switch bytes.withUnsafeBytes({ send($0, in: loop) }) {
        case .failure: return abort(in: loop)
        case .part: stalled(in: loop)
        case .all: break
        }
        finishExchange(in: loop)
    }

    /// Tells the client what is wrong with what it sent, and has done with it.
    private func refuse(_ status: Int, _ error: OwnError, in loop: BalancerLoop) {
        endExchange(in: loop)
        loop.counters.refused.add()
        loop.counters.countAnswer(status)
        let bytes = OwnAnswer.bytes(status: status, error: error, closes: true, withBody: true)
        exchange.isPersistent = false
        exchange.hasAbandonedBody = true
        state = .finishing
        switch bytes.withUnsafeBytes({ send($0, in: loop) }) {
        case .failure: abort(in: loop)
        case .part: stalled(in: loop)
        case .all: linger(in: loop)
        }
    }

    /// Closes, but not on top of bytes that were not read: the kernel would send a reset, and the client might lose the answer.
    private func linger(in loop: BalancerLoop) {
        if exchange.requestBody.isEnded, !exchange.hasAbandonedBody, inbox == nil, !isReadable { return close(in: loop) }
        state = .lingering
        mesh_finish_writing(descriptor)
        if let inbox { loop.buffers.giveBack(inbox) }
        inbox = nil
        setDeadline(loop.deadline(after: loop.waits.linger), in: loop)
    }

    /// Throws away what comes, up to 256 KiB.
    private func discard(in loop: BalancerLoop) -> Bool {
        guard isReadable else { return false }
        switch receive(into: loop.scratch.base, BalancerLoop.Scratch.room) {
        case .nothing: return false
        case .end, .failure: close(in: loop)
        case .bytes(let count):
            lingeredBytes += count
            if lingeredBytes > 256 * 1024 { close(in: loop) }
        }
        return !isClosed
    }

    // MARK: Tunnels

    func tunnelBegins(in loop: BalancerLoop) {
        guard let upstream = exchange.upstream else { return abort(in: loop) }
        // Its time is its own: it counts as no request, and as no latency.
        if let index = upstream.pool.index {
            loop.router.ended(index, succeeded: true, latency: .nanoseconds(loop.now - exchange.startedAt))
        }
        endExchange(in: loop)
        state = .tunnel
        loop.counters.tunnelsOpen.add()
        tunnelMoved(in: loop)
        if let early = inbox {
            inbox = nil
            let sent = upstream.send(early.bytes, in: loop)
            loop.buffers.giveBack(early)
            if case .failure = sent { return abort(in: loop) }
        }
        proceed(in: loop)
    }

    func tunnelMoved(in loop: BalancerLoop) {
        setDeadline(loop.deadline(after: loop.waits.tunnelIdle), in: loop)
    }

    private func forwardTunnel(in loop: BalancerLoop) -> Bool {
        guard isReadable, let upstream = exchange.upstream, upstream.outbox == nil else { return false }
        pump(to: upstream, in: loop)
        return !isClosed
    }
}
