import Foundation
import Glibc
import MetricsTestKit
import SessionMesh
import Synchronization
import Testing

/// What users of other session stores complain about most, each as a suite that shows that it doesn't happen here: through a balancer, with
/// real agents, in a web framework.
@Suite(.serialized) struct ComplaintTests {
    /// "Two requests at once, and one of them forgot what the other saved."
    @Suite(.serialized) struct LostUpdates {
        // Ancestors' scenario 46.
        @Test func twoParallelRequestsThatChangeDifferentFieldsBothKeepTheirChange() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                #expect(try await visitor.post("/count").status == 200)
                for round in 1...5 {
                    shop.gate.close()
                    var (first, second) = (visitor, visitor)
                    async let theme = first.post("/slow/theme/dark\(round)").status
                    async let language = second.post("/slow/language/en\(round)").status
                    // Both have loaded the session as it was; neither has changed it.
                    try await awaiting("both have loaded") { shop.gate.waitingCount == 2 }
                    shop.gate.open()
                    let statuses = try await [theme, language]
                    #expect(statuses == [200, 200])
                    let session = try await visitor.session()
                    #expect(session.theme == "dark\(round)" && session.language == "en\(round)" && session.visits == 1)
                }
            }
        }

        @Test func fiftyParallelIncrementsAreFifty() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                #expect(try await visitor.post("/count").body == "1")
                let cookie = visitor.cookie
                var posts: [(comer: Visitor, path: String)] = []
                for index in 0..<50 {
                    // Also by way of nodes that the balancer would not have chosen.
                    let comer = index % 5 == 0 ? shop.visitor(at: shop.nodes[index % 2], cookie: cookie) : shop.visitor(cookie: cookie)
                    posts.append((comer, "/count"))
                }
                let answers = try await answers(toAtOnce: posts)
                #expect(Set(answers) == Set((2...51).map(String.init)), "\(answers)")
                for node in shop.nodes {
                    var comer = shop.visitor(at: node, cookie: cookie)
                    #expect(try await comer.session().visits == 51)
                }
            }
        }

        @Test func twentyParallelUpdatesOfOneFieldAllCount() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                #expect(try await visitor.post("/cart/first/update").body == "1")
                var posts: [(comer: Visitor, path: String)] = []
                for index in 1...20 {
                    posts.append((shop.visitor(at: shop.nodes[index % 2], cookie: visitor.cookie), "/cart/item\(index)/update"))
                }
                let answers = try await answers(toAtOnce: posts)
                #expect(Set(answers) == Set((2...21).map(String.init)), "\(answers)")
                let session = try await visitor.session()
                #expect(Set(session.items) == Set(["first"] + (1...20).map { "item\($0)" }) && session.items.count == 21)
                #expect(session.notes["seen"] == session.items)
            }
        }

        /// The bodies, with the status of those that failed, in the order in which they came.
        private func answers(toAtOnce posts: [(comer: Visitor, path: String)]) async throws -> [String] {
            try await withThrowingTaskGroup(of: String.self, returning: [String].self) { group in
                for (comer, path) in posts {
                    group.addTask {
                        var comer = comer
                        let answer = try await comer.post(path)
                        return answer.status == 200 ? answer.body : "\(answer.status) \(answer.body)"
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
        }
    }

    /// "I changed an object in the session, and it wasn't saved."
    @Suite(.serialized) struct UnsavedMutation {
        @Test func aValueChangedInsideAFieldIsSaved() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                for item in ["pen", "ink", "paper"] { #expect(try await visitor.post("/cart/\(item)").status == 200) }
                for node in shop.nodes {
                    var comer = shop.visitor(at: node, cookie: visitor.cookie)
                    let session = try await comer.session()
                    #expect(session.items == ["pen", "ink", "paper"] && session.notes == ["seen": ["pen", "ink", "paper"]])
                }
            }
        }
    }

    /// "I logged out, and was logged in again."
    @Suite(.serialized) struct Resurrection {
        @Test func aSlowRequestDoesNotBringALoggedOutSessionBack() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                _ = try await visitor.post("/login")
                let cookie = visitor.cookie
                shop.gate.close()
                var late = visitor
                async let answer = late.post("/slow/count")
                try await awaiting("it has loaded") { shop.gate.waitingCount == 1 }
                let logout = try await visitor.post("/logout")
                #expect(logout.status == 200 && logout.field("set-cookie")?.contains("Max-Age=0") == true)
                shop.gate.open()
                let tooLate = try await answer
                #expect(tooLate.status == 409 && tooLate.field("set-cookie") == nil)
                for node in shop.nodes {
                    var comer = shop.visitor(at: node, cookie: cookie)
                    let session = try await comer.session()
                    #expect(session.key == "" && session.user == "" && session.visits == 0)
                }
            }
        }

        @Test func aSlowRequestOfTheOldIdDoesNotDeleteTheNewCookie() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                shop.gate.close()
                var late = visitor
                async let answer = late.post("/slow/count")
                try await awaiting("it has loaded") { shop.gate.waitingCount == 1 }
                let before = visitor.cookie
                #expect(try await visitor.post("/login").status == 200)
                #expect(visitor.cookie != before)
                shop.gate.open()
                let tooLate = try await answer
                #expect(tooLate.status == 409 && tooLate.field("set-cookie") == nil)
                let session = try await visitor.session()
                #expect(session.user == "ann" && session.visits == 1)
            }
        }
    }

    /// "The session store was away, and so was the site."
    @Suite(.serialized) struct Outage {
        @Test func noCookieNeverAsksTheMesh() async throws {
            try await ShopMesh.run { shop in
                let before = shop.requestsToAgents
                for _ in 1...10 { try await look(shop.visitor()) }
                #expect(shop.requestsToAgents == before)
                // And so the agents are not missed, whether they stand still or are gone.
                for signal in [SIGSTOP, SIGKILL] {
                    shop.signalAgents(signal)
                    for node in shop.nodes {
                        try await look(shop.visitor())
                        try await look(shop.visitor(at: node))
                    }
                }
            }
        }

        private func look(_ stranger: Visitor) async throws {
            var stranger = stranger
            #expect(try await stranger.get("/open").status == 200)
            #expect(try await stranger.session().key == "")
            #expect(stranger.cookie == nil)
        }

        @Test func withACookieAnOutageIs503SoonAndTheCookieStays() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                _ = try await visitor.post("/login")
                let cookie = visitor.cookie
                try shop.freezeAgents()
                for _ in 1...3 {
                    let asked = ContinuousClock.now
                    // A browser gives up after ten seconds.
                    let answer = try await visitor.get("/session")
                    print("an outage was answered with \(answer.status) after \(ContinuousClock.now - asked)")
                    #expect(answer.status == 503 && answer.field("retry-after") != nil && answer.field("set-cookie") == nil, "\(answer)")
                }
                shop.signalAgents(SIGCONT)
                try await awaiting("the session is there again") { try await visitor.get("/session").status == 200 }
                let session = try await visitor.session()
                #expect(visitor.cookie == cookie && session.user == "ann" && session.visits == 1)
            }
        }

        @Test func aMirrorThatHangsIsWaitedForByNobodyWhoseSessionTheMeshHolds() async throws {
            let redis = try RedisServer()
            let keys = try Keys()
            let cookie = Mutex<String?>(nil)
            try await ShopMesh.run(keys: keys, "--mirror", redis.uri) { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                try await awaiting("the mirror has it") {
                    let admins = shop.nodes.map(\.admin)
                    return try await onThread {
                        try admins.allSatisfy { try HTTP.ask($0, "GET", "/metrics").body.contains("\nsessionmesh_mirror_dirty 0\n") }
                    }
                }
                cookie.withLock { $0 = visitor.cookie }
            }
            // None of these agents has heard of that session; only the mirror has it.
            try await ShopMesh.run(keys: keys, "--mirror", redis.uri) { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                var old = shop.visitor(cookie: cookie.withLock { $0 })
                try redis.freeze()
                defer { redis.thaw() }
                for expected in 2...6 {
                    let asked = ContinuousClock.now
                    #expect(try await visitor.post("/count").body == "\(expected)")
                    print("counted beside a mirror that hangs, in \(ContinuousClock.now - asked)")
                }
                var newcomer = shop.visitor()
                #expect(try await newcomer.post("/count").body == "1")
                let unknown = try await old.get("/session")
                #expect(unknown.status == 503 && unknown.field("retry-after") != nil && unknown.field("set-cookie") == nil)
                redis.thaw()
                try await awaiting("the old session is there") { try await old.get("/session").status == 200 }
                #expect(try await old.session().visits == 1)
                #expect(try await visitor.session().visits == 6)
            }
        }
    }

    /// "Somebody planted a session id, and then was logged in with it." "The ids lay readable in the store."
    @Suite(.serialized) struct Fixation {
        @Test func aPlantedIdIsNeverAdoptedAndLoginChangesIt() async throws {
            try await ShopMesh.run { shop in
                // Made up: never taken over.
                for planted in [
                    "sid=" + String(repeating: "A", count: 43),
                    "sid=" + String(repeating: "A", count: 43) + ".1." + String(repeating: "B", count: 43),
                ] {
                    var victim = shop.visitor(cookie: planted)
                    #expect(try await victim.session().key == "")
                    #expect(try await victim.post("/count").body == "1")
                    #expect(victim.cookie?.contains("AAAA") == false)
                }
                // Real, because the attacker began a session: worth nothing after the login.
                var attacker = shop.visitor()
                _ = try await attacker.post("/count")
                var victim = shop.visitor(cookie: attacker.cookie)
                #expect(try await victim.post("/login").status == 200)
                #expect(victim.cookie != attacker.cookie)
                #expect(try await victim.session().user == "ann")
                #expect(try await victim.post("/count").body == "2")
                for node in shop.nodes {
                    var thief = shop.visitor(at: node, cookie: attacker.cookie)
                    let seen = try await thief.session()
                    // For ten seconds it is what it was before the login, and then nobody's.
                    #expect(seen.user == "" && seen.visits <= 1)
                    #expect(try await thief.post("/login").status == 409)
                }
            }
        }

        @Test func noStoreNoLogNoPeerSeesAnId() async throws {
            let redis = try RedisServer()
            try await ShopMesh.run("--mirror", redis.uri) { shop in
                let canary = "canary\(UInt64.random(in: 0...(.max)))"
                var visitor = shop.visitor()
                #expect(try await visitor.post("/cart/\(canary)").status == 200)
                var cookies = [try #require(visitor.cookie)]
                _ = try await visitor.post("/login")
                cookies.append(try #require(visitor.cookie))
                let session = try await visitor.session()
                #expect(session.items == [canary] && cookies[0] != cookies[1])
                try await awaiting("the mirror has it") { Needle.isFound(canary, in: redis.files) }

                let ids = try cookies.map { cookie in
                    String(try #require(cookie.firstMatch(of: /^sid=([A-Za-z0-9_-]{43})\./)?.1))
                }
                let needles = try ids.flatMap { try Needle.forms(ofID: $0) }
                let peer = try #require(shop.nodes.first { $0.name != session.primary })
                var places = [("the mirror", redis.files), ("the balancer's log", Needle.haystack(shop.balancerLog))]
                for node in shop.nodes { places.append(("the log of \(node.name)", Needle.haystack(node.log))) }
                let memory = try memory(of: peer.agent.pid)
                // It holds the second copy, so what we look for would be found.
                #expect(memory.contains { Needle.isFound(canary, in: $0) })
                for part in memory { places.append(("the memory of \(peer.name)", part)) }
                for (place, bytes) in places {
                    for needle in needles { #expect(!Needle.isFound(needle, in: bytes), "an id is in \(place)") }
                    if !place.hasPrefix("the memory"), place != "the mirror" {
                        #expect(!bytes.isEmpty && !Needle.isFound(canary, in: bytes), "\(place) shows what a session holds")
                    }
                }
            }
        }

        /// What a process could write to, part by part.
        private func memory(of pid: pid_t) throws -> [[UInt8]] {
            let maps = try String(contentsOfFile: "/proc/\(pid)/maps", encoding: .utf8)
            let descriptor = open("/proc/\(pid)/mem", O_RDONLY)
            guard descriptor >= 0 else { throw Program.Failure(description: "the memory of \(pid) can't be read: errno \(errno)") }
            defer { close(descriptor) }
            var parts: [[UInt8]] = []
            for line in maps.split(separator: "\n") {
                guard let match = line.firstMatch(of: /^([0-9a-f]+)-([0-9a-f]+) rw/),
                    let start = UInt64(match.1, radix: 16), let end = UInt64(match.2, radix: 16)
                else { continue }
                var part = [UInt8](repeating: 0, count: Int(end - start))
                let count = pread(descriptor, &part, part.count, off_t(start))
                if count > 0 { parts.append(Array(part.prefix(count))) }
            }
            return parts
        }
    }

    /// "The session ended while I was using it." "After the deploy nobody could read theirs."
    @Suite(.serialized) struct Expiry {
        // Ancestors' scenario 48.
        @Test func anActiveSessionNeverExpiresAndAnIdleOneDoes() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/short/1")
                let key = try await visitor.session().key
                // Longer than its idle time and all slack together.
                let end = ContinuousClock.now + .seconds(15)
                while ContinuousClock.now < end {
                    #expect(try await visitor.session().key == key)
                    // This waits for nothing: it is how often the visitor comes, far within the idle time.
                    try await Task.sleep(for: .milliseconds(200))
                }
                try await awaiting("it has expired") { try await visitor.get("/peek/\(key)").body == "gone" }
                let session = try await visitor.session()
                #expect(session.key == "" && session.visits == 0)
            }
        }

        @Test func aSessionEndsAtItsGreatestAgeHoweverMuchItIsUsed() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                let begun = ContinuousClock.now
                _ = try await visitor.post("/age/3")
                let key = try await visitor.session().key
                try await awaiting("it has ended") { try await visitor.session().key != key }
                // Whole seconds since the agent made it, by a clock of its own.
                #expect(ContinuousClock.now - begun > .seconds(2))
                #expect(try await visitor.session().visits == 0)
            }
        }

        @Test func logoutEverywhereEndsEverySession() async throws {
            try await ShopMesh.run { shop in
                var browsers: [Visitor] = []
                for index in 0..<8 {
                    // On both nodes, and some with an id that was moved there.
                    var browser = shop.visitor(at: shop.nodes[index % 2])
                    _ = try await browser.post("/count")
                    #expect(try await browser.post("/login").status == 200)
                    browsers.append(browser)
                }
                var stranger = shop.visitor()
                _ = try await stranger.post("/count")
                var own = shop.visitor(cookie: browsers[0].cookie)
                #expect(try await own.get("/logins").body == "8")
                let ended = try await own.post("/logout/elsewhere")
                #expect(ended.status == 200 && ended.body == "7")
                for browser in browsers.dropFirst() {
                    for node in shop.nodes {
                        var comer = shop.visitor(at: node, cookie: browser.cookie)
                        #expect(try await comer.session().key == "")
                    }
                }
                #expect(try await own.session().user == "ann")
                #expect(try await own.get("/logins").body == "1")
                #expect(try await stranger.session().visits == 1)
            }
        }

        @Test func aChangedTypeMakesOneFieldNilCountsItAndKeepsTheSession() async throws {
            try await ShopMesh.run { shop in
                var visitor = shop.visitor()
                _ = try await visitor.post("/count")
                _ = try await visitor.post("/cart/pen")
                #expect(try await visitor.get("/session/newer").body == "no cart, 1 visits\n")
                let session = try await visitor.session()
                #expect(session.items == ["pen"] && session.visits == 1)
                let counted = shop.nodes.map {
                    $0.metrics.counterTotal(label: "sessionmesh_client_unreadable_fields_total", dimensions: [("field", "cart")])
                }
                #expect(counted.reduce(0, +) == 1)
            }
        }
    }
}
