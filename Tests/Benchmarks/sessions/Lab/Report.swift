import LabTools
import MeshSimulator

extension Ordeal.Report {
    var text: String {
        var lines = [
            "faults          \(faults.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) \($0.key.rawValue)" }.joined(separator: ", "))"
                + " in \(rounds) rounds; \(seconds.fixed(0)) s, \(judgingSeconds.fixed(0)) of them for \(chapters) judgements",
            "operations      \(operations) by clients of \(sessions) sessions; \(repeated) had to be sent again",
            "acknowledged    \(acknowledged) held by two nodes, \(alone) by one that was alone",
            "copies          \(copies) of slots compared with their owners'",
            "waited          p50 \((waits.percentile(50) * 1000).fixed(1)) ms, p99 \((waits.percentile(99) * 1000).fixed(1)) ms, "
                + "at most \(waits.largest.fixed(2)) s",
            "whole again     p50 \(recoveries.percentile(50).fixed(2)) s after a fault, at most \(recoveries.largest.fixed(2)) s",
        ]
        lines.append(violations.isEmpty ? "lost            0; all promises held" : "promises broken:")
        lines += violations.map { "  \($0)" }
        if !violations.isEmpty { lines += ["what happened:"] + events.map { "  \($0)" } }
        return lines.joined(separator: "\n")
    }

    func json(seed: UInt64) -> String {
        let counts = faults.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\"\($0.key.rawValue)\":\($0.value)" }.joined(separator: ",")
        return "{\"seed\":\(seed),\"seconds\":\(seconds.fixed(1)),\"rounds\":\(rounds),\"faults\":{\(counts)},\"operations\":\(operations),"
            + "\"repeated\":\(repeated),\"sessions\":\(sessions),\"copies\":\(copies),\"acknowledged\":\(acknowledged),\"alone\":\(alone),"
            + "\"brokenCount\":\(violations.count),\"lost\":\(violations.count { $0.promise == .survives }),\"waitedSecondsMax\":\(number(waits.largest)),"
            + "\"wholeSecondsMax\":\(number(recoveries.largest)),\"broken\":[\(violations.map { "\"\($0.description.escaped)\"" }.joined(separator: ","))]}"
    }
}

extension Join.Report {
    /// What is asked of a join.
    static let secondsGoal = 20.0
    static let ratioGoal = 5.0

    var failed: Int { failures.values.reduce(0, +) }
    var isGood: Bool { failed == 0 && joinSeconds <= Self.secondsGoal && ratio <= Self.ratioGoal }

    func text(_ settings: Join.Settings) -> String {
        var lines = [
            "sessions        \(settings.sessions) of \(sessionBytes) bytes on three agents, made in \(fillSeconds.fixed(1)) s",
            "idle            \(settings.rate) requests a second: p50 \(idle.percentile(50).fixed(2)) ms, p99 \(idle.percentile(99).fixed(2)) ms",
            "join            \(joinSeconds.fixed(1)) s until the fourth has \(moved) sessions and all is held twice; goal <= \(Self.secondsGoal.fixed(0)) s",
            "meanwhile       p50 \(joining.percentile(50).fixed(2)) ms, p99 \(joining.percentile(99).fixed(2)) ms, at most \(joining.largest.fixed(0)) ms; "
                + "p99 is \(ratio.fixed(1)) x idle, goal <= \(Self.ratioGoal.fixed(0)) x",
            "failed          \(failed)\(failures.isEmpty ? "" : " (\(failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")))"); goal 0",
        ]
        lines.append("slowest         of each 0.1 s: \(slowest.prefix(100).map { $0.fixed(0) }.joined(separator: " ")) ms")
        if let disorder { lines.append("not done: \(disorder)") }
        return lines.joined(separator: "\n")
    }

    func json(_ settings: Join.Settings) -> String {
        return "{\"sessions\":\(settings.sessions),\"rate\":\(settings.rate),\"joinSeconds\":\(number(joinSeconds)),\"failed\":\(failed),"
            + "\"idleP99Milliseconds\":\(number(idle.percentile(99))),\"joinP99Milliseconds\":\(number(joining.percentile(99))),"
            + "\"joinMillisecondsMax\":\(number(joining.largest)),\"ratio\":\(number(ratio)),\"moved\":\(moved)}"
    }
}

/// In JSON, which has no infinity.
private func number(_ value: Double) -> String { value.isFinite ? value.fixed(3) : "null" }

extension String {
    fileprivate var escaped: String {
        var text = ""
        for character in unicodeScalars {
            switch character {
            case "\"", "\\": text += "\\\(character)"
            case "\n": text += "\\n"
            default: if character.value >= 0x20 { text.unicodeScalars.append(character) }
            }
        }
        return text
    }
}
