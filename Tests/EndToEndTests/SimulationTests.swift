import Foundation
import Testing

/// The simulator as an operator runs it.
@Suite(.serialized) struct SimulationTests {
    @Test func twoHundredSeedsKeepEveryPromise() throws {
        let simulation = try Program(Program.path(of: "sessionmesh"), ["simulate", "--seeds", "1...200", "--nodes", "5", "--loss", "0.2"])
        defer { simulation.signal(SIGKILL) }
        try eventually("200 seeds", within: 600) { simulation.exitCode != nil }
        print("seeds: \(simulation.lines.last ?? "")")
        let broken = simulation.lines.filter { !$0.hasSuffix("all promises held") }
        #expect(simulation.exitCode == 0, "\(broken.prefix(20))")
        #expect(simulation.lines.count >= 200)
    }

    @Test func theSameSeedGivesTheSameTraceInTwoProcesses() throws {
        let traces = try (0..<2).map { _ in
            let simulation = try Program(Program.path(of: "sessionmesh"), ["simulate", "--seed", "42", "--json"])
            try eventually("the simulation ends", within: 120) { simulation.exitCode != nil }
            return simulation.lines
        }
        #expect(traces[0] == traces[1])
        #expect(traces[0].contains { $0.contains("trace") })
    }

    @Test func theSameSeedGivesTheSameTraceOfMembersInTwoProcesses() throws {
        let traces = try (0..<2).map { _ in
            let simulation = try Program(
                Program.path(of: "sessionmesh"), ["simulate", "--membership", "--seed", "42", "--nodes", "20", "--json"])
            try eventually("the simulation ends", within: 120) { simulation.exitCode != nil }
            // The time it took is the process's own.
            let words = simulation.lines.joined().split(separator: ",")
            return words.filter { !$0.hasPrefix("\"wallMilliseconds\"") }
        }
        #expect(traces[0] == traces[1])
        #expect(traces[0].contains { $0.contains("trace") })
    }
}
