import Foundation
import Glibc
import TemporaryDirectory
import Testing

/// What a supervisor is told, and what it tells: its control listener, its flags, systemd.
@Suite(.serialized) struct ClusterControlTests {
    @Test func theControlListenerTellsHowItStandsAndRefusesWhatMakesNoSense() throws {
        let cluster = try Cluster(workers: 2, balanced: false)
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        func ask(_ path: String, _ method: String = "GET") throws -> HTTPAnswer { try HTTP.ask(cluster.control, method, path) }
        let metrics = try ask("/metrics").body
        for line in ["supervisor_workers 2", "supervisor_workers_ready 2", "supervisor_spawned_total 3", "supervisor_crashes_total 0"] {
            #expect(metrics.contains("\nsessionmesh_\(line)\n"), "\(line) in \(metrics)")
        }
        #expect(metrics.contains("sessionmesh_supervisor_memory_bytes{process=\"worker 1\"} "))
        #expect(try ask("/healthz").status == 200)
        #expect(try ask("/readyz").body == "{\"ready\":true,\"stage\":\"2 of 2 workers ready\"}\n")
        #expect(try ask("/v1/scale?workers=0", "POST").status == 400)
        #expect(try ask("/v1/scale?workers=256", "POST").status == 400)
        #expect(try ask("/v1/restart").status == 405)
        #expect(try ask("/v1/nothing").status == 404)
        // Agent and balancer would be two to choose from; who runs them is asked.
        let health = try cluster.command("health")
        #expect(health.code == 0 && health.lines == ["ready: 2 of 2 workers ready"])
    }

    @Test func itIsNotReadyWhileNoWorkerIs() throws {
        let cluster = try Cluster(workers: 1, balanced: false, command: ["sleep", "1000"])
        defer { try? cluster.stop() }
        try cluster.event("spawned") { $0.worker == 1 }
        let answer = try HTTP.ask(cluster.control, "GET", "/readyz")
        #expect(answer.status == 503 && answer.body == "{\"ready\":false,\"stage\":\"0 of 1 workers ready\"}\n")
        let health = try cluster.command("health")
        #expect(health.code == 1)
    }

    @Test(arguments: [("--recycle-age", "2s", "age"), ("--recycle-memory", "1MiB", "memory")])
    func aWorkerIsRecycledByAgeAndByMemory(flag: String, limit: String, why: String) throws {
        let cluster = try Cluster(workers: 1, [flag, limit])
        defer { try? cluster.stop() }
        try cluster.waitUntilUp()
        let visitors = Visitors(2, at: cluster.address)
        try eventually("they are answered") { visitors.count > 0 }
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        let replaced = try cluster.event("replacing") { $0.time > now }
        #expect(replaced.why == why)
        try cluster.event("stopped") { $0.pid == replaced.pid }
        #expect(visitors.goHomeAll().failures == [])
        if why == "memory" {
            let ready = try cluster.event("ready") { $0.pid == replaced.pid }
            #expect(replaced.time - ready.time >= 9_900, "a limit that is too low costs a start in ten seconds, and no more")
        }
    }

    @Test func portsThatAreTakenAreSaidBeforeAnythingStarts() throws {
        let holder = try Program(
            "/usr/bin/perl",
            [
                "-MIO::Socket::INET", "-e",
                "$|=1; $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1); print $s->sockport, \"\\n\"; sleep 1000",
            ])
        defer { holder.signal(SIGKILL) }
        try eventually("the port is known") { !holder.lines.isEmpty }
        let port = holder.lines[0]
        let cluster = try Cluster(workers: 1, balanced: false, ["--ports", "\(port)-\(port)"])
        try eventually("it has ended") { cluster.program.exitCode != nil }
        #expect(cluster.program.exitCode == 78 && cluster.events.isEmpty)
        #expect(cluster.errors.hasPrefix("sessionmesh: 1 workers need as many ports, and of \(port) to \(port) only 0 are free"))
        #expect(cluster.errors.split(separator: "\n").count == 1)
    }

    /// sd_notify(3).
    @Test func systemdHearsThatItIsUpThatItLivesAndThatItStops() throws {
        let directory = try TemporaryDirectory()
        let systemd = try NoticeListener(directory.file("notify"))
        let cluster = try Cluster(
            workers: 2, environment: ["NOTIFY_SOCKET": directory.file("notify"), "WATCHDOG_USEC": "900000"])
        defer { cluster.program.signal(SIGKILL) }
        try eventually("READY=1: \(cluster.errors)") { systemd.notices.contains("READY=1\nSTATUS=2 of 2 workers are ready") }
        let heartbeats = systemd.notices.count { $0 == "WATCHDOG=1" }
        try eventually("more heartbeats") { systemd.notices.count { $0 == "WATCHDOG=1" } >= heartbeats + 2 }
        #expect(systemd.notices.count { $0.hasPrefix("READY=1") } == 1, "those of agent, balancer and workers are the supervisor's to hear")
        try cluster.stop()
        try eventually("STOPPING=1") { systemd.notices.contains("STOPPING=1") }
    }
}

/// The socket that systemd would listen on.
private final class NoticeListener {
    private let descriptor: Int32
    private var heard: [String] = []

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let isBound = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 }
        }
        try #require(isBound)
    }

    deinit { close(descriptor) }

    /// Everything that was said so far.
    var notices: [String] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 {
            heard.append(String(decoding: buffer[..<count], as: UTF8.self))
        }
        return heard
    }
}
