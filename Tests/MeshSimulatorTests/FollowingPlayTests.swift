import MeshCore
import MeshSimulator
import Testing

/// Applications are told which sessions begin and end, wherever these are.
@Suite struct FollowingPlayTests {
    /// Three nodes; an application at n3 follows.
    private struct Scene {
        var play: Play
        private var told: [SessionEvent] = []
        private(set) var isGapped = false
        static let application = "n3"

        init(seed: UInt64, with configuration: World.Configuration = .init()) throws {
            play = try Play(seed: seed, "n1", "n2", "n3", with: configuration)
            #expect(play.world.ask(try NodeName(Self.application), .follow) == .done)
            _ = take()
        }

        /// What it was told since it was last asked.
        mutating func take() -> [SessionEvent] {
            play.world.takePushes().compactMap { name, push in
                guard name.description == Self.application else { return nil }
                if push == .gap { isGapped = true }
                return if case .event(let event) = push { event } else { nil }
            }
        }
    }

    @Test func whoFollowsIsToldOfEverySessionWhereverItIs() throws {
        var scene = try Scene(seed: 81)
        let sessions = try (0..<9).map { try scene.play.create(at: "n\($0 % 3 + 1)") }
        scene.play.world.run(for: .seconds(1))
        #expect(Set(scene.take().map(\.key)) == Set(sessions.map(\.key)))
        let owners = try Set(sessions.map { try #require(try scene.play.primary(of: $0)) })
        #expect(owners.count > 1, "sessions of one owner prove little")
        #expect(scene.play.world.ask(try NodeName("n1"), .destroy(sessions[0].key, CommitID(upper: 5, lower: 5))) == .done)
        let moved = try scene.play.committed(
            at: "n2", SessionCommit(key: sessions[1].key, id: CommitID(upper: 5, lower: 6), user: "ann", regenerate: true))
        scene.play.world.run(for: .seconds(1))
        let ends = scene.take()
        #expect(Set(ends.map(\.key)) == [sessions[0].key, sessions[1].key], "the new id is no new session")
        #expect(ends.first { $0.key == sessions[0].key }?.kind == .destroyed)
        #expect(ends.first { $0.key == sessions[1].key }?.kind == .moved(to: moved.key))
        #expect(!scene.isGapped)
    }

    /// The owner is killed after so many of its next words, whatever they are: the commit's delta, its answer, the event.
    @Test func anOwnerThatIsKilledOnTheWayIsSpokenForByItsSuccessor() throws {
        let one = try NodeName("n1")
        var (answered, untold) = (0, 0)
        for words in 1...16 {
            var scene = try Scene(seed: 82 + UInt64(words))
            scene.play.world.crash(one, afterDirectives: words)
            let commit = SessionCommit(key: nil, id: CommitID(upper: 7, lower: 7))
            let answer = scene.play.world.ask(one, .commit(commit), patience: .seconds(1))
            scene.play.world.crash(one)
            guard case .committed(let receipt) = answer else { continue }
            answered += 1
            if !scene.take().contains(where: { $0.key == receipt.key }) { untold += 1 } else { continue }
            scene.play.world.run(for: .seconds(20))
            let told = scene.take()
            #expect(told.contains { $0.key == receipt.key && $0.kind == .created }, "killed after \(words): \(told)")
            #expect(!scene.isGapped)
        }
        #expect(answered > 0 && untold > 0, "\(answered) answered, \(untold) of them not told of by who was killed")
    }

    @Test func aSessionWhoseOwnerIsKilledBeforeItExpiresIsToldByItsSuccessor() throws {
        var scene = try Scene(seed: 95)
        let commit = SessionCommit(key: nil, id: CommitID(upper: 8, lower: 8), idleSeconds: 5)
        let session = try scene.play.committed(at: "n1", commit)
        let owner = try NodeName(try #require(try scene.play.primary(of: session)))
        try #require(owner.description != Scene.application)
        scene.play.world.run(for: .seconds(10))
        scene.play.world.crash(owner)
        scene.play.world.run(for: .seconds(120))
        #expect(scene.take().contains { $0.key == session.key && $0.kind == .expired })
        #expect(scene.play.world.ask(try NodeName("n3"), .read(session.key)) == .session(nil))
    }

    @Test func aNodeThatJoinsTellsOfItsSessionsToo() throws {
        var scene = try Scene(seed: 96)
        scene.play.world.start(try NodeName("n4"))
        try scene.play.settle()
        var sessions: [CommitReceipt] = []
        for _ in 0..<12 { sessions.append(try scene.play.create(at: "n4")) }
        let owners = try Set(sessions.map { try #require(try scene.play.primary(of: $0)) })
        #expect(owners.contains("n4"))
        scene.play.world.run(for: .seconds(1))
        #expect(Set(scene.take().map(\.key)).isSuperset(of: sessions.map(\.key)))
    }

    @Test func whoFollowsWhileItsNodeJoinsIsAnsweredWhenThatServesOrWithAGap() throws {
        var scene = try Scene(seed: 98)
        let four = try NodeName("n4")
        scene.play.world.start(four)
        #expect(scene.play.world.ask(four, .follow) == .done)
        let isGapped = scene.play.world.takePushes().contains { $0 == four && $1 == .gap }
        #expect(isGapped || scene.play.world.core(of: four)?.status.stage == .serving)
    }

    @Test func aCutThatHealsSoonLeavesNothingOutAndALongOneIsAGap() throws {
        var scene = try Scene(seed: 97)
        let names = try ["n1", "n2", "n3"].map { try NodeName($0) }
        scene.play.world.partition([names[2]], from: [names[0], names[1]])
        let early = try scene.play.create(at: "n1")
        scene.play.world.run(for: .seconds(3))
        scene.play.world.heal()
        scene.play.world.run(for: .seconds(15))
        try scene.play.settle(within: .seconds(60))
        #expect(scene.take().contains { $0.key == early.key } && !scene.isGapped)
        scene.play.world.partition([names[2]], from: [names[0], names[1]])
        scene.play.world.run(for: .seconds(60))
        scene.play.world.heal()
        scene.play.world.run(for: .seconds(15))
        try scene.play.settle(within: .seconds(60))
        _ = scene.take()
        #expect(scene.isGapped)
    }
}
