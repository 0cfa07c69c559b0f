import LabTools

/// All rounds, as a table.
struct Report {
    private let settings: Settings
    private let head: [String]
    private var outcomes: [Trial.Part: [Trial.Outcome]] = [:]

    /// p99 of `/` while the pool is saturated, to p99 while nothing else is asked.
    private static let goal = 2.0

    init(_ settings: Settings) throws {
        self.settings = settings
        func line(_ words: String...) throws -> String { try Child.run(words).split(separator: "\n").first.map(String.init) ?? "?" }
        let model = Files.read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        let name = model?.split(separator: ":").last?.drop { $0 == " " } ?? "?"
        let load = Files.read("/proc/loadavg").split(separator: " ").prefix(3).joined(separator: " ")
        let versions = (try? line("swift", "--version")) ?? "no Swift here"
        head = [
            "machine    \(name), \(try line("nproc")) CPUs, Linux \(try line("uname", "-r"))",
            "versions   \(versions)",
            "command    \((["pool-lab"] + settings.arguments).joined(separator: " "))",
            "date       \(try line("date", "-u", "+%F %R")), load average \(load)",
        ]
    }

    mutating func add(_ part: Trial.Part, _ outcome: Trial.Outcome) { outcomes[part, default: []].append(outcome) }

    /// Of one part: the median of what its rounds have to say.
    private func median(_ part: Trial.Part, _ figure: (Trial.Outcome) -> Double) -> Double {
        Self.median((outcomes[part] ?? []).map(figure))
    }

    private static func median(_ values: [Double]) -> Double {
        var sample = Sample()
        sample.add(values)
        return sample.percentile(50)
    }

    /// The median of each round's ratio, so that a noisy moment hits both sides or drops out.
    private func ratio(_ part: Trial.Part) -> Double {
        let idle = outcomes[.idle] ?? []
        return Self.median(zip(outcomes[part] ?? [], idle).map { $0.waits.percentile(99) / $1.waits.percentile(99) })
    }

    var isGood: Bool { ratio(.pool) <= Self.goal }

    var text: String {
        var lines = head + ["", Self.row(["/ while", "p50", "p99", "p99.9", "p99 to idle", "work a second", "CPUs busy"])]
        for part in Trial.Part.allCases {
            func wait(_ share: Double) -> String { median(part) { $0.waits.percentile(share) }.fixed(2) + " ms" }
            let isIdle = part == .idle
            let worked = median(part) { Double($0.worked) / Double(settings.seconds) }
            lines.append(
                Self.row([
                    Self.name(part), wait(50), wait(99), wait(99.9), isIdle ? "" : ratio(part).fixed(2), isIdle ? "" : worked.fixed(1),
                    median(part) { $0.busy }.fixed(0) + " %",
                ]))
        }
        lines += ["", "goal       p99 with the pool saturated at most \(Self.goal.fixed(1)) of idle: \(isGood ? "met" : "MISSED")"]
        return lines.joined(separator: "\n")
    }

    private static func name(_ part: Trial.Part) -> String {
        switch part {
        case .idle: "nothing else is asked"
        case .pool: "work is done in the pool"
        case .handler: "in the handler"
        case .loop: "on the event loops"
        }
    }

    private static func row(_ cells: [String]) -> String {
        var line = ""
        for (index, cell) in cells.enumerated() {
            let room = String(repeating: " ", count: max(1, (index == 0 ? 26 : 14) - cell.count))
            line += index == 0 ? cell + room : room + cell
        }
        return String(line.reversed().drop { $0 == " " }.reversed())
    }
}
