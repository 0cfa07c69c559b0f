import Testing

@testable import MeshCore

extension RequestRouter {
    /// Choosing advances the algorithm, which an expectation can't do to what it looks at.
    fileprivate func chosen(for slot: Slot?, tried: Tried, at now: Int64) -> Choice? {
        var copy = self
        return copy.choose(for: slot, tried: tried, at: now)
    }
}

@Suite struct RoutingTests {
    /// Nodes of a mesh, each with that many instances.
    static func view(_ nodes: [(String, Int)]) throws -> MeshView {
        var view = MeshView()
        for (index, node) in nodes.enumerated() {
            let id = MemberID(name: try NodeName(node.0), life: Life(rawValue: 1))
            view.members.append(Member(id: id, stage: .serving, endpoint: .loopback(port: 7946)))
            for number in 0..<node.1 {
                let port = 8000 + index * 100 + number
                view.instances.append(
                    Instance(
                        node: id, number: UInt32(number), service: "web", address: "127.0.0.1:\(port)",
                        cookieName: index == 0 ? "sid" : "id"))
            }
        }
        return view
    }

    static let ring = [CookieKey(number: 1, secret: Array(repeating: 1, count: 32))]

    static func table(_ view: MeshView) -> RoutingTable {
        RoutingTable(view: view, placement: PlacementTable(view.placementCandidates), service: "web", cookieRing: ring)
    }

    static func router(_ view: MeshView) -> RequestRouter { RequestRouter(table: table(view), algorithm: RoundRobin()) }

    @Test func candidatesFollowTheRanksAndPassOverNodesWithoutInstances() throws {
        let view = try Self.view([("a", 1), ("b", 2), ("c", 0), ("d", 1)])
        let table = Self.table(view)
        let placement = PlacementTable(view.placementCandidates)
        for slot in Slot.all {
            let expected = placement.ranking(of: slot).filter { $0.description != "c" }
            var seen: [NodeName] = []
            for target in table.candidates(of: slot) where seen.last != target.node?.name { seen += [target.node?.name].compactMap { $0 } }
            #expect(seen == expected)
            #expect(table.node(of: slot, rank: 0).map { table.targets[Int(table.nodes[$0][0])].node?.name } == expected[0])
            #expect(table.node(of: slot, rank: 1).map { table.targets[Int(table.nodes[$0][0])].node?.name } == expected[1])
        }
    }

    @Test func onlyReachableNodesOfTheServiceInTheirPresentLifeAreTargets() throws {
        var view = try Self.view([("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)])
        view.members[1].status = .dead
        view.members[2].stage = .syncing
        view.members[3].id = MemberID(name: view.members[3].name, life: Life(rawValue: 2))
        view.instances[4].service = "other"
        let table = Self.table(view)
        #expect(table.targets.map { $0.node?.name.description } == ["a"])
    }

    @Test func suspectsAndThoseWhoLeaveGetNoNewVisitors() throws {
        var view = try Self.view([("a", 1), ("b", 1), ("c", 1)])
        view.members[0].status = .suspect
        view.members[1].stage = .draining
        #expect(Self.table(view).newVisitors == [2])
        #expect(Self.table(view).targets.map(\.isSuspect) == [true, false, false])
        #expect(Self.table(view).targets.map(\.isDraining) == [false, true, false])
        // When only a suspect is left, it is better than nobody.
        view.members[2].status = .dead
        #expect(Self.table(view).newVisitors == [0])
    }

    @Test func aRequestWalksTheRanksAndTriesNobodyTwice() throws {
        var router = Self.router(try Self.view([("a", 1), ("b", 1), ("c", 1)]))
        let slot = Slot(masking: 77)
        let order = router.table.candidates(of: slot).map(\.endpoint)
        var tried = RequestRouter.Tried()
        for rank in 0..<3 {
            let chosen = router.choose(for: slot, tried: tried, at: 0)
            let choice = try #require(chosen)
            #expect(choice.rank == rank)
            #expect(router.table.targets[choice.target].endpoint == order[rank])
            tried.insert(router.loads[choice.target].number)
        }
        let last = router.choose(for: slot, tried: tried, at: 0)
        #expect(last == nil)
    }

    @Test func aNodeWithManyInstancesGetsTwoTriesBeforeTheBackup() throws {
        var router = Self.router(try Self.view([("a", 5), ("b", 5)]))
        let slot = try #require(Slot.all.first { router.table.candidates(of: $0).first?.node?.name.description == "a" })
        var tried = RequestRouter.Tried()
        var ranks: [Int] = []
        for _ in 0..<3 {
            let chosen = router.choose(for: slot, tried: tried, at: 0)
            let choice = try #require(chosen)
            ranks.append(choice.rank)
            tried.insert(router.loads[choice.target].number)
        }
        #expect(ranks == [0, 0, 1])
    }

    @Test func whoRefusesIsLeftOutForASecondThenTwoUpToThirty() throws {
        var router = Self.router(try Self.view([("a", 1), ("b", 1)]))
        let slot = try #require(Slot.all.first { router.table.candidates(of: $0).first?.node?.name.description == "a" })
        let second: Int64 = 1_000_000_000
        var now: Int64 = 0
        for length: Int64 in [1, 2, 4, 8, 16, 30, 30] {
            #expect(router.chosen(for: slot, tried: .init(), at: now)?.rank == 0)
            router.refused(0, at: now)
            router.refused(0, at: now + 1)
            #expect(router.chosen(for: slot, tried: .init(), at: now + length * second - 1)?.rank == 1)
            now += length * second
        }
        #expect(router.chosen(for: slot, tried: .init(), at: now)?.rank == 0)
        router.answered(0)
        router.refused(0, at: now)
        #expect(router.chosen(for: slot, tried: .init(), at: now + second)?.rank == 0)
    }

    @Test func whenEverybodyRefusedSomebodyIsTriedAllTheSame() throws {
        var router = Self.router(try Self.view([("a", 1), ("b", 1)]))
        router.refused(0, at: 0)
        router.refused(1, at: 0)
        #expect(router.chosen(for: Slot(masking: 5), tried: .init(), at: 1)?.rank == 0)
        #expect(router.chosen(for: nil, tried: .init(), at: 1) != nil)
    }

    @Test func aNewTableKeepsWhatIsKnownOfThoseWhoStay() throws {
        let view = try Self.view([("a", 1), ("b", 1), ("c", 1)])
        var router = Self.router(view)
        let number = router.loads[2].number
        router.began(2)
        router.refused(2, at: 0)
        var smaller = view
        smaller.members.removeFirst()
        smaller.instances.removeFirst()
        router.replace(with: Self.table(smaller))
        #expect(router.loads.count == 2)
        #expect(router.loads[1].number == number)
        #expect(router.loads[1].inFlight == 1)
        #expect(!router.loads[1].isOpen)
        // Another life at the same address is somebody else.
        smaller.members[1].id = MemberID(name: smaller.members[1].name, life: Life(rawValue: 9))
        smaller.instances[1].node = smaller.members[1].id
        router.replace(with: Self.table(smaller))
        #expect(router.loads[1].number != number)
        #expect(router.loads[1].inFlight == 0)
    }

    // Ancestors' scenario 18.
    @Test func smoothRoundRobinFollowsTheWeightsWithoutRuns() {
        var algorithm = RoundRobin()
        let loads = [InstanceLoad(number: 1, weight: 5), InstanceLoad(number: 2, weight: 1), InstanceLoad(number: 3, weight: 1)]
        algorithm.reset(loads)
        let order = (0..<7).compactMap { _ in algorithm.select(from: [0, 1, 2], loads: loads) }
        #expect(order == [0, 0, 1, 0, 2, 0, 0])
        let closed = [InstanceLoad(number: 1, weight: 5, isOpen: false), loads[1]]
        algorithm.reset(closed)
        let (open, none) = (algorithm.select(from: [0, 1], loads: closed), algorithm.select(from: [0], loads: closed))
        #expect(open == 1)
        #expect(none == nil)
    }

    @Test func leastConnectionsWeighsWhatIsInFlight() {
        var algorithm = LeastConnections()
        let loads = [
            InstanceLoad(number: 1, weight: 1, inFlight: 2), InstanceLoad(number: 2, weight: 4, inFlight: 6),
            InstanceLoad(number: 3, weight: 1, inFlight: 3),
        ]
        algorithm.reset(loads)
        let (first, second) = (algorithm.select(from: [0, 1, 2], loads: loads), algorithm.select(from: [0, 2], loads: loads))
        #expect(first == 1)
        #expect(second == 0)
        let idle = (1...3).map { InstanceLoad(number: UInt32($0), weight: 1) }
        algorithm.reset(idle)
        let turns = (0..<3).compactMap { _ in algorithm.select(from: [0, 1, 2], loads: idle) }
        #expect(Set(turns) == [0, 1, 2])
    }

    // Ancestors' scenario 21.
    @Test func aSessionsSlotIsReadFromItsCookieAgainAndAgain() throws {
        let table = Self.table(try Self.view([("a", 1), ("b", 1)]))
        var affinity = try #require(table.affinity)
        let codec = try #require(CookieCodec(ring: Self.ring))
        func verdict(_ cookie: String) -> SessionAffinity.Verdict {
            var scanner = HeadScanner()
            return Array("GET / HTTP/1.1\r\nHost: a\r\nCookie: \(cookie)\r\n\r\n".utf8).withUnsafeBytes { raw in
                _ = scanner.scanRequest(raw)
                return affinity.read(raw, fields: scanner.fields)
            }
        }
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<300 {
            let id = try #require(SessionID(bytes: (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }))
            let value = codec.value(for: id)
            for _ in 0..<2 { #expect(verdict("x=1; sid=\(value)") == .slot(SessionKey(of: id).slot)) }
            #expect(verdict("id=\"\(value)\"") == .slot(SessionKey(of: id).slot))
            #expect(verdict("sid=\(value.dropLast())A") == .tampered || value.hasSuffix("A"))
            #expect(verdict("sid=forged; sid=\(value)") == .slot(SessionKey(of: id).slot))
        }
        #expect(verdict("other=1") == .none)
        #expect(verdict("sid=") == .tampered)
        #expect(verdict("sid=\(String(repeating: "a", count: 5000))") == .tampered)
    }

    @Test func theHandshakeOfTheRFCIsProven() {
        Array("dGhlIHNhbXBsZSBub25jZQ==".utf8).withUnsafeBytes {
            #expect(WebSocketAccept.expected(for: $0) == Array("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8))
        }
        Array("tooshort==".utf8).withUnsafeBytes { #expect(WebSocketAccept.expected(for: $0) == nil) }
    }

    @Test func silenceIsMeasuredByWhatIsUsual() {
        var limit = SilenceLimit()
        #expect(limit.current == .seconds(1))
        for _ in 0..<5000 { limit.record(milliseconds: 3) }
        #expect(limit.current == .seconds(1))
        for _ in 0..<5000 { limit.record(milliseconds: 900) }
        #expect(limit.current == .milliseconds(4096))
    }

    @Test(
        arguments: [
            ("127.0.0.1:80", "127.0.0.1:80"), ("localhost:8080", "127.0.0.1:8080"), ("[::1]:80", "[0:0:0:0:0:0:0:1]:80"),
            ("[fe80::1:2]:1", "[fe80:0:0:0:0:0:1:2]:1"),
            ("host:80", nil), ("1.2.3:80", nil), ("1.2.3.4", nil), ("1.2.3.4:+5", nil), ("1.2.+3.4:5", nil), ("1.2.3.400:1", nil),
            ("[::1:80", nil),
            ("1.2.3.4:65536", nil), ("[1::2::3]:1", nil),
        ] as [(String, String?)])
    func endpointsAreReadFromText(_ text: String, _ expected: String?) {
        #expect(Endpoint(text: text)?.description == expected)
    }
}
