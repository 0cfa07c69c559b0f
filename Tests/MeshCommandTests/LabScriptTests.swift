import Foundation
import Testing

/// What `make lab-test` says where it can't be done: one line, before anything is built.
@Suite struct LabScriptTests {
    /// What stands in for `docker`, by what it answers; nil for a machine without it.
    private func run(docker: String?, _ arguments: [String] = []) async throws -> (code: Int32, errors: String) {
        let directory = try CommandDirectory()
        if let docker { _ = try directory.write("#!/bin/bash\n\(docker)\n", to: "docker", mode: 0o700) }
        let errors = directory.file("errors")
        _ = FileManager.default.createFile(atPath: errors, contents: nil)
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let process = Process()
        process.executableURL = URL(filePath: "/bin/bash")
        process.arguments = [root.appending(path: "docker/lab-test").path] + arguments
        process.environment = ["PATH": directory.path]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(forWritingAtPath: errors)
        try process.run()
        defer { process.terminate() }
        try await eventually("the script's end") { process.isRunning ? nil : true }
        return (process.terminationStatus, try String(contentsOfFile: errors, encoding: .utf8))
    }

    private func expect(_ result: (code: Int32, errors: String), _ code: Int32, _ says: String) {
        #expect(result.code == code, "\(result.errors)")
        #expect(result.errors.hasPrefix("lab-test: ") && result.errors.contains(says), "\(result.errors)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
    }

    @Test func withoutDockerItSaysSo() async throws {
        expect(try await run(docker: nil), 69, "no docker on the PATH")
    }

    @Test func withoutComposeItSaysSo() async throws {
        expect(try await run(docker: "[ \"$1\" != compose ]"), 69, "docker-compose")
    }

    @Test func withAnEngineThatDoesNotAnswerItSaysSo() async throws {
        expect(try await run(docker: "[ \"$1\" != info ]"), 69, "the engine doesn't answer")
    }

    @Test func aStoreThatTheLabHasNotIsAMistake() async throws {
        expect(try await run(docker: "true", ["cassandra"]), 64, "redis, memcached and mongodb")
    }
}
