import Synchronization

/// What one loop counts. Only its own thread writes, so a relaxed load and store is enough and no instruction is locked; anyone may read.
final class LoopCounters: Sendable {
    final class Counter: Sendable {
        private let value = Atomic<Int>(0)
        var current: Int { value.load(ordering: .relaxed) }

        @inline(__always)
        func add(_ amount: Int = 1) {
            value.store(value.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
        }
    }

    let requests = Counter()
    let answers1xx = Counter()
    let answers2xx = Counter()
    let answers3xx = Counter()
    let answers4xx = Counter()
    let answers5xx = Counter()
    let refused = Counter()
    let retriesReconnect = Counter()
    let retriesConnect = Counter()
    let retriesReset = Counter()
    let retriesSilence = Counter()
    let stickyHit = Counter()
    let stickyNew = Counter()
    let stickyFailoverReplica = Counter()
    let stickyFailoverOther = Counter()
    let stickyTampered = Counter()
    let clientsAccepted = Counter()
    let clientsOpen = Counter()
    let upstreamsDialled = Counter()
    let upstreamsOpen = Counter()
    let tunnelsOpen = Counter()

    func countAnswer(_ status: Int) {
        switch status / 100 {
        case 1: answers1xx.add()
        case 2: answers2xx.add()
        case 3: answers3xx.add()
        case 4: answers4xx.add()
        default: answers5xx.add()
        }
    }
}

/// What a balancer has counted since it started, all loops together.
public struct BalancerCounters: Hashable, Sendable {
    /// Requests whose head was understood.
    public var requests = 0
    /// Answers by class of status, the balancer's own among them; `[1]` are 1xx, `[5]` are 5xx.
    public var answers = [0, 0, 0, 0, 0, 0]
    /// Requests that were malformed or over a limit, and answered 4xx or 5xx by the balancer.
    public var refused = 0
    public var retries = Retries()
    public var sticky = Sticky()
    public var clientsAccepted = 0
    public var clientsOpen = 0
    /// Connections opened to instances; far fewer than requests when keeping them works.
    public var upstreamsDialled = 0
    public var upstreamsOpen = 0
    public var tunnelsOpen = 0

    /// Requests given to somebody again, by reason.
    public struct Retries: Hashable, Sendable {
        /// A kept connection turned out to be closed.
        public var reconnect = 0
        /// The connection was refused or took too long.
        public var connect = 0
        /// A new connection broke before a byte of answer.
        public var reset = 0
        /// The instance stayed silent.
        public var silence = 0
        public var total: Int { reconnect + connect + reset + silence }
    }

    /// Where requests of bound visitors went.
    public struct Sticky: Hashable, Sendable {
        /// To the primary's node.
        public var hit = 0
        /// Bound to nobody.
        public var new = 0
        /// To the backup's node.
        public var failoverReplica = 0
        /// To a node that has no copy.
        public var failoverOther = 0
        /// A cookie that was not signed by this mesh; the visitor counts as new as well.
        public var tampered = 0
    }

    public init() {}

    init(of loops: [LoopCounters]) {
        for loop in loops {
            requests += loop.requests.current
            for (index, counter) in [loop.answers1xx, loop.answers2xx, loop.answers3xx, loop.answers4xx, loop.answers5xx].enumerated() {
                answers[index + 1] += counter.current
            }
            refused += loop.refused.current
            retries.reconnect += loop.retriesReconnect.current
            retries.connect += loop.retriesConnect.current
            retries.reset += loop.retriesReset.current
            retries.silence += loop.retriesSilence.current
            sticky.hit += loop.stickyHit.current
            sticky.new += loop.stickyNew.current
            sticky.failoverReplica += loop.stickyFailoverReplica.current
            sticky.failoverOther += loop.stickyFailoverOther.current
            sticky.tampered += loop.stickyTampered.current
            clientsAccepted += loop.clientsAccepted.current
            clientsOpen += loop.clientsOpen.current
            upstreamsDialled += loop.upstreamsDialled.current
            upstreamsOpen += loop.upstreamsOpen.current
            tunnelsOpen += loop.tunnelsOpen.current
        }
    }
}
