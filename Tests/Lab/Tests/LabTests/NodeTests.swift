import LabControl
import Testing

/// Processes that end, stand still and come back.
@Suite(.serialized) struct NodeTests {
    @Test func aKilledNodeTakesNoSessionWithIt() throws {
        let lab = try Lab.whole()
        let (n1, others) = (lab.nodes[0], Array(lab.nodes[1...]))
        try play("a node is killed", lab, allowing: .badGateway, .tryAgain, left: others) {
            try lab.kill(n1)
        } return: {
            try lab.start(n1)
        }
    }

    @Test func aKilledAgentAloneTakesNoSessionWithIt() throws {
        let lab = try Lab.whole()
        let (n2, others) = (lab.nodes[1], [lab.nodes[0], lab.nodes[2]])
        try play("an agent alone is killed", lab, allowing: .tryAgain, left: others) {
            try lab.engine.kill(n2.agent)
        } return: {
            try lab.engine.start(n2.agent)
        }
    }

    @Test func anAgentThatDiesIsStartedAgainByTheEngine() throws {
        let lab = try Lab.whole()
        let agent = lab.nodes[2].agent
        let before = try lab.engine.details(agent).state.startedAt
        try play("an agent dies by itself", lab, allowing: .tryAgain) {
            try lab.engine.killProcess(of: agent)
            try eventually("the engine starts \(agent)", within: .seconds(30)) { try lab.engine.details(agent).state.startedAt != before }
        }
    }

    @Test func aKilledApplicationIsLeftOut() throws {
        let lab = try Lab.whole()
        let application = lab.nodes[0].application
        try play("an application alone is killed", lab, allowing: .badGateway) {
            try lab.engine.kill(application)
            try eventually("the balancer leaves it out", within: .seconds(30)) { try lab.figure("balancer_targets", of: "balancer") == 2 }
            try lab.engine.start(application)
        }
    }

    @Test func aNodeThatStandsStillShowsNothingOldWhenItWakes() throws {
        let lab = try Lab.whole()
        let (n3, others) = (lab.nodes[2], Array(lab.nodes[..<2]))
        try play("a node stands still", lab, allowing: .gatewayTimeout, .tryAgain, left: others) {
            try lab.pause(n3)
        } return: {
            try lab.unpause(n3)
        }
    }

    @Test func nodesThatAreStoppedOneByOneFailNoRequest() throws {
        let lab = try Lab.whole()
        for node in lab.nodes {
            try play("\(node.name) is stopped", lab, left: lab.nodes.filter { $0 != node }) {
                try lab.stop(node)
            } return: {
                try lab.start(node)
            }
        }
    }

    @Test func theLastOfThreeNodesHasEverySession() throws {
        let lab = try Lab.whole()
        let (n1, n2, n3) = (lab.nodes[0], lab.nodes[1], lab.nodes[2])
        // With most of the mesh gone the balancer may itself be the one that is cut off, so it goes on asking the dead until they are back.
        try play("two nodes are killed, one after the other", lab, allowing: .badGateway, .tryAgain, later: [.tryAgain], left: [n3]) {
            try lab.kill(n1)
            try lab.untilWhole([n2, n3])
            try lab.kill(n2)
        } return: {
            try lab.start(n1, n2)
        }
    }

    @Test func aBalancerThatIsStartedAgainFindsEverySession() throws {
        let lab = try Lab.whole()
        try play("the balancer is killed", lab, allowing: .reconnect, .tryAgain) {
            try lab.engine.kill("balancer")
            try lab.engine.start("balancer")
        }
    }
}
