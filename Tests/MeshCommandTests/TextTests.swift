import ArgumentParser
import Foundation
import MeshAgent
import MeshCore
import Testing

@testable import MeshCommand
@testable import MeshSimulator

@Suite struct TextTests {
    @Test func columnsAreAsWideAsTheirWidestWord() {
        var table = TextTable("NODE", "PID")
        table.add("n1", "12345")
        table.add("a-long-name", "1")
        #expect(table.text == "NODE         PID\nn1           12345\na-long-name  1\n")
    }

    @Test func nothingMovesTheCursor() {
        var table = TextTable("TAG")
        table.add("a\u{1B}[2Jb\n")
        #expect(table.text == "TAG\na?[2Jb?\n")
    }

    @Test func membersAndInstancesAreTables() throws {
        let id = MemberID(name: try NodeName("n1"), life: Life(rawValue: 1))
        let view = MeshView(
            members: [Member(id: id, stage: .serving, endpoint: .loopback(port: 7946), tags: ["zone": "a"])],
            instances: [Instance(node: id, number: 1, service: "shop", address: "127.0.0.1:3000")])
        #expect(
            MembersCommand.text(of: view) == """
                MEMBER  STATUS  STAGE    ROLE  ADDRESS         WEIGHT  TAGS
                n1      alive   serving  node  127.0.0.1:7946  1       zone=a

                NODE  SERVICE  ADDRESS         WEIGHT  COOKIE
                n1    shop     127.0.0.1:3000  1       sid

                """)
    }

    @Test func theDegradedAreMarked() throws {
        var member = Member(id: MemberID(name: try NodeName("n1"), life: Life(rawValue: 1)), endpoint: .loopback(port: 7946))
        member.isDegraded = true
        #expect(MembersCommand.text(of: MeshView(members: [member])).contains("n1      alive (degraded)  syncing"))
    }

    @Test func whatIsRememberedOfASuspicionIsTold() throws {
        let json = """
            {"member":{"status":"alive","degraded":true,"address":"127.0.0.1:7","life":"1"},"verdicts":[{"life":"1","at":1000,
            "outcome":"refuted","reason":"answer","decidedBy":"n2","suspectedBy":"n1","confirmedBy":["n3"],"vetoedBy":["n4"],
            "tookMilliseconds":250,"needed":2,"testimonies":[{"witness":"n1","finding":"silent","pings":1,"heardMillisecondsAgo":900,
            "roundTripMicroseconds":1250},{"witness":"n4","finding":"alive","pings":2}]}]}
            """
        let story = try AdminClient.decode(MemberStory.self, from: Data(json.utf8))
        #expect(
            story.text(of: try NodeName("n2")) == """
                n2 is alive and degraded, life 1 at 127.0.0.1:7

                1970-01-01T00:00:01.000Z  refuted after 250 ms, it answered for itself; decided by n2
                  suspected by n1, confirmed by n3, denied by n4; words needed: 2
                  WITNESS  FINDING  PINGS  LAST HEARD     ROUND TRIP
                  n1       silent   1      900 ms before  1.25 ms
                  n4       alive    2      never          unknown

                """)
    }

    @Test func aSecondSecretUnderOneNumberShows() throws {
        let json = """
            {"summary":"gossip key 2 is accepted by 1 of 3 members","wanted":{"number":2},"members":[
            {"name":"n1","acceptsWanted":true,"accepts":[{"number":2},{"number":1}],"uses":{"number":1}},
            {"name":"n2","acceptsWanted":false,"accepts":[{"number":1}],"uses":{"number":1}},
            {"name":"n3","acceptsWanted":false,"accepts":[{"number":1},{"number":2}],"uses":{"number":2}}]}
            """
        #expect(
            try AdminClient.decode(KeysCommand.Report.self, from: Data(json.utf8)).text == """
                MEMBER  ACCEPTS  USES
                n1      2 1      1
                n2      1        1     lacks 2
                n3      1 2      2     another secret under 2
                gossip key 2 is accepted by 1 of 3 members

                """)
    }

    @Test func bothRingsAreShown() throws {
        let json = """
            {"summary":"gossip key 1 is used; cookie key 2 is accepted by 1 of 2 members","wanted":{"number":1},"cookies":{"wanted":{"number":2}},
            "members":[{"name":"n1","acceptsWanted":true,"accepts":[{"number":1}],"uses":{"number":1},
            "cookies":{"acceptsWanted":true,"accepts":[{"number":2},{"number":1}],"uses":{"number":1}}},
            {"name":"n2","acceptsWanted":true,"accepts":[{"number":1}],"uses":{"number":1},
            "cookies":{"acceptsWanted":false,"accepts":[{"number":1}],"uses":{"number":1}}}]}
            """
        #expect(
            try AdminClient.decode(KeysCommand.Report.self, from: Data(json.utf8)).text == """
                MEMBER  ACCEPTS  USES
                n1      1        1
                n2      1        1

                MEMBER  ACCEPTS  SIGNS WITH
                n1      2 1      1
                n2      1        1           lacks 2
                gossip key 1 is used
                cookie key 2 is accepted by 1 of 2 members

                """)
    }

    @Test(arguments: [("90", Duration.seconds(90)), ("1500ms", .milliseconds(1500)), ("30m", .seconds(1800)), ("12h", .seconds(43200))])
    func aTimeHasAUnit(text: String, duration: Duration) throws {
        #expect(try Values.duration(text) == duration)
    }

    @Test func aKeyOrCookieMayBeginWithADash() throws {
        let key = "-" + String(repeating: "A", count: 42)
        let get = try SessionMeshCommand.parseAsRoot(["session", "get", "--key", key, "--json"]) as? SessionGetCommand
        #expect(get?.choice.key?.description == key)
        #expect(get?.client.json == true)
        let explain = try SessionMeshCommand.parseAsRoot(["explain", "--cookie", "-a.1.b"]) as? ExplainCommand
        #expect(explain?.cookie == "-a.1.b")
    }

    @Test func aCookieIsExplainedWithoutWhatItsSessionHolds() throws {
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        let (n1, n2) = (try NodeName("n1"), try NodeName("n2"))
        var cookie = ExplainedCookie(keyNumber: 3, key: key)
        cookie.session = SessionSnapshot(
            key: key, createdAt: 0, accessedAt: 0, idleSeconds: 1800, expiresAt: 1_767_227_550_000, user: "ann",
            fields: [.init(name: "card", value: .bytes(Array("4711".utf8)))], primary: n2, backup: n1)
        var found = ExplainCommand.Findings(
            cookie: cookie, placement: PlacementAnswer(slot: key.slot, term: 7, ranking: [n2, n1]))
        #expect(
            found.text == """
                the cookie opens a session; key 3 signed it
                session \(key): owner n2, 2 copies (the second at n1), expires at 2026-01-01T00:32:30Z
                slot 16, term 7
                RANK  NODE  PART
                0     n2    primary
                1     n1    backup

                """)
        #expect(
            JSON(found).line
                == #"{"cookie":{"verdict":"opens","key":3},"key":"\#(key)","owner":"n2","backup":"n1","copies":2,"expiresAt":1767227550000,"#
                + #""slot":16,"term":7,"ranking":["n2","n1"]}"#)
        found = ExplainCommand.Findings(cookie: ExplainedCookie(absence: .ended, keyNumber: 3, key: key))
        #expect(
            found.text == "the cookie opens no session (ended): key 3 signed it, and there is no such session any more\nsession \(key)\n")
        found = ExplainCommand.Findings(cookie: ExplainedCookie(absence: .unknownKey, keyNumber: 9))
        #expect(found.text == "the cookie opens no session (unknownKey): the agent's key file has no cookie key 9\n")
        #expect(JSON(found).line == #"{"cookie":{"verdict":"unknownKey","key":9}}"#)
    }

    @Test(arguments: ["", "m", "-1s", "1d", "1.5s", "99999999999999999999", "1 s"])
    func whatIsNoTimeIsRefused(text: String) {
        #expect(throws: (any Error).self) { try Values.duration(text) }
    }

    @Test func aUsageLineNamesTheVariableThatWasWrong() {
        let completed = Variables.Completed(
            command: ["agent"], arguments: [], variables: ["--weight": "SESSIONMESH_WEIGHT", "--name": "SESSIONMESH_NAME"])
        let line = UsageLine("The value 'x' is invalid for '--weight <weight>'", completed).description
        #expect(
            line == "The value 'x' is invalid for '--weight <weight>'; --weight was set by SESSIONMESH_WEIGHT "
                + "(sessionmesh agent --help says more)")
    }

    @Test func aBrokenPromiseComesWithTheSmallerPlanThatRepeatsIt() throws {
        let parsed = try SessionMeshCommand.parseAsRoot([
            "simulate", "--nodes", "3", "--plan", "1:crash@7:n3:2,0.5:pause:n1:1+1:clock:n2:4",
        ])
        let trial = try #require(parsed as? SimulateCommand).sessionTrial()
        var report = SessionOrdeal.Report(
            seed: 9, configuration: trial.configuration, plan: try #require(trial.plan), traceHash: 0xAB, virtualTime: .milliseconds(1500),
            operations: 3, repeated: 1, violations: [])
        #expect(trial.text(of: .init(report: report)).hasSuffix("all promises held\n"))
        report.violations = [Counterexample(.survives, "a star fell")]
        var smaller = report
        smaller.plan.rounds.removeFirst()
        smaller.configuration.workload.expires = false
        #expect(
            trial.text(of: .init(report: report, shrunk: .init(report: smaller, runs: 7))) == """
                seed 9  trace 00000000000000ab  1.5 s simulated  3 operations, 1 repeated  1:crash@7:n3:2,0.5:pause:n1:1+1:clock:n2:4  BROKEN
                  survives: a star fell
                  again: sessionmesh simulate --seed 9 --nodes 3 --loss 0.2 --browsers 6 --clients 3 \
                --plan '1:crash@7:n3:2,0.5:pause:n1:1+1:clock:n2:4'
                  made smaller in 7 runs:
                    survives: a star fell
                    again: sessionmesh simulate --seed 9 --nodes 3 --loss 0.2 --browsers 6 --clients 3 --no-expiring \
                --plan '0.5:pause:n1:1+1:clock:n2:4'

                """)
    }

    @Test(arguments: [
        ["--plan", "1:fall:n1:2"], ["--plan", "1:crash:n6:2"], ["--nodes", "1"], ["--nodes", "65"], ["--faults", "rain"], ["--faults", ""],
        ["--browsers", "0"], ["--clients", "101"], ["--seeds", "2...1"],
    ])
    func whatNoMeshCanBePutThroughIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try SessionMeshCommand.parseAsRoot(["simulate"] + arguments) }
    }

    @Test func aMembershipsBrokenPromiseComesWithTheSmallerPlanThatRepeatsIt() throws {
        let parsed = try SessionMeshCommand.parseAsRoot([
            "simulate", "--membership", "--nodes", "12", "--seconds", "50", "--plan", "5:cut:n1:n2:8,9.5:crash:n3:2",
        ])
        let trial = try #require(parsed as? SimulateCommand).membershipTrial()
        var report = MembershipOrdeal.Report(
            seed: 9, configuration: trial.configuration, plan: try #require(trial.plan), traceHash: 0xAB, virtualTime: .milliseconds(1500),
            traffic: .init(), violations: [])
        #expect(trial.text(of: .init(report: report, wallTime: .zero)).hasSuffix("all promises held\n"))
        report.violations = [Violation(promise: .planted, at: .seconds(1), text: "a star fell")]
        var smaller = report
        smaller.plan.faults.removeFirst()
        smaller.configuration.nodes = 3
        smaller.configuration.length = .zero
        let outcome = MembershipTrial.Outcome(report: report, wallTime: .zero, shrunk: .init(report: smaller, runs: 7))
        let lines = trial.text(of: outcome).split(separator: "\n").map { $0.drop { $0 == " " } }
        #expect(
            lines.last == """
                again: sessionmesh simulate --membership --seed 9 --nodes 3 --balancers 1 --seconds 1 --loss 0.05 \
                --duplication 0.02 --reordering 0.05 --plan '9.5:crash:n3:2'
                """)
        #expect(lines.contains("made smaller in 7 runs:"))
        #expect(lines.contains("planted at 1.0 s: a star fell"))
    }

    @Test(arguments: [
        ["--plan", "5:fall:n1:2"], ["--plan", "5:crash:n11:2"], ["--nodes", "0"], ["--nodes", "2001"], ["--seconds", "0"],
        ["--balancers", "10"], ["--faults", "rain"], ["--faults", ""], ["--duplication", "1"], ["--seeds", "2...1"],
    ])
    func whatNoMembershipCanBePutThroughIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try SessionMeshCommand.parseAsRoot(["simulate", "--membership"] + arguments) }
    }

    @Test(arguments: ["--balancers", "--seconds", "--duplication", "--reordering"])
    func whatIsForMembersOnlyIsRefusedWithoutThem(flag: String) {
        #expect(throws: (any Error).self) { try SessionMeshCommand.parseAsRoot(["simulate", flag, "1"]) }
    }

    @Test(arguments: [["--pairs"], ["--browsers", "2"], ["--clients", "2"], ["--no-expiring"]])
    func whatIsForSessionsOnlyIsRefusedWithMembers(arguments: [String]) {
        #expect(throws: (any Error).self) { try SessionMeshCommand.parseAsRoot(["simulate", "--membership"] + arguments) }
    }

    @Test func outcomesComeInTheOrderOfTheirSeeds() {
        var configuration = SessionOrdeal.Configuration()
        configuration.nodes = 2
        configuration.rounds = 0
        configuration.workload.browsers = 1
        var seeds: [UInt64] = []
        Trials(seeds: 3...6, of: SessionTrial(configuration: configuration)).run { seeds.append($0.report.seed) }
        #expect(seeds == [3, 4, 5, 6])
    }
}
