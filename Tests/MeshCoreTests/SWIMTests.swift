import Testing

@testable import MeshCore

/// One member at a time, directive by directive.
@Suite struct SWIMTests {
    /// A member called `me` and a clock that the test moves.
    struct Play {
        var swim: SWIM
        var now = Moment(uptime: 5_000_000_000, wall: 1_700_000_000_000)

        init(others: [Member] = [], role: Role = .node, seeds: [Endpoint] = [], configuration: SWIM.Configuration = .init()) throws {
            let local = Member(id: try id("me", life: 100), role: role, stage: .serving, endpoint: .loopback(port: 1))
            swim = try SWIM(local: local, seeds: seeds, seed: 1, configuration: configuration)
            _ = step(.start)
            for other in others { _ = step(.state(page([.member(other)], from: other.id), from: other.id)) }
            swim.rumours.removeAll()
        }

        mutating func step(_ input: SWIM.Input, after wait: Duration = .zero) -> [SWIM.Directive] {
            now = now.advanced(by: wait)
            return swim.step(input, at: now)
        }

        /// Time in which this process did not stand still, and whatever it probed answered.
        mutating func pass(_ time: Duration) {
            now = now.advanced(by: time)
            swim.probeDue = now.uptime
        }

        /// Lets the probe timer fire when it is due, or so much later.
        mutating func probeTick(late: Duration = .zero) -> [SWIM.Directive] {
            now = now.advanced(by: .nanoseconds(swim.probeDue - now.uptime) + late)
            return swim.step(.timer(.probe(round: swim.probeRound)), at: now)
        }

        /// Until a ping goes to the member; the others answer theirs.
        mutating func probeTick(untilPinged target: Member) throws -> UInt32 {
            for _ in 0..<20 {
                for directive in probeTick() {
                    guard case .send(let message, let endpoint) = directive, case .ping(let number, let id) = message.kind else { continue }
                    if id == target.id { return number }
                    _ = step(.message(GossipMessage(sender: id, digest: swim.digest, kind: .ack(number: number)), from: endpoint))
                }
            }
            throw Missing()
        }

        mutating func hear(
            _ facts: Fact..., from sender: Member, kind: GossipMessage.Kind = .gossip, digest: UInt64? = nil, after wait: Duration = .zero
        ) -> [SWIM.Directive] {
            let message = GossipMessage(sender: sender.id, digest: digest ?? swim.digest, kind: kind, facts: facts)
            return step(.message(message, from: sender.endpoint), after: wait)
        }

        func status(_ member: Member) -> Status? { swim.member(named: member.name)?.status }

        func suspicion(of member: Member) -> Suspicion? { swim.records.first { $0.id == member.id }?.suspicion }

        /// Lets this member's own inquiry into it run its course; each ping goes unanswered.
        mutating func inquire(into member: Member) -> [SWIM.Directive] {
            var all: [SWIM.Directive] = []
            for _ in 0..<3 {
                guard let inquiry = swim.records.first(where: { $0.id == member.id })?.inquiry else { break }
                all += step(.timer(.inquiry(member.id, generation: inquiry.generation)), after: .milliseconds(80))
            }
            return all
        }
    }

    struct Missing: Error {}

    static func id(_ name: String, life: UInt64) throws -> MemberID { MemberID(name: try NodeName(name), life: Life(rawValue: life)) }

    static func other(_ number: Int, life: UInt64 = 10, role: Role = .node) throws -> Member {
        Member(id: try id("n\(number)", life: life), role: role, stage: .serving, endpoint: .loopback(port: UInt16(100 + number)))
    }

    static func others(_ count: Int) throws -> [Member] { try (1...count).map { try other($0) } }

    static func page(_ facts: [Fact], from sender: MemberID, asking: Bool = false) -> GossipMessage {
        GossipMessage(sender: sender, digest: 0, kind: .state(isLast: true, asking: asking), facts: facts)
    }

    static func sends(_ directives: [SWIM.Directive]) -> [(kind: GossipMessage.Kind, facts: [Fact], to: Endpoint)] {
        directives.compactMap { if case .send(let message, let endpoint) = $0 { (message.kind, message.facts, endpoint) } else { nil } }
    }

    static func timers(_ directives: [SWIM.Directive]) -> [(SWIM.Timer, Duration)] {
        directives.compactMap { if case .startTimer(let timer, let wait) = $0 { (timer, wait) } else { nil } }
    }

    static func suspicionTimer(_ directives: [SWIM.Directive]) throws -> (timer: SWIM.Timer, wait: Duration) {
        for (timer, wait) in timers(directives) { if case .suspicion = timer { return (timer, wait) } }
        throw Missing()
    }

    // MARK: Start and seeds

    @Test func whatAllHaveIsNotToldOn() throws {
        let others = try Self.others(5)
        var play = try Play(others: others)
        _ = play.hear(.member(try Self.other(9)), from: others[0], digest: 0)
        // A mesh of seven tells each rumour four times. Who sees things differently may not know it.
        for _ in 0..<4 { _ = play.hear(from: others[1], digest: 0) }
        #expect(!play.swim.rumours.isEmpty)
        for _ in 0..<4 { _ = play.hear(from: others[1]) }
        #expect(play.swim.rumours.isEmpty)
    }

    @Test func atTheStartItTriesItsSeedsAndBeginsToProbe() throws {
        let local = Member(id: try Self.id("me", life: 1), endpoint: .loopback(port: 1))
        var swim = try SWIM(local: local, seeds: [.loopback(port: 1), .loopback(port: 2)], seed: 1)
        let directives = swim.step(.start, at: Moment(uptime: 0, wall: 0))
        #expect(directives.contains(.memberChanged(local, from: nil)))
        // Its own endpoint is no seed worth trying.
        #expect(directives.filter { if case .syncWith = $0 { true } else { false } } == [.syncWith(.loopback(port: 2))])
        #expect(Self.timers(directives).map(\.0) == [.probe(round: 1), .seeds(round: 1), .sweep(round: 1)])
        #expect(Self.sends(directives).isEmpty)
        #expect(swim.step(.start, at: Moment(uptime: 0, wall: 0)) == [], "it starts once")
    }

    @Test func seedsAreTriedForEverWhileAlone() throws {
        var play = try Play(seeds: [.loopback(port: 2)])
        for round in 1...50 as ClosedRange<UInt64> {
            _ = play.probeTick()
            let directives = play.step(.timer(.seeds(round: round)))
            #expect(directives.contains(.syncWith(.loopback(port: 2))))
        }
        #expect(play.step(.timer(.seeds(round: 3))) == [])
    }

    @Test func seedsAreSettledByAnswersAndRefusalsButNotBySilence() throws {
        var play = try Play(seeds: [.loopback(port: 1), .loopback(port: 2), .loopback(port: 3), .loopback(port: 4), .loopback(port: 101)])
        _ = play.step(.syncFailed(.loopback(port: 2), refused: true))
        #expect(play.step(.syncOpened(.loopback(port: 3), peer: play.swim.local.id)) == [], "a seed may be ourselves under another name")
        let peer = try Self.other(1)
        _ = play.step(.syncFailed(.loopback(port: 4), refused: false))
        #expect(play.step(.syncOpened(.loopback(port: 101), peer: peer.id)) == [.sendState(to: peer.id, asking: true)])
        #expect(!play.swim.seedsSettled)
        _ = play.step(.state(Self.page([.member(peer)], from: peer.id), from: peer.id))
        #expect(!play.swim.seedsSettled)
        _ = play.step(.syncFailed(.loopback(port: 4), refused: true))
        #expect(play.swim.seedsSettled)
    }

    @Test func whoIsAskedForItsStateGivesIt() throws {
        var play = try Play()
        let peer = try Self.other(1)
        #expect(
            play.step(.state(Self.page([.member(peer)], from: peer.id, asking: true), from: peer.id))
                .contains(.sendState(to: peer.id, asking: false)))
        // A page that claims another sender than the link's peer is not believed.
        #expect(play.step(.state(Self.page([], from: try Self.id("n7", life: 1), asking: true), from: peer.id)) == [])
    }

    // MARK: Probes

    @Test func aTickPingsOneMemberAndItsAckSettlesIt() throws {
        let others = try Self.others(3)
        var play = try Play(others: others)
        var pinged: Set<MemberID> = []
        for _ in 0..<3 {
            let directives = play.probeTick()
            let sends = Self.sends(directives)
            #expect(sends.count == 1)
            guard case .ping(let number, let target) = sends[0].kind else { throw Missing() }
            pinged.insert(target)
            #expect(Self.timers(directives).contains { $0 == (.ackTimeout(number: number), .milliseconds(80)) })
            let answer = GossipMessage(sender: target, digest: play.swim.digest, kind: .ack(number: number))
            let settled = play.step(.message(answer, from: sends[0].to), after: .milliseconds(1))
            #expect(settled == [.cancelTimer(.ackTimeout(number: number))])
            #expect(play.step(.timer(.ackTimeout(number: number)), after: .milliseconds(80)) == [], "should it fire all the same")
        }
        #expect(pinged == Set(others.map(\.id)), "each in turn")
        #expect(others.allSatisfy { play.status($0) == .alive })
    }

    @Test func aStaleTimerIsIgnored() throws {
        var play = try Play(others: try Self.others(2))
        _ = play.probeTick()
        let digest = play.swim.digest
        for timer in [
            .probe(round: 1), .ackTimeout(number: 77), .gossip(round: 9), .seeds(round: 4), .reunion(round: 3), .sweep(round: 9),
            .departure(round: 1), .suspicion(try Self.id("n1", life: 10), generation: 1),
        ] as [SWIM.Timer] {
            #expect(play.step(.timer(timer)) == [])
        }
        #expect(play.swim.digest == digest)
    }

    @Test func withoutAnAckThreeOthersAndThePortAreAsked() throws {
        let others = try Self.others(6)
        var play = try Play(others: others)
        let number = try play.probeTick(untilPinged: others[0])
        let directives = play.step(.timer(.ackTimeout(number: number)), after: .milliseconds(80))
        let sends = Self.sends(directives)
        #expect(sends.map(\.kind).filter { $0 == .ping(number: number, target: others[0].id) }.count == 1)
        let requests = sends.filter { $0.kind == .pingRequest(number: number, target: others[0].id, at: others[0].endpoint) }
        #expect(Set(requests.map(\.to)).count == 3)
        #expect(!requests.contains { $0.to == others[0].endpoint })
        #expect(directives.contains(.checkPort(of: others[0].id, at: others[0].endpoint)))
        // A sign by way of another is one.
        _ = play.hear(from: others[3], kind: .relayedAck(number: number, subject: others[0].id))
        _ = play.probeTick()
        #expect(play.status(others[0]) == .alive)
    }

    @Test func aHelperPassesTheSignOn() throws {
        let others = try Self.others(2)
        var play = try Play(others: others)
        let target = others[1]
        let asked = Self.sends(play.hear(from: others[0], kind: .pingRequest(number: 9, target: target.id, at: target.endpoint)))
        guard asked.count == 1, case .ping(let number, target.id) = asked[0].kind else { throw Missing() }
        #expect(asked[0].to == target.endpoint)
        let passed = Self.sends(play.hear(from: target, kind: .ack(number: number)))
        #expect(passed.map(\.kind) == [.relayedAck(number: 9, subject: target.id)])
        #expect(passed[0].to == others[0].endpoint)
        #expect(Self.sends(play.hear(from: target, kind: .ack(number: number))).isEmpty, "once")
    }

    @Test func noSignByTheEndOfThePeriodIsASuspicionThatIsToldAtOnce() throws {
        let others = try Self.others(12)
        var play = try Play(others: others)
        _ = try play.probeTick(untilPinged: others[0])
        let directives = play.probeTick()
        #expect(play.status(others[0]) == .alive, "one word alone is not shown")
        let word = try #require(play.swim.records.first { $0.id == others[0].id }?.suspicion?.word(of: play.swim.local.name))
        #expect(word.finding == .silent && word.pings == 1 && word.incarnation == 0)
        let told = Self.sends(directives).filter { $0.kind == .gossip && $0.facts == [.testimony(word)] }.map(\.to)
        let watchers = Watchers.ranked(for: others[0].name, among: others.map(\.name) + [play.swim.local.name])
        #expect(Set(told).isSuperset(of: others.filter { watchers.contains($0.name) }.map(\.endpoint)), "who should find out, first")
        #expect(told.count >= 8 + 3 - 1, "and three others")
        #expect(Self.timers(directives).contains { $0 == (.gossip(round: play.swim.gossipRound), .milliseconds(50)) })
        let wait = try Self.suspicionTimer(directives).wait
        #expect(wait == .seconds(10), "nobody has confirmed it")
    }

    @Test func aPingForAnotherLifeIsNotAnswered() throws {
        let peer = try Self.other(1)
        var play = try Play(others: [peer])
        let sends = Self.sends(play.hear(from: peer, kind: .ping(number: 1, target: try Self.id("me", life: 99))))
        #expect(sends.map(\.kind) == [.stale(play.swim.local.id)])
        #expect(Self.sends(play.hear(from: peer, kind: .ping(number: 1, target: try Self.id("you", life: 99)))).isEmpty)
        #expect(Self.sends(play.hear(from: peer, kind: .ping(number: 1, target: play.swim.local.id))).map(\.kind) == [.ack(number: 1)])
    }

    // MARK: Suspicions

    @Test func aSuspicionIsShorterTheMoreConfirmIt() {
        func timeout(_ confirmations: Int, of needed: Int) -> Int64 {
            Suspicion.timeout(confirmations: confirmations, needed: needed, min: .seconds(2), max: .seconds(10)).milliseconds
        }
        #expect((0...5).map { timeout($0, of: 4) } == [10_000, 6554, 4539, 3109, 2000, 2000])
        #expect((0...2).map { timeout($0, of: 1) } == [10_000, 2000, 2000])
    }

    @Test func independentConfirmationsBringTheDeadlineNearer() throws {
        let others = try Self.others(9)
        var play = try Play(others: others)
        let names = Watchers.ranked(for: others[0].name, among: others.map(\.name))
        let watchers = names.compactMap { name in others.first { $0.name == name } }
        func word(by witness: Member, _ finding: Testimony.Finding = .silent, number: UInt32 = 1) -> Fact {
            .testimony(Testimony(subject: others[0].id, incarnation: 0, witness: witness.name, number: number, finding: finding))
        }
        var waits = [try Self.suspicionTimer(play.hear(word(by: watchers[0]), from: watchers[0])).wait]
        #expect(
            play.hear(word(by: watchers[0]), from: watchers[1]).allSatisfy {
                if case .startTimer(.suspicion, _) = $0 { false } else { true }
            })
        #expect(play.status(others[0]) == .alive)
        var last: SWIM.Timer?
        for watcher in watchers[1...3] {
            let (timer, wait) = try Self.suspicionTimer(play.hear(word(by: watcher), from: watcher))
            waits.append(wait)
            last = timer
            #expect(play.status(others[0]) == .suspect)
        }
        #expect(
            waits.map(\.milliseconds) == [10_000, 6000, 3660, 1500], "four of six agree, and it is the pause that may still be outlived")

        // A veto makes it as long as it would be without watchers, and counts from there.
        var vetoed = play
        let objection = try Self.suspicionTimer(vetoed.hear(word(by: watchers[4], .alive), from: watchers[4], after: .milliseconds(500)))
        #expect(objection.wait == .seconds(2))
        // Taken back, it leaves the silence to be counted from where it was said.
        let agreement = try Self.suspicionTimer(
            vetoed.hear(word(by: watchers[4], number: 2), from: watchers[4], after: .milliseconds(100)))
        #expect(agreement.wait == .milliseconds(1400))
        #expect(vetoed.hear(word(by: watchers[4], .alive), from: watchers[4]).isEmpty, "said earlier, heard later")

        play.pass(.milliseconds(1500))
        let died = play.step(.timer(try #require(last)))
        var dead = others[0]
        dead.status = .dead
        #expect(died.contains(.memberChanged(dead, from: .suspect)))
        let verdict = try #require(play.swim.verdict(on: others[0].id))
        #expect(verdict.ground == .silent && verdict.decidedBy == play.swim.local.name && verdict.quorum == 4)
        #expect(verdict.suspectedBy == watchers[0].name && verdict.confirmedBy == watchers[1...3].map(\.name))
        #expect(verdict.took == .milliseconds(1500) && !verdict.isRefusal && verdict.vetoedBy.isEmpty)
    }

    @Test func aBalancersWordIsNoConfirmation() throws {
        let nodes = try Self.others(5)
        let balancer = try Self.other(8, role: .balancer)
        var play = try Play(others: nodes + [balancer])
        _ = play.hear(.claim(nodes[0].id, incarnation: 0, .suspect, accuser: nodes[1].name), from: nodes[1])
        let directives = play.hear(.claim(nodes[0].id, incarnation: 0, .suspect, accuser: balancer.name), from: balancer)
        #expect(Self.timers(directives).isEmpty)
    }

    @Test func theSuspicionRidesOnThePingAndTheSubjectRefutesInItsAck() throws {
        let others = try Self.others(3)
        var play = try Play(others: others)
        let accusation = Fact.claim(play.swim.local.id, incarnation: 0, .suspect, accuser: others[1].name)
        let answer = Self.sends(play.hear(accusation, from: others[0], kind: .ping(number: 5, target: play.swim.local.id)))
        #expect(play.swim.local.incarnation == 1)
        #expect(answer.first?.kind == .ack(number: 5))
        #expect(answer.first?.facts.contains(.member(play.swim.local)) == true)
        #expect(Self.sends(play.hear(accusation, from: others[0])).allSatisfy { !$0.facts.contains(accusation) }, "refuted already")
        #expect(play.swim.local.incarnation == 1)

        _ = play.hear(.claim(others[2].id, incarnation: 0, .suspect, accuser: others[0].name), from: others[0])
        let asked = play.inquire(into: others[2])
        #expect(play.status(others[2]) == .suspect)
        guard case .ping(let number, _) = try #require(Self.sends(asked).first { $0.to == others[2].endpoint }).kind else {
            throw Missing()
        }
        var risen = others[2]
        risen.incarnation = 1
        let refuted = play.hear(.member(risen), from: others[2], kind: .ack(number: number))
        #expect(refuted.contains(.memberChanged(risen, from: .suspect)))
    }

    @Test func aRefusedPortIsDeathAfterAMomentUnlessItAnswersStill() throws {
        let others = try Self.others(4)
        var play = try Play(others: others)
        let refused = play.step(.linkDown(others[0].id, refused: true))
        #expect(try Self.suspicionTimer(refused).wait == .seconds(10), "a firewall may refuse one alone")
        let ping = Self.sends(refused).last { if case .ping = $0.kind { true } else { false } }
        guard let ping, case .ping(let number, _) = ping.kind else { throw Missing() }
        #expect(ping.facts.contains(.claim(others[0].id, incarnation: 0, .suspect, accuser: play.swim.local.name)))
        func word(by witness: Member) -> Fact {
            .testimony(Testimony(subject: others[0].id, incarnation: 0, witness: witness.name, number: 1, finding: .refused))
        }
        _ = play.hear(word(by: others[1]), from: others[1])
        let agreed = try Self.suspicionTimer(play.hear(word(by: others[2]), from: others[2]))
        #expect(agreed.wait == .milliseconds(150))

        var disproved = play
        let longer = try Self.suspicionTimer(disproved.hear(from: others[0], kind: .ack(number: number)))
        #expect(longer.wait > .seconds(1))
        #expect(disproved.step(.timer(agreed.timer), after: .milliseconds(150)) == [], "stale now")
        var late = play
        #expect(late.hear(from: others[0], kind: .ack(number: number &- 1)) == [], "that was asked before")

        _ = play.step(.timer(agreed.timer), after: .milliseconds(150))
        #expect(play.status(others[0]) == .dead)
        #expect(play.swim.verdict(on: others[0].id)?.ground == .refused)
    }

    @Test func aBrokenLinkIsLookedIntoAtOnce() throws {
        let others = try Self.others(4)
        var play = try Play(others: others)
        let directives = play.step(.linkDown(others[0].id, refused: false))
        #expect(Self.sends(directives).map(\.to) == [others[0].endpoint])
        #expect(directives.contains(.checkPort(of: others[0].id, at: others[0].endpoint)))
        #expect(play.status(others[0]) == .alive)
    }

    @Test func deathIsFinalForALife() throws {
        let others = try Self.others(3)
        var play = try Play(others: others)
        _ = play.hear(.claim(others[0].id, incarnation: 0, .dead, accuser: others[1].name), from: others[1])
        var risen = others[0]
        risen.incarnation = 9
        _ = play.hear(.member(risen), from: others[1])
        #expect(play.status(others[0]) == .dead)
        // It is told so when it speaks.
        var dead = others[0]
        dead.status = .dead
        let told = Self.sends(play.hear(from: others[0], kind: .ping(number: 1, target: play.swim.local.id)))
        #expect(told.map(\.kind) == [.gossip])
        #expect(told[0].facts.contains(.member(dead)))
        // A later life is somebody else.
        let again = try Self.other(1, life: 11)
        #expect(play.hear(.member(again), from: others[1]).contains(.memberChanged(again, from: nil)))
    }

    // MARK: Local health

    @Test func aLateTickPutsTheVerdictOff() throws {
        let others = try Self.others(3)
        var play = try Play(others: others)
        _ = try play.probeTick(untilPinged: others[0])
        _ = play.probeTick(late: .milliseconds(200))
        #expect(play.status(others[0]) == .alive)
        #expect(play.suspicion(of: others[0]) == nil)
        _ = play.probeTick()
        #expect(play.suspicion(of: others[0])?.accusers == [play.swim.local.name])
    }

    @Test func aPauseVoidsWhatWasWaitedForAndGivesSuspicionsTheirTimeBack() throws {
        let others = try Self.others(3)
        var play = try Play(others: others)
        let suspicion = try Self.suspicionTimer(
            play.hear(.claim(others[1].id, incarnation: 0, .suspect, accuser: others[2].name), from: others[2]))
        let number = try play.probeTick(untilPinged: others[0])
        let probeTimer = SWIM.Timer.probe(round: play.swim.probeRound)
        let woken = play.step(.timer(suspicion.timer), after: .seconds(20))
        #expect(woken.contains { if case .paused(let gap) = $0 { gap > .seconds(19) } else { false } })
        #expect(play.step(.timer(probeTimer)) == [])
        #expect(play.step(.timer(.ackTimeout(number: number))) == [])
        #expect(others.allSatisfy { play.status($0).map { $0 < .dead } == true })
        // Nobody is suspected for two periods, even of what is certain.
        _ = play.step(.linkDown(others[0].id, refused: true))
        #expect(play.status(others[0]) == .alive)
        #expect(try Self.suspicionTimer(woken).wait > .seconds(7), "the clock stood still for it too")
    }

    // MARK: Lives

    @Test func anOlderLifeIsAnsweredWithTheLifeKnown() throws {
        let others = try Self.others(2)
        var play = try Play(others: others)
        let older = try Self.other(1, life: 9)
        for directives in [
            play.hear(.member(older), from: others[1]), play.hear(from: older, kind: .ping(number: 1, target: play.swim.local.id)),
        ] {
            let sends = Self.sends(directives)
            #expect(sends.map(\.kind) == [.stale(others[0].id)])
            #expect(sends[0].facts == [.member(others[0])])
        }
        #expect(play.swim.member(named: older.name)?.id.life == Life(rawValue: 10))
    }

    @Test func aLaterLifeOfOurNameEndsOurs() throws {
        let peer = try Self.other(1)
        let known = Life(rawValue: UInt64(1_800_000_000_000) << 16)
        let inputs: [(GossipMessage.Kind, [Fact])] = [
            (.stale(MemberID(name: try NodeName("me"), life: known)), []),
            (.gossip, [.claim(MemberID(name: try NodeName("me"), life: known), incarnation: 0, .dead, accuser: peer.name)]),
            (.ping(number: 1, target: MemberID(name: try NodeName("me"), life: known)), []),
        ]
        for (kind, facts) in inputs {
            var play = try Play(others: [peer])
            let message = GossipMessage(sender: peer.id, digest: play.swim.digest, kind: kind, facts: facts)
            #expect(play.step(.message(message, from: peer.endpoint)) == [.becameStale(known: known)])
            #expect(play.step(.message(message, from: peer.endpoint)) == [], "it is said once")
            let reborn = play.swim.beginNewLife(at: play.now, stage: .syncing, after: known)
            #expect(play.swim.local.id.life > known && play.swim.local.id.life.rawValue <= known.rawValue + 1 << 16)
            #expect(play.swim.local.stage == .syncing)
            #expect(reborn.contains(.memberChanged(play.swim.local, from: nil)))
            // Two processes of one name don't outbid each other at the speed of packets.
            let later = GossipMessage(
                sender: peer.id, digest: play.swim.digest,
                kind: .stale(MemberID(name: try NodeName("me"), life: Life(rawValue: known.rawValue + 2))))
            #expect(play.step(.message(later, from: peer.endpoint)) == [])
        }
    }

    @Test(arguments: [Status.dead, .left]) func whoHearsOfItsOwnDeathBeginsANewLifeAndTellsWhoSaidSo(status: Status) throws {
        let peer = try Self.other(1)
        var play = try Play(others: [peer])
        let instance = Instance(node: peer.id, number: 3, service: "web", address: "127.0.0.1:1")
        _ = play.step(.register(instance))
        let fact = Fact.claim(play.swim.local.id, incarnation: 0, status, accuser: peer.name)
        #expect(play.hear(fact, from: peer) == [.declaredDead])
        #expect(play.hear(fact, from: peer) == [])
        let before = play.swim.local.id.life
        let directives = play.swim.beginNewLife(at: play.now, stage: .serving)
        #expect(play.swim.local.id.life > before && play.swim.local.incarnation == 0)
        #expect(Self.sends(directives).first { $0.to == peer.endpoint }?.facts.contains(.member(play.swim.local)) == true)
        #expect(play.swim.view.instances.map(\.node) == [play.swim.local.id])
        #expect(Self.timers(directives).contains { $0.0 == .probe(round: play.swim.probeRound) })
    }

    @Test func timersThatFireBetweenTwoLivesAreSetAgain() throws {
        let others = try Self.others(3)
        var play = try Play(others: others, seeds: [.loopback(port: 90)])
        _ = play.hear(.claim(others[0].id, incarnation: 0, .dead, accuser: others[1].name), from: others[1])
        _ = play.hear(.claim(others[1].id, incarnation: 0, .suspect, accuser: others[2].name), from: others[2])
        #expect(play.hear(.claim(play.swim.local.id, incarnation: 0, .dead, accuser: others[2].name), from: others[2]) == [.declaredDead])
        #expect(play.step(.timer(.seeds(round: play.swim.seedRound)), after: .seconds(30)) == [])
        let kinds = Self.timers(play.swim.beginNewLife(at: play.now, stage: .serving)).map(\.0)
        for timer in [
            .probe(round: play.swim.probeRound), .seeds(round: play.swim.seedRound), .sweep(round: play.swim.sweepRound),
            .reunion(round: play.swim.reunionRound), .suspicion(others[1].id, generation: play.swim.generation),
        ] as [SWIM.Timer] {
            #expect(kinds.contains(timer))
        }
    }

    // MARK: Digests

    @Test func aViewThatKeepsDifferingIsComparedButNotTooOften() throws {
        let peer = try Self.other(1)
        var play = try Play(others: [peer])
        func differs(after wait: Duration) -> Bool {
            play.now = play.now.advanced(by: wait)
            let heard = Self.sends(play.hear(from: peer, kind: .ack(number: 0), digest: 1))
            return heard.contains { $0.kind == .digests(play.swim.buckets) && $0.to == peer.endpoint }
        }
        #expect(!differs(after: .zero))
        #expect(!differs(after: .milliseconds(1)), "facts may still be on their way")
        #expect(differs(after: .milliseconds(250)))
        #expect(!differs(after: .milliseconds(10)))
        #expect(!differs(after: .milliseconds(250)), "one began a moment ago")
        _ = play.probeTick()
        _ = play.hear(from: peer, kind: .ack(number: 0))
        #expect(!differs(after: .milliseconds(100)))
    }

    @Test func factsMergeToTheSameViewInAnyOrder() throws {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            var facts: [Fact] = []
            for _ in 0..<12 {
                var member = try Self.other(Int(random.next() % 3) + 1, life: 10 + random.next() % 2)
                member.incarnation = UInt32(random.next() % 3)
                member.status = Status.allCases[Int(random.next() % 4)]
                // Only the member itself changes what goes with an incarnation.
                member.weight = UInt8(member.incarnation) + 1
                facts.append(.member(member))
            }
            let teller = try Self.other(9)
            func view(_ facts: [Fact]) throws -> (UInt64, [String]) {
                var play = try Play(others: [teller])
                for fact in facts { _ = play.hear(fact, from: teller) }
                // Suspicions differ until they are settled, and of the gone only that they are gone is agreed.
                return (
                    play.swim.digest,
                    play.swim.view.members.map {
                        $0.status.isReachable ? "\($0.id) \($0.incarnation) \($0.weight)" : "\($0.id) \($0.status)"
                    }
                )
            }
            let first = try view(facts)
            let second = try view((facts + facts).shuffled(using: &random))
            #expect(first == second)
        }
    }

    // MARK: Instances

    @Test func aNodeHasABoundedNumberOfInstances() throws {
        var play = try Play()
        func instance(_ number: UInt32, service: String = "web") -> Instance {
            Instance(node: play.swim.local.id, number: number, service: service, address: "127.0.0.1:1")
        }
        for number in 1...UInt32(SWIM.instancesMax) { #expect(play.step(.register(instance(number))).contains(.instancesChanged)) }
        #expect(play.step(.register(instance(999))) == [.instanceRefused(number: 999, .tooMany)])
        #expect(play.step(.register(instance(5, service: "api"))).contains(.instancesChanged), "a known one may change")
        let long = instance(1, service: String(repeating: "x", count: Instance.textBytesMax + 1))
        #expect(play.step(.register(long)) == [.instanceRefused(number: 1, .outOfBounds)])
        #expect(play.step(.unregister(number: 999)) == [])
        for page in play.swim.statePages(asking: true) { #expect(page.encoded.count <= PacketSealer.payloadBytesMax) }
    }

    @Test func aRemovedInstanceStaysRemovedAndANodesRosterHasTheLastWord() throws {
        let node = try Self.other(1)
        let teller = try Self.other(2)
        var play = try Play(others: [node, teller])
        func instance(_ number: UInt32) -> Fact {
            .instance(Instance(node: node.id, number: number, service: "web", address: "127.0.0.1:1"), version: number)
        }
        _ = play.hear(instance(1), instance(2), instance(3), from: teller)
        _ = play.hear(.instanceRemoved(node: node.id, number: 2, version: 4), from: teller)
        #expect(play.hear(instance(2), from: teller) == [])
        #expect(play.swim.view.instances.map(\.number) == [1, 3])
        // Only the node itself can say that these are all.
        let roster = Fact.roster(node: node.id, version: 5, span: 0...UInt32.max, numbers: [3])
        _ = play.step(.state(Self.page([roster], from: teller.id), from: teller.id))
        #expect(play.swim.view.instances.map(\.number) == [1, 3])
        _ = play.step(.state(Self.page([roster], from: node.id), from: node.id))
        #expect(play.swim.view.instances.map(\.number) == [3])
        let gone = play.hear(.claim(node.id, incarnation: 0, .left, accuser: node.name), from: teller)
        #expect(gone.contains(.instancesChanged) && play.swim.view.instances.isEmpty)
        #expect(play.hear(instance(7), from: teller) == [], "of a node that is gone")
    }

    // MARK: Leaving, forgetting, bounds

    @Test func whoLeavesSaysSoToEverybodyThreeTimesAndIsGone() throws {
        let others = try Self.others(5)
        var play = try Play(others: others)
        var directives = play.step(.leave)
        let fact = Fact.claim(play.swim.local.id, incarnation: 0, .left, accuser: play.swim.local.name)
        for round in 2...4 as ClosedRange<UInt64> {
            #expect(Set(Self.sends(directives).filter { $0.facts == [fact] }.map(\.to)) == Set(others.map(\.endpoint)))
            #expect(Self.timers(directives).map(\.0) == [.departure(round: round)])
            directives = play.step(.timer(.departure(round: round)), after: .milliseconds(50))
        }
        #expect(directives == [.departed])
        #expect(play.hear(from: others[0], kind: .ping(number: 1, target: play.swim.local.id)) == [])
        #expect(play.swim.beginNewLife(at: play.now, stage: .serving) == [])
    }

    @Test func theDeadArePingedEverLessOftenAndForgottenInTheEnd() throws {
        let others = try Self.others(2)
        var configuration = SWIM.Configuration()
        configuration.memory = .seconds(300)
        var play = try Play(others: others, configuration: configuration)
        _ = play.hear(.claim(others[0].id, incarnation: 0, .dead, accuser: others[1].name), from: others[1])
        let died = play.now
        var pings: [Duration] = []
        var sizes: [Int] = []
        var digests: [UInt64] = []
        for _ in 0..<380 {
            _ = play.probeTick()
            let directives = play.step(.timer(.reunion(round: play.swim.reunionRound)), after: .milliseconds(1))
            // Time must not stand still for the probes, or it would look like a pause.
            for _ in 0..<3 { _ = play.probeTick() }
            for send in Self.sends(directives) where send.to == others[0].endpoint {
                pings.append(play.now.since(died))
                #expect(send.facts.contains(.claim(others[0].id, incarnation: 0, .dead, accuser: play.swim.local.name)))
            }
            _ = play.step(.timer(.sweep(round: play.swim.sweepRound)))
            sizes.append(play.swim.view.members.count { $0.name == others[0].name })
            digests.append(play.swim.records.first { $0.member.name == others[0].name }?.hash ?? 0)
        }
        #expect((20...60).contains(pings.count), "\(pings.count)")
        #expect(sizes.first == 1 && sizes.last == 0)
        // Out of the digest well before out of memory.
        #expect(digests.count { $0 != 0 } < sizes.count { $0 == 1 })
    }

    @Test func aFullTableGivesTheLongestGoneItsPlaceAndElseRefuses() throws {
        var play = try Play()
        let teller = try Self.id("t", life: 1)
        func fill(_ range: Range<Int>, status: Status) throws {
            for start in stride(from: range.lowerBound, to: range.upperBound, by: 64) {
                let facts = try (start..<min(start + 64, range.upperBound)).map { number -> Fact in
                    var member = Member(id: try Self.id("m\(number)", life: 1), endpoint: .loopback(port: 9))
                    member.status = status
                    return .member(member, goneFor: status == .dead ? UInt32(number) : 0)
                }
                _ = play.step(.state(Self.page(facts, from: teller), from: teller))
            }
        }
        try fill(0..<1, status: .dead)
        try fill(1..<SWIM.membersMax, status: .alive)
        #expect(play.swim.view.members.count == SWIM.membersMax && play.swim.refusedMembers == 0)
        #expect(play.swim.member(named: try NodeName("m0")) == nil, "the only one gone")
        try fill(9000..<9001, status: .alive)
        #expect(play.swim.refusedMembers == 1)
        #expect(play.swim.view.members.count == SWIM.membersMax)
    }

    @Test func wrongSettingsAreRefused() throws {
        var local = Member(id: try Self.id("me", life: 1), endpoint: .loopback(port: 1))
        local.weight = 17
        #expect(throws: SWIM.InvalidLocalMember.weightOutOfBounds) { try SWIM(local: local, seeds: [], seed: 1) }
        local.weight = 1
        local.tags = ["a": String(repeating: "x", count: 300)]
        #expect(throws: SWIM.InvalidLocalMember.tagsTooLong) { try SWIM(local: local, seeds: [], seed: 1) }
    }

    /// Whatever a holder of the key may say, a step returns, sends what fits, and keeps its books.
    @Test func anythingMayBeSaid() throws {
        var random = SeededGenerator(seed: 21)
        let names = ["me", "n1", "n2", "n3", "n4"]
        func name() -> String { names[Int(random.next() % 5)] }
        func id() throws -> MemberID {
            try Self.id(name(), life: [9, 10, 11, 100, 101, .max][Int(random.next() % 60 == 0 ? 5 : random.next() % 5)])
        }
        var play = try Play(others: try Self.others(4))
        for round in 0..<20_000 {
            var facts: [Fact] = []
            for _ in 0..<Int(random.next() % 3) {
                let incarnation = random.next() % 50 == 0 ? UInt32.max : UInt32(random.next() % 4)
                switch random.next() % 6 {
                case 0, 1:
                    var member = Member(id: try id(), incarnation: incarnation, endpoint: .loopback(port: UInt16(random.next() % 200)))
                    member.status = Status.allCases[Int(random.next() % 4)]
                    member.role = Role.allCases[Int(random.next() % 2)]
                    facts.append(.member(member, goneFor: random.next() % 9 == 0 ? .max : 0))
                case 2:
                    facts.append(
                        .claim(
                            try id(), incarnation: incarnation, [.suspect, .dead, .left][Int(random.next() % 3)],
                            accuser: try NodeName(name())))
                case 3:
                    let instance = Instance(node: try id(), number: UInt32(random.next() % 400), service: "s", address: "a")
                    facts.append(.instance(instance, version: UInt32(random.next() % 400)))
                case 4:
                    facts.append(
                        .instanceRemoved(node: try id(), number: UInt32(random.next() % 400), version: UInt32(random.next() % 400)))
                default: facts.append(.roster(node: try id(), version: UInt32(random.next() % 400), span: 5...300, numbers: [7, 9]))
                }
            }
            let kinds: [GossipMessage.Kind] = [
                .ping(number: UInt32(random.next() % 9), target: try id()), .ack(number: UInt32(random.next() % 99)), .gossip,
                .stale(try id()),
                .pingRequest(number: 1, target: try id(), at: .loopback(port: 5)),
                .relayedAck(number: UInt32(random.next() % 99), subject: try id()),
                .state(isLast: true, asking: true), .digests(ViewBuckets()), .delta(asking: ViewBuckets()), .delta(asking: nil),
            ]
            let message = GossipMessage(sender: try id(), digest: random.next() % 2, kind: kinds[Int(random.next() % 10)], facts: facts)
            let inputs: [SWIM.Input] = [
                .message(message, from: .loopback(port: 7)), .message(message, from: .loopback(port: 8)),
                .state(message, from: message.sender),
                .linkDown(try id(), refused: round % 2 == 0), .linkUp(try id()), .timer(.probe(round: play.swim.probeRound)),
                .timer(.suspicion(try id(), generation: play.swim.generation)), .timer(.gossip(round: play.swim.gossipRound)),
                .timer(.reunion(round: play.swim.reunionRound)), .setStage(Stage.allCases[round % 3]),
            ]
            var directives = play.step(inputs[Int(random.next() % 10)], after: .milliseconds(Int64(random.next() % 40)))
            for directive in directives {
                if case .becameStale(let known) = directive {
                    directives += play.swim.beginNewLife(at: play.now, stage: .serving, after: known)
                }
                if case .declaredDead = directive { directives += play.swim.beginNewLife(at: play.now, stage: .serving) }
            }
            for case .send(let sent, _) in directives { #expect(sent.encoded.count <= PacketSealer.payloadBytesMax) }
            let books = play.swim.records.reduce(0 as UInt64) { $0 &+ $1.hash &+ $1.instances.digest }
            #expect(books == play.swim.digest)
            // What is shown follows from what is held, and nothing is held of the gone.
            #expect(
                play.swim.records.allSatisfy {
                    ($0.member.status == .suspect) == ($0.suspicion?.isConfirmed ?? false && !$0.member.isDegraded)
                        && ($0.isReachable || $0.suspicion == nil && $0.inquiry == nil)
                })
            #expect(play.swim.records.allSatisfy { ($0.suspicion?.words.count ?? 0) <= Suspicion.wordsMax })
            #expect(play.swim.verdicts.count <= SWIM.verdictsMax && play.swim.degraded.count <= names.count)
        }
        #expect(play.swim.view.members.map(\.name) == play.swim.view.members.map(\.name).sorted())
    }
}
