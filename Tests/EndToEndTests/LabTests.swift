import Foundation
import Testing

/// Real agents, harmed while clients use sessions, and the checks that judge simulated ones too.
@Suite(.serialized) struct LabTests {
    private func run(_ plan: String, agents: Int) throws -> (code: Int32?, report: String) {
        let lab = try Program(Program.path(of: "session-lab"), ["--agents", "\(agents)", "--plan", plan, "--seed", "4", "--json"])
        // Whoever ends early takes the agents along: the lab stops what it started.
        defer { lab.signal(SIGTERM) }
        try eventually("the lab ends", within: 400) { lab.exitCode != nil }
        return (lab.exitCode, lab.lines.joined(separator: "\n"))
    }

    @Test func noPromiseBreaksWhileRealAgentsAreKilledAndStopped() throws {
        let (code, report) = try run(
            "0.5:crash@20:n2:2,0.3:pause:n3:2,0.5:crash:n1:2,0.4:crash@200:n4:1,0.3:pause:n1:0.3,0.5:crash@120:n3:3", agents: 4)
        #expect(code == 0, "\(report)")
        #expect(report.contains(#""crash":4"#) && report.contains(#""pause":2"#))
        #expect(report.contains(#""lost":0,"#))
        #expect(report.contains(/"copies":[1-9]/), "copies were compared")
        print("lab: \(report)")
    }

    @Test func aLabFindsOutThatEveryCopyIsGone() throws {
        let (code, report) = try run("1:crash:n1:2+1:crash:n2:2+1:crash:n3:2", agents: 3)
        #expect(code == 1)
        #expect(!report.contains(#""brokenCount":0,"#), "\(report)")
    }
}
