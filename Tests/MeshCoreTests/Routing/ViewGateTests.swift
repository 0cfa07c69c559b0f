import Testing

@testable import MeshCore

@Suite struct ViewGateTests {
    /// A mesh of nodes `n0`, `n1`, ... with one instance each, a gate, and a clock that the test moves.
    struct Play {
        var gate = ViewGate()
        var view: MeshView
        var now: Int64 = 1_000_000
        private var timer: (number: UInt64, due: Int64)?
        /// Milliseconds since the last `mark()` and what was routed by then, as the names of the targets' nodes; a `?` marks a suspect.
        private(set) var routed: [(after: Int64, nodes: [String])] = []
        private(set) var brakes: [String] = []
        private var marked: Int64 = 0

        init(nodes: Int) throws {
            view = try RoutingTests.view((0..<nodes).map { (Self.name($0), 1) })
            show()
            pass(.seconds(60))
            mark()
        }

        static func name(_ index: Int) -> String { index < 10 ? "n0\(index)" : "n\(index)" }

        mutating func mark() {
            marked = now
            routed = []
            brakes = []
        }

        mutating func set(_ status: Status, _ indices: Range<Int>) {
            for index in indices {
                view.members[index].status = status
                let id = view.members[index].id
                if !status.isReachable { view.instances.removeAll { $0.node == id } }
            }
            show()
        }

        mutating func kill(_ indices: Range<Int>) { set(.dead, indices) }
        mutating func suspect(_ indices: Range<Int>) { set(.suspect, indices) }

        /// As another life, with its instance.
        mutating func restart(_ index: Int) {
            view.members[index].id = MemberID(name: view.members[index].name, life: Life(rawValue: 2))
            view.members[index].status = .alive
            let id = view.members[index].id
            view.instances.append(Instance(node: id, number: 0, service: "web", address: "127.0.0.1:9000"))
            view.instances.sort { $0.node < $1.node }
            show()
        }

        mutating func join(_ index: Int) throws {
            let id = MemberID(name: try NodeName(Self.name(index)), life: Life(rawValue: 1))
            view.members.append(Member(id: id, stage: .serving, endpoint: .loopback(port: 7946)))
            view.instances.append(Instance(node: id, number: 0, service: "web", address: "127.0.0.1:\(8000 + index)"))
            show()
        }

        mutating func show() {
            view.epoch += 1
            perform(gate.step(.view(view), at: moment))
        }

        /// Lets the time pass, and timers fire when they are due.
        mutating func pass(_ duration: Duration) {
            let end = now + duration.nanoseconds
            while let timer, timer.due <= end {
                now = max(now, timer.due)
                self.timer = nil
                perform(gate.step(.timer(timer.number), at: moment))
            }
            now = end
        }

        private static func targets(of view: MeshView) -> [String] {
            let members = Dictionary(uniqueKeysWithValues: view.members.filter(\.ranks).map { ($0.id, $0) })
            return view.instances.compactMap { members[$0.node] }.map { "\($0.name)\($0.status == .suspect ? "?" : "")" }
        }

        private var moment: Moment { Moment(uptime: now, wall: 0) }

        private mutating func perform(_ directives: [ViewGate.Directive]) {
            for directive in directives {
                switch directive {
                case .route(let view):
                    routed.append(((now - marked) / 1_000_000, Self.targets(of: view)))
                case .startTimer(let number, let wait): timer = (number, now + wait.nanoseconds)
                case .braked(let brake): brakes.append("\(brake.reason.rawValue) \(brake.dead)/\(brake.nodes)")
                case .released: brakes.append("released")
                }
            }
        }
    }

    static func names(_ range: Range<Int>) -> [String] { range.map(Play.name) }

    // MARK: Gathering

    @Test func aLoneDeathIsLetThroughAtOnce() throws {
        var play = try Play(nodes: 5)
        play.kill(2..<3)
        #expect(play.routed.map(\.after) == [0])
        #expect(play.routed.last?.nodes == ["n00", "n01", "n03", "n04"])
        play.pass(.seconds(60))
        #expect(play.routed.count == 1 && play.brakes.isEmpty)
    }

    @Test func aSuspectThatDiesAloneIsLetThroughAtOnceToo() throws {
        var play = try Play(nodes: 5)
        play.suspect(2..<3)
        play.pass(.milliseconds(150))
        play.kill(2..<3)
        #expect(play.routed.map(\.after) == [150])
    }

    @Test func aSuspicionIsShownAfterHalfASecond() throws {
        var play = try Play(nodes: 3)
        play.suspect(1..<2)
        play.pass(.seconds(5))
        #expect(play.routed.map(\.after) == [500])
        #expect(play.routed.last?.nodes == ["n00", "n01?", "n02"])
    }

    @Test func aSuspicionThatIsRefutedAtOnceIsNeverShown() throws {
        var play = try Play(nodes: 3)
        play.suspect(1..<2)
        play.pass(.milliseconds(300))
        play.set(.alive, 1..<2)
        play.pass(.seconds(5))
        #expect(play.routed.isEmpty)
    }

    @Test func anOldSuspicionHoldsNothingUp() throws {
        var play = try Play(nodes: 5)
        play.suspect(1..<2)
        play.pass(.seconds(3))
        play.mark()
        play.kill(3..<4)
        #expect(play.routed.map(\.after) == [0])
    }

    @Test func tenOfFiftyKilledAtOnceAreOneUpdate() throws {
        var play = try Play(nodes: 50)
        // Suspicions, then the deaths a moment later, each as gossip brings it.
        for index in 0..<10 {
            play.suspect(index..<index + 1)
            play.pass(.milliseconds(12))
        }
        for index in 0..<10 {
            play.pass(.milliseconds(15))
            play.kill(index..<index + 1)
        }
        play.pass(.seconds(10))
        #expect(play.routed.map(\.nodes) == [Self.names(10..<50)])
        #expect(try #require(play.routed.last).after <= 2000)
        #expect(play.brakes.isEmpty)
    }

    /// However the deaths of a calamity are spread over a second, and whether or not suspicions come first: at most two updates, within two seconds.
    @Test(arguments: 0..<200 as Range<UInt64>)
    func aCalamityIsAtMostTwoUpdatesHoweverItIsSpread(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var play = try Play(nodes: 50)
        var plan: [(at: Int, status: Status, index: Int)] = []
        for index in 0..<10 {
            let death = Int.random(in: 200..<1200, using: &random)
            if Bool.random(using: &random) { plan.append((max(0, death - 150), .suspect, index)) }
            plan.append((death, .dead, index))
        }
        plan.sort { ($0.at, $0.index, $0.status) < ($1.at, $1.index, $1.status) }
        let first = try #require(plan.first).at
        var passed = first
        for step in plan {
            play.pass(.milliseconds(step.at - passed))
            passed = step.at
            play.set(step.status, step.index..<step.index + 1)
        }
        play.pass(.seconds(10))
        #expect(play.routed.count <= 2, "\(play.routed.map(\.after))")
        #expect(play.routed.last?.nodes == Self.names(10..<50))
        #expect(try #require(play.routed.last).after <= 2000)
    }

    @Test func aHundredJoiningWithinASecondAreFewUpdates() throws {
        var play = try Play(nodes: 1)
        for index in 1...100 {
            try play.join(index)
            play.pass(.milliseconds(10))
        }
        play.pass(.seconds(2))
        #expect(play.routed.count <= 4)
        #expect(play.routed.last?.nodes.count == 101)
        #expect(try #require(play.routed.last).after <= 1500)
    }

    @Test func newcomersThatKeepComingAreShownMoreSeldomButADeathAmongThemIsNotHeldUp() throws {
        var play = try Play(nodes: 3)
        for index in 3..<60 {
            try play.join(index)
            play.pass(.milliseconds(140))
        }
        #expect(play.routed.count <= 8)
        let before = play.routed.count
        play.kill(0..<1)
        play.show()
        play.pass(.milliseconds(400))
        #expect(play.routed.count > before)
        #expect(try #require(play.routed.last).nodes.contains(Play.name(0)) == false)
    }

    @Test func whatComesAndGoesAgainIsNoUpdate() throws {
        var play = try Play(nodes: 3)
        try play.join(3)
        play.view.members.removeLast()
        play.view.instances.removeLast()
        play.show()
        play.pass(.seconds(1))
        #expect(play.routed.isEmpty)
    }

    @Test func whatRoutingDoesNotUseIsNoUpdate() throws {
        var play = try Play(nodes: 3)
        play.view.members[0].tags["zone"] = "a"
        play.view.members[1].incarnation = 7
        play.view.members.append(
            Member(id: try SWIMTests.id("z", life: 1), role: .balancer, stage: .serving, endpoint: .loopback(port: 1)))
        play.show()
        play.pass(.seconds(1))
        #expect(play.routed.isEmpty)
    }

    @Test func aStaleTimerIsIgnored() throws {
        var gate = ViewGate()
        let view = try RoutingTests.view([("a", 1)])
        #expect(gate.step(.view(view), at: Moment(uptime: 0, wall: 0)) == [.startTimer(1, after: .milliseconds(100))])
        var more = try RoutingTests.view([("a", 1), ("b", 1)])
        more.epoch = 2
        #expect(gate.step(.view(more), at: Moment(uptime: 50_000_000, wall: 0)) == [.startTimer(2, after: .milliseconds(100))])
        #expect(gate.step(.timer(1), at: Moment(uptime: 200_000_000, wall: 0)) == [])
        #expect(gate.step(.timer(2), at: Moment(uptime: 200_000_000, wall: 0)) == [.route(more)])
    }

    // MARK: The brake

    @Test func whenMoreThanAThirdDiesAtOnceTheyStayAsSuspects() throws {
        var play = try Play(nodes: 10)
        play.kill(0..<4)
        play.pass(.seconds(1))
        #expect(play.brakes == ["massDeath 4/10"])
        #expect(play.routed.map(\.nodes) == [["n00?", "n01?", "n02?", "n03?"] + Self.names(4..<10)])
        // Half a minute later they are believed to be dead.
        play.pass(.seconds(40))
        #expect(play.brakes == ["massDeath 4/10", "released"])
        #expect(play.routed.last?.nodes == Self.names(4..<10))
        #expect(play.routed.count == 2)
    }

    @Test func aThirdIsNotMoreThanAThirdAndOneIsNoCalamity() throws {
        for (nodes, dead) in [(9, 3), (3, 1), (2, 1), (1, 1), (50, 10)] {
            var play = try Play(nodes: nodes)
            play.kill(0..<dead)
            play.pass(.seconds(1))
            #expect(play.brakes.isEmpty)
            #expect(play.routed.last?.nodes == Self.names(dead..<nodes))
        }
    }

    @Test func deathsFarApartAreNoCalamityUntilFewerThanHalfAreLeft() throws {
        var play = try Play(nodes: 10)
        for index in 0..<5 {
            play.kill(index..<index + 1)
            play.pass(.seconds(6))
        }
        #expect(play.brakes.isEmpty)
        play.kill(5..<6)
        play.pass(.seconds(1))
        #expect(play.brakes == ["minority 6/10"])
        #expect(play.routed.last?.nodes == Self.names(0..<6).map { $0 + "?" } + Self.names(6..<10))
        // A minority is believed by nobody, however long it lasts.
        play.pass(.seconds(3600))
        #expect(play.brakes == ["minority 6/10"])
    }

    @Test func whoComesBackEndsTheBrake() throws {
        var play = try Play(nodes: 4)
        play.kill(0..<3)
        play.pass(.seconds(100))
        #expect(play.brakes == ["minority 3/4"])
        play.mark()
        play.restart(0)
        play.pass(.seconds(1))
        #expect(play.brakes == ["released"])
        #expect(play.routed.last?.nodes == ["n00", "n03"], "those still missing have been missing for long")
    }

    @Test func whoLeavesIsNotMissed() throws {
        var play = try Play(nodes: 5)
        play.set(.left, 0..<4)
        play.pass(.seconds(1))
        #expect(play.brakes.isEmpty)
        #expect(play.routed.last?.nodes == ["n04"])
    }

    @Test func aCutOffBalancerGoesOnRoutingToAll() throws {
        var play = try Play(nodes: 6)
        for index in 0..<6 {
            play.kill(index..<index + 1)
            play.pass(.milliseconds(30))
        }
        play.pass(.seconds(2))
        #expect(play.brakes == ["minority 6/6"])
        #expect(play.routed.last?.nodes == Self.names(0..<6).map { $0 + "?" })
        play.mark()
        for index in 0..<6 { play.restart(index) }
        play.pass(.seconds(1))
        #expect(play.brakes == ["released"] && play.routed.count == 1)
        #expect(play.routed.last?.nodes == Self.names(0..<6))
    }

    @Test func theSameViewsGiveTheSameDirectives() throws {
        func run() throws -> [[ViewGate.Directive]] {
            var gate = ViewGate()
            var view = try RoutingTests.view((0..<20).map { (Play.name($0), 1) })
            var all: [[ViewGate.Directive]] = []
            for index in 0..<20 {
                view.members[index].status = index % 3 == 0 ? .dead : .suspect
                all.append(gate.step(.view(view), at: Moment(uptime: Int64(index) * 40_000_000, wall: 0)))
                all.append(gate.step(.timer(UInt64(index)), at: Moment(uptime: Int64(index) * 40_000_000, wall: 0)))
            }
            return all
        }
        #expect(try run() == run())
    }
}
