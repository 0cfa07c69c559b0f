public import ArgumentParser
import Foundation
public import Logging
import MeshAgent
import MeshCore

struct LogOptions: ParsableArguments {
    @Option(help: "How much is logged to standard error: trace, debug, info, notice, warning, error or critical.")
    var logLevel: Logger.Level = .info

    func logger(_ label: String = "sessionmesh") -> Logger {
        var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = logLevel
        return logger
    }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

enum EventFormat: String, ExpressibleByArgument, CaseIterable {
    case json
}

/// Who and where a member of the mesh is.
struct MemberOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("This member's name, unique in the mesh: letters, digits and . _ -", valueName: "name"),
        transform: Values.nodeName)
    var name: NodeName?

    @Option(
        help: "Where gossip (UDP) and peer links (TCP) listen, as HOST:PORT; port 0 lets the system choose.", transform: Values.endpoint)
    var bind: Endpoint?

    @Option(help: "The HOST:PORT that others dial, when it is not the one bound.", transform: Values.endpoint)
    var advertise: Endpoint?

    @Option(help: "HOST:PORT of a member to ask for the others; may be given more than once.")
    var seed: [String] = []

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
        let isPlain = label.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard (1...255).contains(label.utf8.count), isPlain else {
            throw ValidationError("--label is 1 to 255 bytes without control characters")
        }
    }

    /// The host's name without its domain, as far as it can be a node's.
    static func defaultName() throws -> NodeName {
        let host = ProcessInfo.processInfo.hostName.prefix { $0 != "." }
        let allowed = host.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        do { return try NodeName(allowed.prefix(NodeName.bytesMax)) } catch {
            throw CommandFailure.configuration("this host's name can't name a node: say --name")
        }
    }

    /// Reads the keys again while this member runs; nil when they came from a pipe, which gives them once.
    func rereadKeys(in directory: RunDirectory) -> (@Sendable () throws -> KeyFile)? {
        let path = keyFile ?? directory.keyFile
        guard KeyFiles.canBeReadAgain(path) else { return nil }
        return { try KeyFiles.read(path) }
    }

    /// The keys by which this member is one, and whether they were made just now.
    func keys(bind: Endpoint, in directory: RunDirectory, logger: Logger) throws -> KeyFile {
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
