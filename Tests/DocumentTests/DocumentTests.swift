import Foundation
import Testing

/// Holds the documents to the code: what they name exists, and what they show compiles.
@Suite struct DocumentTests {
    // MARK: Names

    @Test func everyLinkLeadsSomewhere() throws {
        for document in try Document.all {
            for (number, line) in document.numberedLines {
                for match in line.matches(of: /\]\(([^)\s]+)\)/) {
                    let target = String(match.1)
                    if target.hasPrefix("https://") || target.hasPrefix("http://") { continue }
                    let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                    let file = parts[0].isEmpty ? document.url : document.folder.appending(path: String(parts[0]))
                    #expect(FileManager.default.fileExists(atPath: file.path), "\(document.name):\(number) links to \(target)")
                    guard parts.count == 2, let other = try? Document(url: file.standardizedFileURL) else { continue }
                    #expect(other.anchors.contains(String(parts[1])), "\(document.name):\(number) links to a missing heading, \(target)")
                }
            }
        }
    }

    @Test func everyPathThatIsNamedExists() throws {
        for document in try Document.all {
            for (number, line) in document.numberedLines {
                for match in line.matches(of: /\b(Sources|Tests|Docs)\/[A-Za-z0-9_.+\/-]*[A-Za-z0-9_+\/]/) {
                    let path = Document.root.appending(path: String(match.0)).path
                    #expect(FileManager.default.fileExists(atPath: path), "\(document.name):\(number) names \(match.0)")
                }
            }
        }
    }

    // MARK: Examples

    /// Tests/Snippets is built with everything else, so an example that is the same text compiles.
    @Test func theReadmesExamplesAreThoseThatCompile() throws {
        let readme = try Document(url: Document.root.appending(path: "README.md"))
        let sources = try ["ReadmeExample", "WithoutFramework", "ComputeExample"].map {
            try String(contentsOf: Document.root.appending(path: "Tests/Snippets/\($0).swift"), encoding: .utf8)
        }
        #expect(readme.blocks(of: "swift") == sources)
    }

    /// Swift belongs where a compiler sees it: outside the README, documents show tables, bytes and drawings.
    @Test func noOtherDocumentHasSwiftThatNobodyCompiles() throws {
        for document in try Document.all where document.name != "README.md" {
            #expect(document.blocks(of: "swift").isEmpty, "\(document.name) has Swift code; make it a file of Tests/Snippets first")
        }
    }

    // MARK: Words

    @Test func oneWordAConcept() throws {
        for document in try Document.all where !document.name.hasSuffix("GLOSSARY.md") {
            for (number, line) in document.numberedLines {
                for (word, better) in Glossary.unused {
                    // Others keep their own names for their own things.
                    let others = ["redis cluster", "cluster mode"].reduce(line.lowercased()) { $0.replacing($1, with: "") }
                    let text = others.replacing(/(https?|redis\+cluster):[^)\s]+/, with: "")
                    #expect(
                        !text.contains(try Regex("\\b\(word)s?\\b")),
                        "\(document.name):\(number) says \"\(word)\"; here it is \(better)")
                }
            }
        }
    }

    @Test func theGlossaryListsTheWordsNotUsed() throws {
        let glossary = try Document(url: Document.root.appending(path: "Docs/GLOSSARY.md"))
        for (word, _) in Glossary.unused {
            let isListed = glossary.text.contains("| \(word) |")
            #expect(isListed, "GLOSSARY.md has no row for \(word)")
        }
    }

    // MARK: Flags

    /// Switched on by the command's folder, so that from then on a program that is not there is a failure.
    @Test(.enabled(if: Program.isPartOfThePackage, "the command is not part of the package yet"))
    func everyFlagThatIsNamedIsOneOfTheCommands() throws {
        var helps: [String: String] = [:]
        for document in try Document.all {
            for (number, words) in document.commandLines {
                let help = try helps[words[0]] ?? Program.help(of: words[0])
                helps[words[0]] = help
                for flag in words.dropFirst() {
                    let isKnown = help.contains(try Regex("(^|[\\s,])\(flag)([\\s,<]|$)"))
                    #expect(
                        isKnown,
                        "\(document.name):\(number) has \(flag), which `sessionmesh \(words[0]) --help` has not")
                }
            }
        }
    }
}
