import ArgumentParser
import CMeshSystem
import Foundation

/// Becomes another program that does not outlive who started it. Hidden: `sessionmesh demo` starts all its processes through it.
struct ExecChildCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec-child", abstract: "Becomes PROGRAM, and dies with the process PARENT.", shouldDisplay: false)

    @Argument var parent: Int32

    @Argument(parsing: .postTerminator) var program: [String]

    func run() throws {
        guard let path = program.first else { throw ValidationError("name a program behind --") }
        let result = mesh_die_with_parent()
        guard result == 0 else { throw CommandFailure.failed("the kernel refuses a death signal: \(String(cString: strerror(-result)))") }
        // The parent may have died before the signal was asked for; nobody would kill us any more.
        guard getppid() == parent else { throw CommandFailure.failed("the process \(parent) is gone") }
        // What this process ignores or blocks, the program would too.
        signal(SIGPIPE, SIG_DFL)
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        var words = program.map { strdup($0) } + [nil]
        execv(path, &words)
        throw CommandFailure.configuration("\(path) can't be run: \(String(cString: strerror(errno)))")
    }
}
