import Foundation
import Glibc
import TemporaryDirectory
import Testing

/// Cluster mode with real programs, real signals and real kills.
@Suite(.serialized) struct ClusterTests {
    /// Ancestors' scenario 27, faults A1, U2 and B5: a crash made requests fail until somebody was back.
    @Test func aWorkerThatIsKilledUnderLoadFailsNoRequestAndIsReplacedAtOnce() throws {
        let cluster = try Cluster(workers: 4)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let visitors = Visitors(4, at: cluster.address)
        for number in 1...4 {
            let pid = try cluster.pid(ofWorker: number)
            kill(pid, SIGKILL)
            let crash = try cluster.event("crashed") { $0.pid == pid }
            #expect(crash.signal == SIGKILL && crash.worker == number)
            let back = try cluster.event("restarted") { $0.worker == number }
            try eventually("the new process is asked as well") { visitors.know(back.pid) }
        }
        let (answered, failures) = visitors.goHomeAll()
        #expect(failures == [], "\(failures)")
        #expect(answered > 100)
        #expect(try cluster.workers().map(\.state) == ["ready", "ready", "ready", "ready"])
    }

    /// Ancestors' scenario 31: a page that crashes its process is answered by another one a moment later.
    @Test func aCrashIsToldWithItsSignalAndWhatTheProgramSaidLast() throws {
        let cluster = try Cluster(workers: 2)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        _ = try? HTTP.ask(cluster.address, "POST", "/crash", patience: 5)
        let crash = try cluster.event("crashed")
        #expect(crash.signal == SIGSEGV && crash.stderr == ["asked to crash"] && crash.reason == "was killed by signal 11")
        try cluster.event("restarted") { $0.worker == crash.worker }
        #expect(try HTTP.ask(cluster.address, "GET", "/").status == 200)
        #expect(cluster.events.filter { $0.event == "crashed" }.count == 1)
    }

    /// Ancestors' fault B4: each request that failed was taken for a crash, and started another worker.
    @Test func aRequestThatFailsIsNoCrash() throws {
        let cluster = try Cluster(workers: 1)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        for _ in 0..<5 { #expect(try HTTP.ask(cluster.address, "POST", "/hang-up").status == 502) }
        #expect(try HTTP.ask(cluster.address, "GET", "/").status == 200)
        #expect(cluster.events.filter { $0.event == "crashed" }.isEmpty)
        #expect(cluster.events.filter { $0.event == "spawned" && $0.worker != nil }.count == 1)
    }

    /// Ancestors' scenario 30.
    @Test func twentyWorkersAndABoundOfTwentyAnswerTwoHundredAtATime() throws {
        let cluster = try Cluster(workers: 20, environment: ["SESSIONMESH_MAX_REQUESTS": "20"])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let visitors = Visitors(200, at: cluster.address)
        try eventually("each was answered five times") { visitors.count > 1000 }
        #expect(visitors.goHomeAll().failures == [])
        #expect(cluster.events.filter { $0.event == "crashed" }.isEmpty)
    }

    /// Ancestors' scenario 56, fault U1: the first example of its manual could not serve a request.
    @Test func theReadmesExampleServesAsItIsWritten() throws {
        let readme = try String(contentsOf: Self.root.appending(path: "README.md"), encoding: .utf8)
        let line = try #require(readme.split(separator: "\n").first { $0.hasPrefix("sessionmesh run -n 4 --balance 127.0.0.1:8080 -- ") })
        // As it is written, but for the port, which is somebody else's here, and the server, which is the README's own.
        let words = line.replacing("127.0.0.1:8080", with: "127.0.0.1:0").split(separator: " ").map(String.init)
        let cluster = try Cluster(
            words: [Program.path(of: "sessionmesh")] + words[1...5] + Cluster.quiet + ["--", Program.path(of: "ReadmeExample")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        var visitor = Browser(cluster.address)
        #expect(try visitor.get("/").body == "You were here 1 times.\n")
        #expect(try visitor.get("/").body == "You were here 2 times.\n")
        #expect(try cluster.workers().count == 4)
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test(arguments: ["SIGHUP", "restart"])
    func aRollingRestartUnderLoadReplacesEveryWorkerAndFailsNoRequest(way: String) throws {
        let cluster = try Cluster(workers: 3)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let before = Set(try cluster.workers().compactMap(\.pid))
        // Either many, or one with a request that is under way when its worker is told to stop, and not so slow that another worker is asked.
        let visitors = way == "SIGHUP" ? Visitors(3, at: cluster.address) : Visitors(1, at: cluster.address, path: "/pause")
        if way == "SIGHUP" {
            cluster.program.signal(SIGHUP)
        } else {
            #expect(try cluster.command("restart").code == 0)
        }
        try eventually("three workers, all of them new") {
            let workers = try cluster.workers()
            return workers.count == 3 && workers.allSatisfy { $0.state == "ready" && !before.contains($0.pid ?? 0) }
        }
        let (answered, failures) = visitors.goHomeAll()
        #expect(failures == [] && answered > 0)
        #expect(cluster.events.filter { $0.event == "crashed" }.isEmpty)
    }

    @Test func workersAreAddedAndTakenAwayWhileItRuns() throws {
        let cluster = try Cluster(workers: 1)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        #expect(try cluster.command("scale", "3").code == 0)
        try eventually("three are ready") { try cluster.report().ready == 3 }
        try cluster.waitUntilBalanced(over: 3)
        let visitors = Visitors(3, at: cluster.address)
        try eventually("all are asked") { try cluster.workers().allSatisfy { visitors.know($0.pid) } }
        #expect(try cluster.command("scale", "1").code == 0)
        try eventually("one is left") { try cluster.workers().count == 1 }
        #expect(visitors.goHomeAll().failures == [])
        #expect(try HTTP.ask(cluster.address, "GET", "/").body.hasPrefix("1 "))
        let listing = try cluster.command("workers")
        #expect(listing.code == 0 && listing.lines.last == "1 of 1 workers ready")
    }

    @Test func whatIsPublishedInOneWorkerIsHeardInAllOfThem() throws {
        let cluster = try Cluster(workers: 2, command: [Program.path(of: "sessionmesh-demo"), "--name", "n1"])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        var visitor = Browser(cluster.address)
        _ = try visitor.post("/counter")
        var sockets: [WebSocket] = []
        for worker in try cluster.workers() {
            let socket = try WebSocket(try #require(worker.address), "/chat", cookie: visitor.cookie)
            sockets.append(socket)
            // It is open before the worker has subscribed for it; who hears itself has been.
            try socket.send("by worker \(sockets.count)")
            for listener in sockets { #expect(try listener.receive().contains("\"by worker \(sockets.count)\"")) }
        }
        #expect(sockets.count == 2)
    }

    /// A linked program sends heartbeats by itself; a process that stands still sends none.
    @Test func aLinkedProgramThatHangsIsAbortedAndReplacedAndItsSessionsLiveOn() throws {
        let cluster = try Cluster(workers: 2, command: [Program.path(of: "ReadmeExample")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        var visitor = Browser(cluster.address)
        #expect(try visitor.get("/").body == "You were here 1 times.\n")
        let pid = try cluster.pid(ofWorker: 1)
        kill(pid, SIGSTOP)
        let crash = try cluster.event("crashed") { $0.pid == pid }
        #expect(crash.reason?.hasPrefix("was hung") == true)
        #expect(try cluster.event("hung").worker == 1)
        try cluster.event("restarted") { $0.worker == 1 }
        #expect(try visitor.get("/").body == "You were here 2 times.\n")
    }

    @Test func aLinkedProgramIsRecycledAfterSoManyRequests() throws {
        let cluster = try Cluster(workers: 2, ["--recycle-requests", "40"], command: [Program.path(of: "ReadmeExample")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let visitors = Visitors(2, at: cluster.address)
        let replaced = try cluster.event("replacing")
        #expect(replaced.why == "requests")
        try cluster.event("stopped") { $0.pid == replaced.pid }
        #expect(visitors.goHomeAll().failures == [])
    }

    /// Ancestors' scenario 53, fault U9.
    @Test func sigtermLetsARequestFinishAndLeavesNothingBehind() throws {
        let cluster = try Cluster(workers: 2)
        try cluster.waitUntilUp()
        let answer = Errand { [address = cluster.address] in try HTTP.ask(address, "GET", "/slow", patience: 20).status }
        try eventually("the request is inside a worker") {
            try cluster.balancerShows("sessionmesh_balancer_upstreams_open 1") || answer.isDone
        }
        #expect(try cluster.program.stop(within: 60) == 0)
        #expect(try answer.value() == 200)
        #expect(cluster.processes() == [])
    }

    /// The program starts a child, and one that leaves its process group and its session.
    static let familyScript = "sleep 1000 & setsid sleep 1001 & exec perl \"$0\""

    @Test(arguments: [SIGTERM, SIGKILL])
    func noChildOfAWorkerOutlivesTheSupervisorHoweverThatEnds(signal: Int32) throws {
        let directory = try Cluster.script()
        let cluster = try Cluster(workers: 2, command: ["sh", "-c", Self.familyScript, directory.file("server.pl")])
        try cluster.waitUntilUp()
        // Each of the two: the server and two sleeps. And the supervisor, its agent, its balancer and its warden.
        try eventually("all are there") { cluster.processes().count == 10 }
        cluster.program.signal(signal)
        try eventually("nobody is left of \(cluster.processes())") { cluster.program.exitCode != nil && cluster.processes().isEmpty }
    }

    @Test func whatACrashedWorkerLeavesBehindIsEnded() throws {
        let directory = try Cluster.script()
        let cluster = try Cluster(workers: 1, balanced: false, command: ["sh", "-c", Self.familyScript, directory.file("server.pl")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let before = Set(cluster.processes())
        kill(try cluster.pid(ofWorker: 1), SIGKILL)
        try cluster.event("restarted")
        let kept = before.intersection(cluster.processes())
        // The supervisor, its agent and its warden.
        #expect(kept.count == 3)
    }

    @Test func asTheFirstProcessOfAContainerItReapsOrphansAndStopsOnSigterm() throws {
        let directory = try Cluster.script()
        // A child whose parent has gone ends as an orphan, and the first process is its parent then.
        let cluster = try Cluster(
            workers: 1, balanced: false, command: ["sh", "-c", "(sleep 0.3 & exit 0); exec perl \"$0\"", directory.file("server.pl")],
            prefix: ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"])
        defer { cluster.program.signal(SIGKILL) }
        try cluster.waitUntilUp()
        let first = try #require(cluster.processes().first { Cluster.isFirst($0) })
        try eventually("no zombie is left") { Cluster.zombies(of: first).isEmpty }
        kill(first, SIGTERM)
        try eventually("it has ended") { cluster.program.exitCode != nil }
        #expect(cluster.program.exitCode == 0 && cluster.processes() == [])
    }

    /// Ancestors' scenario 55, fault B2.
    @Test func twoClustersOnOneMachineAreIndependent() throws {
        let (one, other) = (try Cluster(workers: 1), try Cluster(workers: 1))
        defer {
            try? one.stop()
            try? other.stop()
        }
        try one.waitUntilUp()
        try other.waitUntilUp()
        try one.stop()
        #expect(try HTTP.ask(other.address, "GET", "/").status == 200)
    }

    /// Ancestors' scenario 52, faults U10 and B12, with a program that really ends.
    @Test func aWorkerThatEndsAtItsStartIsCrashLoopingAndTheOthersServe() throws {
        let directory = try Cluster.script()
        let cluster = try Cluster(
            workers: 2,
            command: [
                "sh", "-c", "[ $SESSIONMESH_WORKER = 1 ] && { echo no luck >&2; exit 3; }; exec perl \"$0\"", directory.file("server.pl"),
            ])
        defer { try? cluster.stop() }
        let loop = try cluster.event("crash-looping")
        #expect(loop.worker == 1)
        let crash = try cluster.event("crashed")
        #expect(crash.code == 3 && crash.stderr == ["no luck"])
        try cluster.event("ready") { $0.worker == 2 }
        let started = cluster.events.filter { $0.event == "spawned" && $0.worker == 1 }.count
        #expect(started < 12)
        #expect(try cluster.workers().filter { $0.worker == 1 }.map(\.state) == ["crash-looping"])
    }

    @Test func workersThatEndWithCode0AreNotStartedAgainAndEndTheCluster() throws {
        let cluster = try Cluster(workers: 2, balanced: false, command: ["sh", "-c", "exit 0"])
        try eventually("it has ended") { cluster.program.exitCode != nil }
        #expect(cluster.program.exitCode == 0)
        #expect(cluster.events.filter { $0.event == "spawned" && $0.worker != nil }.count == 2)
        #expect(cluster.events.filter { $0.event == "crashed" }.isEmpty)
    }

    // MARK: Readiness

    @Test func readyOneMeansReadyAndNothingElseDoesWhereThatIsAsked() throws {
        let directory = try Cluster.script()
        let notify = "sleep 1; \(Cluster.shell(notifying: "READY=1"))"
        let cluster = try Cluster(
            workers: 1, ["--ready", "notify"], command: ["sh", "-c", "(\(notify)) & exec perl \"$0\"", directory.file("server.pl")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let spawned = try cluster.event("spawned") { $0.worker == 1 }
        let ready = try cluster.event("ready") { $0.worker == 1 }
        #expect(ready.time - spawned.time >= 1000)
    }

    @Test func theCookieThatAProgramNamesAfterItsPortAnsweredReachesBalancers() throws {
        let directory = try Cluster.script()
        let notify = "until [ -e \"$0.go\" ]; do sleep 0.05; done; \(Cluster.shell(notifying: "X_SESSIONMESH_COOKIE=theirs"))"
        let cluster = try Cluster(workers: 1, command: ["sh", "-c", "(\(notify)) & exec perl \"$0\"", directory.file("server.pl")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        #expect(try cluster.members().contains("\"cookie\":\"theirs\"") == false)
        try Data().write(to: URL(filePath: directory.file("server.pl.go")))
        try eventually("the instance has that cookie") { try cluster.members().contains("\"cookie\":\"theirs\"") }
        try eventually("one instance is left") { try cluster.members().split(separator: "\"cookie\"").count == 2 }
        try eventually("visitors are answered") { try HTTP.ask(cluster.address, "GET", "/").status == 200 }
    }

    @Test func aPathThatIsAnsweredMeansReady() throws {
        let cluster = try Cluster(workers: 1, ["--ready", "/healthz"])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
    }

    struct Slip: Sendable, CustomTestStringConvertible {
        var command: [String]
        var says: String
        var testDescription: String { says }
    }

    @Test(arguments: [
        Slip(command: ["sh", "-c", "exec sleep 1000"], says: "it listens on no port: have it listen on $PORT"),
        Slip(command: ["sh", "-c", "ELSEWHERE=0 exec perl \"$0\"", "SCRIPT"], says: ": have it listen on $PORT, which is "),
        Slip(command: ["sh", "-c", "perl \"$0\" & exit 0", "SCRIPT"], says: "went on in the background: have it run in the foreground"),
        Slip(
            command: ["sh", "-c", "setsid perl \"$0\" & exit 0", "SCRIPT"], says: "went on in the background: have it run in the foreground"
        ),
    ])
    func whatAProgramDoesWrongIsSaid(slip: Slip) throws {
        let directory = try Cluster.script()
        let command = slip.command.map { $0 == "SCRIPT" ? directory.file("server.pl") : $0 }
        let cluster = try Cluster(workers: 1, balanced: false, ["--ready-timeout", "2s"], command: command)
        defer { try? cluster.stop() }
        let crash = try cluster.event("crashed")
        #expect(crash.reason?.contains(slip.says) == true, "\(crash)")
        try eventually("it is said") { cluster.errors.contains("worker 1 \(crash.reason ?? "")") }
    }
}

extension Cluster {
    /// A directory with the server in it.
    static func script() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        try server.write(toFile: directory.file("server.pl"), atomically: false, encoding: .utf8)
        return directory
    }

    /// Whether a process is the first one of its own namespace: `NSpid` of proc(5).
    static func isFirst(_ pid: pid_t) -> Bool { status(of: pid, "NSpid").last == "1" }

    static func zombies(of parent: pid_t) -> [pid_t] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.filter { status(of: $0, "PPid") == ["\(parent)"] && status(of: $0, "State").first == "Z" }
    }

    /// A command that says it to whoever listens on `NOTIFY_SOCKET`.
    static func shell(notifying text: String) -> String {
        "perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_DGRAM, 0); send($s, \"\(text)\", 0, sockaddr_un($ENV{NOTIFY_SOCKET}))'"
    }

    private static func status(of pid: pid_t, _ name: String) -> [Substring] {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("\(name):") } ?? ""
        return line.split(whereSeparator: \.isWhitespace).dropFirst().map { $0 }
    }
}
