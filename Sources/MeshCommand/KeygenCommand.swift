import ArgumentParser
import MeshCore

struct KeygenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Prints a new key file, the secrets that make a process a member of the mesh; or changes one.",
        discussion: """
            Every agent and balancer of a mesh needs a copy, of mode 0600. To change a key of a mesh that runs, add one to its ring, give \
            every member the file and a SIGHUP, see with `sessionmesh keys` that all use it, then drop the old one likewise. A cookie key \
            that is taken out ends the sessions whose visitors did not come since: leave it for as long as they may stay away.

            Examples:
              (umask 077; sessionmesh keygen > mesh.key)
              sessionmesh keygen --add mesh.key                    one more gossip key, to be used
              sessionmesh keygen --drop 1 mesh.key                 gossip key 1 is taken out
              sessionmesh keygen --add --ring cookie mesh.key      one more cookie key, to sign with
            """)

    @Flag(help: "Adds a key to FILE.")
    var add = false

    @Option(help: ArgumentHelp("Takes the key of that number out of FILE.", valueName: "number"))
    var drop: UInt16?

    @Option(help: "With --add and --drop: gossip, which seals what members tell each other, or cookie, which signs session cookies.")
    var ring: KeyRing = .gossip

    @Argument(help: "The key file to change; its mode and owner stay.")
    var file: String?

    func validate() throws {
        guard !add || drop == nil else { throw ValidationError("--add and --drop are two steps: all members need the new key first") }
        guard (add || drop != nil) == (file != nil) else {
            throw ValidationError(
                file == nil ? "say which key file to change" : "say --add or --drop NUMBER to change a file; a new one is printed")
        }
    }

    func run() throws {
        guard let file else { return Output.write(KeyFiles.newText()) }
        if let drop {
            try KeyFiles.change(file) { try $0.dropKey(drop, from: ring) }
            Output.line("\(ring.rawValue) key \(drop) is no longer in \(file)")
        } else {
            let number = try KeyFiles.change(file) { text in
                var random = SystemRandomNumberGenerator()
                return try text.addKey(to: ring, using: &random)
            }
            Output.line("\(ring.rawValue) key \(number) is in \(file)")
        }
    }
}
