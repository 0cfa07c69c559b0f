internal import CMeshSystem
import MeshCore
import MeshLoop

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

    // MARK: The end of an exchange

    func isAtRequestLimit(_ loop: BalancerLoop) -> Bool { requests >= loop.configuration.limits.requestsPerConnectionMax }

    func finishExchange(in loop: BalancerLoop) {
        endExchange(in: loop)
        guard exchange.isPersistent, exchange.requestBody.isEnded else {
            state = .finishing
            if outbox == nil { linger(in: loop) }
            return
        }
        if outbox == nil { setDeadline(loop.deadline(after: loop.waits.clientIdle), in: loop) }
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
