/// Chooses who serves a visitor that is bound to nobody yet.
///
/// Pure and seedable: an algorithm sees the loads it is given and what it was told, never a clock or a socket. Each loop of a balancer has its own, so what it
/// counts is that loop's share of the traffic.
public protocol BalancingAlgorithm: Sendable {
    /// The instances changed; indices mean new ones from now on.
    mutating func reset(_ loads: [InstanceLoad])

    /// One of `candidates` (indices into `loads`) that is open, or nil when none is. Called once per new visitor: it must not allocate.
    mutating func select(from candidates: [UInt16], loads: [InstanceLoad]) -> UInt16?

    /// A request was given to the instance.
    mutating func began(_ instance: Int)

    /// The instance's first byte of answer came after `latency`, or the request failed.
    mutating func ended(_ instance: Int, succeeded: Bool, latency: Duration)
}

extension BalancingAlgorithm {
    public mutating func reset(_ loads: [InstanceLoad]) {}
    public mutating func began(_ instance: Int) {}
    public mutating func ended(_ instance: Int, succeeded: Bool, latency: Duration) {}
}

/// What one loop knows of one instance, beside the table that the view made.
public struct InstanceLoad: Hashable, Sendable {
    /// Names the instance over changes of the table, within one router.
    public let number: UInt32
    /// 1 to 100.
    public let weight: Int
    /// Requests given to it by this loop and not finished.
    public internal(set) var inFlight = 0
    /// False while it is not to be chosen: it refused a moment ago, or this request has tried it.
    public internal(set) var isOpen = true
    var ejection = Ejection()

    public init(number: UInt32, weight: Int, inFlight: Int = 0, isOpen: Bool = true) {
        self.number = number
        self.weight = min(max(weight, 1), 100)
        self.inFlight = inFlight
        self.isOpen = isOpen
    }
}

/// Smooth weighted round robin: each turn everyone gains its weight, the richest is chosen and pays the sum. An instance of weight 2 among two of
/// weight 1 is chosen every other time, never twice in a row. Source: nginx 1.3.1, commit "Upstream: smooth weighted round-robin balancing".
public struct RoundRobin: BalancingAlgorithm {
    private var credits: [Int] = []

    public init() {}

    public mutating func reset(_ loads: [InstanceLoad]) {
        credits = Array(repeating: 0, count: loads.count)
    }

    public mutating func select(from candidates: [UInt16], loads: [InstanceLoad]) -> UInt16? {
        var chosen: UInt16?
        var total = 0
        for candidate in candidates where loads[Int(candidate)].isOpen {
            let index = Int(candidate)
            credits[index] += loads[index].weight
            total += loads[index].weight
            if let best = chosen, credits[Int(best)] >= credits[index] { continue }
            chosen = candidate
        }
        if let chosen { credits[Int(chosen)] -= total }
        return chosen
    }
}

/// The fewest requests in flight for its weight; among equals the one that was not chosen for longest, so that an idle balancer still spreads.
public struct LeastConnections: BalancingAlgorithm {
    private var lastChosen: [UInt64] = []
    private var turn: UInt64 = 0

    public init() {}

    public mutating func reset(_ loads: [InstanceLoad]) {
        lastChosen = Array(repeating: 0, count: loads.count)
    }

    public mutating func select(from candidates: [UInt16], loads: [InstanceLoad]) -> UInt16? {
        var chosen: UInt16?
        for candidate in candidates where loads[Int(candidate)].isOpen {
            guard let best = chosen else {
                chosen = candidate
                continue
            }
            let (one, other) = (loads[Int(candidate)], loads[Int(best)])
            // (a + 1) / weight compared without dividing; the request to come counts, so that weights matter when nobody has any.
            let (mine, theirs) = ((one.inFlight + 1) * other.weight, (other.inFlight + 1) * one.weight)
            if mine < theirs || (mine == theirs && lastChosen[Int(candidate)] < lastChosen[Int(best)]) { chosen = candidate }
        }
        turn += 1
        if let chosen { lastChosen[Int(chosen)] = turn }
        return chosen
    }
}

/// Local knowledge that an instance does not answer the door: it is left out for 1 s after a refusal, then for twice as long each time, up to 30 s. A hint of
/// this one loop, never a claim about the mesh.
struct Ejection: Hashable, Sendable {
    static let first: Int64 = 1_000_000_000
    static let longest: Int64 = 30_000_000_000

    private(set) var until: Int64 = .min
    private var length: Int64 = 0

    mutating func refused(at now: Int64) {
        // Several requests may find the same closed door at once; that is one refusal.
        guard now >= until else { return }
        length = length == 0 ? Self.first : min(length * 2, Self.longest)
        until = now + length
    }

    mutating func answered() {
        self = Ejection()
    }
}
