import Foundation

/// One of the project's documents.
struct Document {
    let url: URL
    let text: String

    static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL

    /// README.md and everything under Docs.
    static var all: [Document] {
        get throws {
            let docs = FileManager.default.enumerator(at: root.appending(path: "Docs"), includingPropertiesForKeys: nil)
            var urls = [root.appending(path: "README.md")]
            while let url = docs?.nextObject() as? URL { if url.pathExtension == "md" { urls.append(url) } }
            return try urls.sorted { $0.path < $1.path }.map { try Document(url: $0) }
        }
    }

    init(url: URL) throws {
        self.url = url
        text = try String(contentsOf: url, encoding: .utf8)
    }

    var name: String { String(url.standardizedFileURL.path.dropFirst(Self.root.path.count + 1)) }
    var folder: URL { url.deletingLastPathComponent() }

    /// Lines with their numbers, from 1.
    var numberedLines: [(Int, String)] {
        text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { ($0 + 1, String($1)) }
    }

    /// The fenced blocks of a language, without their fences.
    func blocks(of language: String) -> [String] {
        var blocks: [String] = []
        var open: [String]?
        var isWanted = false
        for (_, line) in numberedLines {
            if line.hasPrefix("```") {
                if let lines = open {
                    if isWanted { blocks.append(lines.joined(separator: "\n") + "\n") }
                    open = nil
                } else {
                    open = []
                    isWanted = line == "```\(language)"
                }
            } else {
                open?.append(line)
            }
        }
        return blocks
    }

    /// What headings are linked by: lower case, words joined by hyphens, other punctuation gone.
    var anchors: [String] {
        numberedLines.compactMap { _, line in
            guard line.hasPrefix("#") else { return nil }
            let title = line.drop { $0 == "#" || $0 == " " }.lowercased()
            return String(title.filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }.map { $0 == " " ? "-" : $0 })
        }
    }

    /// Every `sessionmesh SUBCOMMAND` with the flags behind it, a line that ends in a backslash joined with the next.
    var commandLines: [(Int, [String])] {
        var found: [(Int, [String])] = []
        var pending = ""
        for (number, line) in numberedLines {
            pending += line.hasSuffix("\\") ? String(line.dropLast()) : line
            if line.hasSuffix("\\") { continue }
            for match in pending.matches(of: /\bsessionmesh ([a-z]+)([^`|&;#]*)/) where Program.subcommands.contains(String(match.1)) {
                let flags = match.2.matches(of: /(?:^|[\s\[])(--[a-z][a-z-]+)/).map { String($0.1) }
                found.append((number, [String(match.1)] + flags))
            }
            pending = ""
        }
        return found
    }
}

/// The command, as far as documents speak of it.
enum Program {
    static let subcommands: Set = [
        "agent", "balance", "demo", "keygen", "keys", "members", "session", "publish", "subscribe", "explain", "simulate",
    ]

    /// The seam: true as soon as the command is a folder of Sources.
    static var isPartOfThePackage: Bool {
        FileManager.default.fileExists(atPath: Document.root.appending(path: "Sources/MeshCommand").path)
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameter subcommand: nil for what all of them are.
    static func help(of subcommand: String?) throws -> String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        let folder = URL(filePath: bundle).resolvingSymlinksInPath().deletingLastPathComponent()
        let process = Process()
        process.executableURL = folder.appending(path: "sessionmesh")
        process.arguments = [subcommand, "--help"].compactMap(\.self)
        let pipe = Pipe()
        process.standardOutput = pipe
        do { try process.run() } catch { throw Failure(description: "sessionmesh is not beside the tests; build it first (\(error))") }
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "`sessionmesh \(subcommand ?? "") --help` ended with \(process.terminationStatus)")
        }
        return String(decoding: output, as: UTF8.self)
    }
}

enum Glossary {
    /// Words of other projects for things that have a name here.
    static let unused = [
        ("cluster", "a mesh"), ("shard", "a slot"), ("leader", "an owner or a primary"), ("follower", "a replica or a backup"),
        ("master", "a primary"), ("slave", "a backup"), ("topic", "a channel"), ("backend", "an instance"), ("quorum", "a second copy"),
        ("session store", "a mirror"), ("heart beat", "a heartbeat"), ("worker process", "an instance"),
    ]
}
