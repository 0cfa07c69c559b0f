import MeshCore

/// What lies between the hosts of a world: packets are lost, late, doubled and overtaken, ways are cut, and links hold until they break.
///
/// A host is a number that its world gives. The network knows no time and draws from its world's generator, so it adds nothing to what decides
/// a run but the order of calls.
public struct Network: Sendable {
    public struct Configuration: Hashable, Sendable {
        /// Share of packets that vanish. Links lose nothing, but wait longer.
        public var loss = 0.0
        /// One way, in nanoseconds, evenly drawn.
        public var delay: ClosedRange<Int64> = 200_000...2_000_000
        /// Share of packets that arrive twice.
        public var duplication = 0.0
        /// Share of packets that are held up for up to ``straggle``, so that later ones overtake them.
        public var reordering = 0.0
        public var straggle: Int64 = 50_000_000
        /// How long a link stands while nothing gets through.
        public var linkTimeout: Duration = .seconds(10)
        /// How long a host that says nothing is dialled.
        public var dialTimeout: Duration = .milliseconds(500)
        public init() {}
    }

    struct Way: Hashable, Sendable {
        let from: Int
        let to: Int
    }

    public var configuration: Configuration
    /// How many faults keep each way cut.
    private var cuts: [Way: Int] = [:]
    /// Those with a loss of their own: it counts for what they send and for what reaches them.
    private var losses: [Int: Double] = [:]
    private var links: [UInt64: Link] = [:]
    private var lastLink: UInt64 = 0

    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
    }

    // MARK: Packets

    /// How long a packet takes: not at all when it is lost, twice when it is doubled.
    struct Fate: Sendable {
        var first: Int64?
        var second: Int64?
    }

    func fate(from: Int, to: Int, using generator: inout SeededGenerator) -> Fate {
        guard Double.random(in: 0..<1, using: &generator) >= loss(from, to), !isCut(from, to) else { return Fate() }
        var fate = Fate(first: delay(using: &generator))
        // Nothing is drawn for what never happens, so that a world without such faults goes as it always went.
        if configuration.reordering > 0, Double.random(in: 0..<1, using: &generator) < configuration.reordering {
            fate.first? += Int64.random(in: 0...configuration.straggle, using: &generator)
        }
        if configuration.duplication > 0, Double.random(in: 0..<1, using: &generator) < configuration.duplication {
            fate.second = delay(using: &generator) + Int64.random(in: 0...configuration.straggle, using: &generator)
        }
        return fate
    }

    func delay(using generator: inout SeededGenerator) -> Int64 { Int64.random(in: configuration.delay, using: &generator) }

    private func loss(_ from: Int, _ to: Int) -> Double {
        losses.isEmpty ? configuration.loss : max(configuration.loss, losses[from] ?? 0, losses[to] ?? 0)
    }

    // MARK: Faults

    func isCut(_ from: Int, _ to: Int) -> Bool { !cuts.isEmpty && cuts[Way(from: from, to: to)] != nil }

    mutating func cut(from: Int, to: Int) { cuts[Way(from: from, to: to), default: 0] += 1 }

    /// Takes one cut back; the way is open once every one is.
    mutating func mend(from: Int, to: Int) {
        let way = Way(from: from, to: to)
        guard let count = cuts[way] else { return }
        cuts[way] = count > 1 ? count - 1 : nil
    }

    mutating func partition(_ side: some Sequence<Int>, from other: some Collection<Int>) {
        for one in side {
            for two in other {
                cut(from: one, to: two)
                cut(from: two, to: one)
            }
        }
    }

    mutating func heal() {
        cuts = [:]
        losses = [:]
    }

    /// Nil puts the host back among the others.
    mutating func setLoss(_ share: Double?, at host: Int) { losses[host] = share }

    // MARK: Links

    /// A stream between two processes: everything arrives, in order, or the link breaks.
    struct Link: Sendable {
        /// One process of a host; what is meant for it is lost with it.
        struct End: Hashable, Sendable {
            let host: Int
            let run: Int
        }

        let from: End
        let to: End
        /// When the last message in each direction arrives: messages stay in order.
        fileprivate var arrivalAtFrom: Int64 = 0
        fileprivate var arrivalAtTo: Int64 = 0
        /// The host that has closed it. The other has yet to hear of that, and of what is still on its way unless that is lost.
        fileprivate(set) var endedBy: Int?
        fileprivate(set) var isLost = false

        var isEnding: Bool { endedBy != nil }

        func end(at host: Int) -> End { from.host == host ? from : to }
        func far(from host: Int) -> End { from.host == host ? to : from }
    }

    mutating func open(from: Link.End, to: Link.End) -> UInt64 {
        lastLink += 1
        links[lastLink] = Link(from: from, to: to)
        return lastLink
    }

    func link(_ number: UInt64) -> Link? { links[number] }

    mutating func close(_ number: UInt64) -> Link? { links.removeValue(forKey: number) }

    mutating func end(_ number: UInt64, by host: Int, sendsRest: Bool) {
        links[number]?.endedBy = host
        links[number]?.isLost = !sendsRest
    }

    /// When the last message that is on its way to `host` arrives, or `earliest`.
    func lastArrival(over number: UInt64, at host: Int, after earliest: Int64) -> Int64 {
        guard let link = links[number] else { return earliest }
        return max(earliest, (link.from.host == host ? link.arrivalAtFrom : link.arrivalAtTo) + 1)
    }

    /// The numbers of a host's links, rising.
    func links(of host: Int) -> [UInt64] {
        links.filter { $0.value.from.host == host || $0.value.to.host == host }.keys.sorted()
    }

    /// When a message that is sent now arrives at `host`; nil when there is no such link. A lost segment is sent again a little later, and what
    /// follows waits behind it.
    mutating func arrival(over number: UInt64, at host: Int, now: Int64, using generator: inout SeededGenerator) -> Int64? {
        guard links[number] != nil else { return nil }
        return inOrder(number, at: host, after: now + segmentDelay(using: &generator))
    }

    /// When the next try comes, while nothing gets through; nil once the link is to be given up.
    mutating func retry(over number: UInt64, at host: Int, sentAt: Int64, now: Int64) -> Int64? {
        guard now - sentAt < configuration.linkTimeout.nanoseconds else { return nil }
        return inOrder(number, at: host, after: now + 100_000_000)
    }

    func segmentDelay(using generator: inout SeededGenerator) -> Int64 {
        var wait = delay(using: &generator)
        while Double.random(in: 0..<1, using: &generator) < configuration.loss, wait < 1_000_000_000 { wait += 20_000_000 }
        return wait
    }

    private mutating func inOrder(_ number: UInt64, at host: Int, after time: Int64) -> Int64? {
        guard var link = links[number] else { return nil }
        let isAtFrom = link.from.host == host
        let arrival = max(time, (isAtFrom ? link.arrivalAtFrom : link.arrivalAtTo) + 1)
        if isAtFrom { link.arrivalAtFrom = arrival } else { link.arrivalAtTo = arrival }
        links[number] = link
        return arrival
    }

    // MARK: Dialling

    enum DialOutcome: Hashable, Sendable {
        case open
        case refused
        /// Given up.
        case silent
        case again(after: Int64)
    }

    /// What becomes of a dial that began at `since`.
    /// - Parameters:
    ///   - target: the host at that address; nil when its address refuses whoever comes.
    ///   - isListening: whether a process runs there; one that `isPaused` says nothing.
    func outcome(from: Int, to target: Int?, isListening: Bool, isPaused: Bool, since: Int64, now: Int64) -> DialOutcome {
        guard let target else { return .refused }
        if isCut(from, target) || isCut(target, from) || isPaused {
            let left = configuration.dialTimeout.nanoseconds - (now - since)
            return left > 0 ? .again(after: min(left, 50_000_000)) : .silent
        }
        return isListening ? .open : .refused
    }
}
