import ArgumentParser
import Foundation
import Hummingbird
import Logging
import NIOCore
import SessionMesh

@main
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessionmesh-demo",
        abstract: "A small web application whose sessions and chat live in a SessionMesh.",
        discussion: """
            It answers HTTP, registers with the agent of its node as service "demo", and drains on SIGTERM. SESSIONMESH_AGENT says \
            where the agent listens; SESSIONMESH_ADDRESS, as HOST:PORT, where balancers reach this process when that is not where it \
            listens; SESSIONMESH_DEMO_KILL, the path of a FIFO or Unix socket, enables the button that asks the parent process to kill \
            this node.
            """)

    @Option(help: "The name of the node this process belongs to; shown on the page.")
    var name: String

    @Option(help: "The address to listen on, or a name of this machine, which is looked up once.")
    var host = "127.0.0.1"

    @Option(help: "The port to listen on; 0 lets the system choose. (default: $PORT, else 8080)")
    var port: Int?

    @Option(help: "The node's agent: unix:PATH or HOST:PORT. (default: $SESSIONMESH_AGENT)")
    var agent: String?

    func validate() throws {
        do { _ = try NodeName(name) } catch { throw ValidationError("\(error)") }
        _ = try resolvedPort()
        guard !["0.0.0.0", "::"].contains(host) || registeredAddress != nil else {
            throw ValidationError("balancers can't dial \(host); set SESSIONMESH_ADDRESS to the HOST:PORT at which they reach this process")
        }
    }

    func run() async throws {
        do {
            try await serve()
        } catch let error as IOError {
            try fail("port \(try resolvedPort()) of \(host) can't be listened on; choose another with --host or --port (\(error))")
        } catch let error as SessionError {
            try fail(error.message)
        } catch {
            try fail("\(error)")
        }
    }

    /// One line, and the code that sysexits has for a configuration that can't work.
    private func fail(_ line: String) throws -> Never {
        FileHandle.standardError.write(Data("sessionmesh-demo: \(line)\n".utf8))
        throw ExitCode(78)
    }

    private func serve() async throws {
        var environment = ProcessInfo.processInfo.environment
        if let agent { environment["SESSIONMESH_AGENT"] = agent }
        // The port is known only once it is bound, so the application registers itself.
        environment["SESSIONMESH_SERVICE"] = nil
        let configuration = try SessionMeshConfiguration(environment: environment)
        var logger = Logger(label: "sessionmesh.demo") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .notice
        let mesh = SessionMesh(configuration: configuration, logger: logger)
        let demo = DemoServer(name: name, mesh: mesh, killSwitch: environment["SESSIONMESH_DEMO_KILL"].map(KillSwitch.init(path:)))
        try await demo.application(host: host, port: try resolvedPort(), address: registeredAddress, logger: logger) { [name, host] port in
            FileHandle.standardOutput.write(Data("sessionmesh-demo \(name) listens on http://\(host):\(port)/\n".utf8))
        }.runService()
    }

    private var registeredAddress: String? { ProcessInfo.processInfo.environment["SESSIONMESH_ADDRESS"] }

    private func resolvedPort() throws -> Int {
        let text = ProcessInfo.processInfo.environment["PORT"]
        guard let port = port ?? (text.map { Int($0) } ?? 8080), 0...65535 ~= port else {
            throw ValidationError("the port is not a whole number from 0 to 65535; set --port or PORT")
        }
        return port
    }
}
