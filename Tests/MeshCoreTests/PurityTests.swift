import Foundation
import Testing

/// The rules that keep the core honest, read off the sources.
@Suite struct PurityTests {
    static let sources = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Sources")

    struct Line: CustomStringConvertible {
        let file: String
        let number: Int
        /// Without comments and without what stands in quotes.
        let code: String
        var description: String { "\(file):\(number): \(code)" }
    }

    static func lines(of folder: String = "") throws -> [Line] {
        let root = sources.appending(path: folder)
        let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
        var lines: [Line] = []
        for case let file as URL in files where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                lines.append(Line(file: file.lastPathComponent, number: index + 1, code: code(in: line)))
            }
        }
        try #require(lines.count > 500)
        return lines
    }

    static func code(in line: Substring) -> String {
        let withoutText = line.replacing(#/"(\\.|[^"\\])*"/#, with: "\"\"")
        return String(withoutText.prefix(upTo: withoutText.firstRange(of: "//")?.lowerBound ?? withoutText.endIndex))
    }

    @Test(arguments: ["MeshCore", "MeshSimulator"])
    func theCoreImportsNothingThatCouldReachOut(folder: String) throws {
        let allowed: Set = ["Crypto", "DequeModule", "HeapModule", "MeshCore", "OrderedCollections"]
        for line in try Self.lines(of: folder) {
            guard let match = line.code.firstMatch(of: #/^\s*(@\w+ )?(public |internal |package )?import (\w+ )?([\w.]+)/#) else {
                continue
            }
            #expect(allowed.contains(String(match.4)), "\(line)")
        }
    }

    @Test(arguments: ["MeshCore", "MeshSimulator"])
    func theCoreKnowsNoTimeNoChanceAndNoThreadsOfItsOwn(folder: String) throws {
        let forbidden =
            #/\bDate\b|SystemRandomNumberGenerator|\bhashValue\b|\bTask\b|\bMutex\b|ContinuousClock|randomElement\(\)|shuffled\(\)|shuffle\(\)/#
        for line in try Self.lines(of: folder) {
            #expect(line.code.firstMatch(of: forbidden) == nil, "\(line)")
            if line.code.contains("random(in:") || line.code.contains(".random()") { #expect(line.code.contains("using:"), "\(line)") }
        }
    }

    @Test func nothingIsForced() throws {
        let forced = #/\btry!|\bas!|\bfatalError\(|[\w)\]]!(\.|\)|,|\s*$|\[|\s+[^=])/#
        for line in try Self.lines() { #expect(line.code.firstMatch(of: forced) == nil, "\(line)") }
    }
}
