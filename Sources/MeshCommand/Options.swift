public import ArgumentParser
import Foundation
public import Logging
import MeshAgent
import MeshCore

struct LogOptions: ParsableArguments {
    @Option(help: "How much is logged to standard error: trace, debug, info, notice, warning, error or critical.")
    var logLevel: Logger.Level = .info

    func logger(_ label: String = "sessionmesh") -> Logger { Logger(label, level: logLevel) }
}

extension Logger {
    /// Writes to standard error, and never waits for whoever reads that.
    init(_ label: String, level: Level) {
        self.init(label: label) { StreamLogHandler(label: $0, stream: LogStream.standardError) }
        logLevel = level
    }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

extension Profile: ExpressibleByArgument {}

extension KeyRing: ExpressibleByArgument {}

extension MirrorMode: ExpressibleByArgument {}

enum EventFormat: String, ExpressibleByArgument, CaseIterable {
    case json
}

/// Who and where a member of the mesh is.
struct MemberOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("This member's name, unique in the mesh: letters, digits and . _ -", valueName: "name"),
        transform: Values.nodeName)
    var name: String?

    @Option(
        help: "Where gossip (UDP) and peer links (TCP) listen, as HOST:PORT; port 0 lets the system choose.", transform: Values.endpoint)
    var bind: Endpoint?

    @Option(help: "The HOST:PORT that others dial, when it is not the one bound. A name is looked up once.", transform: Values.advertised)
    var advertise: String?

    @Option(
        help: """
            A member to ask for the others, as HOST:PORT; srv:NAME for what an SRV record names; file:PATH for a file with one a line. Looked up \
            until found; may be given more than once.
            """, transform: Values.seed)
    var seed: [SeedAddress] = []

    @Option(
        help: """
            The network that the times of gossip are made for: lan; wan, for sites up to half a second apart; patient, for processes that may \
            stand still for 5 s; test. The same for all members.
            """)
    var profile: Profile = .lan

    @Option(help: "A directory where this member keeps whom it knew, to find the mesh again without a seed.")
    var dataDir: String?

    @Option(help: "Keeps meshes apart that could hear each other.")
    var label = "sessionmesh"

    @Option(help: "The mesh's key file, of mode 0600; - for standard input. On loopback one is made when none is given.")
    var keyFile: String?

    @Option(
        help: "Where health, readiness and metrics are served: unix:PATH, or HOST:PORT on loopback.", transform: Values.listenAddress)
    var admin: ListenAddress?

    @Option(help: "Prints events to standard output, one a line: json.")
    var events: EventFormat?

    func validate() throws {
        guard seed.count <= SeedAddress.countMax else { throw ValidationError("--seed may be given \(SeedAddress.countMax) times") }
    }

    /// The label, checked when it is used and not in ``validate()``: one that can't be used is a wrong setting and no wrong call, as with a
    /// node's name.
    func meshLabel() throws -> String {
        let isPlain = label.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard (1...255).contains(label.utf8.count), isPlain else {
            throw CommandFailure.configuration("--label is 1 to 255 bytes without control characters")
        }
        return label
    }

    /// Nil when none was given.
    func nodeName() throws -> NodeName? {
        try name.map { try Self.nodeName($0, flag: "--name") }
    }

    static func nodeName(_ text: String, flag: String) throws -> NodeName {
        do { return try NodeName(text) } catch { throw CommandFailure.configuration("\(flag): \(error)") }
    }

    /// The host's name without its domain, as far as it can be a node's.
    static func defaultName() throws -> NodeName {
        let host = ProcessInfo.processInfo.hostName.prefix { $0 != "." }
        let allowed = host.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        do { return try NodeName(allowed.prefix(NodeName.bytesMax)) } catch {
            throw CommandFailure.configuration("this host's name can't name a node: say --name")
        }
    }

    /// The directory, made if need be, with a test whether something can be written there: a member that can't is told at the start.
    func dataDirectory() throws -> String? {
        guard let dataDir else { return nil }
        guard mkdir(dataDir, 0o700) == 0 || errno == EEXIST else {
            throw CommandFailure.configuration("--data-dir: \(dataDir) can't be made (\(String(cString: strerror(errno)))): choose another")
        }
        var status = stat()
        guard stat(dataDir, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, access(dataDir, W_OK | X_OK) == 0 else {
            throw CommandFailure.configuration("--data-dir: \(dataDir) is no directory that this user may write to: choose another")
        }
        return dataDir
    }

    /// What others dial, if it is not what is bound. Blocks while it asks a name server.
    func advertised(bind: Endpoint) throws -> Endpoint? {
        try advertise.map { text in
            do { return try Endpoint.resolving(text, for: bind) } catch { throw CommandFailure.configuration("--advertise: \(error)") }
        }
    }

    /// Reads the keys again while this member runs; nil when they came from a pipe, which gives them once.
    func rereadKeys(in directory: RunDirectory) -> (@Sendable () throws -> KeyFile)? {
        let path = keyFile ?? directory.keyFile
        guard KeyFiles.canBeReadAgain(path) else { return nil }
        return { try KeyFiles.read(path) }
    }

    /// The keys by which this member is one, and whether they were made just now.
    func keys(bind: Endpoint, advertise: Endpoint?, in directory: RunDirectory, logger: Logger) throws -> KeyFile {
        if let keyFile { return try KeyFiles.read(keyFile) }
        guard bind.isLoopback, advertise?.isLoopback ?? true else {
            throw CommandFailure.configuration(
                "a member that is reached from elsewhere (\(advertise ?? bind)) needs --key-file: "
                    + "make one with (umask 077; sessionmesh keygen > mesh.key) and give every member a copy")
        }
        let (keys, isNew) = try KeyFiles.readOrMake(in: directory)
        logger.notice("\(isNew ? "made" : "using") the key file \(directory.keyFile), as there is no --key-file")
        return keys
    }
}

/// Sockets are what agents and balancers run out of first.
enum DescriptorLimit {
    /// To what the system allows this process. Failing to is no reason not to start.
    static func raise() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
