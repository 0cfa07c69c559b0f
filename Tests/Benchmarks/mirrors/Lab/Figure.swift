import LabTools

/// One line of the table: something that was measured, and what is wanted of it.
struct Figure {
    enum Goal {
        case atMost(Double)
        case atLeast(Double)
    }

    /// Of which row; filled in by whoever runs it.
    var row = ""
    let what: String
    let unit: String
    /// Nil when nothing is asked of it.
    let goal: Goal?
    /// Nil when it could not be had.
    let value: Double?

    init(_ what: String, _ value: Double?, _ unit: String = "", goal: Goal? = nil) {
        self.what = what
        self.unit = unit
        self.goal = goal
        self.value = value.flatMap { $0.isFinite ? $0 : nil }
    }

    init(_ what: String, _ value: Int, _ unit: String = "", goal: Goal? = nil) { self.init(what, Double(value), unit, goal: goal) }

    /// Nil without a goal.
    var isMet: Bool? {
        switch goal {
        case nil: nil
        case .atMost(let bound): value.map { $0 <= bound } ?? false
        case .atLeast(let bound): value.map { $0 >= bound } ?? false
        }
    }
}

/// Where and when figures were taken.
struct Occasion {
    let machine: String
    let versions: String
    let command: String
    let date: String
    /// Of the machine when the lab began.
    let load: String

    init(_ rows: [Row], _ arguments: [String]) throws {
        func line(_ words: String...) throws -> String { try Child.run(words).split(separator: "\n").first.map(String.init) ?? "?" }
        let model = Files.read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        let name = model?.split(separator: ":").last?.drop { $0 == " " } ?? "?"
        machine = "\(name), \(try line("nproc")) CPUs, Linux \(try line("uname", "-r"))"
        versions = StoreKind.allCases.filter { kind in rows.contains { $0.store == kind } }.map(Store.version).joined(separator: ", ")
        command = (["mirror-lab"] + arguments).joined(separator: " ")
        date = try line("date", "-u", "+%F %R")
        load = Files.read("/proc/loadavg").split(separator: " ").prefix(3).joined(separator: " ")
    }
}

struct Report {
    let occasion: Occasion
    var figures: [Figure] = []

    var isGood: Bool { figures.allSatisfy { $0.isMet ?? true } }

    var text: String {
        var lines = [
            "machine    \(occasion.machine)", "versions   \(occasion.versions)", "command    \(occasion.command)",
            "date       \(occasion.date), load average \(occasion.load)", "",
            Self.line("row", "figure", "goal", "here", ""),
        ]
        var last = ""
        for figure in figures {
            let goal = figure.goal.map { goal in
                switch goal {
                case .atMost(let bound): "<= \(bound.short) \(figure.unit)"
                case .atLeast(let bound): ">= \(bound.short) \(figure.unit)"
                }
            }
            lines.append(
                Self.line(
                    figure.row == last ? "" : figure.row, figure.what, goal ?? "", figure.value.map { "\($0.short) \(figure.unit)" } ?? "-",
                    figure.isMet.map { $0 ? "met" : "MISSED" } ?? ""))
            last = figure.row
        }
        return lines.joined(separator: "\n")
    }

    var json: String {
        let rows = figures.map { figure in
            let goal: String =
                switch figure.goal {
                case .atMost(let bound): "\"<=\(bound.short)\""
                case .atLeast(let bound): "\">=\(bound.short)\""
                case nil: "null"
                }
            return "{\"row\":\"\(figure.row)\",\"figure\":\"\(figure.what)\",\"unit\":\"\(figure.unit)\",\"goal\":\(goal),"
                + "\"here\":\(figure.value?.fixed(3) ?? "null"),\"met\":\(figure.isMet.map(String.init) ?? "null")}"
        }
        return "{\"date\":\"\(occasion.date)\",\"machine\":\"\(occasion.machine)\",\"versions\":\"\(occasion.versions)\","
            + "\"command\":\"\(occasion.command)\",\"load\":\"\(occasion.load)\",\"rows\":[\(rows.joined(separator: ","))]}"
    }

    private static func line(_ row: String, _ what: String, _ goal: String, _ here: String, _ verdict: String) -> String {
        func pad(_ text: String, _ width: Int) -> String {
            let text = String(text.reversed().drop { $0 == " " }.reversed())
            return text + String(repeating: " ", count: max(1, width - text.count))
        }
        let line = pad(row, 24) + pad(what, 44) + pad(goal, 14) + pad(here, 14) + verdict
        return String(line.reversed().drop { $0 == " " }.reversed())
    }
}

extension Double {
    /// Whole numbers as such; of others three places of those that count.
    fileprivate var short: String {
        if self == rounded() || magnitude >= 100 { return fixed(0) }
        return fixed(magnitude >= 10 ? 1 : magnitude >= 1 ? 2 : 3)
    }
}
