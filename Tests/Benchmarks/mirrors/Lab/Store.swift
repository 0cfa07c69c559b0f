import Glibc
import LabTools

/// A store that the lab starts and harms, at a port of 127.0.0.1 that stays the same.
final class Store {
    let place: StorePlace
    private let directory: String
    private var child: Child?

    /// Starts it and waits until it answers.
    init(_ kind: StoreKind, in directory: String) throws {
        self.directory = directory
        try Files.makeDirectory(directory)
        // Between our asking for a port and the store's binding it another process may take it.
        for _ in 0..<4 {
            let place = StorePlace(kind: kind, port: try Loopback.freePort())
            let child = try Child(Self.arguments(place, in: directory))
            let deadline = Instant.now + Self.patience
            while child.reap() == false, Instant.now < deadline {
                if place.answers {
                    self.place = place
                    self.child = child
                    return
                }
                poll(nil, 0, 20)
                try Interruption.check()
            }
            child.end()
        }
        throw LabFailure("\(kind.rawValue) does not start: \(Files.read("\(directory)/log").suffix(500))")
    }

    private static let patience = Duration.seconds(60)

    deinit { kill() }

    var pid: pid_t { child?.pid ?? 0 }

    /// As its users run it when it keeps nothing on disk; MongoDB always does.
    private static func arguments(_ place: StorePlace, in directory: String) -> [String] {
        switch place.kind {
        case .redis:
            [
                "redis-server", "--port", "\(place.port)", "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no",
                "--logfile", "\(directory)/log",
            ]
        case .memcached:
            // It refuses to run as root without being told who to be.
            ["memcached", "-l", "127.0.0.1", "-p", "\(place.port)", "-U", "0", "-m", "1024"] + (getuid() == 0 ? ["-u", "nobody"] : [])
        case .mongodb:
            [
                mongod, "--port", "\(place.port)", "--bind_ip", "127.0.0.1", "--nounixsocket", "--dbpath", directory,
                "--wiredTigerCacheSizeGB", "1", "--logpath", "\(directory)/log",
            ]
        }
    }

    /// Where `.ci/setup` has put it, when it is not installed.
    private static var mongod: String {
        let home = getenv("HOME").map { String(cString: $0) } ?? ""
        let cache = getenv("XDG_CACHE_HOME").map { String(cString: $0) } ?? "\(home)/.cache"
        let fetched = "\(cache)/sessionmesh/mongod-6.0.5/mongod"
        let isInstalled = ["/usr/bin/mongod", "/usr/local/bin/mongod"].contains { Files.exists($0) }
        return !isInstalled && Files.exists(fetched) ? fetched : "mongod"
    }

    /// Its program with its version, for the report.
    static func version(of kind: StoreKind) -> String {
        let words: [String] =
            switch kind {
            case .redis: ["redis-server", "--version"]
            case .memcached: ["memcached", "--version"]
            case .mongodb: [mongod, "--version"]
            }
        let text = (try? Child.run(words)) ?? ""
        let version = text.split(whereSeparator: { " \n=v".contains($0) }).first { $0.first?.isNumber ?? false && $0.contains(".") }
        return "\(kind.rawValue) \(version ?? "?")"
    }

    // MARK: Harming

    /// At once.
    func kill() {
        child?.end()
        child = nil
    }

    /// Starts it again; ``StorePlace/answers`` tells when it is there.
    func startAgain() throws { child = try Child(Self.arguments(place, in: directory)) }

    /// Takes calls and doesn't answer.
    func stop() { child?.signal(SIGSTOP) }
    func goOn() { child?.signal(SIGCONT) }
}
