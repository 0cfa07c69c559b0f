internal import CMeshSystem
import MeshCore
import MeshLoop

/// A connection to an instance.
final class UpstreamConnection: Connection {
    enum State {
        /// The handshake is under way; what is to be sent waits in the outbox. Can transition to waiting.
        case connecting
        /// A request was given to it, and its answer's head has not come. Can transition to answering, idle (an answer without a body), tunnel.
        case waiting
        /// The answer's body passes. Can transition to idle.
        case answering
        /// In its pool. Can transition to waiting. Anything that arrives now is one byte too many, and closes it.
        case idle
        /// Raw bytes both ways.
        case tunnel
    }

    let pool: UpstreamPool
    private(set) var state: State
    /// Whom it works for; nil when idle.
    private(set) var client: ClientConnection?
    /// It has answered before: that it closes now is how servers end idle connections, not a failure.
    private(set) var hasServed = false

    /// A response head that is not whole.
    private var inbox: ByteBuffer?
    /// A byte of the answer to the present request has come.
    private(set) var hasAnswered = false
    private var body = BodyTracker(.none)
    private var isPersistent = true
    /// The client does not understand chunks: the framing is taken off, and the end of the connection ends the body.
    private var unchunks = false
    private var givesUpAt: Int64 = .max
    private var isProceeding = false

    init(descriptor: Int32, tag: UInt64, pool: UpstreamPool) {
        self.pool = pool
        state = .connecting
        super.init(descriptor: descriptor, tag: tag)
    }

    // MARK: A request

    /// Takes a request's first bytes.
    /// - Returns: false when not a byte could be written; the connection is still open.
    func begin(_ bytes: UnsafeRawBufferPointer, for client: ClientConnection, in loop: BalancerLoop) -> Bool {
        self.client = client
        hasAnswered = false
        let timeouts = loop.waits
        if state == .connecting {
            keep(bytes, in: loop)
            setDeadline(loop.deadline(after: pool.isSuspect ? min(timeouts.suspect, timeouts.connect) : timeouts.connect), in: loop)
            return true
        }
        if case .failure = send(bytes, in: loop) { return false }
        state = .waiting
        awaitHead(in: loop)
        return true
    }

    /// Sends more of the request's body.
    func sendBody(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) -> Sent {
        let sent = send(bytes, in: loop)
        if state == .waiting { awaitHead(in: loop) }
        return sent
    }

    /// A safe request is given a short while first; see ``expired(in:)``.
    private func awaitHead(in loop: BalancerLoop) {
        let timeouts = loop.waits
        givesUpAt = loop.deadline(after: timeouts.responseHead)
        guard let exchange = client?.exchange, exchange.method.isSafe, exchange.requestBody.isEnded, exchange.webSocketAccept == nil else {
            return setDeadline(givesUpAt, in: loop)
        }
        let limit = pool.isSuspect ? timeouts.suspect : timeouts.silence
        setDeadline(min(givesUpAt, loop.deadline(after: limit)), in: loop)
    }

    /// The table changed for this instance: it is gone, or its node is suspect now. Safe requests that wait for it don't wait long. Others, which
    /// can't be repeated, wait on; unless its node was suspect before it went, for then it died in silence, and nobody is going to answer.
    func poolChanged(in loop: BalancerLoop) {
        guard state == .waiting, pool.isSuspect || pool.index == nil, let exchange = client?.exchange else { return }
        if exchange.method.isSafe {
            let soon = loop.deadline(after: loop.waits.suspect)
            if soon < deadline { setDeadline(soon, in: loop) }
        } else if pool.isSuspect, pool.index == nil {
            givesUpAt = min(givesUpAt, loop.deadline(after: loop.waits.silence))
            setDeadline(givesUpAt, in: loop)
        }
    }

    // MARK: Progress

    override func proceed(in loop: BalancerLoop) {
        // Passing an answer on may finish the exchange, start the next one on this same connection, and come back here.
        if isProceeding || isClosed { return }
        isProceeding = true
        defer { isProceeding = false }

        if state == .connecting && !finishConnecting(in: loop) { return }
        if outbox != nil {
            if case .failure = flush(in: loop) { return broke(in: loop) }
            if outbox == nil { client?.proceed(in: loop) }
        }
        var reads = 0
        while isReadable, !isClosed {
            switch state {
            case .connecting: return
            case .idle:
                if case .nothing = receive(into: loop.scratch.base, 1) { return }
                pool.remove(self)
                return close(in: loop)
            case .waiting, .answering:
                guard let client, client.outbox == nil else { return }
                readAnswer(for: client, in: loop)
            case .tunnel:
                guard let client, client.outbox == nil else { return }
                pump(to: client, in: loop)
            }
            reads += 1
            if reads == 4, isReadable, !isClosed { return loop.postpone(self) }
        }
    }

    /// False when there is nothing more to do now.
    private func finishConnecting(in loop: BalancerLoop) -> Bool {
        let error = mesh_socket_error(descriptor)
        guard error == 0, !isBroken else {
            failed(.connect, in: loop)
            return false
        }
        switch flush(in: loop) {
        case .failure:
            // Not connected yet is told apart from broken by the kernel's error, which was none.
            failed(.connect, in: loop)
            return false
        case .part where outbox?.isUntouched == true: return false
        case .part, .all:
            state = .waiting
            awaitHead(in: loop)
            client?.proceed(in: loop)
            return true
        }
    }

    // MARK: The answer

    private func readAnswer(for client: ClientConnection, in loop: BalancerLoop) {
        if inbox != nil { return readMoreHead(for: client, in: loop) }
        switch receive(into: loop.scratch.base, BalancerLoop.Scratch.room) {
        case .nothing: return
        case .failure: broke(in: loop)
        case .end: ended(for: client, in: loop)
        case .bytes(let count):
            hasAnswered = true
            if state == .waiting {
                takeHead(at: 0, count, for: client, in: loop)
            } else {
                setDeadline(loop.deadline(after: loop.waits.responseBodyIdle), in: loop)
                passBody(from: 0, at: 0, count, for: client, in: loop)
            }
        }
    }

    private func readMoreHead(for client: ClientConnection, in loop: BalancerLoop) {
        guard var box = inbox else { return }
        box = loop.buffers.grow(box, by: 1024)
        inbox = box
        switch receive(into: box.free, box.room) {
        case .nothing: return
        case .failure: broke(in: loop)
        case .end: ended(for: client, in: loop)
        case .bytes(let count):
            box.grew(by: count)
            // The head is bounded, and so is this copy.
            loop.scratch.base.copyMemory(from: UnsafeRawPointer(box.free - box.count), byteCount: box.count)
            let total = box.count
            loop.buffers.giveBack(box)
            inbox = nil
            takeHead(at: 0, total, for: client, in: loop)
        }
    }

    /// Acts on the answer's head in the scratch buffer: `count` bytes from `offset`. Interim answers may stand in front of the final one.
    private func takeHead(at offset: Int, _ count: Int, for client: ClientConnection, in loop: BalancerLoop) {
        var offset = offset
        while true {
            let base = loop.scratch.base + offset
            let bytes = UnsafeRawBufferPointer(start: base, count: count - offset)
            switch loop.scanner.scanResponse(bytes) {
            case .fault(let fault):
                loop.complaints.complain(.malformedAnswer, at: loop.now, "\(pool.target.endpoint) sent a malformed answer (\(fault))")
                return failed(.protocolError, in: loop)
            case .incomplete:
                if !bytes.isEmpty {
                    var box = loop.buffers.take(bytes.count)
                    box.append(bytes)
                    inbox = box
                    client.dropReplay(in: loop)
                }
                return
            case .head(let head):
                client.dropReplay(in: loop)
                if head.status == 101 { return switchProtocols(head, bytes, for: client, in: loop) }
                guard head.status < 200 else { return answer(head, at: offset, count, for: client, in: loop) }
                guard passInterim(head, at: offset, for: client, in: loop) else { return }
                offset += head.byteCount
            }
        }
    }

    private func passInterim(_ head: ResponseHead, at offset: Int, for client: ClientConnection, in loop: BalancerLoop) -> Bool {
        client.exchange.interimAnswers += 1
        guard client.exchange.interimAnswers <= loop.configuration.limits.interimAnswersMax else {
            failed(.protocolError, in: loop)
            return false
        }
        loop.counters.countAnswer(head.status)
        guard client.exchange.isHTTP11 else { return true }
        loop.lines.removeAll()
        let base = loop.scratch.base + offset
        let start = HeadRewriter.rewrite(
            base, firstLine: 0..<head.fieldsStart, fields: loop.scanner.fields, adding: loop.lines.bytes, end: head.byteCount)
        if case .failure = client.send(UnsafeRawBufferPointer(start: base + start, count: head.byteCount - start), in: loop) {
            client.abort(in: loop)
            return false
        }
        return true
    }

    private func answer(_ head: ResponseHead, at offset: Int, _ count: Int, for client: ClientConnection, in loop: BalancerLoop) {
        let framing = BodyFraming.ofResponse(head, to: client.exchange.method)
        body = BodyTracker(framing)
        unchunks = framing == .chunked && !client.exchange.isHTTP11
        isPersistent = head.isPersistent && framing != .untilClose
        state = .answering
        client.answerBegins(head.status, from: self, in: loop)
        let wasPersistent = client.exchange.isPersistent
        if framing == .untilClose || unchunks || loop.isDraining || client.isAtRequestLimit(loop) { client.exchange.isPersistent = false }

        let base = loop.scratch.base + offset
        base.storeBytes(of: UInt8(ascii: "1"), toByteOffset: 7, as: UInt8.self)
        if unchunks || (head.status == 204 || head.status == 304) { loop.scanner.drop(.transferEncoding) }
        loop.lines.removeAll()
        if !client.exchange.isPersistent {
            loop.lines.append("Connection: close\r\n")
        } else if !client.exchange.isHTTP11 && wasPersistent {
            loop.lines.append("Connection: keep-alive\r\n")
        }
        let start = HeadRewriter.rewrite(
            base, firstLine: 0..<head.fieldsStart, fields: loop.scanner.fields, adding: loop.lines.bytes, end: head.byteCount)
        setDeadline(loop.deadline(after: loop.waits.responseBodyIdle), in: loop)
        passBody(from: offset + start, at: offset + head.byteCount, count, for: client, in: loop)
    }

    /// Passes on what the scratch buffer holds from `start` on: a rewritten head, if any, and the body's bytes from `bodyStart` to `end`.
    private func passBody(from start: Int, at bodyStart: Int, _ end: Int, for client: ClientConnection, in loop: BalancerLoop) {
        let base = loop.scratch.base
        let bytes = UnsafeRawBufferPointer(start: base + bodyStart, count: end - bodyStart)
        var sendEnd = bodyStart
        var taken: Int?
        if unchunks {
            taken = body.consume(bytes) { range in
                (base + sendEnd).copyMemory(from: base + bodyStart + range.lowerBound, byteCount: range.count)
                sendEnd += range.count
            }
        } else {
            taken = body.consume(bytes)
            sendEnd += taken ?? 0
        }
        guard let taken else {
            loop.complaints.complain(.malformedAnswer, at: loop.now, "\(pool.target.endpoint) sent a malformed chunk")
            return client.abort(in: loop)
        }
        if taken < bytes.count { isPersistent = false }
        if sendEnd > start {
            switch client.send(UnsafeRawBufferPointer(start: base + start, count: sendEnd - start), in: loop) {
            case .failure: return client.abort(in: loop)
            case .part: client.stalled(in: loop)
            case .all: break
            }
        }
        if body.isEnded { finishAnswer(for: client, in: loop) }
    }

    private func finishAnswer(for client: ClientConnection, in loop: BalancerLoop) {
        let keeps = isPersistent && client.exchange.requestBody.isEnded && outbox == nil && !isPeerDone
        self.client = nil
        hasServed = true
        client.answerEnded(from: self, in: loop)
        if keeps && pool.keep(self) {
            state = .idle
            setDeadline(loop.deadline(after: loop.waits.upstreamIdle), in: loop)
        } else {
            close(in: loop)
        }
        client.proceed(in: loop)
    }

    // MARK: Tunnels

    private func switchProtocols(_ head: ResponseHead, _ bytes: UnsafeRawBufferPointer, for client: ClientConnection, in loop: BalancerLoop)
    {
        guard head.upgradesToWebSocket, let expected = client.exchange.webSocketAccept, !expected.isEmpty,
            bytes[head.webSocketAccept].elementsEqual(expected)
        else {
            return failed(.upgrade, in: loop)
        }
        state = .tunnel
        client.answerBegins(101, from: self, in: loop)
        let base = loop.scratch.base + (bytes.baseAddress.map { $0 - UnsafeRawPointer(loop.scratch.base) } ?? 0)
        loop.lines.removeAll()
        loop.lines.append("Connection: Upgrade\r\nUpgrade: websocket\r\n")
        let start = HeadRewriter.rewrite(
            base, firstLine: 0..<head.fieldsStart, fields: loop.scanner.fields, adding: loop.lines.bytes, end: head.byteCount)
        setDeadline(.max, in: loop)
        // Frames may stand behind the head already.
        if case .failure = client.send(UnsafeRawBufferPointer(start: base + start, count: bytes.count - start), in: loop) {
            return client.abort(in: loop)
        }
        client.tunnelBegins(in: loop)
    }

    // MARK: Endings

    private func ended(for client: ClientConnection, in loop: BalancerLoop) {
        if state == .answering, body.endsWithConnection {
            body = BodyTracker(.none)
            isPersistent = false
            return finishAnswer(for: client, in: loop)
        }
        broke(in: loop)
    }

    private func broke(in loop: BalancerLoop) {
        switch state {
        case .idle:
            pool.remove(self)
            close(in: loop)
        case .connecting: failed(.connect, in: loop)
        case .waiting: failed(.reset, in: loop)
        case .answering, .tunnel: client?.abort(in: loop)
        }
    }

    /// Tells the client's side, which tries elsewhere or answers by itself.
    private func failed(_ cause: AttemptFailure, in loop: BalancerLoop) {
        guard let client else { return close(in: loop) }
        client.attemptFailed(self, cause, in: loop)
    }

    override func expired(in loop: BalancerLoop) {
        switch state {
        case .connecting: failed(.connectTimeout, in: loop)
        case .idle:
            pool.remove(self)
            close(in: loop)
        case .waiting:
            guard loop.now < givesUpAt else { return failed(.timeout, in: loop) }
            // Silent for a while: if that is more than this application usually takes, somebody else is asked.
            let started = client?.exchange.startedAt ?? loop.now
            let patience = pool.isSuspect || pool.index == nil ? 0 : loop.silence.current.nanoseconds
            if loop.now - started < patience { return setDeadline(min(givesUpAt, started + patience), in: loop) }
            if client?.movesOn(from: self, in: loop) == true { return }
            setDeadline(givesUpAt, in: loop)
        case .answering:
            // While the client does not take what is there, it is the client's clock that runs.
            if let client, client.outbox != nil {
                return setDeadline(loop.deadline(after: loop.waits.responseBodyIdle), in: loop)
            }
            client?.abort(in: loop)
        case .tunnel: break
        }
    }

    override func willClose(in loop: BalancerLoop) {
        if let inbox { loop.buffers.giveBack(inbox) }
        inbox = nil
        client = nil
    }
}
