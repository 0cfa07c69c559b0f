import LabTools

/// One figure of one system in one scenario.
struct Measurement {
    enum Unit: String {
        case seconds = "s"
        case count = ""
        case percent = "%"
        case bytesPerSecond = "B/s"
        case bytes = "B"
    }

    /// What was measured, the same words for both systems.
    var what: String
    var unit: Unit
    /// Nil for what has no goal.
    var goal: Double?
    /// Infinity for what did not happen.
    var value: Double

    init(_ what: String, _ unit: Unit, goal: Double? = nil, _ value: Double) {
        self.what = what
        self.unit = unit
        self.goal = goal
        self.value = value
    }
}

extension Measurement.Unit {
    func text(_ value: Double) -> String {
        guard value.isFinite else { return "never" }
        switch self {
        case .seconds: return value.fixed(value < 0.1 ? 3 : 2) + " s"
        case .count: return value.fixed(value == value.rounded() ? 0 : 1)
        case .percent: return value.fixed(2) + " %"
        case .bytesPerSecond: return value < 10_000 ? value.fixed(0) + " B/s" : (value / 1000).fixed(1) + " kB/s"
        case .bytes: return (value / 1e6).fixed(1) + " MB"
        }
    }
}

/// What one system did in one scenario.
struct Outcome {
    var system: System
    var measurements: [Measurement]
    var rounds: Int
    /// How busy the machine was, in percent of all its CPUs.
    var hostBusy: Double
    var failure: String?
}

struct ScenarioReport {
    var name: String
    var outcomes: [Outcome]

    struct Row {
        var what: String
        var unit: Measurement.Unit
        var goal: Double?
        var ours: Double?
        var serf: Double?

        /// Ours through serf's: below 1 is better.
        var ratio: Double? {
            guard let ours, let serf, ours.isFinite, serf.isFinite, serf > 0 else { return nil }
            return ours / serf
        }

        var isMet: Bool? {
            guard let goal, let ours else { return nil }
            return ours <= goal
        }
    }

    var rows: [Row] {
        var rows: [Row] = []
        for outcome in outcomes {
            for measurement in outcome.measurements {
                let index = rows.firstIndex { $0.what == measurement.what } ?? rows.endIndex
                if index == rows.endIndex { rows.append(Row(what: measurement.what, unit: measurement.unit, goal: nil)) }
                rows[index].goal = rows[index].goal ?? measurement.goal
                if outcome.system == .ours { rows[index].ours = measurement.value } else { rows[index].serf = measurement.value }
            }
        }
        return rows
    }
}

enum Table {
    static let heading = ["scenario", "figure", "goal", "ours", "serf", "ratio", ""]

    static func text(_ reports: [ScenarioReport]) -> String {
        var lines = [heading]
        var notes: [String] = []
        for report in reports {
            for (index, row) in report.rows.enumerated() {
                lines.append([
                    index == 0 ? report.name : "", row.what, row.goal.map { "<= " + row.unit.text($0) } ?? "",
                    row.ours.map(row.unit.text) ?? "-",
                    row.serf.map(row.unit.text) ?? "-", row.ratio.map { $0.fixed(2) } ?? "",
                    row.isMet.map { $0 ? "met" : "MISSED" } ?? "",
                ])
            }
            for outcome in report.outcomes {
                let rounds = outcome.rounds == 1 ? "1 round" : "\(outcome.rounds) rounds"
                let end = outcome.failure.map { "ended: \($0)" } ?? rounds
                notes.append("\(report.name) \(outcome.system): \(end), machine busy \(outcome.hostBusy.fixed(0)) %")
            }
        }
        let widths = heading.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        let table = lines.map { line in
            zip(line, widths).enumerated().map { column, cell in
                let padding = String(repeating: " ", count: cell.1 - cell.0.count)
                return column < 2 || column == 6 ? cell.0 + padding : padding + cell.0
            }.joined(separator: "  ").trimmingEnd
        }
        return (table + [""] + notes).joined(separator: "\n")
    }
}

extension String {
    fileprivate var trimmingEnd: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}

/// One object for the whole run, for programs.
enum JSONReport {
    static func text(_ reports: [ScenarioReport], facts: [(String, String)]) -> String {
        let scenarios = reports.map { report in
            let rows = report.rows.map { row in
                object([
                    ("figure", quoted(row.what)), ("unit", quoted(row.unit.rawValue)), ("goal", number(row.goal)),
                    ("ours", number(row.ours)),
                    ("serf", number(row.serf)), ("ratio", number(row.ratio)), ("met", row.isMet.map { "\($0)" } ?? "null"),
                ])
            }
            let runs = report.outcomes.map { outcome in
                object([
                    ("system", quoted(outcome.system.rawValue)), ("rounds", "\(outcome.rounds)"),
                    ("machineBusyPercent", number(outcome.hostBusy)),
                    ("failure", outcome.failure.map(quoted) ?? "null"),
                ])
            }
            return object([("scenario", quoted(report.name)), ("rows", array(rows)), ("runs", array(runs))])
        }
        return object(facts.map { ($0.0, quoted($0.1)) } + [("scenarios", array(scenarios))])
    }

    private static func object(_ pairs: [(String, String)]) -> String {
        "{" + pairs.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }

    private static func array(_ items: [String]) -> String { "[" + items.joined(separator: ",") + "]" }

    /// What never happened is null: JSON has no infinity.
    private static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "null" }
        return value.fixed(6)
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case _ where scalar.value < 0x20: quoted += " "
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
