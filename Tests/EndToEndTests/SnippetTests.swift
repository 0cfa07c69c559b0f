import Foundation
import Testing

/// The README's program without a framework, run as a reader would run it.
@Suite(.serialized) struct SnippetTests {
    @Test func aCookieInASessionAndASetCookieOut() throws {
        let mesh = try DemoMesh()
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()

        /// Three lines for each Cookie header.
        func answers(_ headers: [String]) throws -> [[String]] {
            let input = headers.map { $0 + "\n" }.joined()
            let program = try Program(
                "/bin/sh", ["-c", #"printf %s "$1" | "$2""#, "sh", input, Program.path(of: "WithoutFramework")],
                environment: ["SESSIONMESH_AGENT": mesh.nodes[0].client])
            try eventually("it ends with its input") { program.exitCode != nil }
            #expect(program.exitCode == 0)
            let lines = program.lines
            return stride(from: 0, to: lines.count - 2, by: 3).map { Array(lines[$0..<$0 + 3]) }
        }

        let first = try answers(["", "sid=forged; theme=light"])
        #expect(first.map { $0[0] } == ["200", "200"])
        #expect(first.map { $0[2] } == ["You were here 1 times.", "You were here 1 times."])
        #expect(first[0][1].hasSuffix("; Path=/; HttpOnly; SameSite=Lax"))
        let cookie = String(first[0][1].prefix { $0 != ";" })
        // Another process, and the session is the same.
        let second = try answers(["a=b; \(cookie)", cookie])
        #expect(second == [["200", "-", "You were here 2 times."], ["200", "-", "You were here 3 times."]])
    }
}
