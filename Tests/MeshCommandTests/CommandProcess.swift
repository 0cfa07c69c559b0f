import Foundation
import Synchronization

/// The built executable, run as a person would, in a run directory of its own.
final class CommandProcess: Sendable {
    private let process: Mutex<Process>
    let pid: pid_t
    private let outputPath: String
    private let errorsPath: String

    /// Beside the tests' own executable.
    static let path = URL(filePath: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "")
        .deletingLastPathComponent().appending(path: "sessionmesh").path

    init(_ arguments: [String], in directory: CommandDirectory, variables: [String: String] = [:], input: String? = nil) throws {
        let process = Process()
        process.executableURL = URL(filePath: Self.path)
        process.arguments = arguments
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SESSIONMESH_") }
        environment["XDG_RUNTIME_DIR"] = directory.path
        process.environment = environment.merging(variables) { $1 }
        outputPath = directory.file("out-\(UUID())")
        errorsPath = directory.file("err-\(UUID())")
        for path in [outputPath, errorsPath] { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        process.standardOutput = FileHandle(forWritingAtPath: outputPath)
        process.standardError = FileHandle(forWritingAtPath: errorsPath)
        process.standardInput = FileHandle.nullDevice
        if let input {
            let path = directory.file("in-\(UUID())")
            try input.write(toFile: path, atomically: false, encoding: .utf8)
            chmod(path, 0o600)
            process.standardInput = FileHandle(forReadingAtPath: path)
        }
        try process.run()
        pid = process.processIdentifier
        self.process = Mutex(process)
    }

    var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOfFile: errorsPath, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.withLock { $0.isRunning } }

    func send(_ signal: Int32) {
        process.withLock { if $0.isRunning { kill(pid, signal) } }
    }

    /// The lines it has printed so far that are JSON objects.
    var events: [[String: any Sendable]] {
        output.split(separator: "\n").compactMap { line in
            (try? JSONSerialization.jsonObject(with: Data(line.utf8))) as? [String: any Sendable]
        }
    }

    func event(_ name: String) async throws -> [String: any Sendable] {
        try await eventually("the event \(name) of \(pid): \(errors)") { self.events.first { $0["event"] as? String == name } }
    }

    /// - Returns: its exit code, or 128 and the signal that ended it.
    @discardableResult
    func ended() async throws -> Int32 {
        try await eventually("the end of process \(pid)") { self.isRunning ? nil : true }
        return process.withLock { $0.terminationReason == .exit ? $0.terminationStatus : 128 + $0.terminationStatus }
    }

    /// Runs a command to its end.
    static func run(
        _ arguments: [String], in directory: CommandDirectory, variables: [String: String] = [:]
    ) async throws -> (code: Int32, output: String, errors: String) {
        let process = try CommandProcess(arguments, in: directory, variables: variables)
        defer { process.send(SIGKILL) }
        let code = try await process.ended()
        return (code, process.output, process.errors)
    }
}

/// A fresh directory with a short path, as sockets need one.
final class CommandDirectory: Sendable {
    let path: String

    init() throws {
        path = "/tmp/smc-\(UInt32.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func write(_ text: String, to name: String, mode: mode_t = 0o600) throws -> String {
        try text.write(toFile: file(name), atomically: false, encoding: .utf8)
        chmod(file(name), mode)
        return file(name)
    }
}

struct NeverCame: Error, CustomStringConvertible {
    var description: String
}

/// Waits for a state, generously: builds and other tests may have the machine.
@discardableResult
func eventually<Value>(_ what: String, _ look: () async throws -> Value?) async throws -> Value {
    let deadline = ContinuousClock.now + .seconds(90)
    while ContinuousClock.now < deadline {
        if let value = try await look() { return value }
        try await Task.sleep(for: .milliseconds(20))
    }
    throw NeverCame(description: "never came: \(what)")
}

/// Whether there is such a process that isn't a zombie.
func isAlive(_ pid: Int) -> Bool {
    guard let status = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let paren = status.lastIndex(of: ")") else {
        return false
    }
    return !["Z", "X"].contains(status[paren...].dropFirst(2).prefix(1))
}
