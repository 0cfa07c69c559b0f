import MeshCore
import MeshSimulator
import Testing

/// What is said of a session whose holders are all out of reach.
@Suite struct DoubtPlayTests {
    /// Four nodes, and a session that two of them hold.
    private struct Scene {
        var play: Play
        let session: CommitReceipt
        let holders: [NodeName]
        let others: [NodeName]

        init(seed: UInt64) throws {
            play = try Play(seed: seed, "n1", "n2", "n3", "n4")
            session = try play.create(at: "n1")
            _ = try play.increment(session, at: "n1")
            guard case .session(let snapshot?) = play.world.ask(try NodeName("n1"), .read(session.key)), let backup = snapshot.backup
            else { throw Play.Unexpected(answer: nil) }
            let holders = [snapshot.primary, backup]
            self.holders = holders
            others = play.world.running.filter { !holders.contains($0) }
        }

        /// What a node says of the session: "count", "none" or a failure's code.
        mutating func word(of name: NodeName) -> String {
            switch play.world.ask(name, .read(session.key)) {
            case .session(let snapshot?): "\(snapshot.fields.first { $0.name == "n" }.map { "\($0.value)" } ?? "no count")"
            case .session(nil): "none"
            case .failure(let failure): failure.code.rawValue
            default: "nothing"
            }
        }

        mutating func loseOneWhileTheOtherSleeps() {
            play.world.pause(holders[1])
            play.world.run(for: .milliseconds(20))
            play.world.crash(holders[0])
        }

        /// All that is said of it for so long.
        mutating func words(of names: [NodeName], for duration: Duration) -> Set<String> {
            var words: Set<String> = []
            for _ in 0..<Int(duration / .milliseconds(100)) {
                for name in names { words.insert(word(of: name)) }
                play.world.run(for: .milliseconds(100))
            }
            return words
        }
    }

    private static let counted = "\(FieldValue.integer(1))"

    @Test func aSideWithNeitherCopySaysUnavailableAndNeverThatThereIsNone() throws {
        var scene = try Scene(seed: 21)
        scene.play.world.partition(scene.holders, from: scene.others)
        #expect(scene.words(of: scene.others, for: .seconds(30)) == ["UNAVAILABLE"])
        // Nor does it end what it doesn't have, while new visitors are served.
        guard case .failure(let failure) = scene.play.world.ask(scene.others[0], .destroy(scene.session.key, CommitID(upper: 5, lower: 1)))
        else { return #expect(Bool(false)) }
        #expect(failure.code == .unavailable && failure.description.contains(scene.holders[0].description))
        let fresh = try scene.play.create(at: scene.others[0].description)
        #expect(try scene.play.increment(fresh, at: scene.others[1].description).copies == 2)
        #expect(scene.words(of: scene.holders, for: .seconds(1)) == [Self.counted])

        scene.play.world.heal()
        try scene.play.settle(within: .seconds(60))
        #expect(scene.words(of: scene.holders + scene.others, for: .seconds(1)) == [Self.counted])
    }

    @Test func aHolderThatOnlySleptEndsTheDoubtWhenItWakes() throws {
        var scene = try Scene(seed: 22)
        scene.loseOneWhileTheOtherSleeps()
        #expect(scene.words(of: scene.others, for: .seconds(20)) == ["UNAVAILABLE"])
        scene.play.world.wake(scene.holders[1])
        scene.play.world.run(for: .seconds(3))
        #expect(scene.words(of: scene.others + [scene.holders[1]], for: .seconds(2)) == [Self.counted])
        // Of another session of the same slot it is known again that there is none.
        let bytes = Array(scene.session.key.bytes.prefix(2)) + [UInt8](repeating: 1, count: 30)
        let stranger = try #require(SessionKey(bytes: bytes))
        #expect(scene.play.world.ask(scene.others[0], .read(stranger)) == .session(nil))
    }

    @Test func aCopyThatOnlyStoodAsideIsNotShownWhereTheWholeOnesAreOutOfReach() throws {
        var scene = try Scene(seed: 26)
        scene.play.world.pause(scene.holders[1])
        // Its second copy is one that stands aside, for the other is late.
        #expect(try scene.play.increment(scene.session, at: scene.holders[0].description).copies == 2)
        scene.play.world.partition(scene.holders, from: scene.others)
        scene.play.world.wake(scene.holders[1])
        #expect(scene.words(of: scene.others, for: .seconds(15)) == ["UNAVAILABLE"])
        scene.play.world.heal()
        try scene.play.settle(within: .seconds(60))
        #expect(scene.words(of: scene.holders + scene.others, for: .seconds(1)) == ["\(FieldValue.integer(2))"])
    }

    /// Who was cut off alone had nobody agree with it on the others' deaths, and its view forgets them when it hears of its own.
    @Test func whomAViewForgetsMayHoldTheSessionAllTheSame() throws {
        var scene = try Scene(seed: 27)
        let alone = scene.others[0]
        let rest = scene.play.world.running.filter { $0 != alone }
        scene.play.world.partition(rest, from: [alone])
        scene.play.world.run(for: .seconds(12))
        scene.play.world.heal()
        let forgets = scene.play.world.run(for: .seconds(10)) { ($0.core(of: alone)?.view.members.count ?? 4) < 4 }
        try #require(forgets)
        scene.play.world.partition(rest, from: [alone])
        #expect(scene.words(of: [alone], for: .seconds(5)) == ["UNAVAILABLE"])
        scene.play.world.heal()
        try scene.play.settle(within: .seconds(60))
        #expect(scene.words(of: [alone] + rest, for: .seconds(1)) == [Self.counted])
    }

    @Test func ofTwoHoldersThatWereKilledItIsKnownThatTheSessionIsGone() throws {
        var scene = try Scene(seed: 23)
        for holder in scene.holders { scene.play.world.crash(holder) }
        scene.play.world.run(for: .seconds(5))
        #expect(scene.words(of: scene.others, for: .seconds(1)) == ["none"])
    }

    @Test func whoIsKilledInItsSleepIsWaitedForNoLonger() throws {
        var scene = try Scene(seed: 24)
        scene.loseOneWhileTheOtherSleeps()
        #expect(scene.words(of: scene.others, for: .seconds(10)) == ["UNAVAILABLE"])
        scene.play.world.crash(scene.holders[1])
        scene.play.world.run(for: .seconds(5))
        #expect(scene.words(of: scene.others, for: .seconds(1)) == ["none"])
    }

    @Test func aListIsNotCalledCompleteWhileSessionsMayLiveOutOfReach() throws {
        var scene = try Scene(seed: 25)
        scene.play.world.partition(scene.holders, from: scene.others)
        scene.play.world.run(for: .seconds(20))
        let answer = scene.play.world.ask(scene.others[0], .list(user: "ann", after: nil))
        guard case .failure(let failure) = answer else { return #expect(Bool(false), "\(String(describing: answer))") }
        #expect(failure.code == .unavailable)
    }
}
