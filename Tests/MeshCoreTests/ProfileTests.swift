import MeshCore
import Testing

/// The presets for a mesh's times.
@Suite struct ProfileTests {
    /// A ping unanswered, its helpers' attempts, the watchers' and the wait itself, and each member's turn, with half as much again.
    private static func detectionMax(_ swim: SWIM.Configuration, members: Int) -> Duration {
        (swim.probePeriod * (2 * members) + swim.ackTimeoutMax * 3 + swim.suspicionMax) * 3 / 2
    }

    @Test(arguments: Profile.allCases)
    func aMeshOfEachProfileSeesADeathAndNoOther(profile: Profile) throws {
        let configuration = SWIM.Configuration(profile)
        var world = try GossipWorld(8, seed: 3, configuration: configuration)
        let met = try GossipWorld.within(world.run(atMost: .seconds(30)) { $0.agrees })
        world.run(for: configuration.probePeriod * 100)
        #expect(world.deaths == 0)
        world.kill(5, hostIsUp: false)
        let silent = try GossipWorld.within(world.run(atMost: Self.detectionMax(configuration, members: 8)) { $0.allHold(5, for: .dead) })
        world.kill(6, hostIsUp: true)
        let gone = try GossipWorld.within(world.run(atMost: Self.detectionMax(configuration, members: 8)) { $0.allHold(6, for: .dead) })
        #expect(gone <= silent)
        #expect(Set(world.sightings.filter { $0.member.status == .dead }.map(\.member.name.description)) == ["n5", "n6"])
        print("\(profile.rawValue): met in \(met), a silent death seen by all in \(silent), a refusing one in \(gone)")
    }

    @Test func thePatientWaitForAProcessThatStandsStillForFiveSeconds() throws {
        for (profile, survives) in [(Profile.patient, true), (.lan, false)] {
            var world = try GossipWorld(5, seed: 4, configuration: SWIM.Configuration(profile))
            _ = try GossipWorld.within(world.run(atMost: .seconds(30)) { $0.agrees })
            world.pause(2, for: .seconds(5))
            world.run(for: .seconds(20))
            #expect((world.deaths == 0) == survives, "\(profile)")
        }
    }

    @Test func roundTripsAcrossTheWorldAreNoReasonForSuspicion() throws {
        var world = try GossipWorld(6, seed: 5, configuration: SWIM.Configuration(.wan))
        world.delay = 150_000...350_000
        _ = try GossipWorld.within(world.run(atMost: .seconds(60)) { $0.agrees })
        world.run(for: .seconds(300))
        #expect(world.deaths == 0)
        #expect(!world.sightings.contains { $0.member.status == .suspect })
    }

    @Test func aRequestOutlivesASilentDeath() {
        for profile in Profile.allCases {
            let swim = SWIM.Configuration(profile)
            #expect(AgentConfiguration.requestDeadline(under: swim) >= swim.suspicionSilent + swim.probePeriod + swim.ackTimeoutMin)
        }
        #expect(AgentConfiguration.requestDeadline(under: SWIM.Configuration()) == .seconds(3))
    }
}
