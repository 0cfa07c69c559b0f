import MeshCore
import MeshSimulator
import Testing

/// Two sides of a cut meet again.
@Suite struct ReunionPlayTests {
    /// Five nodes cut in two and three, and sessions of which each side has a copy.
    private struct Scene {
        var play: Play
        let sessions: [CommitReceipt]
        let fewer: [NodeName]
        let more: [NodeName]

        init(seed: UInt64, cutFor duration: Duration = .seconds(6)) throws {
            var play = try Play(seed: seed, "n1", "n2", "n3", "n4", "n5")
            let made = try (0..<16).map { try play.create(at: "n\($0 % 5 + 1)") }
            let names = play.world.running
            (fewer, more) = (Array(names.prefix(2)), Array(names.dropFirst(2)))
            play.world.partition(fewer, from: more)
            play.world.run(for: duration)
            let sides = [fewer[0], more[0]]
            sessions = made.filter { session in
                sides.allSatisfy { if case .session(.some) = play.world.ask($0, .read(session.key)) { true } else { false } }
            }
            self.play = play
            try #require(sessions.count >= 3)
        }

        mutating func move(_ session: CommitReceipt, at name: NodeName, id: UInt64 = 1) throws -> CommitReceipt {
            try play.committed(
                at: name.description, SessionCommit(key: session.key, id: CommitID(upper: 21, lower: id), regenerate: true))
        }

        mutating func meet() throws {
            play.world.heal()
            try play.settle(within: .seconds(60))
        }

        /// What each node says of it.
        mutating func counts(of session: CommitReceipt) throws -> Set<Int64?> {
            Set(try play.world.running.map { try play.count(session, at: $0.description) })
        }
    }

    /// Also when both have long forgotten what the move took along.
    @Test(arguments: [Duration.seconds(6), .seconds(200)])
    func whatOneSideCommittedReachesTheIdThatTheOtherGave(duration: Duration) throws {
        var scene = try Scene(seed: 41)
        var moved: [CommitReceipt] = []
        for (number, session) in scene.sessions.enumerated() {
            let (mover, other) = number % 2 == 0 ? (scene.fewer[0], scene.more[0]) : (scene.more[1], scene.fewer[1])
            moved.append(try scene.move(session, at: mover))
            _ = try scene.play.increment(moved[number], at: mover.description)
            _ = try scene.play.increment(session, at: other.description)
        }
        scene.play.world.run(for: duration)
        try scene.meet()
        for session in moved { #expect(try scene.counts(of: session) == [2]) }
    }

    @Test func aSessionThatBothSidesMovedKeepsWhatEachHadCommitted() throws {
        var scene = try Scene(seed: 42)
        let (one, other) = (scene.fewer[0], scene.more[0])
        var moved: [CommitReceipt] = []
        for (number, session) in scene.sessions.enumerated() {
            for side in [one, other] {
                _ = try scene.play.increment(session, at: side.description)
                moved.append(try scene.move(session, at: side, id: UInt64(number)))
            }
        }
        try scene.meet()
        for session in moved { #expect(try scene.counts(of: session) == [2]) }
    }

    @Test func whatOneSideDestroyedEndsWhereTheOtherMovedIt() throws {
        var scene = try Scene(seed: 43)
        var moved: [CommitReceipt] = []
        for (number, session) in scene.sessions.enumerated() {
            let (mover, other) = number % 2 == 0 ? (scene.fewer[0], scene.more[0]) : (scene.more[1], scene.fewer[1])
            moved.append(try scene.move(session, at: mover))
            #expect(scene.play.world.ask(other, .destroy(session.key, CommitID(upper: 22, lower: UInt64(number)))) == .done)
        }
        try scene.meet()
        for session in moved { #expect(try scene.counts(of: session) == [nil]) }
    }

    @Test func aDestroyOnASideThatNeverSawTheSessionHolds() throws {
        var scene = try Scene(seed: 44)
        for (number, side) in [scene.fewer, scene.more, scene.fewer, scene.more].enumerated() {
            let other = number % 2 == 0 ? scene.more : scene.fewer
            let session = try scene.play.create(at: side[0].description)
            let commit = CommitID(upper: 23, lower: UInt64(number))
            // Where nobody has a copy of the slot it isn't known, and said so.
            guard scene.play.world.ask(other[1], .destroy(session.key, commit)) == .done else { continue }
            #expect(try scene.play.count(session, at: other[0].description) == nil)
            try scene.meet()
            #expect(try scene.counts(of: session) == [nil])
            scene.play.world.partition(scene.fewer, from: scene.more)
            scene.play.world.run(for: .seconds(6))
        }
    }

    /// Whoever held it before they met, or after.
    @Test(arguments: [0, 1, 2, 3, 4])
    func whatASideAcknowledgedOutlivesTheKillOfAnyNodeWhileTheyMeet(victim: Int) throws {
        for delay in [Duration.zero, .milliseconds(60), .milliseconds(150), .milliseconds(300), .milliseconds(600)] {
            var scene = try Scene(seed: 45)
            for session in scene.sessions {
                #expect(try scene.play.increment(session, at: scene.fewer[0].description).copies == 2)
                #expect(try scene.play.increment(session, at: scene.more[0].description).copies == 2)
            }
            let name = scene.play.world.running[victim]
            scene.play.world.heal()
            scene.play.world.run(for: delay)
            scene.play.world.crash(name)
            scene.play.world.run(for: .seconds(4))
            try scene.play.settle(within: .seconds(60))
            for session in scene.sessions { #expect(try scene.counts(of: session) == [2], "\(name) after \(delay)") }
        }
    }

    @Test func aCopyThatNobodyNeedsIsSoonLetGoOf() throws {
        for seed: UInt64 in 46..<50 {
            var scene = try Scene(seed: seed)
            try scene.meet()
            scene.play.world.run(for: .seconds(6))
            for session in scene.sessions {
                _ = try scene.play.increment(session, at: "n1")
                #expect(scene.play.world.copies(of: session.key).count == 2)
            }
        }
    }
}
