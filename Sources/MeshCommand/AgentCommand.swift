import ArgumentParser
import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshMirrors

struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Runs this node's agent: it holds sessions, and applications of this node talk to it.",
        discussion: """
            Without flags it forms a mesh on loopback, under this host's name. Applications find it by SESSIONMESH_AGENT, set to its \
            client address. On SIGHUP it reads its key file again.

            Examples:
              sessionmesh agent --name n1
              sessionmesh agent --name n2 --bind 127.0.0.1:7947 --seed 127.0.0.1:7946
              sessionmesh agent --name n1 --bind 10.0.0.1:7946 --seed 10.0.0.2:7946 --seed 10.0.0.3:7946 --key-file mesh.key
              sessionmesh agent --name n1 --bind 10.0.0.1:7946 --seed srv:_sessionmesh._udp.example.org --key-file mesh.key
              sessionmesh agent --mirror redis://127.0.0.1:6379
            """)

    @OptionGroup var member: MemberOptions

    @Option(help: "Where applications are listened to: unix:PATH, or HOST:PORT on loopback.", transform: Values.listenAddress)
    var client: ListenAddress?

    @Option(help: "A file with the token that applications on TCP must send.")
    var clientTokenFile: String?

    @Option(
        help: """
            Where sessions are mirrored, such as redis://host, rediss://host (TLS), redis+sentinel://host,host/name, \
            redis+cluster://host,host, unix:///path?db=N, memcached://host,host or mongodb://host/database. One with a \
            password is safe in SESSIONMESH_MIRROR, where other users can't read it.
            """)
    var mirror: String?

    @Option(
        help: """
            When a change is answered: behind, when two nodes hold it, which the mirror does within 200 ms; through, when the mirror holds it \
            too. The same for all agents.
            """)
    var mirrorMode: MirrorMode = .behind

    @Option(help: "node holds sessions; balancer only listens to gossip.")
    var role: RoleName = .node

    @Option(help: ArgumentHelp("A label of this node; may be given more than once.", valueName: "name=value"), transform: Values.tag)
    var tag: [Values.Tag] = []

    @Option(help: "This node's share of sessions, 1 to 16.")
    var weight: UInt8 = 1

    @Option(help: "After how long without a request a session ends, such as 30m. (default: 30m)", transform: Values.duration)
    var idleTimeout: Duration = .seconds(1800)

    @Option(help: "At what age a session ends, requests or not, such as 12h. (default: never)", transform: Values.duration)
    var absoluteTimeout: Duration?

    @Flag(help: "Count the idle time from the last change of a session, not from the last request.")
    var noRolling = false

    @Option(
        help: """
            Memory that sessions may take, second copies included, such as 512MiB; then new ones are refused, and none is dropped. \
            A million small ones take half of the default. (default: 1GiB)
            """, transform: Values.byteCount)
    var memoryMax = 1 << 30

    @Option(
        help: """
            How long SIGTERM waits until other nodes hold all sessions that this one does, such as 2m; second copies take over what is \
            left. (default: 30s)
            """, transform: Values.duration)
    var drainTimeout = Self.drainTimeoutDefault

    static let drainTimeoutDefault = Duration.seconds(30)

    @OptionGroup var log: LogOptions

    enum RoleName: String, ExpressibleByArgument, CaseIterable {
        case node, balancer
    }

    func validate() throws {
        guard (1...16).contains(weight) else { throw ValidationError("--weight is a whole number from 1 to 16") }
        guard idleTimeout >= .seconds(1) else { throw ValidationError("--idle-timeout is one second or more") }
        guard memoryMax >= 1 << 20 else { throw ValidationError("--memory-max is 1MiB or more") }
        guard absoluteTimeout.map({ $0 >= .seconds(1) }) ?? true else { throw ValidationError("--absolute-timeout is one second or more") }
        guard Set(tag.map(\.name)).count == tag.count else { throw ValidationError("--tag has a name twice") }
        // By hand, because the parser would repeat the value, and a password with it.
        if let mirror { do { _ = try MirrorURI(mirror) } catch { throw ValidationError("--mirror: \(error)") } }
    }

    func run() async throws {
        let logger = log.logger()
        DescriptorLimit.raise()
        let directory = try RunDirectory.open()
        let name = try member.nodeName() ?? MemberOptions.defaultName()
        let label = try member.meshLabel()
        let bind = try member.bind ?? Endpoint(parsing: Addresses.gossip)
        let advertise = try member.advertised(bind: bind)
        let keys = try member.keys(bind: bind, advertise: advertise, in: directory, logger: logger)
        let mirror = try mirror.map { try MirrorURI($0).makeMirror(logger: logger) }

        let agent = MeshAgent(
            configuration: AgentShellConfiguration(
                bind: bind, advertise: advertise, seeds: member.seed, label: label,
                client: client ?? .unix(directory.clientSocket(of: name.description)), clientToken: try clientTokenFile.map(TokenFile.read),
                admin: member.admin ?? .unix(directory.adminSocket(of: name.description)), dataDirectory: try member.dataDirectory()),
            agent: AgentConfiguration(
                name: name, endpoint: bind, role: role == .node ? .node : .balancer, label: label,
                tags: Dictionary(uniqueKeysWithValues: tag.map { ($0.name, $0.value) }), weight: weight,
                mirrorMode: mirror == nil ? nil : mirrorMode,
                expiry: ExpiryPolicy(idle: idleTimeout, absolute: absoluteTimeout, isRolling: !noRolling), memoryMax: memoryMax,
                drainTimeout: drainTimeout, swim: SWIM.Configuration(member.profile)),
            keys: keys, rereadKeys: member.rereadKeys(in: directory), mirror: mirror, logger: logger)

        let printsEvents = member.events != nil
        let printer = Task { if printsEvents { await Output.print(agent.notices.map(\.jsonLine)) } }
        if Self.showsPassword(self.mirror) {
            logger.warning("everybody on this machine can read the password in --mirror; set SESSIONMESH_MIRROR instead")
        }
        if let mirror { Task { await Self.tryMirror(mirror, logger) } }
        let notices = ServiceNotices.follow(agent)
        defer { notices?.cancel() }
        try await Services.run([agent]) { agent.reloadKeys() }
        await printer.value
    }
}

extension AgentCommand {
    /// Whether a password stands among the process' own arguments, and didn't come from a variable.
    private static func showsPassword(_ mirror: String?) -> Bool {
        guard let mirror, (try? MirrorURI(mirror))?.hasPassword ?? false else { return false }
        return CommandLine.arguments.contains { $0.hasSuffix(mirror) }
    }

    /// The agent starts without its mirror and asks it only when there is something to ask; so that an operator who mistyped the address is told
    /// at the start, a session that nobody has is looked for.
    private static func tryMirror(_ mirror: any MeshCore.Mirror, _ logger: Logger) async {
        guard let key = SessionKey(bytes: [UInt8](repeating: 0, count: SessionKey.byteCount)) else { return }
        var reason = ""
        // It takes a moment to connect.
        for _ in 0..<10 {
            do throws(MirrorError) {
                _ = try await mirror.load(key)
                return logger.info("the mirror answers")
            } catch {
                reason = error.description
            }
            try? await Task.sleep(for: .milliseconds(300))
        }
        logger.warning("the mirror does not answer; sessions are in memory alone until it does", metadata: ["reason": "\(reason)"])
    }
}

/// The token of a client listener on TCP: the first line of a file.
enum TokenFile {
    static func read(_ path: String) throws -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandFailure.configuration("the token file \(path) can't be read: name a text file that this user may read")
        }
        return String(text.prefix { !$0.isNewline })
    }
}
