import LabTools

@main
enum PoolLab {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        // The same program is the server that it starts, so that both agree on what work is.
        if arguments.first == "serve" { return try await WorkServer(arguments.dropFirst()).run() }
        LabProgram.run("pool-lab") {
            guard let settings = try Settings(arguments) else {
                Say.result(Settings.usage)
                return true
            }
            let report = try Trial(settings).run()
            Say.result(report.text)
            return report.isGood
        }
    }
}
