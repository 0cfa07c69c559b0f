import Foundation
import Glibc
import Logging
import MeshCore
import Synchronization
import Testing

@testable import MeshSupervisor

enum Stage {
    /// What the processes of all tests have printed.
    static let lines = Mutex<[String]>([])

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// `sessionmesh`, which is built beside the tests.
    static let launcher: String = {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: bundle).resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "sessionmesh").path
    }()

    /// Of one worker that is a shell.
    static func supervisor(_ script: String, _ change: (inout ClusterConfiguration) -> Void = { _ in }) -> ClusterSupervisor {
        var configuration = ClusterConfiguration(
            program: "/bin/sh", arguments: ["-c", script], workers: 1, environment: ["PATH": "/usr/bin:/bin"], launcher: launcher)
        configuration.onLine = { _, line in lines.withLock { $0.append(line.text) } }
        change(&configuration)
        return ClusterSupervisor(configuration, logger: logger)
    }

    static func eventually(_ what: String, _ isSo: () async -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while await !isSo() {
            try #require(ContinuousClock.now < deadline, "never: \(what)")
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    struct FreePort {
        var port: UInt16

        /// Listens there.
        func hold() throws -> Int32 {
            let (descriptor, _) = try Stage.listen(port)
            return descriptor
        }
    }

    static func freePort() throws -> FreePort {
        let (descriptor, port) = try listen(0)
        close(descriptor)
        return FreePort(port: port)
    }

    private static func listen(_ port: UInt16) throws -> (Int32, UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && Glibc.listen(descriptor, 1) == 0 && getsockname(descriptor, address, &length) == 0
            }
        }
        try #require(descriptor >= 0 && isBound)
        return (descriptor, UInt16(bigEndian: name.sin_port))
    }
}
