import Foundation
import Glibc
import Logging
import MeshCore
import ServiceLifecycle
import Synchronization
import TemporaryDirectory
import Testing

@testable import MeshSupervisor

/// The supervisor as a Swift program uses it, with real processes.
@Suite struct ClusterSupervisorTests {
    /// Ancestors' fault B10: only one listener was possible.
    @Test func everyListenerHearsEveryEvent() async throws {
        let supervisor = Stage.supervisor("echo last words >&2; exit 7")
        let listeners = [supervisor.events, supervisor.events]
        let crashes = supervisor.crashes
        let running = Task { try await supervisor.run() }
        for listener in listeners {
            var words: [String] = []
            for await event in listener {
                if case .spawned = event.kind { words.append("spawned") }
                if case .crashed(let crash) = event.kind {
                    #expect(crash.reason == .ended(.exited(code: 7)) && crash.lastLines == ["last words"] && !crash.wasReady)
                    words.append("crashed")
                }
                if words.count == 4 { break }
            }
            #expect(words == ["spawned", "crashed", "spawned", "crashed"])
        }
        for await (event, crash) in crashes {
            #expect(event.post == .worker(1) && crash.words == "exited with code 7")
            break
        }
        running.cancel()
        try await running.value
    }

    @Test func asAServiceItStopsGracefullyAndEndsItsListeners() async throws {
        let supervisor = Stage.supervisor("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done") { $0.readiness = .notified }
        let events = supervisor.events
        let group = ServiceGroup(services: [supervisor], logger: Stage.logger)
        let running = Task { try await group.run() }
        var kinds: [SupervisorEvent.Kind] = []
        for await event in events {
            kinds.append(event.kind)
            if case .spawned = event.kind {
                try await Stage.eventually("it is up") { Stage.lines.withLock { $0.contains("up") } }
                await group.triggerGracefulShutdown()
            }
        }
        try await running.value
        #expect(kinds == [.spawned, .stopped(.exited(code: 0))])
        #expect(await supervisor.status == ClusterStatus())
    }

    @Test func aRunThatIsCancelledKillsWhatRunsAndReturnsWhenThatIsGone() async throws {
        let supervisor = Stage.supervisor("trap '' TERM; sleep 1000 & echo cancelled: $$ $!; wait") { $0.readiness = .notified }
        let running = Task { try await supervisor.run() }
        var pids: [pid_t] = []
        try await Stage.eventually("it runs") {
            let line = Stage.lines.withLock { $0.first { $0.hasPrefix("cancelled: ") } }
            pids = line?.split(separator: " ").compactMap { pid_t($0) } ?? []
            return pids.count == 2
        }
        running.cancel()
        try await running.value
        // Whoever has no parent any more is a zombie until the first process has looked.
        try await Stage.eventually("both are gone") { pids.allSatisfy { kill($0, 0) != 0 } }
    }

    /// A trace of where it hung is worth more than its end.
    @Test func aWorkerThatTurnsInALoopIsAbortedAndHeard() async throws {
        let notice = "socket(my $s, AF_UNIX, SOCK_DGRAM, 0); send($s, qq(READY=1\\nWATCHDOG=1), 0, sockaddr_un($ENV{NOTIFY_SOCKET}));"
        let trace = "$SIG{ABRT} = sub { print STDERR qq(hung here\\n); exit 3 };"
        let supervisor = Stage.supervisor("exec perl -MSocket -e '\(trace) \(notice) 1 while 1'") {
            $0.policy.silenceMax = .milliseconds(200)
            $0.policy.hangTimeout = .milliseconds(400)
            $0.policy.abortGrace = .seconds(30)
        }
        let crashes = supervisor.crashes
        let running = Task { try await supervisor.run() }
        for await (_, crash) in crashes {
            #expect(crash.reason == .hung(.exited(code: 3)) && crash.wasReady && crash.lastLines == ["hung here"], "\(crash)")
            break
        }
        running.cancel()
        try await running.value
    }

    /// Ancestors' fault B1: every request asked first whether the server was there.
    @Test func aWorkerThatIsReadyIsNotAskedAgain() async throws {
        let server = #"""
            $| = 1;
            my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1) or die;
            my $waiting = IO::Select->new($listener);
            for my $status (503, 404, 204) {
                my $client = $listener->accept;
                my $line = <$client>;
                print "asked $line";
                print $client "HTTP/1.1 $status X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                close $client;
            }
            # Looks follow each other after a quarter of a second at most.
            print $waiting->can_read(1) ? "asked again\n" : "left alone\n";
            sleep 1000;
            """#
        let supervisor = Stage.supervisor("exec perl -MIO::Socket::INET -MIO::Select -e '\(server)'") {
            $0.readiness = .answering(path: "/ready-b1")
        }
        let events = supervisor.events
        let running = Task { try await supervisor.run() }
        for await event in events { if case .ready = event.kind { break } }
        var asked: [String] = []
        try await Stage.eventually("nobody asks for a second") {
            asked = Stage.lines.withLock { $0.filter { $0.hasPrefix("asked ") || $0 == "left alone" } }
            return asked.count >= 4
        }
        running.cancel()
        try await running.value
        #expect(
            asked.map { $0.prefix { $0 != "/" } } == ["asked GET ", "asked GET ", "asked GET ", "left alone"], "twice the answer was no")
    }

    @Test func aSecondRunIsRefused() async throws {
        let supervisor = Stage.supervisor("exit 0")
        try await supervisor.run()
        await #expect(throws: SupervisorError.self) { try await supervisor.run() }
    }

    @Test func aSidecarThatDoesNotComeUpIsAnErrorThatNamesIt() async throws {
        let supervisor = Stage.supervisor("sleep 100") { configuration in
            configuration.sidecars = [
                .init(name: "agent", program: "/bin/sh", arguments: ["-c", "exit 78"], environment: [:], isFirst: true)
            ]
        }
        do {
            try await supervisor.run()
            Issue.record("it ran")
        } catch let error as SupervisorError {
            #expect(error.code == .sidecar && error.message == "the agent did not start: it exited with code 78")
        }
    }

    @Test(arguments: [
        ("/nowhere/server", "there is no program /nowhere/server"), ("/tmp", "is no program but a directory"),
        ("/etc/passwd", "isn't executable: chmod +x /etc/passwd"), ("nothing-of-that-name", "in $PATH: name it by its path"),
        ("", "name a program"),
    ])
    func aProgramThatCannotRunIsFoundBeforeAnythingStarts(program: String, says: String) async {
        var configuration = ClusterConfiguration(program: program, launcher: Stage.launcher)
        configuration.environment = ["PATH": "/usr/bin:/bin"]
        let supervisor = ClusterSupervisor(configuration, logger: Stage.logger)
        do {
            try await supervisor.run()
            Issue.record("it ran")
        } catch {
            #expect("\(error)".contains(says), "\(error)")
        }
    }

    @Test(arguments: [0, -1, 256])
    func impossibleNumbersOfWorkersAreRefused(workers: Int) async {
        let supervisor = Stage.supervisor("exit 0") { $0.workers = workers }
        await #expect(throws: SupervisorError.self) { try await supervisor.run() }
    }

    /// A process gets what it is told and no descriptor more.
    @Test func aWorkerIsToldWhoItIsAndInheritsNothing() async throws {
        let supervisor = Stage.supervisor(
            "echo $SESSIONMESH_WORKER $SESSIONMESH_ADDRESS $PORT; echo open $(ls /proc/self/fd | tr '\\n' ' '); exit 0"
        ) {
            $0.workers = 2
        }
        try await supervisor.run()
        let lines = Stage.lines.withLock { $0 }
        let told = lines.compactMap { $0.wholeMatch(of: #/([12]) 127\.0\.0\.1:(\d+) (\d+)/#) }.filter { $0.2 == $0.3 }
        #expect(Set(told.map(\.1)) == ["1", "2"] && Set(told.map(\.3)).count == 2)
        // The last one is the directory that is listed.
        #expect(lines.contains("open 0 1 2 3"))
    }

    @Test func workersGetPortsOfTheRangeAndARangeInUseIsRefused() async throws {
        let free = try Stage.freePort()
        let supervisor = Stage.supervisor("echo port $PORT; exit 0") { $0.ports = free.port...free.port }
        try await supervisor.run()
        #expect(Stage.lines.withLock { $0.contains("port \(free.port)") })
        let held = try free.hold()
        defer { close(held) }
        let other = Stage.supervisor("exit 0") { $0.ports = free.port...free.port }
        do {
            try await other.run()
            Issue.record("it ran")
        } catch {
            #expect("\(error)".hasPrefix("1 workers need as many ports, and of \(free.port) to \(free.port) only 0 are free"))
        }
    }
}
