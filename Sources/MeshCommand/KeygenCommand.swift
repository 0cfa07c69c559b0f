import ArgumentParser

struct KeygenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Prints a new key file: the secrets that make a process a member of the mesh.",
        discussion: """
            Every agent and balancer of a mesh needs a copy, of mode 0600.

            Example: (umask 077; sessionmesh keygen > mesh.key)
            """)

    func run() { Output.write(KeyFiles.newText()) }
}
