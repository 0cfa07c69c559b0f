package import Glibc

/// A program that the lab started.
///
/// Its output is read line by line, by whoever waits. Programs are stopped by their own process id; what escaped even so dies with the
/// process namespace.
package final class Child {
    package let pid: pid_t
    package var output: LineReader
    package var errors: LineReader
    /// What `waitpid` said of its end.
    package private(set) var status: Int32?

    package var isRunning: Bool { status == nil }
    package var exitCode: Int32? { status.flatMap { $0 & 0x7f == 0 ? ($0 >> 8) & 0xff : nil } }

    /// - Parameter variables: added to the environment that the lab itself was started with.
    package init(_ arguments: [String], variables: [String: String] = [:]) throws {
        let (outputRead, outputWrite) = try Self.pipe()
        let (errorsRead, errorsWrite) = try Self.pipe()
        defer { for descriptor in [outputWrite, errorsWrite] { close(descriptor) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, outputWrite, 1)
        posix_spawn_file_actions_adddup2(&actions, errorsWrite, 2)
        // A group of its own: the terminal's Ctrl-C is for the lab, which then stops its programs.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))

        var words = arguments.map { strdup($0) } + [nil]
        var environment = Self.environment(adding: variables).map { strdup($0) } + [nil]
        defer { for word in words + environment { free(word) } }
        var pid: pid_t = 0
        let failure = posix_spawnp(&pid, arguments[0], &actions, &attributes, &words, &environment)
        guard failure == 0 else {
            for descriptor in [outputRead, errorsRead] { close(descriptor) }
            throw LabFailure("\(arguments[0]) can't be started: \(String(cString: strerror(failure)))")
        }
        self.pid = pid
        output = LineReader(outputRead)
        errors = LineReader(errorsRead)
    }

    deinit {
        if isRunning { end() }
        output.close()
        errors.close()
    }

    package func signal(_ number: Int32) { if isRunning { kill(pid, number) } }

    /// At once and for good.
    package func end() {
        signal(SIGKILL)
        _ = reap(waiting: true)
    }

    /// Whether it has ended.
    @discardableResult
    package func reap(waiting: Bool = false) -> Bool {
        guard status == nil else { return true }
        var ended: Int32 = 0
        var result = waitpid(pid, &ended, waiting ? 0 : WNOHANG)
        while result == -1 && errno == EINTR { result = waitpid(pid, &ended, waiting ? 0 : WNOHANG) }
        if result == pid { status = ended }
        return status != nil
    }

    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else { throw LabFailure("no pipe: \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        return (ends[0], ends[1])
    }

    private static func environment(adding variables: [String: String]) -> [String] {
        var all: [String] = []
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if !variables.keys.contains(where: { text.hasPrefix($0 + "=") }) { all.append(text) }
            next += 1
        }
        return all + variables.map { "\($0.key)=\($0.value)" }
    }
}

extension Child {
    /// Runs a program to its end and returns what it printed.
    @discardableResult
    package static func run(_ arguments: [String], input: String? = nil) throws -> String {
        var arguments = arguments
        // Files, because a pipe to its input would need a second thing to wait for.
        if let input { arguments = ["sh", "-c", "exec \"$@\" <<'END'\n\(input)\nEND", "sh"] + arguments }
        let child = try Child(arguments)
        var text = ""
        var complaints = ""
        while !(child.output.isAtEnd && child.errors.isAtEnd) {
            var descriptors = [
                pollfd(fd: child.output.descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: child.errors.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&descriptors, 2, 100)
            child.output.read { text += String(decoding: $0, as: UTF8.self) + "\n" }
            child.errors.read { complaints += String(decoding: $0, as: UTF8.self) + " " }
            try Interruption.check()
        }
        child.reap(waiting: true)
        guard child.exitCode == 0 else { throw LabFailure("\(arguments.joined(separator: " ")): \(complaints)") }
        return text
    }
}
