import MeshCore

/// What the client is told, by an instance or by the balancer itself, and what is counted of it.
extension ClientConnection {
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

    // MARK: Own answers

    /// The balancer's own answer to a request that it could not place.
    func answerItself(_ status: Int, _ error: OwnError, in loop: BalancerLoop) {
        if exchange.isAnswerBegun { return abort(in: loop) }
        if !exchange.requestBody.isEnded || loop.isDraining { exchange.isPersistent = false }
        finish(with: status, error, withBody: exchange.method != .head, in: loop)
    }

    /// Tells the client what is wrong with what it sent, and has done with it.
    func refuse(_ status: Int, _ error: OwnError, in loop: BalancerLoop) {
        loop.counters.refused.add()
        exchange.isPersistent = false
        exchange.hasAbandonedBody = true
        finish(with: status, error, withBody: true, in: loop)
    }

    private func finish(with status: Int, _ error: OwnError, withBody: Bool, in loop: BalancerLoop) {
        loop.counters.countAnswer(status)
        let bytes = OwnAnswer.bytes(status: status, error: error, closes: !exchange.isPersistent, withBody: withBody)
        switch bytes.withUnsafeBytes({ send($0, in: loop) }) {
        case .failure: return abort(in: loop)
        case .part: stalled(in: loop)
        case .all: break
        }
        finishExchange(in: loop)
    }
}
