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

    private static func has(_ help: String, _ flag: String) throws -> Bool {
        help.contains(try Regex("(^|[\\s,])\(flag)([\\s,<]|$)"))
    }

    /// The flag that a variable sets: `SESSIONMESH_KEY_FILE` is `--key-file`.
    private static func flag(of variable: some StringProtocol) -> String {
        "--" + variable.dropFirst("SESSIONMESH_".count).lowercased().replacing("_", with: "-")
    }

    @Test func everyUnitCallsTheCommandAsItIs() throws {
        #expect(try Self.units.count == 3)
        for unit in try Self.units {
            let settings = try Self.settings(of: unit)
            let call = try #require(settings.first { $0.key == "ExecStart" }?.value, "\(unit.name) starts nothing")
            let words = call.split(separator: " ").prefix { $0 != "--" }.map(String.init)
            let command = try #require(words.dropFirst().first)
            // A flag would win over the file of settings, and what that says would be ignored.
            #expect(words == ["/usr/local/bin/sessionmesh", command], "\(unit.name) has more than a command")
            let help = try Program.help(of: command)
            let variables = settings.filter { $0.key == "Environment" }.map { $0.value.prefix { $0 != "=" } }
            #expect(Set(variables).count == variables.count, "\(unit.name) sets a variable twice")
            #expect(variables.contains("SESSIONMESH_KEY_FILE") && variables.contains("SESSIONMESH_DATA_DIR"), "\(unit.name)")
            for variable in variables where variable.hasPrefix("SESSIONMESH_") {
                let isKnown = try Self.has(help, Self.flag(of: variable))
                #expect(isKnown, "\(unit.name): \(command) knows no \(variable)")
            }
        }
    }

    /// What the page and the units say of variables is heeded by somebody: a member, or the library.
    @Test func everyVariableIsRead() throws {
        let helps = try ["agent", "balance", "run"].map { try Program.help(of: $0) }
        let library = try Document(url: Document.root.appending(path: "Sources/SessionMesh/SessionMeshConfiguration.swift")).text
        for document in try [Self.page] + Self.units {
            for (number, line) in document.numberedLines {
                for match in line.matches(of: /\bSESSIONMESH_[A-Z_]*[A-Z]/) {
                    let variable = String(match.output)
                    let isFlag = try helps.contains { try Self.has($0, Self.flag(of: variable)) }
                    let isKnown = isFlag || library.contains("\"\(variable)\"")
                    #expect(isKnown, "\(document.name):\(number) has \(variable), which nobody reads")
                }
            }
        }
    }

    /// Of commands whose flags no other test looks at.
    @Test func everyFlagOfAnOperatorsCommandIsKnown() throws {
        for (number, line) in try Self.page.numberedLines {
            for match in line.matches(of: /\bsessionmesh (balance|health|run|workers|restart|scale)\b([^`|&;#]*)/) {
                let help = try Program.help(of: String(match.1))
                for flag in match.2.matches(of: /--[a-z][a-z-]+/) {
                    let isKnown = try Self.has(help, String(flag.output))
                    #expect(isKnown, "line \(number): \(match.1) has no \(flag.output)")
                }
            }
        }
    }

    /// For building, and for running.
    @Test func thePagesPackagesAreThoseOfTheImage() throws {
        let image = try Document(url: Document.root.appending(path: "docker/Dockerfile"))
        func packages(_ document: Document) -> [Set<Substring>] {
            document.text.matches(of: /apt-get install ([^#&\n]+)/).map { match in
                Set(match.1.split(separator: " ").filter { $0.first?.isLetter ?? false })
            }
        }
        #expect(packages(image).count == 2)
        #expect(try packages(Self.page) == packages(image))
    }

    @Test func everyUnitIsNotifiedReloadsDrainsAndIsConfined() throws {
        for unit in try Self.units {
            let settings = try Self.settings(of: unit)
            func values(_ key: String) -> [String] { settings.filter { $0.section == "Service" && $0.key == key }.map(\.value) }
            #expect(values("Type") == ["notify"], "\(unit.name)")
            #expect(values("ExecReload") == ["/bin/kill -HUP $MAINPID"] && values("KillSignal") == ["SIGTERM"], "\(unit.name)")
            // Code 78 is also an address that isn't there yet, or a port that is still taken.
            #expect(values("RestartPreventExitStatus") == ["64"], "\(unit.name)")
            #expect(settings.contains { $0.key == "StartLimitIntervalSec" && $0.value == "0" }, "\(unit.name) gives up")
            let pause = try #require(values("RestartSec").first.flatMap { Int($0.dropLast()) }, "\(unit.name)")
            #expect(pause >= 2, "\(unit.name) spins")
            #expect(values("NoNewPrivileges") == ["yes"] && values("ProtectSystem") == ["strict"], "\(unit.name)")
            #expect(values("User") == ["sessionmesh"] && values("RuntimeDirectoryMode") == ["0700"], "\(unit.name)")
            // Where the paths of its call are made, and may be written.
            #expect(values("RuntimeDirectory") == ["sessionmesh"] && values("StateDirectory") == ["sessionmesh"], "\(unit.name)")
            // Whoever is started by `run` would inherit it: what workers take they may be killed for.
            #expect(values("OOMScoreAdjust").isEmpty == !unit.name.contains("agent"), "\(unit.name)")
            #expect(values("OOMPolicy") == (unit.name.contains("run") ? ["continue"] : []), "\(unit.name)")
            let single = settings.filter { $0.key != "Environment" }
            #expect(Set(single.map { "\($0.section) \($0.key)" }).count == single.count, "\(unit.name) says something twice")
            let time = try #require(values("TimeoutStopSec").first.flatMap { Int($0.dropLast()) }, "\(unit.name)")
            // Of `run`: the balancer's, the workers' and the agent's, one after the other, each with ten seconds more before it is killed.
            let drain = unit.name.contains("balancer") ? 10 : unit.name.contains("run") ? 10 + 10 + 30 + 30 + 10 : 30
            #expect(time >= drain + 20, "\(unit.name) is killed before it has drained")
        }
    }
}
