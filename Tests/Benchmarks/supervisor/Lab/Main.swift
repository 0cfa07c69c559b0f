import Glibc
import LabTools
import TemporaryDirectory

/// How soon the mesh knows of a worker that was killed, and how soon there is another.
@main
enum SupervisorLab {
    static let usage = """
        supervisor-lab [--kills N] [--workers N] [--sessionmesh PATH]
          --kills        workers that are killed, one after the other (default 20: a worker that is killed too often waits ever longer)
          --workers      of `sessionmesh run` (default 4)
          --sessionmesh  the program under test (default: beside this one)
        """

    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        // The same program is the worker, so that nothing else is needed.
        if arguments == ["serve"] { return Server.run() }
        LabProgram.run("supervisor-lab") {
            var (kills, workers, program) = (20, 4, String?.none)
            var words = LabArguments(arguments)
            while let flag = words.next() {
                switch flag {
                case "--kills": kills = try words.number(of: flag, in: 1...10_000)
                case "--workers": workers = try words.number(of: flag, in: 2...64)
                case "--sessionmesh": program = try words.value(of: flag)
                case "--help":
                    Say.result(usage)
                    return true
                default: throw LabFailure("\(flag) is not known: see --help")
                }
            }
            let trial = try Trial(workers: workers, sessionmesh: program)
            defer { trial.end() }
            for number in 1...kills {
                try trial.kill()
                if number % 20 == 0 { Say.progress("\(number) of \(kills) killed") }
            }
            return trial.report(kills)
        }
    }
}

/// Two nodes: one with the supervisor, and one that hears of it by gossip.
final class Trial {
    private let directory: TemporaryDirectory
    private let cluster: Child
    private let neighbour: Child
    private let workers: Int
    private var (own, other, back) = (Sample(), Sample(), Sample())

    /// What the view of a worker's own agent may take, in the median: nothing is waited for.
    private static let ownGoalMilliseconds = 5.0

    init(workers: Int, sessionmesh: String?) throws {
        self.workers = workers
        directory = try TemporaryDirectory()
        let folder = try Child.run(["readlink", "/proc/\(getpid())/exe"]).split(separator: "/").dropLast().map { "/\($0)" }.joined()
        let program = sessionmesh ?? "\(folder)/sessionmesh"
        let variables = ["XDG_RUNTIME_DIR": directory.path]
        cluster = try Child(
            [
                program, "run", "-n", "\(workers)", "--name", "n1", "--bind", "127.0.0.1:0", "--log-level", "error", "--",
                "\(folder)/supervisor-lab", "serve",
            ], variables: variables)
        let sockets = "\(directory.path)/sessionmesh"
        var address = ""
        try Self.eventually("the supervisor is up") {
            let page = Admin.page("/v1/members", socket: "\(sockets)/n1.admin")
            guard page.contains("\"instances\"") else { return false }
            address = Array(page.utf8)[...].text(of: "address") ?? ""
            return !address.isEmpty
        }
        neighbour = try Child(
            [program, "agent", "--name", "n2", "--bind", "127.0.0.1:0", "--seed", address, "--log-level", "error"], variables: variables)
    }

    func end() {
        cluster.signal(SIGTERM)
        _ = cluster.reap(waiting: true)
        neighbour.end()
    }

    /// Kills the worker that has served for the longest.
    func kill() throws {
        try Interruption.check()
        try Self.eventually("all workers are ready and known to both") {
            ready() == workers && count(in: "n1") == workers && count(in: "n2") == workers
        }
        guard let victim = processes().filter({ $0.contains("\"worker\":") }).min(by: { since($0) < since($1) }),
            let pid = victim.number(of: "pid"), let address = victim.text(of: "address")
        else { throw LabFailure("no worker is there to kill") }
        let killed = Instant.now
        Glibc.kill(pid_t(pid), SIGKILL)
        var (ownAt, otherAt) = (Instant?.none, Instant?.none)
        try Self.eventually("both know that \(address) is gone", pause: 0) {
            if ownAt == nil, !view(of: "n1").contains(address) { ownAt = .now }
            if otherAt == nil, !view(of: "n2").contains(address) { otherAt = .now }
            return ownAt != nil && otherAt != nil
        }
        try Self.eventually("another is ready", pause: 1) { ready() == workers }
        back.add(Instant.now.seconds(since: killed) * 1000)
        own.add((ownAt ?? killed).seconds(since: killed) * 1000)
        other.add((otherAt ?? killed).seconds(since: killed) * 1000)
    }

    func report(_ kills: Int) -> Bool {
        func row(_ what: String, _ goal: String, _ sample: Sample) -> String {
            "| \(what) | \(goal) | \(sample.percentile(50).fixed(1)) ms | \(sample.percentile(99).fixed(1)) ms | \(sample.largest.fixed(1)) ms |"
        }
        let isGood = own.percentile(50) <= Self.ownGoalMilliseconds
        Say.result(
            """
            \(kills) kills, one after the other, of \(workers) workers
            | from SIGKILL until | goal (p50) | p50 | p99 | most |
            |---|---|---|---|---|
            \(row("its agent's view is without it", "5 ms", own))
            \(row("another node's view is without it", "none", other))
            \(row("another worker is ready in its place", "none", back))
            \(isGood ? "the goal is met" : "the goal is missed")
            """)
        return isGood
    }

    // MARK: Looking

    private func view(of node: String) -> String { Admin.page("/v1/members", socket: "\(directory.path)/sessionmesh/\(node).admin") }

    private func count(in node: String) -> Int { view(of: node).split(separator: "\"service\":").count - 1 }

    private var supervisorPage: ArraySlice<UInt8> {
        Array(Admin.page("/v1/workers", socket: "\(directory.path)/sessionmesh/n1.supervisor").utf8)[...]
    }

    private func ready() -> Int { supervisorPage.number(of: "ready") ?? 0 }

    private func processes() -> [ArraySlice<UInt8>] { supervisorPage.split(separator: UInt8(ascii: "{")) }

    private func since(_ process: ArraySlice<UInt8>) -> Int { process.number(of: "since") ?? .max }

    private static func eventually(_ what: String, pause milliseconds: UInt32 = 20, _ isSo: () throws -> Bool) throws {
        let end = Instant.now + .seconds(30)
        while try !isSo() {
            try Interruption.check()
            guard Instant.now < end else { throw LabFailure("not within 30 s: \(what)") }
            if milliseconds > 0 { usleep(milliseconds * 1000) }
        }
    }
}

/// A worker: answers whatever it is asked, one connection at a time.
enum Server {
    static func run() {
        let port = getenv("PORT").flatMap { UInt16(String(cString: $0)) } ?? 0
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let isBound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard isBound == 0, listen(listener, 64) == 0 else { exit(1) }
        let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8)
        while case let client = accept(listener, nil, nil), client >= 0 {
            var request = [UInt8](repeating: 0, count: 4096)
            if read(client, &request, request.count) > 0 { _ = write(client, answer, answer.count) }
            close(client)
        }
    }
}
