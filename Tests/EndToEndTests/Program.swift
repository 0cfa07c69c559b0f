import Foundation
import Glibc
import Synchronization

/// A real process of ours, its output read as it comes. Whoever starts one stops it.
final class Program: Sendable {
    let pid: pid_t
    private let output = Mutex<[String]>([])
    private let hasEnded = Mutex<Int32?>(nil)

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Where the executables under test are: beside the test bundle, which is built with them.
    static func path(of name: String) throws -> String {
        let folder = ProcessInfo.processInfo.environment["SESSIONMESH_BIN"] ?? Self.buildFolder
        let path = folder + "/" + name
        guard access(path, X_OK) == 0 else {
            throw Failure(description: "\(path) is not there: run `make test`, which builds it, or set SESSIONMESH_BIN to its folder")
        }
        return path
    }

    private static var buildFolder: String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: bundle).resolvingSymlinksInPath().deletingLastPathComponent().path
    }

    /// - Parameter environment: added to this process's own.
    init(_ path: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Failure(description: "no pipe: errno \(errno)") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        posix_spawn_file_actions_addclose(&actions, ends[1])
        // Threads of a test run block most signals, and a child would inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let words = ([path] + arguments).map { strdup($0) } + [nil]
        let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let variables = merged.map { strdup("\($0)=\($1)") } + [nil]
        defer {
            for word in words { free(word) }
            for variable in variables { free(variable) }
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        var pid: pid_t = 0
        let status = posix_spawn(&pid, path, &actions, &attributes, words, variables)
        close(ends[1])
        guard status == 0 else {
            close(ends[0])
            throw Failure(description: "\(path) did not start: errno \(status)")
        }
        self.pid = pid
        let input = ends[0]
        Thread.detachNewThread { self.readLines(input) }
    }

    private func readLines(_ descriptor: Int32) {
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var rest = ""
        while case let data = handle.availableData, !data.isEmpty {
            rest += String(decoding: data, as: UTF8.self)
            while let end = rest.firstIndex(of: "\n") {
                let line = String(rest[..<end])
                output.withLock { $0.append(line) }
                rest = String(rest[rest.index(after: end)...])
            }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        hasEnded.withLock { $0 = status }
    }

    var lines: [String] { output.withLock { $0 } }

    /// The exit code, or 128 and the signal, once the program has ended.
    var exitCode: Int32? {
        hasEnded.withLock { status in
            status.map { $0 & 0x7F == 0 ? ($0 >> 8) & 0xFF : 128 + ($0 & 0x7F) }
        }
    }

    func signal(_ number: Int32) {
        if exitCode == nil { kill(pid, number) }
    }

    /// Stops the process, until `SIGCONT`. Returns when none of its threads runs any more: each stops when it next comes to a processor.
    func freeze() throws {
        signal(SIGSTOP)
        try eventually("process \(pid) stands still") {
            let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")
            return threads.allSatisfy { thread in
                guard let stat = try? String(contentsOfFile: "/proc/\(pid)/task/\(thread)/stat", encoding: .utf8) else { return true }
                return stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].hasPrefix(") T")
            }
        }
    }

    @discardableResult
    func stop(within seconds: Int = 20) throws -> Int32 {
        signal(SIGTERM)
        try eventually("process \(pid) ends", within: seconds) { exitCode != nil }
        return exitCode ?? -1
    }
}

/// Looks again and again until it is so, and fails after `seconds`. Looking is cheap; waiting a fixed time is not.
func eventually(_ what: String, within seconds: Int = 30, _ isSo: () throws -> Bool) throws {
    let end = ContinuousClock.now + .seconds(seconds)
    while try !isSo() {
        guard ContinuousClock.now < end else { throw Program.Failure(description: "not within \(seconds) s: \(what)") }
        usleep(20_000)
    }
}
