import Testing

@testable import MeshAgent
@testable import MeshCore

@Suite(.timeLimit(.minutes(1))) struct AdminTests {
    // Ancestors' scenario 14.
    @Test func everyRouteAnswers() async throws {
        try await withAdmin { agent, address in
            let pages = [
                ("/healthz", "HTTP/1.1 200 OK\r\n"),
                ("/healthz", #"{"status":"ok","stage":"serving","mirror":"none""#),
                ("/readyz", "HTTP/1.1 200 OK\r\n"),
                ("/metrics", "\nsessionmesh_under_replicated_slots 3\n"),
                ("/", "<title>SessionMesh</title>"),
                ("/v1/members", #""members":[{"name":"n1","life":"1","incarnation":0,"status":"alive""#),
                ("/v1/placement/7", #"{"slot":7,"term":4,"ranking":["n1","n2"]}"#),
                ("/nothing", "HTTP/1.1 404 Not Found\r\n"),
                ("/v1/drain", "HTTP/1.1 405 Method Not Allowed\r\n"),
            ]
            for (path, part) in pages {
                let answer = try await get(path, at: address)
                #expect(answer.contains(part), "\(path)")
            }
        }
    }

    @Test func aSessionShowsWhatIsAboutItAndNeverWhatIsInIt() async throws {
        try await withAdmin { agent, address in
            let key = try #require(SessionKey(bytes: Array(repeating: 3, count: 32)))
            let answer = try await get("/v1/sessions/\(key)", at: address)
            #expect(answer.contains(#""key":"\#(key)""#))
            #expect(answer.contains(#""hasUser":true,"primary":"n1","backup":"n2","fields":1,"bytes":12"#))
            for secret in ["secret", "card", "ann"] { #expect(!answer.contains(secret)) }
            let other = try #require(SessionKey(bytes: Array(repeating: 4, count: 32)))
            let absent = try await get("/v1/sessions/\(other)", at: address)
            #expect(absent.contains("404 Not Found"))
            let malformed = try await get("/v1/sessions/short", at: address)
            #expect(malformed.contains("400 Bad Request"))
        }
    }

    @Test func aSessionThatEndedIsToldFromOneThatNeverWas() async throws {
        try await withAdmin { agent, address in
            let key = try #require(SessionKey(bytes: Array(repeating: 5, count: 32)))
            let gone = try await get("/v1/sessions/\(key)", at: address)
            #expect(gone.hasPrefix("HTTP/1.1 410 Gone\r\n"), "\(gone)")
            #expect(gone.contains(#"{"key":"\#(key)","slot":80,"ended":true,"how":"moved","endedAt":77}"#))
        }
    }

    @Test func slotsAreShownWithWhatTwoHoldersCanCompare() async throws {
        try await withAdmin { agent, address in
            let answer = try await get("/v1/slots", at: address)
            #expect(
                answer.contains(
                    #"{"slots":[{"slot":7,"part":"owner","term":3,"owner":"n1","sessions":2,"digest":"abc"},"#
                        + #"{"slot":9,"part":"none","term":1,"owner":null,"sessions":1,"digest":null}]}"#), "\(answer)")
        }
    }

    @Test func whatApplicationsAskAndWhatBecameOfItIsCounted() {
        var status = ScriptedCore.quiet
        status.counters.opens = 7
        status.counters.commitsInConflict = 2
        status.counters.unavailableInDoubt = 3
        status.counters.expired = 4
        status.counters.cookiesOfBadSignature = 5
        status.counters.commitWaits.record(.microseconds(100))
        let figures = AgentFigures(status: status, view: MeshView(), troubles: [], links: 0, clients: 0)
        let lines = AdminAnswer.metrics(figures).body.split(separator: "\n").map(String.init)
        let wanted = [
            #"sessionmesh_session_reads_total{by="cookie"} 7"#,
            #"sessionmesh_session_commits_total{outcome="conflict"} 2"#,
            #"sessionmesh_session_unavailable_total{reason="doubt"} 3"#,
            #"sessionmesh_session_events_total{event="expired"} 4"#,
            #"sessionmesh_cookies_refused_total{reason="badSignature"} 5"#,
            #"sessionmesh_commit_wait_seconds_bucket{le="0.000125"} 1"#,
            "sessionmesh_commit_wait_seconds_sum 0.0001",
        ]
        for line in wanted { #expect(lines.contains(line), "\(line)") }
    }

    @Test func aMemberIsShownWithHowItsSuspicionsEnded() async throws {
        try await withAdmin { agent, address in
            let living = try await get("/v1/members/n1", at: address)
            #expect(living.contains(#"{"member":{"name":"n1","life":"1""#) && living.contains(#""verdicts":[]}"#), "\(living)")
            let dead = try await get("/v1/members/n3", at: address)
            let words = [
                #"{"verdicts":[{"life":"9","incarnation":2,"outcome":"dead","at":1000,"reason":"silent","decidedBy":"n1""#,
                #""suspectedBy":"n1","confirmedBy":["n2"],"vetoedBy":["n4"],"refused":false,"tookMilliseconds":1500,"needed":2"#,
                #"{"witness":"n2","finding":"silent","pings":3,"heardMillisecondsAgo":700,"roundTripMicroseconds":250}"#,
                #"{"witness":"n4","finding":"alive","pings":0}"#,
            ]
            for part in words { #expect(dead.contains(part), "\(dead)") }
            let nobody = try await get("/v1/members/n9", at: address)
            #expect(nobody.hasPrefix("HTTP/1.1 404 ") && nobody.contains("no member is called n9"))
            let malformed = try await get("/v1/members/a%20b", at: address)
            #expect(malformed.hasPrefix("HTTP/1.1 400 "))
        }
    }

    @Test func theDegradedAreShown() throws {
        var member = Member(id: try member("n1"), endpoint: .loopback(port: 7))
        #expect(!JSON(member).line.contains("degraded"))
        member.isDegraded = true
        #expect(JSON(member).line.contains(#""status":"alive","degraded":true"#))
    }

    @Test func howFarBehindAndHowFastTheMirrorIsIsShown() {
        var counters = MirrorCounters()
        counters.merged = 8
        counters.loads.record(.microseconds(100))
        var status = ScriptedCore.quiet
        status.mirror = MirrorStatus(
            loss: "no route", breaker: .open(until: Moment(uptime: 1, wall: 1)), dirty: 5, lag: .milliseconds(1500), counters: counters)
        func lines() -> [String] {
            let figures = AgentFigures(status: status, view: MeshView(), troubles: [], links: 0, clients: 0)
            return AdminAnswer.metrics(figures).body.split(separator: "\n").map(String.init)
        }
        let wanted = [
            "sessionmesh_mirror_lost 1",
            #"sessionmesh_mirror_breaker{state="open"} 1"#,
            #"sessionmesh_mirror_breaker{state="closed"} 0"#,
            "sessionmesh_mirror_dirty 5",
            "sessionmesh_mirror_lag_seconds 1.5",
            "sessionmesh_mirror_merged_total 8",
            #"sessionmesh_mirror_load_seconds_bucket{le="0.000125"} 1"#,
        ]
        for line in wanted { #expect(lines().contains(line), "\(line)") }
        status.mirror = nil
        #expect(lines().filter { $0.hasPrefix("sessionmesh_mirror") } == ["sessionmesh_mirror_connected 0", "sessionmesh_mirror_lost 0"])
    }

    @Test func howTheMeshIsWatchedIsCounted() {
        var status = ScriptedCore.quiet
        status.membership.probes = 7
        status.membership.suspicionsRefuted = 3
        status.membership.repairsByPackets = 5
        status.membership.repairsByLink = 2
        status.membership.roundTrips.record(.microseconds(400))
        status.membership.roundTrips.record(.microseconds(500))
        status.membership.roundTrips.record(.milliseconds(900))
        let figures = AgentFigures(status: status, view: MeshView(), troubles: [], links: 0, clients: 0)
        let lines = AdminAnswer.metrics(figures).body.split(separator: "\n").map(String.init)
        let wanted = [
            "sessionmesh_probes_total 7",
            #"sessionmesh_suspicion_outcomes_total{outcome="refuted"} 3"#,
            #"sessionmesh_view_repairs_total{by="packets"} 5"#,
            #"sessionmesh_view_repairs_total{by="link"} 2"#,
            "# TYPE sessionmesh_round_trip_seconds histogram",
            #"sessionmesh_round_trip_seconds_bucket{le="0.00025"} 0"#,
            #"sessionmesh_round_trip_seconds_bucket{le="0.0005"} 2"#,
            #"sessionmesh_round_trip_seconds_bucket{le="0.512"} 2"#,
            #"sessionmesh_round_trip_seconds_bucket{le="+Inf"} 3"#,
            "sessionmesh_round_trip_seconds_sum 0.9009",
            "sessionmesh_round_trip_seconds_count 3",
        ]
        for line in wanted { #expect(lines.contains(line), "\(line)") }
    }

    @Test func drainingLeavesAndEndsTheAgent() async throws {
        let agent = try await withAdmin { agent, address in
            let answer = try await askHTTP("POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", at: address)
            #expect(answer.hasPrefix("HTTP/1.1 202 Accepted\r\n"))
            _ = try await agent.log.first("the leave") { $0 == .leave ? true : nil }
            return agent
        }
        try await eventually("the end") { await agent.agent.status() == nil }
    }

    @Test func oneConnectionServesManyRequests() async throws {
        try await withAdmin { agent, address in
            let connection = try await TestConnection.connect(to: address)
            connection.send(String(repeating: "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", count: 20))
            try await eventually("twenty answers") { connection.text.split(separator: "HTTP/1.1 200 OK").count == 20 }
            await connection.close()
        }
    }

    @Test func overAUnixSocketAnyHostWillDo() async throws {
        try await withDirectory { directory in
            var configuration = AgentShellConfiguration.anyPort
            configuration.admin = .unix("\(directory)/admin.sock")
            try await withAgent("n1", configuration) { agent in
                let address = try #require(agent.addresses.admin)
                let answer = try await askHTTP("GET /readyz HTTP/1.1\r\nHost: agent\r\n\r\n", at: address)
                #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            }
        }
    }

    @Test func theDegradedAreHealthyButSaySo() {
        var status = ScriptedCore.quiet
        status.mirror = MirrorStatus(loss: "no route")
        #expect(AdminAnswer.health(status).status == 200)
        #expect(AdminAnswer.health(status).body.contains(#""status":"degraded""#))
        #expect(AdminAnswer.health(status).body.contains(#""mirror":"lost","mirrorReason":"no route""#))
        status.isReady = false
        #expect(AdminAnswer.readiness(status).status == 503)
    }

    // MARK: Routes

    @Test(arguments: ["localhost", "localhost:7000", "LOCALHOST", "127.0.0.1:9", "127.3.4.5", "[::1]:80", "[::1]"])
    func namesOfThisMachineAreAnswered(host: String) {
        #expect(route(host: host) == .success(.members))
    }

    @Test(arguments: [
        "evil.example", "evil.example:7000", "localhost.evil.example", "10.0.0.1", "[::2]:1", "", "127.0.0.1:x", "[::1", "127.0.0.1.evil",
    ])
    func otherNamesAreRefused(host: String) {
        #expect(refusal(route(host: host)) == 403)
    }

    @Test func oneHostHeaderIsNeeded() {
        #expect(refusal(AdminRoute.route(AdminRequest(method: "GET", target: "/", hosts: [], origin: nil, isLocalSocket: false))) == 400)
        #expect(
            refusal(
                AdminRoute.route(AdminRequest(method: "GET", target: "/", hosts: ["localhost", "x"], origin: nil, isLocalSocket: false)))
                == 400)
    }

    @Test func aPageOfAnotherOriginChangesNothing() {
        func drain(_ origin: String?) -> Result<AdminRoute, AdminRefusal> {
            AdminRoute.route(
                AdminRequest(method: "POST", target: "/v1/drain", hosts: ["localhost:1"], origin: origin, isLocalSocket: false))
        }
        #expect(drain(nil) == .success(.drain))
        #expect(drain("http://localhost:1") == .success(.drain))
        #expect(refusal(drain("http://evil.example")) == 403)
        #expect(refusal(drain("null")) == 403)
    }

    @Test func changesAreMadeByPostAndQuestionsByGet() {
        #expect(refusal(route(method: "POST", "/v1/members")) == 405)
        #expect(refusal(route(method: "DELETE", "/v1/drain")) == 405)
        #expect(route(method: "HEAD", "/healthz") == .success(.health))
    }

    @Test(arguments: ["/v1/placement/4096", "/v1/placement/-1", "/v1/placement/x", "/v1/sessions/.."])
    func malformedPathsAreRefused(path: String) {
        #expect(refusal(route(path)) == 400)
    }

    @Test func pathsAreBoundedAndExact() {
        #expect(route("/v1/members?pretty") == .success(.members))
        #expect(route("/") == .success(.page))
        #expect(refusal(route("/v1/members/")) == 404)
        #expect(refusal(route("v1/members")) == 404)
        #expect(refusal(route("")) == 404)
        #expect(refusal(route("/" + String(repeating: "x", count: 300))) == 414)
    }

    @Test func labelsOfMetricsAreEscaped() {
        var page = PrometheusText()
        page.add("dropped", .counter, "Dropped.", label: "reason", [("a\"b\\c\nd", 1)])
        #expect(
            page.text
                == "# HELP sessionmesh_dropped Dropped.\n# TYPE sessionmesh_dropped counter\nsessionmesh_dropped{reason=\"a\\\"b\\\\c\\nd\"} 1\n"
        )
    }

    private func route(method: String = "GET", _ target: String = "/v1/members", host: String = "localhost") -> Result<
        AdminRoute, AdminRefusal
    > {
        AdminRoute.route(AdminRequest(method: method, target: target, hosts: [host], origin: nil, isLocalSocket: false))
    }

    private func refusal(_ result: Result<AdminRoute, AdminRefusal>) -> Int? {
        if case .failure(let refusal) = result { refusal.status } else { nil }
    }

    // MARK: Stage

    private func withAdmin<Result: Sendable>(
        _ body: @escaping @Sendable (RunningAgent, ListenAddress) async throws -> Result
    ) async throws -> Result {
        var configuration = AgentShellConfiguration.anyPort
        configuration.admin = .tcp(.loopback(port: 0))
        let (n1, n2) = (try NodeName("n1"), try NodeName("n2"))
        let known = try #require(SessionKey(bytes: Array(repeating: 3, count: 32)))
        let ended = try #require(SessionKey(bytes: Array(repeating: 5, count: 32)))
        let verdict = try SWIM.Verdict.ofADeath(of: member("n3", life: 9), by: "n1", confirmedBy: "n2", deniedBy: "n4")
        let seen = Member(id: try member("n1"), endpoint: .loopback(port: 7), tags: ["rack": "a"])
        return try await withAgent(
            "n1", configuration,
            prepare: { core in
                core.status.underReplicatedSlots = 3
                core.verdicts = [verdict]
                core.ends = [ended: SessionEnd(at: 77, isMoved: true)]
                core.slots = [
                    SlotReport(slot: Slot(masking: 7), part: .owner, term: 3, owner: n1, sessions: 2, digest: 0xABC),
                    SlotReport(slot: Slot(masking: 9), part: .none, term: 1, owner: nil, sessions: 1, digest: nil),
                ]
                core.view = MeshView(epoch: 5, digest: 0xABC, members: [seen])
            },
            script: { input in
                switch input {
                case .request(let id, .placement(let slot)):
                    [.reply(id, .placement(PlacementAnswer(slot: slot, term: 4, ranking: [n1, n2])))]
                case .request(let id, .read(known)):
                    [
                        .reply(
                            id,
                            .session(
                                SessionSnapshot(
                                    key: known, createdAt: 1, accessedAt: 2, idleSeconds: 3, expiresAt: 9, user: "ann",
                                    fields: [.init(name: "card", value: .bytes(Array("secret42".utf8)))], primary: n1, backup: n2)))
                    ]
                case .request(let id, _): [.reply(id, .session(nil))]
                case .leave: [.departed]
                default: []
                }
            }
        ) { agent in
            try await body(agent, try #require(agent.addresses.admin))
        }
    }

    private func get(_ path: String, at address: ListenAddress) async throws -> String {
        try await askHTTP("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", at: address)
    }
}
