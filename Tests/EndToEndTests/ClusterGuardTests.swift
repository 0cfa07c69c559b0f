import Foundation
import Glibc
import TemporaryDirectory
import Testing

/// What a supervisor watches over: agent and balancer, the warden, and that nobody is left when it goes, however it goes.
@Suite(.serialized) struct ClusterGuardTests {
    /// What `sessionmesh` itself ignores, a program in any language expects to be as it always is.
    @Test func aWorkerIgnoresNoSignalAndBlocksNone() throws {
        let directory = try Cluster.script()
        let cluster = try Cluster(
            workers: 1, balanced: false,
            command: ["sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status >&2; exec perl \"$0\"", directory.file("server.pl")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        for set in ["SigBlk", "SigIgn"] {
            var said: Substring?
            try eventually("the worker has said so") {
                said = cluster.errors.split(separator: "\n").first { $0.hasPrefix("worker 1 | \(set):\t") }?.suffix(16)
                return said != nil
            }
            // Signals 1 to 31; the next two are the C library's own.
            #expect(said.flatMap { UInt64($0, radix: 16) }.map { $0 & 0x7FFF_FFFF } == 0, "\(set) \(said ?? "")")
        }
    }

    @Test func agentAndBalancerAreStartedAgainAndWorkersAreInstancesAgain() throws {
        let cluster = try Cluster(workers: 2)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let workers = try cluster.workers().map(\.pid)
        for sidecar in ["agent", "balancer"] {
            let pid = try #require(try cluster.report().processes.first { $0.process == sidecar }?.pid)
            kill(pid, SIGKILL)
            #expect(try cluster.event("crashed") { $0.pid == pid }.signal == SIGKILL)
            try cluster.event("restarted") { $0.process == sidecar }
            try eventually("both workers are instances") { (try? cluster.members())?.split(separator: "\"cookie\"").count == 3 }
            try eventually("visitors are answered") { (try? HTTP.ask(cluster.address, "GET", "/"))?.status == 200 }
        }
        #expect(try cluster.workers().map(\.pid) == workers, "who served went on")
    }

    // MARK: Ends

    /// The kernel ends workers whose supervisor is gone, also when nobody else can.
    @Test func workersEndWithTheSupervisorAlsoWhenItsWardenHasGoneBefore() throws {
        let cluster = try Cluster(workers: 2, balanced: false)
        try cluster.waitUntilUp()
        // Otherwise there would be another.
        try cluster.program.freeze()
        kill(try cluster.warden(), SIGKILL)
        cluster.program.signal(SIGKILL)
        try eventually("nobody is left") { cluster.processes() == [] }
    }

    @Test func aWardenThatIsKilledHasASuccessorThatKnowsWhatRuns() throws {
        let directory = try Cluster.script()
        let cluster = try Cluster(
            workers: 2, balanced: false,
            // Nothing but its group tells whose it is.
            command: ["sh", "-c", "env -u SESSIONMESH_LAUNCH sleep 1000 & exec perl \"$0\"", directory.file("server.pl")])
        try cluster.waitUntilUp()
        let warden = try cluster.warden()
        func name(_ pid: pid_t) -> String? { try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8) }
        #expect(name(warden) == "mesh-warden\n", "whoever kills every sessionmesh does not mean it")
        kill(warden, SIGKILL)
        // By then it has been told.
        try eventually("there is another") { (try? cluster.warden()).map { $0 != warden && name($0) == "mesh-warden\n" } ?? false }
        cluster.program.signal(SIGKILL)
        try eventually("nobody is left") { cluster.processes() == [] }
    }

    /// Neither its group nor its environment tells whose it is.
    @Test func whoHasHiddenFromTheSupervisorEndsWithItToo() throws {
        let directory = try Cluster.script()
        let mark = directory.file("hidden")
        let cluster = try Cluster(
            workers: 1, balanced: false,
            command: [
                "sh", "-c", "setsid env -i sh -c 'echo $$ > \"$0\"; exec sleep 1000' '\(mark)' & exec perl \"$0\"",
                directory.file("server.pl"),
            ])
        try cluster.waitUntilUp()
        var hidden: pid_t = 0
        try eventually("it runs") {
            hidden = (try? String(contentsOfFile: mark, encoding: .utf8)).flatMap { pid_t($0.dropLast()) } ?? 0
            return hidden > 0
        }
        try cluster.stop()
        try eventually("it has ended") { kill(hidden, 0) != 0 }
    }

    // MARK: Circumstances

    /// A container that is paused and goes on: whoever did not listen can't say that nobody spoke.
    @Test func aSupervisorThatStoodStillHoldsNobodyForHung() throws {
        let cluster = try Cluster(workers: 2, command: [Program.path(of: "ReadmeExample")])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let pids = try cluster.workers().map(\.pid)
        try cluster.program.freeze()
        // As long as it takes for one to be held for hung.
        Thread.sleep(forTimeInterval: 11)
        cluster.program.signal(SIGCONT)
        #expect(try cluster.command("scale", "3").code == 0)
        try cluster.event("ready") { $0.worker == 3 }
        #expect(cluster.events.filter { $0.event == "hung" || $0.event == "crashed" }.isEmpty)
        #expect(try cluster.workers().map(\.pid).prefix(2) == pids[...])
    }

    /// Whatever is opened first takes the number of a descriptor that is closed, and lines of the log would be sent there.
    @Test func startedWithStandardDescriptorsClosedItOpensNothingElseInTheirPlace() throws {
        let directory = try Cluster.script()
        let run = "exec \"$0\" run -n 1 --name n1 --bind 127.0.0.1:0 -- perl '\(directory.file("server.pl"))' <&- >&- 2>&-"
        let cluster = try Cluster(words: ["/bin/sh", "-c", run, Program.path(of: "sessionmesh")])
        defer { try? cluster.stop() }
        try eventually("its worker is ready") { (try? cluster.report())?.ready == 1 }
        for descriptor in 0...2 {
            let target = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(cluster.program.pid)/fd/\(descriptor)")
            #expect(target == "/dev/null")
        }
    }
}
