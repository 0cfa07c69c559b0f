import LabControl
import Testing

/// Packets that don't arrive. The processes know nothing of it.
@Suite(.serialized) struct NetworkTests {
    @Test func aNodeThatIsCutOffTakesNoSessionWithIt() throws {
        try cut(0, Lab.Direction.allCases, "a node is cut off")
    }

    @Test func aNodeThatHearsNobodyTakesNoSessionWithIt() throws {
        try cut(1, [.hearing], "a node hears nobody")
    }

    @Test func aNodeThatNobodyHearsTakesNoSessionWithIt() throws {
        try cut(2, [.speaking], "a node is heard by nobody")
    }

    private func cut(_ index: Int, _ directions: [Lab.Direction], _ title: String) throws {
        let lab = try Lab.whole()
        let node = lab.nodes[index]
        try play(title, lab, allowing: .gatewayTimeout, .tryAgain, left: lab.nodes.filter { $0 != node }) {
            try lab.drop(directions, of: node)
        } return: {
            try lab.restoreNetwork(of: node)
        }
    }

    @Test func oneLostPacketInFiveIsNotNoticed() throws {
        let lab = try Lab.whole()
        let visitors = Visitors(12, at: lab.front)
        var dropped: [Int] = []
        let outcome = Result {
            try visitors.untilServed(within: .seconds(30))
            for node in lab.nodes { try lab.drop([.hearing], of: node, share: 0.2) }
            try visitors.untilServed(20, within: .seconds(60))
            dropped = try lab.nodes.map { try lab.droppedPackets(of: $0) }
            for node in lab.nodes { try lab.restoreNetwork(of: node) }
            try lab.untilWhole()
        }
        let report = visitors.end()
        print("one packet in five is lost, \(dropped.map(String.init).joined(separator: " + ")): \(report.summary)")
        try outcome.get()
        #expect(dropped.allSatisfy { $0 > 0 }, "a node lost no packet: \(dropped)")
        #expect(report.lost.isEmpty)
        #expect(report.failures.isEmpty)
    }
}
