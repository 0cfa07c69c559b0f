import AgentTools
import LabTools

@main
enum SessionLab {
    static func main() {
        LabProgram.run("session-lab") {
            guard let settings = try Settings(Array(CommandLine.arguments.dropFirst())) else {
                Say.result(Settings.usage)
                return true
            }
            if settings.ground == .apart { try Namespaces.enter() }
            return try run(settings)
        }
    }

    /// Whether every promise held, and every goal was met.
    private static func run(_ settings: Settings) throws -> Bool {
        let toolbox = try settings.makeToolbox()
        var isKept = !settings.isTemporary
        defer { if !isKept { toolbox.remove() } }
        switch settings.task {
        case .ordeal(let ordeal):
            isKept = true
            let report = try Ordeal(ordeal, on: settings.ground, with: toolbox).run()
            isKept = !settings.isTemporary || !report.violations.isEmpty
            Say.result(settings.isJSON ? report.json(seed: ordeal.seed) : report.text)
            if !report.violations.isEmpty { Say.progress("what agents said, and the whole history, is in \(toolbox.directory)") }
            return report.violations.isEmpty
        case .join(let join):
            let report = try Join(join, with: toolbox).run()
            Say.result(settings.isJSON ? report.json(join) : report.text(join))
            return report.isGood
        }
    }
}
