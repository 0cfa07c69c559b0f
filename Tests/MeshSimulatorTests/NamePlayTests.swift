import MeshCore
import MeshSimulator
import Testing

/// Plays about one name at two addresses, with whole agents.
@Suite struct NamePlayTests {
    @Test(arguments: [0, 0.1]) func aNodeKilledAndStartedElsewhereIsBackWithItsSlots(loss: Double) throws {
        var settings = World.Configuration()
        settings.network.loss = loss
        var play = try Play(seed: 21, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        try play.world.crash(NodeName("n1"))
        let (name, host) = (try NodeName("n1"), try NodeName("elsewhere"))
        play.world.start(host, as: name)
        let before = play.world.uptime
        let isSeen = play.world.run(for: .seconds(5)) { world in
            guard let id = world.core(of: host)?.id else { return false }
            return world.running.allSatisfy { world.core(of: $0)?.view.member(name)?.id == id }
        }
        #expect(isSeen)
        print("whole agents, loss \(loss): back elsewhere within \((play.world.uptime - before) / 1_000_000) ms")
        try play.settle()
        #expect(play.world.refusals.isEmpty)
        #expect(try play.count(session, at: "n2") == 1)
        #expect(try play.primary(of: session, asking: "n2") == "n1")
    }

    @Test(arguments: [0, 0.1]) func aDuplicateIsRefusedAndTheFormerOneServesOn(loss: Double) throws {
        var settings = World.Configuration()
        settings.network.loss = loss
        var play = try Play(seed: 22, "n1", "n2", "n3", with: settings)
        let session = try play.create(at: "n1")
        var counted: Int64 = 0
        let ids = play.world.running.map { play.world.core(of: $0)?.id }
        for round in 0..<3 {
            let host = try NodeName("twin\(round)")
            play.world.start(host, as: try NodeName("n1"))
            let before = play.world.uptime
            // Its owner is asked all the while, over the links that the twin must not take.
            while play.world.refusals[host] == nil, play.world.uptime - before < 5_000_000_000 {
                let receipt = try play.increment(session, at: "n2")
                counted += 1
                #expect(receipt.counters.first?.value == .integer(counted) && receipt.copies == 2)
                #expect(
                    play.world.running.allSatisfy { name in
                        name == host || play.world.core(of: name)?.view.members.map(\.id) == ids
                    })
            }
            #expect(play.world.refusals[host]?.id == ids[0])
            print("whole agents, loss \(loss): a duplicate refused within \((play.world.uptime - before) / 1_000_000) ms")
        }
        #expect(play.world.running.map { play.world.core(of: $0)?.id } == ids)
        #expect(try play.primary(of: session, asking: "n3") == "n1")
    }

    @Test func whoWakesWhenItsNameIsAnothersEnds() throws {
        var play = try Play(seed: 23, "n1", "n2", "n3")
        let session = try play.create(at: "n1")
        _ = try play.increment(session, at: "n1")
        let (name, host) = (try NodeName("n1"), try NodeName("elsewhere"))
        play.world.pause(name)
        play.world.run(for: .seconds(1))
        play.world.start(host, as: name)
        play.world.run(for: .seconds(20)) { world in world.core(of: host)?.status.isReady == true }
        // Whoever has been asked whether it lives, and answered, doesn't give way to an earlier life.
        play.world.run(for: .seconds(5))
        let early = play.world.submit(.read(session.key), to: name)
        play.world.wake(name)
        let hasEnded = play.world.run(for: .seconds(5)) { $0.refusals[name] != nil }
        #expect(hasEnded)
        if case .session(let snapshot) = play.world.takeResponse(early) { #expect(snapshot?.fields.first?.value == .integer(1)) }
        try play.settle()
        #expect(play.world.refusals[name]?.id == play.world.core(of: host)?.id)
        #expect(try play.count(session, at: "n2") == 1)
    }
}
