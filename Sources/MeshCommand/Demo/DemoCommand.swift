import ArgumentParser
import Foundation
import Logging
import MeshCore
import MeshMirrors

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Runs a whole mesh on this machine: agents, applications and a balancer, each a process of its own.",
        discussion: """
            A process that dies is started again after three seconds. When the demo ends, however it ends, all of them do.

            Examples:
              sessionmesh demo
              sessionmesh demo --nodes 5 --port 0
              sessionmesh demo --mirror redis://127.0.0.1:6379
            """)

    @Option(help: "How many nodes, 1 to 16.")
    var nodes = 3

    @Option(help: "The balancer's port on 127.0.0.1; 0 lets the system choose.")
    var port: UInt16 = 8080

    @Option(
        help: """
            Where sessions are mirrored: redis://[user:password@]host[:port][/db], rediss://... (TLS), unix:///path?db=N, \
            redis+sentinel://host,.../name, redis+cluster://host,..., memcached://host,... or mongodb://host/database.
            """)
    var mirror: String?

    @Option(help: "When a change is answered: behind, when two nodes hold it; through, when the mirror holds it too.")
    var mirrorMode: MirrorMode = .behind

    @Option(help: "A key file to use, so that cookies of an earlier demo stay good; otherwise one is made for this demo alone.")
    var keyFile: String?

    @Flag(help: "Prints what happens as JSON, one object a line.")
    var json = false

    @Option(help: "How much the processes log to standard error.")
    var logLevel: Logger.Level = .error

    func validate() throws {
        guard (1...16).contains(nodes) else { throw ValidationError("--nodes is a whole number from 1 to 16") }
        if let mirror { do { _ = try MirrorURI(mirror) } catch { throw ValidationError("--mirror: \(error)") } }
    }

    func run() async throws {
        try Addresses.checkFree(.loopback(port: port), flag: "--port")
        guard access(DemoMesh.application, X_OK) == 0 else {
            throw CommandFailure.configuration(
                "\(DemoMesh.application) is missing: build it with `swift build --product sessionmesh-demo`, and keep both in one directory"
            )
        }
        let keys = try keyFile.map { try KeyFiles.read($0).text } ?? KeyFiles.newText()
        let environment = ProcessInfo.processInfo.environment
        let directory = try DemoDirectory.make(environment: environment)
        defer { directory.remove() }
        try KeyFiles.write(Array(keys.utf8), to: directory.keyFile)

        let announce = { @Sendable [json] (event: DemoEvent) in
            if json { Output.line(event.json) } else { Output.write(event.text) }
        }
        let mesh = DemoMesh(
            DemoMesh.Configuration(
                nodes: (1...nodes).map { "n\($0)" }, port: port, mirror: mirror, mirrorMode: mirrorMode, logLevel: logLevel.rawValue,
                // What is set for the demo isn't meant for each of its processes.
                environment: environment.filter { !$0.key.hasPrefix("SESSIONMESH_") && $0.key != "PORT" }, directory: directory),
            announce: announce)
        try directory.listenAtKillSwitch { name in Task { await mesh.kill(name) } }
        try await Services.untilSignalled {
            try await mesh.run()
        } onSignal: {
            await mesh.stop()
        } onSecond: {
            directory.remove()
        }
        announce(.stopped)
    }
}
