import Foundation
import Testing

/// Holds Docs/OPERATING.md to what the sources print, and the units of docker/systemd to the command.
@Suite struct OperatingTests {
    private static var page: Document {
        get throws { try Document(url: Document.root.appending(path: "Docs/OPERATING.md")) }
    }

    // MARK: Metrics

    private struct Figure: Hashable {
        let name: String
        /// Nil where the source doesn't name them in place.
        var labels: String?

        init(_ name: Substring, _ labels: String?) {
            self.name = "sessionmesh_\(name)"
            self.labels = labels
        }
    }

    /// Agents' and balancers' as they are handed to `PrometheusText`, and the library's.
    private static var printed: [Figure] {
        get throws {
            var figures: [Figure] = []
            let files = FileManager.default.enumerator(at: Document.root.appending(path: "Sources"), includingPropertiesForKeys: nil)
            while let url = files?.nextObject() as? URL {
                guard url.pathExtension == "swift" else { continue }
                let source = try String(contentsOf: url, encoding: .utf8)
                let isPage = ["PrometheusText.swift", "SupervisorAdmin.swift"].contains(url.lastPathComponent)
                // Each piece begins behind an opening parenthesis, and so with what is handed over there.
                for piece in source.split(separator: isPage ? "add(" : ".init(").dropFirst() {
                    guard let match = piece.prefixMatch(of: /\s*"([a-z_]+)",\s*([."])/), isPage || isFigure(piece) else { continue }
                    figures.append(Figure(match.1, piece.firstMatch(of: /label: "([a-z]+)"/).map { String($0.1) } ?? ""))
                }
                for match in source.matches(of: /label: "sessionmesh_([a-z_]+)"(?:, (dimensions?): (?:"([a-z]+)")?)?/) {
                    figures.append(Figure(match.1, match.2 == "dimensions" ? nil : match.3.map(String.init) ?? ""))
                }
            }
            return figures
        }
    }

    private static func isFigure(_ piece: Substring) -> Bool { piece.contains(/^\s*"[a-z_]+",\s*\.(gauge|counter),/) }

    @Test func everyMetricThatIsPrintedIsListedOnceAndNoOther() throws {
        let printed = try Self.printed
        let listed = try Self.page.numberedLines.compactMap { _, line in
            line.firstMatch(of: /^\| `sessionmesh_([a-z_]+)(?:\{([a-z, ]+)\})?` \|/).map { Figure($0.1, $0.2.map(String.init) ?? "") }
        }
        #expect(printed.count > 60)
        let missing = Set(printed.map(\.name)).subtracting(listed.map(\.name)).sorted()
        let unknown = Set(listed.map(\.name)).subtracting(printed.map(\.name)).sorted()
        #expect(missing == [] && unknown == [])
        #expect(Set(listed.map(\.name)).count == listed.count, "one is listed twice")
        for figure in listed {
            guard let labels = printed.first(where: { $0.name == figure.name })?.labels else { continue }
            #expect(figure.labels == labels, "the labels of \(figure.name)")
        }
    }

    /// Alarms too, with their labels.
    @Test func everyMetricThatADocumentNamesIsPrinted() throws {
        let labels = Dictionary(try Self.printed.map { ($0.name, $0.labels) }, uniquingKeysWith: { first, _ in first })
        for document in try Document.all {
            for (number, line) in document.numberedLines {
                for match in line.matches(of: /sessionmesh_([a-z_]+[a-z])(?:\{([a-z]+)[!=])?/) {
                    let name = "sessionmesh_\(match.1)".replacing(/_(bucket|sum|count)$/, with: "")
                    guard let known = labels[name] else {
                        Issue.record("\(document.name):\(number) names \(match.0)")
                        continue
                    }
                    let isItsLabel = known == nil || match.2 == nil || match.2.map(String.init) == known
                    #expect(isItsLabel, "\(document.name):\(number) has another label than \(known ?? "")")
                }
            }
        }
    }

    // MARK: Units

    /// The settings of a unit, in order. Throws what is no setting.
    private static func settings(of unit: Document) throws -> [(section: String, key: String, value: String)] {
        var section = ""
        var settings: [(section: String, key: String, value: String)] = []
        for (number, line) in unit.numberedLines where !line.isEmpty && !line.hasPrefix("#") {
            if let match = line.wholeMatch(of: /\[(Unit|Service|Install)\]/) {
                section = String(match.1)
            } else {
                let match = try #require(line.wholeMatch(of: /([A-Z][A-Za-z]+)=(.*)/), "\(unit.name):\(number) is no setting: \(line)")
                settings.append((section, String(match.1), String(match.2)))
            }
        }
        return settings
    }

    private static var units: [Document] {
        get throws {
            let folder = Document.root.appending(path: "docker/systemd")
            let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            return try files.filter { $0.pathExtension == "service" }.map { try Document(url: $0) }
        }
    }

    @Test func everyUnitCallsTheCommandAsItIs() throws {
        #expect(try Self.units.count == 3)
        let commands = try Program.help(of: nil)
        for unit in try Self.units {
            let call = try #require(try Self.settings(of: unit).first { $0.key == "ExecStart" }?.value, "\(unit.name) starts nothing")
            let words = call.split(separator: " ").prefix { $0 != "--" }.map(String.init)
            let command = try #require(words.dropFirst().first)
            #expect(words.first == "/usr/local/bin/sessionmesh")
            // Cluster mode brings its command.
            guard commands.contains(try Regex("\n +\(command) ")) else {
                #expect(command == "run", "\(unit.name): there is no sessionmesh \(command)")
                continue
            }
            let help = try Program.help(of: command)
            for flag in words where flag.hasPrefix("--") {
                let isKnown = help.contains(try Regex("(^|[\\s,])\(flag)([\\s,<]|$)"))
                #expect(isKnown, "\(unit.name): \(command) has no \(flag)")
            }
        }
    }

    @Test func everyUnitIsNotifiedReloadsDrainsAndIsConfined() throws {
        for unit in try Self.units {
            let settings = try Self.settings(of: unit)
            func values(_ key: String) -> [String] { settings.filter { $0.section == "Service" && $0.key == key }.map(\.value) }
            #expect(values("Type") == ["notify"], "\(unit.name)")
            #expect(values("ExecReload") == ["/bin/kill -HUP $MAINPID"] && values("KillSignal") == ["SIGTERM"], "\(unit.name)")
            #expect(values("RestartPreventExitStatus") == ["64 78"], "\(unit.name)")
            #expect(values("NoNewPrivileges") == ["yes"] && values("ProtectSystem") == ["strict"], "\(unit.name)")
            #expect(values("User") == ["sessionmesh"] && values("RuntimeDirectoryMode") == ["0700"], "\(unit.name)")
            // Where the paths of its call are made, and may be written.
            #expect(values("RuntimeDirectory") == ["sessionmesh"] && values("StateDirectory") == ["sessionmesh"], "\(unit.name)")
            #expect(Set(settings.map { "\($0.section) \($0.key)" }).count == settings.count, "\(unit.name) says something twice")
            let time = try #require(values("TimeoutStopSec").first.flatMap { Int($0.dropLast()) }, "\(unit.name)")
            let drain = unit.name.contains("balancer") ? 10 : 30
            #expect(time >= drain + 20, "\(unit.name) is killed before it has drained")
        }
    }
}
