import Foundation
import Glibc
import Testing

/// The promise, on real processes.
@Suite(.serialized) struct FailoverTests {
    // Ancestors' scenario 26.
    @Test func aVisitorCountsOnWhileEachNodeInTurnIsKilled() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()
        var browser = Browser(mesh.address)
        let login = try browser.post("/login", "user=ann")
        #expect([200, 303].contains(login.status), "\(login.status) \(login.body)")
        for expected in 1...5 { #expect(try Count(browser.post("/counter")).count == expected) }

        var count = 5
        let first = try #require(try Whoami(browser.get("/whoami")).primary)
        for victim in [first] + mesh.nodes.map(\.name).filter({ $0 != first }) {
            try mesh.waitUntilWhole()
            try mesh.kill(victim)
            let killedAt = ContinuousClock.now
            let next = try answerAfterKill(&browser)
            count += 1
            print("killed \(victim): counted on after \(ContinuousClock.now - killedAt), in \(next.tries) tries")
            #expect(next.count == count)
            #expect(next.user == "ann")
        }
        // Nobody lost a count, nobody counted twice, wherever one asks.
        try mesh.waitUntilWhole()
        for _ in 1...5 {
            count += 1
            #expect(try Count(browser.post("/counter")).count == count)
        }
    }

    /// Counts once more. A 502 or 503 says that it was not done, or may be asked again; both are, for ten seconds.
    private func answerAfterKill(_ browser: inout Browser) throws -> (count: Int, user: String, tries: Int) {
        let end = ContinuousClock.now + .seconds(10)
        var tries = 0
        while true {
            tries += 1
            let answer = try browser.post("/counter")
            if answer.status == 200 {
                let count = try Count(answer)
                return (count.count, count.user, tries)
            }
            print("  answered \(answer.status) \(answer.field("proxy-status") ?? "") \(answer.body.prefix(200))")
            guard ContinuousClock.now < end else {
                throw Program.Failure(description: "no answer within 10 s: \(answer.status) \(answer.body)")
            }
            usleep(50_000)
        }
    }

    @Test func theButtonKillsTheNodeThatServesAndItComesBackUnderItsName() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()
        var browser = Browser(mesh.address)
        let before = try Count(browser.post("/counter"))
        let page = try browser.get("/").body
        let token = try #require(page.firstMatch(of: /name="csrf" content="([A-Za-z0-9_-]+)"/)?.1)
        let victim = try mesh.node(before.node)
        #expect(try browser.post("/kill", fields: [("X-CSRF-Token", "guess")]).status == 403)
        // On a busy machine it may die before its answer has left.
        #expect([202, 502].contains(try browser.post("/kill", fields: [("X-CSRF-Token", String(token))]).status))
        try eventually("\(victim.name) was started again") { try mesh.node(victim.name).agent_pid != victim.agent_pid }
        try mesh.waitUntilWhole()
        #expect(try Count(browser.post("/counter")).count == before.count + 1)
    }

    @Test func theDemoLeavesNobodyBehind() throws {
        let mesh = try DemoMesh()
        let children = mesh.nodes.flatMap { [$0.agent_pid, $0.app_pid] } + [mesh.balancer.pid]
        #expect(children.allSatisfy { Glibc.kill($0, 0) == 0 })
        try mesh.stop()
        #expect(children.allSatisfy { Glibc.kill($0, 0) != 0 })
    }

    @Test func childrenDieWithADemoThatIsKilled() throws {
        let mesh = try DemoMesh()
        let children = mesh.nodes.flatMap { [$0.agent_pid, $0.app_pid] } + [mesh.balancer.pid]
        mesh.program.signal(SIGKILL)
        try eventually("the children are gone") { children.allSatisfy { Glibc.kill($0, 0) != 0 } }
    }
}
