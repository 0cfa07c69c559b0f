import MeshCore
import Testing

/// A few members, a virtual clock, and a network that loses packets: enough to watch ``SWIM`` with nobody else in the room.
struct GossipWorld {
    enum State { case up, killed, silent, paused }

    struct Node {
        var swim: SWIM
        var state = State.up
        /// Rises with each restart; what was meant for an earlier run is dropped.
        var run = 0
        var wallOffset: Int64 = 0
        /// What waits in the sockets and timers of a paused process.
        var backlog: [SWIM.Input] = []
        var side = 0
        var departed = false
        var refusedBy: Member?
        var refusedAt: Int64 = 0
        var pauses = 0
    }

    private struct Event {
        var at: Int64
        var order: Int
        var node: Int
        var run: Int
        var input: SWIM.Input
    }

    struct Sighting {
        var at: Int64
        var observer: Int
        var member: Member
    }

    var nodes: [Node] = []
    var now: Int64 = 1_000_000_000
    var loss = 0.0
    /// Whether a port check gets its answer: off, all news of life must come by UDP.
    var portsAnswer = true
    /// Every change of membership that any observer saw.
    var sightings: [Sighting] = []
    var trace: UInt64 = 0
    var packets = 0
    var bytes = 0
    var syncs = 0
    var configuration: SWIM.Configuration
    /// What a packet takes, in microseconds.
    var delay = 100...2000
    private var random: SeededGenerator
    private var events: [Event] = []
    private var order = 0
    private let seed: UInt64

    static let wallAtStart: Int64 = 1_700_000_000_000

    init(_ count: Int, seed: UInt64, balancers: Int = 0, loss: Double = 0, configuration: SWIM.Configuration = .init()) throws {
        self.seed = seed
        self.configuration = configuration
        self.loss = loss
        random = SeededGenerator(seed: seed)
        for index in 0..<count { try add(role: index < count - balancers ? .node : .balancer) }
    }

    static func endpoint(_ index: Int) -> Endpoint { .loopback(port: UInt16(10_000 + index)) }

    /// - Parameters:
    ///   - clockBehind: how far its wall clock is behind the others', in milliseconds.
    ///   - seeds: indices; the first two if nil.
    mutating func add(role: Role = .node, named name: String? = nil, clockBehind: Int64 = 0, seeds: [Int]? = nil) throws {
        let index = nodes.count
        let life = Life(startedAt: wall(-clockBehind), salt: UInt16(index))
        nodes.append(Node(swim: try swim(index, role: role, life: life, named: name, seeds: seeds), wallOffset: -clockBehind))
        feed(index, .start)
    }

    /// Kills if need be, and starts again with nothing but the name.
    /// - Parameter remembered: members of its former run, in the place of seeds.
    mutating func restart(_ index: Int, clockSetBackBy back: Int64 = 0, remembering remembered: [Member]? = nil) throws {
        let role = nodes[index].swim.local.role
        nodes[index] = Node(
            swim: try swim(index, role: role, life: Life(startedAt: wall(-back), salt: 1), remembered: remembered),
            run: nodes[index].run + 1, wallOffset: -back)
        feed(index, .start)
    }

    private func swim(
        _ index: Int, role: Role, life: Life, named: String? = nil, seeds: [Int]? = nil, remembered: [Member]? = nil
    ) throws -> SWIM {
        let name = try NodeName(named ?? "n\(index)")
        let local = Member(id: MemberID(name: name, life: life), role: role, stage: .serving, endpoint: Self.endpoint(index))
        return try SWIM(
            local: local, seeds: remembered == nil ? (seeds ?? [0, 1]).map(Self.endpoint) : [], remembered: remembered ?? [],
            seed: seed &* 1000 &+ UInt64(index), configuration: configuration)
    }

    private func wall(_ offset: Int64) -> Int64 { Self.wallAtStart + now / 1_000_000 + offset }

    // MARK: Faults

    mutating func kill(_ index: Int, hostIsUp: Bool) {
        nodes[index].state = hostIsUp ? .killed : .silent
        guard hostIsUp else { return }
        // One peer had a link open, and sees its socket close.
        let id = nodes[index].swim.local.id
        if let witness = nodes.indices.first(where: { $0 != index && nodes[$0].state == .up }) {
            push(witness, .linkDown(id, refused: false), after: .milliseconds(1))
        }
    }

    mutating func pause(_ index: Int, for duration: Duration) {
        nodes[index].state = .paused
        run(for: duration)
        wake(index)
    }

    mutating func wake(_ index: Int) {
        nodes[index].state = .up
        let backlog = nodes[index].backlog
        nodes[index].backlog = []
        for input in backlog { feed(index, input) }
    }

    mutating func split(_ side: Set<Int>) {
        for index in nodes.indices { nodes[index].side = side.contains(index) ? 1 : 0 }
    }

    // MARK: Time

    mutating func run(for duration: Duration) {
        let end = now + duration.nanoseconds
        while let next = events.first, next.at <= end {
            pop()
            now = next.at
            guard nodes[next.node].run == next.run else { continue }
            switch nodes[next.node].state {
            case .up: feed(next.node, next.input)
            case .paused: nodes[next.node].backlog.append(next.input)
            case .killed, .silent: break
            }
        }
        now = end
    }

    /// Runs until the claim holds, and returns how long that took; nil when it did not within `limit`.
    mutating func run(atMost limit: Duration, until claim: (GossipWorld) -> Bool) -> Duration? {
        let start = now
        while now - start < limit.nanoseconds {
            if claim(self) { return .nanoseconds(now - start) }
            run(for: .milliseconds(10))
        }
        return claim(self) ? limit : nil
    }

    /// How long it took, which must not be for ever.
    static func within(_ took: Duration?, at location: SourceLocation = #_sourceLocation) throws -> Duration {
        try #require(took, sourceLocation: location)
    }

    // MARK: What can be asked

    var up: [Int] { nodes.indices.filter { nodes[$0].state == .up && !nodes[$0].departed } }

    /// Whether everybody up holds the same, and everybody up for alive.
    var agrees: Bool {
        let digests = Set(up.map { nodes[$0].swim.digest })
        return digests.count == 1
            && up.allSatisfy { observer in
                up.allSatisfy { nodes[observer].swim.member(named: nodes[$0].swim.local.name)?.status == .alive }
            }
    }

    func allHold(_ index: Int, for status: Status) -> Bool {
        let name = nodes[index].swim.local.name
        return up.allSatisfy { $0 == index || nodes[$0].swim.member(named: name)?.status == status }
    }

    var deaths: Int { sightings.count { $0.member.status == .dead } }

    // MARK: The shell

    mutating func feed(_ index: Int, _ input: SWIM.Input) {
        perform(nodes[index].swim.step(input, at: moment(index)), of: index)
    }

    private func moment(_ index: Int) -> Moment { Moment(uptime: now, wall: wall(nodes[index].wallOffset)) }

    private func canReach(_ from: Int, _ to: Int) -> Bool { nodes[from].side == nodes[to].side }

    private mutating func perform(_ directives: [SWIM.Directive], of index: Int) {
        for directive in directives {
            switch directive {
            case .send(let message, let endpoint):
                let encoded = message.encoded
                #expect(encoded.count <= PacketSealer.payloadBytesMax)
                packets += 1
                bytes += encoded.count
                trace = Mix.finish(trace ^ Mix.hash(encoded.suffix(40)) ^ UInt64(now))
                let target = Int(endpoint.port) - 10_000
                guard nodes.indices.contains(target), canReach(index, target), Double.random(in: 0..<1, using: &random) >= loss else {
                    continue
                }
                // The codec takes part, but not in every packet: a debug build is slow.
                var received = message
                if packets % 8 == 0 {
                    do { received = try GossipMessage(decoding: encoded) } catch { Issue.record("\(message) does not decode: \(error)") }
                }
                let latency = Duration.microseconds(Int.random(in: delay, using: &random))
                push(target, .message(received, from: Self.endpoint(index)), after: latency)
            case .startTimer(let timer, let wait): push(index, .timer(timer), after: wait)
            case .cancelTimer: break
            case .syncWith(let endpoint):
                syncs += 1
                let target = Int(endpoint.port) - 10_000
                guard nodes.indices.contains(target), canReach(index, target), nodes[target].state == .up || nodes[target].state == .killed
                else {
                    push(index, .syncFailed(endpoint, refused: false), after: .seconds(1))
                    continue
                }
                guard nodes[target].state == .up else {
                    push(index, .syncFailed(endpoint, refused: true), after: .milliseconds(1))
                    continue
                }
                push(target, .linkUp(nodes[index].swim.local.id), after: .milliseconds(1))
                push(index, .syncOpened(endpoint, peer: nodes[target].swim.local.id), after: .milliseconds(1))
            case .sendState(let peer, let asking):
                guard let target = nodes.firstIndex(where: { $0.swim.local.id == peer }), canReach(index, target) else { continue }
                for page in nodes[index].swim.statePages(asking: asking) {
                    #expect(page.encoded.count <= PacketSealer.payloadBytesMax)
                    push(target, .state(page, from: nodes[index].swim.local.id), after: .milliseconds(1))
                }
            case .checkPort(let peer, let endpoint):
                let target = Int(endpoint.port) - 10_000
                guard portsAnswer, nodes.indices.contains(target), canReach(index, target) else { continue }
                switch nodes[target].state {
                case .up: push(index, .linkUp(nodes[target].swim.local.id), after: .milliseconds(1))
                case .killed: push(index, .linkDown(peer, refused: true), after: .milliseconds(1))
                case .silent, .paused: break
                }
            case .memberChanged(let member, _):
                trace = Mix.finish(trace ^ Mix.hash(member.name.description.utf8) ^ UInt64(member.status.rawValue))
                sightings.append(Sighting(at: now, observer: index, member: member))
            case .becameStale(let known):
                perform(nodes[index].swim.beginNewLife(at: moment(index), stage: .serving, after: known), of: index)
            case .declaredDead: perform(nodes[index].swim.beginNewLife(at: moment(index), stage: .serving), of: index)
            case .paused: nodes[index].pauses += 1
            case .departed: nodes[index].departed = true
            case .nameTaken(let holder):
                nodes[index].refusedBy = holder
                nodes[index].refusedAt = now
                nodes[index].state = .killed
            case .instancesChanged: break
            case .instanceRefused(let number, let reason): Issue.record("instance \(number) refused: \(reason)")
            }
        }
    }

    // MARK: The queue, a binary heap

    private mutating func push(_ node: Int, _ input: SWIM.Input, after wait: Duration) {
        order += 1
        events.append(Event(at: now + wait.nanoseconds, order: order, node: node, run: nodes[node].run, input: input))
        var index = events.count - 1
        while index > 0, isBefore(index, (index - 1) / 2) {
            events.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func pop() {
        events.swapAt(0, events.count - 1)
        events.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < events.count && isBefore(child, least) { least = child }
            if least == index { return }
            events.swapAt(least, index)
            index = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (events[left].at, events[left].order) < (events[right].at, events[right].order)
    }
}
