import AgentTools
import LabTools

@main
enum MirrorLab {
    static func main() {
        LabProgram.run("mirror-lab") {
            let arguments = Array(CommandLine.arguments.dropFirst())
            if try TailProcess.run(arguments) { return true }
            guard let settings = try Settings(arguments) else {
                Say.result(Settings.usage)
                return true
            }
            return try run(settings, arguments)
        }
    }

    /// Whether every goal was met.
    private static func run(_ settings: Settings, _ arguments: [String]) throws -> Bool {
        let base = try Toolbox(sessionmesh: settings.sessionmesh, directory: settings.directory)
        var isKept = settings.directory != nil
        defer { if !isKept { base.remove() } }
        var report = Report(occasion: try Occasion(settings.rows, arguments))
        for row in settings.rows {
            Say.progress(row.name)
            do {
                // A mesh of its own, with a key of its own.
                let toolbox = try Toolbox(sessionmesh: base.sessionmesh, directory: "\(base.directory)/\(row.name)")
                for var figure in try row.run(settings, with: toolbox) {
                    figure.row = row.name
                    report.figures.append(figure)
                }
                if !isKept { toolbox.remove() }
            } catch let failure as LabFailure {
                Say.progress(
                    "\(row.name) could not be run: \(failure.message)\nwhat agents and stores said is in \(base.directory)/\(row.name)")
                var figure = Figure("could not be run", nil, goal: .atMost(0))
                figure.row = row.name
                report.figures.append(figure)
                isKept = true
            }
        }
        Say.result(settings.isJSON ? report.json : report.text)
        return report.isGood
    }
}
