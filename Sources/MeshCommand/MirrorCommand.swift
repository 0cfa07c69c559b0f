import ArgumentParser
import Foundation
import MeshMirrors

struct MirrorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mirror", abstract: "Looks after a mirror: the store behind the agents.", subcommands: [MirrorCheckCommand.self])
}

struct MirrorCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Tries a store as agents would use it: how fast it is, what it does and what it lacks.",
        discussion: """
            Some thousands of sessions of its own are written, read and removed again, and their users stay in the index for an hour at most; \
            sessions of a mesh are not touched, but a store that is full may throw some away for them. Of a URI with a \
            password, other users of this machine see nothing when it is in SESSIONMESH_MIRROR instead of an argument. Ends with 1 when the \
            store can't be used as a mirror.

            Examples:
              sessionmesh mirror check redis://127.0.0.1:6379
              sessionmesh mirror check memcached://10.0.0.1,10.0.0.2 --json
              SESSIONMESH_MIRROR=mongodb://ann:secret@10.0.0.1/web sessionmesh mirror check
            """)

    @Argument(help: "The store, as agents are given it with --mirror. (default: SESSIONMESH_MIRROR)")
    var uri: String?

    @Flag(help: "Prints JSON.")
    var json = false

    @OptionGroup var log: LogOptions

    func run() async throws {
        guard let text = uri ?? ProcessInfo.processInfo.environment["SESSIONMESH_MIRROR"], !text.isEmpty else {
            throw ValidationError("name a store, as in `sessionmesh mirror check redis://127.0.0.1:6379`")
        }
        let store = CheckedStore(uri: try MirrorURI(text), logger: log.logger())
        let report = try await MirrorCheck.run(on: store) { if isatty(STDERR_FILENO) != 0 { Output.note($0) } }
        if json { Output.line(report.json) } else { Output.write(report.text) }
        guard report.broken.isEmpty else {
            throw CommandFailure.failed("\(store.uri) can't be used as a mirror: \(report.broken.count) claims don't hold")
        }
    }
}
