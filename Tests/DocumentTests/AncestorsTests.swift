import Foundation
import Testing

/// Holds Docs/ANCESTORS.md to the tests that it names, and to the numbers of the faults and scenarios that it is about.
@Suite struct AncestorsTests {
    private static var page: Document {
        get throws { try Document(url: Document.root.appending(path: "Docs/ANCESTORS.md")) }
    }

    /// `Folder/Suite.test`, as the page writes it.
    private static func tests(in line: String) -> [(file: String, suite: String, name: String)] {
        line.matches(of: /`((?:[A-Za-z]+\/)+([A-Za-z]+Tests))\.([A-Za-z0-9]+)`/).map { ("\($0.1)", "\($0.2)", "\($0.3)") }
    }

    @Test func everyTestThatIsNamedExists() throws {
        var sources: [String: String] = [:]
        var count = 0
        for (number, line) in try Self.page.numberedLines {
            for test in Self.tests(in: line) {
                let path = Document.root.appending(path: "Tests/\(test.file).swift")
                let source = try sources[test.file] ?? String(contentsOf: path, encoding: .utf8)
                sources[test.file] = source
                let exists = source.contains("func \(test.name)(")
                #expect(exists, "ANCESTORS.md:\(number) names \(test.file).\(test.name)")
                count += 1
            }
        }
        #expect(count > 100)
    }

    @Test func everyFaultAndScenarioHasItsLineAndAnAnswer() throws {
        var numbers: [String] = []
        for (number, line) in try Self.page.numberedLines {
            guard let match = line.firstMatch(of: /^\| ([ABSU]?[0-9]+) \|/) else { continue }
            numbers.append(String(match.1))
            let isAnswered = !Self.tests(in: line).isEmpty || line.contains("| later: ") || line.contains("| can't apply")
            #expect(isAnswered, "ANCESTORS.md:\(number) names no test, no later work and no reason")
        }
        let lists = [("A", 5), ("B", 47), ("S", 7), ("U", 17), ("", 56)]
        let wanted = lists.flatMap { letter, last in (1...last).map { "\(letter)\($0)" } }
        let (missing, unknown) = (Set(wanted).subtracting(numbers).sorted(), Set(numbers).subtracting(wanted).sorted())
        #expect(missing == [] && unknown == [])
        let areInOrder = numbers == wanted
        #expect(areInOrder)
    }

    /// So that a test which is renamed or moved takes its remark along.
    @Test func whatSaysItsScenarioIsNamedForIt() throws {
        let lines = try Self.page.numberedLines.map(\.1)
        let tests = FileManager.default.enumerator(at: Document.root.appending(path: "Tests"), includingPropertiesForKeys: nil)
        while let url = tests?.nextObject() as? URL {
            guard url.lastPathComponent.hasSuffix("Tests.swift") else { continue }
            let source = try String(contentsOf: url, encoding: .utf8)
            for match in source.matches(of: /\/\/ Ancestors' scenarios? ([0-9, and]+[0-9])[^\n]*\n.*func (\w+)\(/) {
                for number in match.1.matches(of: /[0-9]+/) {
                    let line = lines.first { $0.hasPrefix("| \(number.0) |") }
                    let isNamed = line.map(Self.tests)?.contains { $0.name == match.2 } == true
                    #expect(isNamed, "\(url.lastPathComponent): \(match.2) says that it is scenario \(number.0), and ANCESTORS.md does not")
                }
            }
        }
    }
}
