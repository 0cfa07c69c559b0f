import LabControl
import Testing

/// The store behind the agents, and what it is for.
@Suite(.serialized) struct StoreTests {
    @Test func sessionsOutliveAllNodes() throws {
        let lab = try Lab.whole()
        let visitors = try counted(lab)
        try killAndStartAllNodes(lab)
        expectEverything(of: visitors, "every node is killed at one moment")
    }

    @Test func aStoreThatIsGoneForAWhileMissesNothing() throws {
        let lab = try Lab.whole()
        let store = try #require(lab.store)
        let visitors = Visitors(12, at: lab.front)
        let outcome = Result {
            try visitors.untilServed(within: .seconds(30))
            try lab.engine.kill(store.service)
            try eventually("the agents miss the store", within: .seconds(30)) {
                try lab.nodes.allSatisfy { try lab.health(of: $0).mirror == "lost" }
            }
            try visitors.untilServed(20, within: .seconds(30))
            try lab.engine.start(store.service)
            try lab.untilWhole()
        }
        let report = visitors.end()
        print("the store is gone for a while: \(report.summary)")
        try outcome.get()
        #expect(report.lost.isEmpty)
        #expect(report.failures.isEmpty)
        try untilWritten(lab)
        try killAndStartAllNodes(lab)
        expectEverything(of: visitors, "and then every node is killed")
    }

    @Test func aStoreThatIsFlushedIsFilledAgain() throws {
        let lab = try Lab.whole()
        let store = try #require(lab.store)
        let visitors = try counted(lab)
        let owned = try lab.nodes.map { try lab.ownedSessions(of: $0) }
        let merged = try lab.nodes.map { try lab.figure("mirror_merged_total", of: $0.agent) }
        #expect(owned.reduce(0, +) >= 12)
        try store.flush()
        // By themselves: nobody visits.
        try eventually("the agents write all of their sessions anew", within: .seconds(30)) {
            try lab.nodes.indices.allSatisfy { index in
                try lab.figure("mirror_merged_total", of: lab.nodes[index].agent) >= merged[index] + Double(owned[index])
            }
        }
        try untilWritten(lab)
        try killAndStartAllNodes(lab)
        expectEverything(of: visitors, "the store is flushed, and then every node is killed")
    }

    // MARK: What they share

    /// Visitors who have counted, whose sessions the store has.
    private func counted(_ lab: Lab) throws -> Visitors {
        let visitors = Visitors(12, at: lab.front)
        let outcome = Result { try visitors.untilServed(10, within: .seconds(30)) }
        let report = visitors.end()
        try outcome.get()
        #expect(report.lost.isEmpty && report.failures.isEmpty)
        try untilWritten(lab)
        return visitors
    }

    private func untilWritten(_ lab: Lab) throws {
        try eventually("the store has every change", within: .seconds(30)) {
            try lab.nodes.allSatisfy { node in
                let health = try lab.health(of: node)
                return health.mirror == "connected" && health.mirrorDirty == 0
            }
        }
    }

    private func killAndStartAllNodes(_ lab: Lab) throws {
        try lab.kill(lab.nodes[0], lab.nodes[1], lab.nodes[2])
        try lab.start(lab.nodes[0], lab.nodes[1], lab.nodes[2])
        try lab.untilWhole()
    }

    private func expectEverything(of visitors: Visitors, _ title: String) {
        let report = visitors.comeBack()
        print("\(title): \(report.summary)")
        #expect(report.lost.isEmpty)
        // Who is told to try again, and is told so for ever, has lost the session too.
        #expect(report.unserved == 0, "sessions that never came back")
        #expect(report.failures.filter { !$0.isCovered(by: [.tryAgain]) }.isEmpty)
    }
}
