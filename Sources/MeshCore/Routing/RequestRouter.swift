/// One loop's routing: the table that the view made, beside what this loop found out by itself. Decides who gets a request, first and after each failure.
public struct RequestRouter: Sendable {
    public private(set) var table: RoutingTable
    /// One for each of `table.targets`.
    public private(set) var loads: [InstanceLoad] = []
    private var affinity: SessionAffinity?
    private var algorithm: any BalancingAlgorithm
    private var nextNumber: UInt32 = 0
    /// When the next ejected instance is let in again.
    private var nextReopening: Int64 = .max

    public init(table: RoutingTable, algorithm: any BalancingAlgorithm) {
        self.table = table
        self.algorithm = algorithm
        replace(with: table)
    }

    /// Takes a new table. An instance that is in both keeps its number and what is known of it.
    public mutating func replace(with table: RoutingTable) {
        var known: [RouteTarget.Identity: InstanceLoad] = [:]
        for (target, load) in zip(self.table.targets, loads) { known[target.identity] = load }
        loads = table.targets.map { target in
            let old = known[target.identity]
            if old == nil { nextNumber += 1 }
            var load = InstanceLoad(number: old?.number ?? nextNumber, weight: target.weight, inFlight: old?.inFlight ?? 0)
            load.ejection = old?.ejection ?? Ejection()
            load.isOpen = old?.isOpen ?? true
            return load
        }
        self.table = table
        affinity = table.affinity
        algorithm.reset(loads)
    }

    // MARK: Choosing

    public struct Choice: Hashable, Sendable {
        /// Index into the table's targets.
        public var target: Int
        /// 0 for the primary's node, 1 for the backup's, 2 for any further one; 0 also for a visitor who is bound to nobody.
        public var rank: Int

        public init(target: Int, rank: Int) {
            self.target = target
            self.rank = rank
        }
    }

    /// The instances that one request has tried, by number. Never more than the retry policy's tries; a further one is forgotten.
    public struct Tried: Hashable, Sendable {
        private var numbers: (UInt32, UInt32, UInt32) = (0, 0, 0)

        public init() {}

        public mutating func insert(_ number: UInt32) {
            if contains(number) { return }
            if numbers.0 == 0 { numbers.0 = number } else if numbers.1 == 0 { numbers.1 = number } else { numbers.2 = number }
        }

        public var isEmpty: Bool { numbers.0 == 0 }

        public func contains(_ number: UInt32) -> Bool {
            number != 0 && (numbers.0 == number || numbers.1 == number || numbers.2 == number)
        }

        public static func == (lhs: Tried, rhs: Tried) -> Bool { lhs.numbers == rhs.numbers }
        public func hash(into hasher: inout Hasher) { hasher.combine(numbers.0) }
    }

    /// The session's slot as the request's cookies tell it.
    public mutating func slot(in bytes: UnsafeRawBufferPointer, fields: [HeadField]) -> SessionAffinity.Verdict {
        affinity?.read(bytes, fields: fields) ?? .none
    }

    /// Who gets the request; nil when nobody is left to ask.
    /// - Parameters:
    ///   - slot: of the session, nil for a visitor bound to nobody.
    ///   - now: uptime in nanoseconds.
    public mutating func choose(for slot: Slot?, tried: Tried, at now: Int64) -> Choice? {
        if now >= nextReopening { reopen(at: now) }
        guard let slot, table.isRanked else { return chooseForNewVisitor(tried) }
        // The common case, with nothing to walk.
        if tried.isEmpty, let node = table.node(of: slot, rank: 0), table.nodes[node].count == 1 {
            let target = Int(table.nodes[node][0])
            if loads[target].isOpen { return Choice(target: target, rank: 0) }
        }
        return walk(slot, tried, ignoringEjections: false) ?? walk(slot, tried, ignoringEjections: true)
    }

    private mutating func chooseForNewVisitor(_ tried: Tried) -> Choice? {
        let candidates = table.newVisitors
        return select(from: candidates, tried, ignoringEjections: false) ?? select(from: candidates, tried, ignoringEjections: true)
    }

    /// By rank, a node at a time. A node gets at most two tries, so that the backup's turn comes within the retries of one request.
    private mutating func walk(_ slot: Slot, _ tried: Tried, ignoringEjections: Bool) -> Choice? {
        for rank in 0...1 {
            guard let node = table.node(of: slot, rank: rank), triesLeft(node, tried) else { continue }
            if let choice = select(from: table.nodes[node], tried, ignoringEjections: ignoringEjections) {
                return Choice(target: choice.target, rank: rank)
            }
        }
        for node in table.nodesRanked(for: slot).dropFirst(2) where triesLeft(node, tried) {
            if let choice = select(from: table.nodes[node], tried, ignoringEjections: ignoringEjections) {
                return Choice(target: choice.target, rank: 2)
            }
        }
        return nil
    }

    private func triesLeft(_ node: Int, _ tried: Tried) -> Bool {
        tried.isEmpty || table.nodes[node].count { tried.contains(loads[Int($0)].number) } < 2
    }

    private mutating func select(from candidates: [UInt16], _ tried: Tried, ignoringEjections: Bool) -> Choice? {
        if tried.isEmpty && !ignoringEjections {
            return algorithm.select(from: candidates, loads: loads).map { Choice(target: Int($0), rank: 0) }
        }
        // Rare: a repeat, or everybody refused. The algorithm sees a copy in which just the right ones are open.
        var loads = loads
        for index in loads.indices {
            loads[index].isOpen = (ignoringEjections || loads[index].isOpen) && !tried.contains(loads[index].number)
        }
        return algorithm.select(from: candidates, loads: loads).map { Choice(target: Int($0), rank: 0) }
    }

    // MARK: What happened

    public mutating func began(_ target: Int) {
        loads[target].inFlight += 1
        algorithm.began(target)
    }

    /// The request at `target` is over.
    public mutating func ended(_ target: Int, succeeded: Bool, latency: Duration) {
        loads[target].inFlight -= 1
        algorithm.ended(target, succeeded: succeeded, latency: latency)
    }

    /// The instance did not take a connection, or dropped a new one: it is left out for a while.
    public mutating func refused(_ target: Int, at now: Int64) {
        loads[target].ejection.refused(at: now)
        loads[target].isOpen = false
        nextReopening = min(nextReopening, loads[target].ejection.until)
    }

    /// A byte of answer came: forget its refusals.
    public mutating func answered(_ target: Int) {
        if loads[target].ejection.until == .min { return }
        loads[target].ejection.answered()
        loads[target].isOpen = true
    }

    private mutating func reopen(at now: Int64) {
        nextReopening = .max
        for index in loads.indices where !loads[index].isOpen {
            if loads[index].ejection.until <= now {
                loads[index].isOpen = true
            } else {
                nextReopening = min(nextReopening, loads[index].ejection.until)
            }
        }
    }
}
