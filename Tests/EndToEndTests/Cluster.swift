import Foundation
import Glibc
import TemporaryDirectory

/// `sessionmesh run`, running, and what it said of itself.
final class Cluster {
    struct Event: Decodable {
        let time: Int64
        let event: String
        var process: String?
        var worker: Int?
        var pid: pid_t?
        var signal: Int32?
        var code: Int32?
        var reason: String?
        var stderr: [String]?
        var why: String?
        var listen: String?
    }

    struct Report: Decodable {
        struct Process: Decodable {
            let process: String
            var worker: Int?
            let state: String
            var pid: pid_t?
            var address: String?
            let restarts: Int
        }
        let workers: Int
        let ready: Int
        let processes: [Process]
    }

    let directory: TemporaryDirectory
    let program: Program
    /// `127.0.0.1:PORT` of the balancer; empty without one.
    private(set) var address = ""

    /// A server in the Perl that every Debian has: says which worker and process it is, and crashes or takes its time when asked to.
    static let server = #"""
        use IO::Socket::INET;
        $| = 1;
        my $stop = 0;
        $SIG{TERM} = sub { $stop = 1 };
        $SIG{PIPE} = 'IGNORE';
        my $port = $ENV{ELSEWHERE} // $ENV{PORT};
        my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 128, ReuseAddr => 1)
            or die "no listener: $!\n";
        print "worker $ENV{SESSIONMESH_WORKER} listens on $port\n";
        until ($stop) {
            my $client = $listener->accept or next;
            my $head = '';
            while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
            my ($path) = $head =~ m{^\S+ (\S+)} or next;
            if ($path eq '/crash') { print STDERR "asked to crash\n"; kill 'SEGV', $$; sleep 1 }
            next if $path eq '/hang-up';
            if ($path eq '/pause') { select(undef, undef, undef, 0.1) for 1..7 }
            if ($path eq '/slow') { my $end = time + 3; select(undef, undef, undef, 0.1) while time < $end }
            my $body = "$ENV{SESSIONMESH_WORKER} $$\n";
            print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $body, "\r\nConnection: close\r\n\r\n$body";
            close $client;
        }
        """#

    /// What a test needs to know of it, and a port of its own.
    static let quiet = ["--events", "json", "--name", "n1", "--bind", "127.0.0.1:0"]

    /// - Parameter command: the program and its arguments; the server above when nil.
    convenience init(
        workers: Int, balanced: Bool = true, _ flags: [String] = [], command: [String]? = nil, environment: [String: String] = [:],
        prefix: [String] = []
    ) throws {
        let directory = try TemporaryDirectory()
        let script = directory.file("server.pl")
        try Self.server.write(toFile: script, atomically: false, encoding: .utf8)
        let run = [try Program.path(of: "sessionmesh"), "run", "-n", "\(workers)"] + (balanced ? ["--balance", "127.0.0.1:0"] : [])
        try self.init(
            words: prefix + run + Self.quiet + flags + ["--"] + (command ?? ["perl", script]), environment: environment, in: directory)
    }

    init(words: [String], environment: [String: String] = [:], in directory: TemporaryDirectory? = nil) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        // What workers print is worth reading only when something went wrong.
        program = try Program(
            "/bin/sh", ["-c", "exec \"$@\" 2>'\(directory.file("errors"))'", "sh"] + words,
            environment: ["XDG_RUNTIME_DIR": directory.path].merging(environment) { $1 })
    }

    var errors: String { (try? String(contentsOfFile: directory.file("errors"), encoding: .utf8)) ?? "" }

    var events: [Event] { program.lines.compactMap { try? JSONDecoder().decode(Event.self, from: Data($0.utf8)) } }

    @discardableResult
    func event(_ name: String, within seconds: Int = 60, where isIt: (Event) -> Bool = { _ in true }) throws -> Event {
        var found: Event?
        try eventually("the event \(name); there is \(program.lines.suffix(12)) \(errors.suffix(2000))", within: seconds) {
            found = events.first { $0.event == name && isIt($0) }
            return found != nil || program.exitCode != nil
        }
        guard let found else { throw Program.Failure(description: "it ended with \(program.exitCode ?? -1): \(program.lines) \(errors)") }
        return found
    }

    /// Returns when every process is ready, and the balancer knows of all workers.
    func waitUntilUp() throws {
        address = try event("up").listen ?? ""
        if !address.isEmpty { try waitUntilBalanced(over: try report().workers) }
    }

    func waitUntilBalanced(over workers: Int) throws {
        try eventually("the balancer knows \(workers) workers") { try balancerShows("sessionmesh_balancer_targets \(workers)") }
    }

    func balancerShows(_ line: String) throws -> Bool {
        try HTTP.ask("unix:\(directory.path)/sessionmesh/n1-balancer.admin", "GET", "/metrics").body.contains("\(line)\n")
    }

    /// The control listener.
    var control: String { "unix:\(directory.path)/sessionmesh/n1.supervisor" }

    /// The process that ends what the supervisor leaves behind.
    func warden() throws -> pid_t {
        let warden = processes().first { pid in
            let words = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.split(separator: 0).map {
                String(decoding: $0, as: UTF8.self)
            }
            return words?.dropFirst().first == "warden"
        }
        guard let warden else { throw Program.Failure(description: "no warden runs") }
        return warden
    }

    func report() throws -> Report {
        let answer = try HTTP.ask(control, "GET", "/v1/workers")
        return try JSONDecoder().decode(Report.self, from: Data(answer.body.utf8))
    }

    func workers() throws -> [Report.Process] { try report().processes.filter { $0.process == "worker" } }

    /// What the agent answers about the mesh.
    func members() throws -> String { try HTTP.ask("unix:\(directory.path)/sessionmesh/n1.admin", "GET", "/v1/members").body }

    func pid(ofWorker number: Int) throws -> pid_t {
        guard let pid = try workers().last(where: { $0.worker == number })?.pid else {
            throw Program.Failure(description: "worker \(number) has no process")
        }
        return pid
    }

    /// Another `sessionmesh` command, to its end.
    func command(_ words: String...) throws -> (code: Int32, lines: [String]) {
        let other = try Program(Program.path(of: "sessionmesh"), words, environment: ["XDG_RUNTIME_DIR": directory.path])
        try eventually("\(words) ends") { other.exitCode != nil }
        return (other.exitCode ?? -1, other.lines)
    }

    /// Every process that this cluster has started, however far away: they have inherited a variable that nobody else has.
    func processes() -> [pid_t] {
        let mark = Array("XDG_RUNTIME_DIR=\(directory.path)".utf8)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.filter { pid in
            guard let environment = FileManager.default.contents(atPath: "/proc/\(pid)/environ") else { return false }
            return environment.split(separator: 0).contains { $0.elementsEqual(mark) }
        }
    }

    func stop() throws {
        let code = try program.stop(within: 60)
        guard code == 0 else { throw Program.Failure(description: "it ended with \(code): \(program.lines.suffix(5)) \(errors)") }
    }
}

/// Visitors who ask again and again, until they are told to go home.
final class Visitors: @unchecked Sendable {
    private let lock = NSLock()
    private var answered = 0
    private var answers: Set<String> = []
    private var failures: [String] = []
    private var goHome = false
    private let group = DispatchGroup()

    init(_ count: Int, at address: String, path: String = "/") {
        for _ in 0..<count {
            group.enter()
            Thread.detachNewThread { [self] in
                defer { group.leave() }
                while !lock.withLock({ goHome }) {
                    let outcome = Result { try HTTP.ask(address, "GET", path, patience: 15) }
                    lock.withLock { note(outcome) }
                    // A machine remembers each connection for two minutes, and has room for so many.
                    usleep(2000)
                }
            }
        }
    }

    private func note(_ outcome: Result<HTTPAnswer, any Error>) {
        guard case .success(let answer) = outcome, answer.status == 200 else { return failures.append("\(outcome)") }
        answered += 1
        answers.insert(answer.body)
    }

    var count: Int { lock.withLock { answered } }

    /// Whether somebody was answered by that process of ``Cluster/server``.
    func know(_ pid: pid_t?) -> Bool { lock.withLock { pid.map { pid in answers.contains { $0.hasSuffix(" \(pid)\n") } } ?? false } }

    /// - Returns: how many requests were answered, and what became of the others.
    func goHomeAll() -> (answered: Int, failures: [String]) {
        lock.withLock { goHome = true }
        group.wait()
        return lock.withLock { (answered, failures) }
    }
}

/// One thing that goes on elsewhere.
final class Errand<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var result: Result<Value, any Error>?

    init(_ body: @escaping @Sendable () throws -> Value) {
        Thread.detachNewThread { [self] in
            let result = Result { try body() }
            lock.withLock { self.result = result }
        }
    }

    var isDone: Bool { lock.withLock { result != nil } }

    func value(within seconds: Int = 30) throws -> Value {
        try eventually("an errand is done", within: seconds) { isDone }
        guard let result = lock.withLock({ result }) else { throw Program.Failure(description: "no result") }
        return try result.get()
    }
}
