import MeshCore
import MeshSimulator
import Testing

@Suite struct SessionOrdealTests {
    private static func settings(_ faults: Set<SessionPlan.Fault.Kind>, nodes: Int = 3, rounds: Int = 1) -> SessionOrdeal.Configuration {
        var settings = SessionOrdeal.Configuration()
        settings.nodes = nodes
        settings.rounds = rounds
        settings.faults = faults
        settings.workload.browsers = 3
        return settings
    }

    @Test func theSameSeedGivesTheSameTrace() {
        let settings = Self.settings([.crash])
        var (one, two) = (SessionOrdeal(seed: 77, configuration: settings), SessionOrdeal(seed: 77, configuration: settings))
        let (first, second) = (one.run(), two.run())
        #expect(first.traceHash == second.traceHash)
        #expect(one.workload.history.operations == two.workload.history.operations)
        var other = SessionOrdeal(seed: 78, configuration: settings)
        #expect(other.run().traceHash != first.traceHash)
    }

    @Test(arguments: [SessionPlan.Fault.Kind.crash, .pause, .leave, .rolling, .clock])
    func aSeedOfOneFaultBreaksNoPromise(kind: SessionPlan.Fault.Kind) {
        var ordeal = SessionOrdeal(seed: 5, configuration: Self.settings([kind]))
        let report = ordeal.run()
        #expect(report.violations.isEmpty, "\(report.violations) with \(report.plan)")
        // It saw something of everything.
        let actions = Set(ordeal.workload.history.operations.map { "\($0.action)".prefix { $0.isLetter } })
        #expect(actions.isSuperset(of: ["create", "write", "increment", "read"]), "\(actions)")
        #expect(report.operations > 100)
    }

    /// Of two links to a node that began a new life it closed the one that its peer was using, and with it went the answer it waited for.
    @Test func anAnswerOverALinkThatTheOtherClosedIsAskedForAgain() throws {
        let plan = try #require(
            SessionPlan(
                "1.123:leave:n4:5.256+0.846:clock:n5:3.47,0.205:pause:n2:4.322+1.616:leave:n1:4.836,1.203:pause:n2:3.676+1.535:pause:n5:1.712"
            )
        )
        var ordeal = SessionOrdeal(seed: 2, plan: plan)
        let report = ordeal.run()
        #expect(report.violations.isEmpty, "\(report.violations)")
    }

    /// A planted bug: nobody may ever be cut off.
    @Test func aFailingPlanShrinksToTheLeastThatStillFails() throws {
        let promise: SessionOrdeal.Promise = { history, _ in history.interruptions.isEmpty ? nil : "somebody was cut off" }
        let plan = try #require(SessionPlan("0.5:crash:n3:1.5,0.5:cut:n3:n2:0.3+0.6:clock:n2:1"))
        var ordeal = SessionOrdeal(seed: 3, configuration: Self.settings([]), plan: plan, promise: promise)
        let report = ordeal.run()
        try #require(report.violations.map(\.promise) == [.planted], "\(report.violations)")
        let shrunk = SessionOrdeal.shrink(report, promise: promise)
        #expect(shrunk.report.violations.first?.promise == .planted)
        let left = try #require(shrunk.report.plan.rounds.first?.first)
        #expect(left.kind == .cut && left.length < 300)
        #expect(shrunk.report.plan.rounds.map(\.count) == [1])
        #expect(shrunk.report.configuration.nodes == 2)
        #expect(shrunk.report.configuration.loss == 0)
        // What is printed repeats it.
        let again = try #require(SessionPlan(shrunk.report.plan.description))
        var repeated = SessionOrdeal(seed: 3, configuration: shrunk.report.configuration, plan: again, promise: promise)
        #expect(repeated.run().traceHash == shrunk.report.traceHash)
    }

    // MARK: Plans

    @Test(arguments: [
        "0.5:crash@17:n3:2,1:cut:n1:n2:8+2:pause:n4:1", "0:crash:n5:0", "2.05:pause:n1:0.125", "", "1:rolling:n2:0.5",
        "1:leave:n1:4,1:clock:n2:6,1:split:n2:8,1:sever:n1:7200",
    ])
    func aPlanIsReadAsItIsWritten(text: String) {
        #expect(SessionPlan(text)?.description == text)
    }

    @Test(arguments: [
        "crash", "1:crash", "1:crash:n1", "1:crash:3:2", "1:cut:n1:n1:2", "1:cut:n1:2", "x:crash:n1:2", "1:fall:n1:2", "1:pause@3:n1:2",
        "1:crash@:n1:2", "1:crash@-1:n1:2", "1:crash@1@2:n1:2", "1:crash:n0:2", "1:crash:n1:2+", "1:rolling:n1:2+1:pause:n2:2",
    ])
    func whatIsNoPlanIsRefused(text: String) {
        #expect(SessionPlan(text) == nil)
    }
}
