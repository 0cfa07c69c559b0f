import MeshCore
import Testing

/// What a supervisor does about its processes, as a conversation.
@Suite struct SupervisorCoreTests {
    @Test func theAgentComesFirstThenWorkersAndTheBalancer() {
        var play = SupervisorPlay(workers: 2, before: ["agent"], after: ["balancer"])
        #expect(play.step(.start) == ["spawn #1 for agent"])
        #expect(play.spawned(1) == ["agent #1: spawned"])
        #expect(
            play.step(.ready(Launch(1))) == [
                "agent #1: ready after 0 ms", "spawn #2 for worker 1", "spawn #3 for worker 2", "spawn #4 for balancer",
            ])
    }

    @Test func aWorkerGetsNoRequestsBeforeItIsReady() {
        var play = SupervisorPlay(workers: 1)
        #expect(play.step(.start) == ["spawn #1 for worker 1"])
        #expect(play.spawned(1) == ["worker 1 #1: spawned"])
        #expect(play.pass(.milliseconds(300)) == [])
        #expect(play.step(.ready(Launch(1))) == ["register #1", "worker 1 #1: ready after 300 ms"])
        #expect(play.step(.ready(Launch(1))) == [])
    }

    @Test func aCrashIsToldAtOnceAndTheWorkerStartedAgainAtOnce() {
        var play = SupervisorPlay(workers: 2)
        play.comeUp()
        #expect(
            play.end(1, .killed(signal: 9)) == ["withdraw #1", "worker 1 #1: crashed, was killed by signal 9", "spawn #3 for worker 1"])
        #expect(play.spawned(3) == ["worker 1 #3: spawned"])
        _ = play.pass(.milliseconds(80))
        #expect(
            play.step(.ready(Launch(3))) == ["register #3", "worker 1 #3: ready after 80 ms", "worker 1 #3: restarted after 80 ms"])
    }

    @Test func whoHasExitedGetsNoRequestsWhileItsChildrenAreLookedForAndIsNotHeardAnyMore() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        #expect(play.step(.exited(Launch(1))) == ["withdraw #1"])
        #expect(play.step(.heartbeat(Launch(1))) == [])
        #expect(
            play.end(1, .killed(signal: 9), leftBehind: 2) == ["worker 1 #1: crashed, was killed by signal 9", "spawn #2 for worker 1"])
    }

    /// Ancestors' fault U10: a clean exit was restarted for ever.
    @Test func anEndWithCode0IsNoCrashAndWhenAllHaveEndedSoItIsOver() {
        var play = SupervisorPlay(workers: 2, before: ["agent"])
        play.comeUp()
        #expect(play.end(2, .exited(code: 0)) == ["withdraw #2", "worker 1 #2: stopped, exited with code 0"])
        #expect(play.pass(.seconds(100)) == [])
        #expect(play.end(3, .exited(code: 0)) == ["withdraw #3", "worker 2 #3: stopped, exited with code 0", "terminate #1"])
        #expect(play.end(1, .exited(code: 0)) == ["agent #1: stopped, exited with code 0", "finished"])
        #expect(play.core.deadline == nil)
    }

    /// Ancestors' scenario 52, faults U10 and B12: a worker that ends at its start was started again without a pause.
    @Test func aWorkerThatEndsAtItsStartWaitsEverLongerAndLeavesTheOthersAlone() {
        var play = SupervisorPlay(workers: 2)
        _ = play.step(.start)
        _ = play.spawned(2)
        _ = play.step(.ready(Launch(2)))
        var launch: UInt64 = 1
        var waits: [Duration] = []
        var loops: [String] = []
        for _ in 0..<40 {
            _ = play.spawned(launch)
            loops += play.end(launch, .exited(code: 1)).filter { $0.contains("crash-looping") }
            let latest = Launch(launch)
            while play.core.statuses.first(where: { $0.post == .worker(1) })?.launch.map({ $0 <= latest }) ?? true {
                guard let (wait, _) = play.untilDue() else { break }
                waits.append(wait)
            }
            launch = play.core.statuses.first { $0.post == .worker(1) }?.launch?.number ?? 0
        }
        #expect(loops == ["worker 1 #6: crash-looping, 5"])
        #expect(waits.count == 39, "the first comes at once: \(waits)")
        #expect(waits.allSatisfy { $0 <= .seconds(30) })
        #expect(waits.prefix(3).allSatisfy { $0 <= .milliseconds(400) })
        #expect(waits.max().map { $0 > .seconds(15) } ?? false)
        #expect(play.core.statuses.map(\.state) == [.crashLooping, .ready])
        #expect(play.core.readyCount == 1)
    }

    @Test func whoWasReadyForAMinuteIsStartedAtOnceAgain() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        for launch in 1...6 as ClosedRange<UInt64> {
            _ = play.pass(.seconds(61))
            let lines = play.end(launch, .exited(code: 1))
            #expect(lines.last == "spawn #\(launch + 1) for worker 1")
            _ = play.spawned(launch + 1)
            _ = play.step(.ready(Launch(launch + 1)))
        }
    }

    /// An agent hands sessions over, which takes longer than a worker's last requests.
    @Test func aSidecarHasATimeOfItsOwnToStop() {
        var play = SupervisorPlay(workers: 1, before: ["agent"]) { $0.stopTimeout = .seconds(5) }
        play.comeUp()
        #expect(play.step(.stop) == ["withdraw #2"])
        #expect(play.pass(.milliseconds(200)) == ["terminate #2"])
        #expect(play.pass(.seconds(5)) == ["kill #2"])
        #expect(play.end(2, .killed(signal: 9)) == ["worker 1 #2: stopped, was killed by signal 9", "terminate #1"])
        #expect(play.pass(.milliseconds(39_999)) == [])
        #expect(play.pass(.milliseconds(1)) == ["kill #1"])
    }

    @Test func aHungWorkerLosesItsRequestsThenIsAbortedThenKilled() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        #expect(play.step(.heartbeat(Launch(1))) == [])
        #expect(play.pass(.milliseconds(2999)) == [])
        #expect(play.pass(.milliseconds(1)) == ["withdraw #1"])
        #expect(play.core.statuses.map(\.state) == [.silent])
        #expect(play.step(.heartbeat(Launch(1))) == ["register #1"])
        #expect(play.pass(.seconds(9)) == ["withdraw #1"])
        #expect(play.pass(.seconds(1)) == ["worker 1 #1: hung for 10000 ms", "abort #1"])
        #expect(play.untilDue()?.lines == ["kill #1"])
        #expect(
            play.end(1, .killed(signal: 9)) == [
                "worker 1 #1: crashed, hung and was killed by signal 9", "spawn #2 for worker 1",
            ])
        #expect(play.core.counters.hangs == 1)
    }

    @Test func whoWasNotHeardBecauseTheSupervisorStoodStillIsNotHung() {
        var play = SupervisorPlay(workers: 2)
        play.comeUp()
        _ = play.step(.heartbeat(Launch(1)))
        #expect(play.wakeAfter(.seconds(20)) == [])
        #expect(play.pass(.milliseconds(2999)) == [])
        #expect(play.pass(.milliseconds(1)) == ["withdraw #1"], "from then on silence counts")
    }

    @Test func whatHasItsTimeGetsItAfterAPauseAsWell() {
        var play = SupervisorPlay(workers: 2) { $0.stopTimeout = .seconds(5) }
        play.comeUp()
        #expect(play.step(.scale(to: 1)) == ["withdraw #2"])
        #expect(play.wakeAfter(.seconds(60)) == [])
        #expect(play.pass(.milliseconds(200)) == ["terminate #2"])
        #expect(play.pass(.seconds(1)) == [])
        #expect(play.wakeAfter(.seconds(60)) == [])
        #expect(play.pass(.seconds(4)) == ["kill #2"])
        var other = SupervisorPlay(workers: 1)
        _ = other.step(.start)
        _ = other.spawned(1)
        #expect(other.wakeAfter(.seconds(120)) == [])
        #expect(other.pass(.seconds(60)) == ["diagnose #1"])
    }

    @Test func whoNeverSentAHeartbeatIsNotAskedForOne() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        #expect(play.core.deadline == nil)
        #expect(play.pass(.seconds(3600)) == [])
    }

    @Test func whoIsNotReadyInTimeIsAskedWhyAndKilled() {
        var play = SupervisorPlay(workers: 1) { $0.readyTimeout = .seconds(5) }
        _ = play.step(.start)
        _ = play.spawned(1)
        #expect(play.pass(.seconds(5)) == ["diagnose #1"])
        #expect(play.step(.diagnosed(Launch(1), hint: "it listens on 4000")) == ["kill #1"])
        #expect(
            play.end(1, .killed(signal: 9)) == [
                "worker 1 #1: crashed, not ready: it listens on 4000, never ready", "spawn #2 for worker 1",
            ])
    }

    @Test func whoGoesOnInTheBackgroundHasFailed() {
        var play = SupervisorPlay(workers: 1)
        _ = play.step(.start)
        _ = play.spawned(1)
        #expect(
            play.end(1, .exited(code: 0), leftBehind: 1) == ["worker 1 #1: crashed, forked away, never ready", "spawn #2 for worker 1"])
    }

    // MARK: Replacing

    @Test func aRollingRestartReplacesOneAfterTheOtherEachWhenItsSuccessorIsReady() {
        var play = SupervisorPlay(workers: 2, before: ["agent"])
        play.comeUp()
        #expect(play.step(.restart) == ["worker 1 #2: replacing (restart)", "spawn #4 for worker 1"])
        _ = play.spawned(4)
        #expect(play.step(.ready(Launch(4))) == ["register #4", "worker 1 #4: ready after 0 ms", "withdraw #2"])
        #expect(play.pass(.milliseconds(200)) == ["terminate #2"])
        #expect(
            play.end(2, .killed(signal: 15)) == [
                "worker 1 #2: stopped, was killed by signal 15", "worker 2 #3: replacing (restart)", "spawn #5 for worker 2",
            ])
        _ = play.spawned(5)
        _ = play.step(.ready(Launch(5)))
        _ = play.pass(.milliseconds(200))
        #expect(play.end(3, .exited(code: 0)) == ["worker 2 #3: stopped, exited with code 0"])
        #expect(play.core.statuses.map(\.launch) == [Launch(1), Launch(4), Launch(5)])
    }

    @Test func aReplacementThatFailsEndsTheRestartAndWhoServedGoesOn() {
        var play = SupervisorPlay(workers: 2)
        play.comeUp()
        _ = play.step(.restart)
        _ = play.spawned(3)
        #expect(
            play.end(3, .exited(code: 1)) == [
                "worker 1 #3: crashed, exited with code 1, never ready", "worker 1 #3: not replaced (restart), exited with code 1",
            ])
        #expect(play.pass(.seconds(600)) == [])
        #expect(play.core.readyCount == 2)
    }

    @Test func whoCrashesWhileItIsReplacedIsReplacedAllTheSame() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        _ = play.step(.restart)
        _ = play.spawned(2)
        #expect(play.end(1, .killed(signal: 11)) == ["withdraw #1", "worker 1 #1: crashed, was killed by signal 11"])
        #expect(
            play.step(.ready(Launch(2))) == [
                "register #2", "worker 1 #2: ready after 0 ms", "worker 1 #2: restarted after 0 ms",
            ])
        #expect(play.core.statuses.count == 1)
    }

    @Test func withoutAPortToSpareEachIsStoppedBeforeItsSuccessorStarts() {
        var play = SupervisorPlay(workers: 2, processesMax: 2)
        play.comeUp()
        #expect(play.step(.restart) == ["worker 1 #1: replacing (restart)", "withdraw #1"])
        #expect(play.pass(.milliseconds(200)) == ["terminate #1"])
        #expect(play.end(1, .exited(code: 0)) == ["worker 1 #1: stopped, exited with code 0", "spawn #3 for worker 1"])
        _ = play.spawned(3)
        #expect(
            play.step(.ready(Launch(3))) == [
                "register #3", "worker 1 #3: ready after 0 ms", "worker 2 #2: replacing (restart)", "withdraw #2",
            ])
    }

    @Test func whoWasScaledUpToTheLastPortIsStoppedFirstAndOnceThereIsRoomAgainReplacementsComeFirst() {
        var play = SupervisorPlay(workers: 2, processesMax: 3)
        play.comeUp()
        #expect(play.step(.scale(to: 3)) == ["spawn #3 for worker 3"])
        _ = play.spawned(3)
        _ = play.step(.ready(Launch(3)))
        #expect(play.step(.restart) == ["worker 1 #1: replacing (restart)", "withdraw #1"])
        _ = play.pass(.milliseconds(200))
        #expect(play.end(1, .exited(code: 0)).last == "spawn #4 for worker 1")
        _ = play.spawned(4)
        #expect(play.step(.scale(to: 2)) == ["withdraw #3"])
        _ = play.pass(.milliseconds(200))
        #expect(play.end(3, .exited(code: 0)) == ["worker 3 #3: stopped, exited with code 0"])
        #expect(play.step(.ready(Launch(4))).suffix(2) == ["worker 2 #2: replacing (restart)", "spawn #5 for worker 2"])
    }

    @Test func aWorkerMoreWaitsForThePortThatAReplacementGivesBack() {
        var play = SupervisorPlay(workers: 2, processesMax: 3)
        play.comeUp()
        #expect(play.step(.restart) == ["worker 1 #1: replacing (restart)", "spawn #3 for worker 1"])
        #expect(play.step(.scale(to: 3)) == [])
        #expect(play.core.deadline.map { $0.since(play.now) > .seconds(1) } ?? true, "nobody turns in a circle meanwhile")
        _ = play.spawned(3)
        _ = play.step(.ready(Launch(3)))
        _ = play.pass(.milliseconds(200))
        #expect(play.end(1, .exited(code: 0)).contains("spawn #4 for worker 3"))
    }

    /// Somebody should hear that there is no port: it is a crash, and said.
    @Test func whereNobodyGivesAPortBackAWorkerMoreIsTriedAllTheSame() {
        var play = SupervisorPlay(workers: 2, processesMax: 2)
        play.comeUp()
        #expect(play.step(.scale(to: 3)) == ["spawn #3 for worker 3"])
    }

    @Test func aMemoryLimitBelowWhatTheProgramNeedsCostsAStartInTenSeconds() {
        var play = SupervisorPlay(workers: 1) { $0.recycling = SupervisionPolicy.Recycling(memory: 1000) }
        play.comeUp()
        for launch in 1...3 as ClosedRange<UInt64> {
            #expect(play.step(.usage(Launch(launch), memory: 5000, requests: nil)) == [])
            _ = play.pass(.seconds(9))
            #expect(play.step(.usage(Launch(launch), memory: 5000, requests: nil)) == [])
            #expect(play.pass(.seconds(1)).last == "spawn #\(launch + 1) for worker 1")
            _ = play.spawned(launch + 1)
            _ = play.step(.ready(Launch(launch + 1)))
            _ = play.end(launch, .exited(code: 0))
        }
    }

    @Test func workersAreRecycledByAgeMemoryAndRequestsOneAtATime() {
        var play = SupervisorPlay(workers: 3) {
            $0.recycling = SupervisionPolicy.Recycling(age: .seconds(3600), memory: 1000, requests: 100)
        }
        play.comeUp()
        _ = play.pass(.seconds(10))
        #expect(play.step(.usage(Launch(1), memory: 899, requests: 89)) == [])
        #expect(play.step(.usage(Launch(1), memory: 1000, requests: nil)) == ["worker 1 #1: replacing (memory)", "spawn #4 for worker 1"])
        #expect(play.step(.usage(Launch(2), memory: nil, requests: 100)) == [])
        _ = play.spawned(4)
        _ = play.step(.ready(Launch(4)))
        _ = play.pass(.milliseconds(200))
        #expect(play.end(1, .exited(code: 0)).last == "spawn #5 for worker 2")
        _ = play.spawned(5)
        _ = play.step(.ready(Launch(5)))
        _ = play.pass(.milliseconds(200))
        _ = play.end(2, .exited(code: 0))
        #expect(play.pass(.seconds(3240 - 1)).isEmpty)
        #expect(play.pass(.seconds(361)).contains("worker 3 #3: replacing (age)"))
    }

    @Test func recyclingIsLeftAloneForAWhileAfterAReplacementThatFailed() {
        var play = SupervisorPlay(workers: 1) { $0.recycling.requests = 100 }
        play.comeUp()
        #expect(play.step(.usage(Launch(1), memory: nil, requests: 100)).last == "spawn #2 for worker 1")
        _ = play.spawned(2)
        _ = play.end(2, .exited(code: 1))
        #expect(play.step(.usage(Launch(1), memory: nil, requests: 101)) == [])
        #expect(play.untilDue()?.waited == .seconds(30))
        #expect(play.core.statuses.count == 2)
    }

    // MARK: Scaling and stopping

    @Test func scalingStartsTheMissingAndStopsTheLast() {
        var play = SupervisorPlay(workers: 2)
        play.comeUp()
        #expect(play.step(.scale(to: 4)) == ["spawn #3 for worker 3", "spawn #4 for worker 4"])
        for launch in 3...4 as ClosedRange<UInt64> {
            _ = play.spawned(launch)
            _ = play.step(.ready(Launch(launch)))
        }
        #expect(play.step(.scale(to: 1)) == ["withdraw #2", "withdraw #3", "withdraw #4"])
        #expect(play.pass(.milliseconds(200)) == ["terminate #2", "terminate #3", "terminate #4"])
        for launch in 2...4 as ClosedRange<UInt64> { _ = play.end(launch, .exited(code: 0)) }
        #expect(play.core.statuses.map(\.post) == [.worker(1)])
        #expect(play.step(.scale(to: 0)) == [] && play.step(.scale(to: 1025)) == [])
        #expect(play.step(.scale(to: 2)) == ["spawn #5 for worker 2"])
    }

    @Test func whoIsScaledAwayAndWantedAgainBeforeItHasEndedIsStartedAgain() {
        var play = SupervisorPlay(workers: 2)
        play.comeUp()
        _ = play.step(.scale(to: 1))
        _ = play.step(.scale(to: 2))
        _ = play.pass(.milliseconds(200))
        #expect(play.end(2, .exited(code: 0)) == ["worker 2 #2: stopped, exited with code 0", "spawn #3 for worker 2"])
    }

    @Test func afterAReplacementThatFailedNobodyIsWokenForNothing() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        _ = play.step(.restart)
        _ = play.spawned(2)
        _ = play.end(2, .exited(code: 1))
        _ = play.end(1, .killed(signal: 9))
        _ = play.spawned(3)
        _ = play.pass(.seconds(31))
        #expect(play.core.deadline.map { $0.since(play.now) > .zero } ?? false)
    }

    /// Ancestors' scenario 53, fault U9: a stop left workers behind, and requests inside them unanswered.
    @Test func aStopEndsTheBalancerThenWorkersThenTheAgent() {
        var play = SupervisorPlay(workers: 2, before: ["agent"], after: ["balancer"])
        play.comeUp()
        #expect(play.step(.stop) == ["terminate #4"])
        #expect(play.end(4, .exited(code: 0)) == ["balancer #4: stopped, exited with code 0", "withdraw #2", "withdraw #3"])
        #expect(play.pass(.milliseconds(200)) == ["terminate #2", "terminate #3"])
        #expect(play.end(2, .exited(code: 0)) == ["worker 1 #2: stopped, exited with code 0"])
        #expect(play.pass(.milliseconds(29_999)) == [])
        #expect(play.pass(.milliseconds(1)) == ["kill #3"])
        #expect(play.end(3, .killed(signal: 9)) == ["worker 2 #3: stopped, was killed by signal 9", "terminate #1"])
        #expect(play.end(1, .exited(code: 0)) == ["agent #1: stopped, exited with code 0", "finished"])
    }

    @Test func whatIsStillBeingStartedWhenTheStopComesIsStoppedTooAndNothingIsStartedAgain() {
        var play = SupervisorPlay(workers: 2)
        _ = play.step(.start)
        _ = play.spawned(1)
        #expect(play.step(.stop) == ["terminate #1"])
        #expect(play.spawned(2) == ["worker 2 #2: spawned", "terminate #2"])
        _ = play.end(1, .killed(signal: 15))
        #expect(play.end(2, .killed(signal: 15)) == ["worker 2 #2: stopped, was killed by signal 15", "finished"])
    }

    @Test func anAgentThatDoesNotComeUpEndsEverythingAndOneThatCrashesLaterIsStartedAgain() {
        var play = SupervisorPlay(workers: 1, before: ["agent"])
        _ = play.step(.start)
        _ = play.spawned(1)
        #expect(
            play.end(1, .exited(code: 78)) == ["agent #1: crashed, exited with code 78, never ready", "failed for want of the agent"])

        play = SupervisorPlay(workers: 1, before: ["agent"])
        play.comeUp()
        #expect(play.end(1, .killed(signal: 9)) == ["agent #1: crashed, was killed by signal 9", "spawn #3 for agent"])
        #expect(play.core.readyCount == 1, "the worker goes on")
    }

    @Test func whatCannotBeStartedIsTriedAgain() {
        var play = SupervisorPlay(workers: 1)
        _ = play.step(.start)
        #expect(
            play.step(.notSpawned(Launch(1), reason: "no more processes")) == [
                "worker 1 #1: crashed, no more processes, never ready", "spawn #2 for worker 1",
            ])
    }

    @Test func whatIsSaidOfAProcessThatIsGoneChangesNothing() {
        var play = SupervisorPlay(workers: 1)
        play.comeUp()
        _ = play.end(1, .killed(signal: 9))
        for input in [
            .ready(Launch(1)), .heartbeat(Launch(1)), .usage(Launch(1), memory: 1, requests: 1), .diagnosed(Launch(1), hint: nil),
            .ended(Launch(1), .exited(code: 0), leftBehind: 0, lastLines: []), .spawned(Launch(9), pid: 1),
        ] as [SupervisorInput] { #expect(play.step(input) == []) }
    }
}
