import Foundation
import Testing

/// The simulator as an operator runs it.
@Suite(.serialized) struct SimulationTests {
    @Test(arguments: [("1...200", []), ("1...50", ["--faults", "cut"]), ("1...50", ["--faults", "split"])])
    func allSeedsKeepEveryPromise(seeds: String, faults: [String]) throws {
        let simulation = try Program(
            Program.path(of: "sessionmesh"), ["simulate", "--seeds", seeds, "--nodes", "5", "--loss", "0.2"] + faults)
        defer { simulation.signal(SIGKILL) }
        try eventually("\(seeds) of \(faults)", within: 600) { simulation.exitCode != nil }
        print("seeds: \(simulation.lines.last ?? "")")
        let broken = simulation.lines.filter { !$0.hasSuffix("all promises held") }
        #expect(simulation.exitCode == 0, "\(broken.prefix(20))")
        #expect(simulation.lines.count >= (faults.isEmpty ? 200 : 50))
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
