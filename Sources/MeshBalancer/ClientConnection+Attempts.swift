internal import CMeshSystem
import MeshCore

/// Who is asked, and who is asked next when that one fails, for as long as the retry policy agrees and nothing of an answer was passed on.
extension ClientConnection {
    /// Gives the request to an instance, or, when that can't take it, to whoever the policy says is next.
    func give(_ request: UnsafeRawBufferPointer, to first: RequestRouter.Choice, onNewConnection: Bool, in loop: BalancerLoop) {
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

    // MARK: Who is next

    private struct Next {
        var choice: RequestRouter.Choice
        var onNewConnection: Bool
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

    private func decide(_ progress: RetryPolicy.Progress, wasKept: Bool, in loop: BalancerLoop) -> RetryPolicy.Decision {
        loop.configuration.retry.decide(
            RetryPolicy.Failure(
                method: exchange.method, hasIdempotencyKey: exchange.hasIdempotencyKey, progress: progress,
                isReplayable: exchange.isReplayable || progress == .nothingWritten, wasKept: wasKept, retries: exchange.retries,
                activeRequests: loop.activeRequests, activeRetries: loop.activeRetries))
    }

    private func repeatRequest(_ next: Next, in loop: BalancerLoop) {
        guard let replay = exchange.replay else { return answerItself(502, .connectionTerminated, in: loop) }
        give(replay.bytes, to: next.choice, onNewConnection: next.onNewConnection, in: loop)
        if let replay = exchange.replay, replay.count > loop.configuration.limits.replayBytesMax { dropReplay(in: loop) }
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
        let descriptor = mesh_connect(&address, nil)
        guard descriptor >= 0 else { return nil }
        loop.counters.upstreamsDialled.add()
        return loop.register(descriptor) { UpstreamConnection(descriptor: descriptor, tag: $0, pool: pool) }
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

    // MARK: Replay

    func keepReplay(_ request: UnsafeRawBufferPointer, in loop: BalancerLoop) {
        guard request.count <= loop.configuration.limits.replayBytesMax else {
            exchange.isReplayable = false
            return
        }
        var box = loop.buffers.take(request.count)
        box.append(request)
        exchange.replay = box
    }

    func extendReplay(_ bytes: UnsafeRawBufferPointer, in loop: BalancerLoop) {
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
}
