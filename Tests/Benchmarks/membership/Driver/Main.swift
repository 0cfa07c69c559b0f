import Glibc
import LabTools

@main
enum MembershipLab {
    static let usage = """
        usage: membership-lab --sessionmesh PROGRAM --directory D [--rounds N] [--full] [--only ours|serf] [--json] [SCENARIO ...]
        Started by run.sh. Scenarios, any number of members from 3 to 120:
          \(Scenario.all.joined(separator: " "))
        """

    static func main() {
        LabProgram.run("membership-lab") {
            guard let settings = try Settings(Array(CommandLine.arguments.dropFirst())) else {
                Say.result(usage)
                return true
            }
            try Namespaces.enter()
            return try run(settings)
        }
    }

    /// Whether all goals were met.
    private static func run(_ settings: Settings) throws -> Bool {
        let toolbox = try settings.makeToolbox()
        let lab = Lab(
            toolbox: toolbox, effort: settings.effort, id: "membership-lab-\(settings.directory.split(separator: "/").last ?? "x")")
        let facts = try settings.facts()
        for (name, text) in facts { Say.progress("\(name)  \(text)") }
        var reports: [ScenarioReport] = []
        for scenario in settings.scenarios {
            Say.progress(scenario.name)
            let outcomes = try settings.systems.filter(scenario.exists).map { try lab.run(scenario, on: $0) }
            reports.append(ScenarioReport(name: scenario.name, outcomes: outcomes))
        }
        Say.result(settings.isJSON ? JSONReport.text(reports, facts: facts) : "\n" + Table.text(reports))
        return reports.allSatisfy { report in
            report.rows.allSatisfy { $0.isMet ?? true } && report.outcomes.allSatisfy { $0.system == .serf || $0.failure == nil }
        }
    }
}

/// What the person who runs the lab wants.
struct Settings {
    private var sessionmesh = ""
    private(set) var directory = ""
    private(set) var effort = Effort()
    private(set) var systems = System.allCases
    private(set) var isJSON = false
    private(set) var scenarios: [Scenario] = []

    /// Nil when help is asked for.
    init?(_ arguments: [String]) throws {
        var words = LabArguments(arguments)
        while let word = words.next() {
            switch word {
            case "--help", "-h": return nil
            case "--sessionmesh": sessionmesh = try words.value(of: word)
            case "--directory": directory = try words.value(of: word)
            case "--full": effort.isFull = true
            case "--json": isJSON = true
            case "--rounds": effort.rounds = try words.number(of: word, in: 1...1000)
            case "--only":
                guard let system = System(rawValue: try words.value(of: word)) else { throw LabFailure("--only is ours or serf") }
                systems = [system]
            default:
                guard let scenario = Scenario(word) else { throw LabFailure("\(word) is no scenario; see --help") }
                scenarios.append(scenario)
            }
        }
        guard !sessionmesh.isEmpty, !directory.isEmpty else { throw LabFailure("this is started by Tests/Benchmarks/membership/run.sh") }
        if scenarios.isEmpty { scenarios = Scenario.all.compactMap(Scenario.init) }
    }

    func makeToolbox() throws -> Toolbox {
        let serfKey = systems.contains(.serf) ? try Child.run(["serf", "keygen"]) : ""
        let toolbox = Toolbox(
            sessionmesh: sessionmesh, directory: directory, keyFile: "\(directory)/mesh.key", serfKey: serfKey.filter { !$0.isWhitespace })
        umask(0o077)
        try Files.write(try Child.run([sessionmesh, "keygen"]), to: toolbox.keyFile)
        return toolbox
    }

    func facts() throws -> [(String, String)] {
        let model = Files.read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        let serf = try? Child.run(["serf", "version"]).split(separator: "\n").first.map(String.init)
        return [
            (
                "machine",
                "\(model?.split(separator: ":").last.map(String.init)?.drop { $0 == " " } ?? "?"), \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) CPUs"
            ),
            ("serf", (serf ?? nil) ?? "not installed"),
            (
                "effort",
                "\(effort.isFull ? "full times" : "short times"), \(effort.rounds.map { "\($0) rounds" } ?? "each scenario's own rounds")"
            ),
        ]
    }
}
