import Foundation
import Testing

/// Programs of the README, run as a reader would run them.
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

    @Test func pagesAreServedBesideWorkThatTakesTheProcessor() throws {
        // By a shell, because a server may log to either of its outputs.
        let program = try Program("/bin/sh", ["-c", #"exec "$0" 2>&1"#, Program.path(of: "ComputeExample")], environment: ["PORT": "0"])
        defer { _ = try? program.stop() }
        var address: String?
        try eventually("it listens") {
            let line = program.lines.first { $0.contains("listening on ") }
            address = line?.split(separator: " ").last.map(String.init)
            return address != nil
        }
        let server = try #require(address)
        let asked = Date()
        #expect(try HTTP.ask(server, "GET", "/fibonacci/20").body == "6765\n")
        // More than anybody waits for: it ends at its deadline, and pages are answered meanwhile.
        let endless = Thread { _ = try? HTTP.ask(server, "GET", "/fibonacci/90", patience: 30) }
        endless.start()
        #expect(try HTTP.ask(server, "GET", "/").body == "here\n")
        let late = try HTTP.ask(server, "GET", "/fibonacci/90", patience: 30)
        #expect(late.status == 503)
        #expect(Date().timeIntervalSince(asked) >= 2)
        // Told that nobody waits, the work has given its threads back.
        #expect(try HTTP.ask(server, "GET", "/fibonacci/20", patience: 30).body == "6765\n")
        #expect(try program.stop() == 0)
    }
}
