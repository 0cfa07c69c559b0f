import Foundation
import Testing

@testable import MeshCommand

/// What a person sees who got something wrong: one line, and a code.
@Suite struct ExitCodeTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        var arguments: [String]
        var variables: [String: String] = [:]
        var code: Int32
        var says: String

        var testDescription: String { (variables.map { "\($0)=\($1)" } + arguments).joined(separator: " ") }
    }

    /// Each fits, and all together don't.
    private static let longTags = (1...6).flatMap { ["--tag", "tag\($0)=" + String(repeating: "x", count: 100)] }

    static let mistakes = [
        Mistake(arguments: ["agent", "--sed", "x"], code: 64, says: "--sed"),
        Mistake(arguments: ["agnt"], code: 64, says: "agnt"),
        Mistake(arguments: ["agent", "--weight", "17"], code: 64, says: "--weight"),
        Mistake(arguments: ["agent", "--name", "a b"], code: 64, says: "node name"),
        Mistake(arguments: ["agent", "--bind", "here"], code: 64, says: "HOST:PORT"),
        Mistake(arguments: ["agent", "--idle-timeout", "soon"], code: 64, says: "30m"),
        Mistake(arguments: ["session", "revoke"], code: 64, says: "--user NAME or --all"),
        Mistake(arguments: ["session", "revoke", "--user", "ann", "--all"], code: 64, says: "--user NAME or --all"),
        Mistake(arguments: ["session", "list"], code: 64, says: "--user"),
        Mistake(arguments: ["agent", "--memory-max", "1KiB"], code: 64, says: "--memory-max is 1MiB or more"),
        Mistake(arguments: ["agent", "--memory-max", "much"], code: 64, says: "such as 512MiB"),
        Mistake(arguments: ["agent", "--absolute-timeout", "0s"], code: 64, says: "--absolute-timeout is one second"),
        Mistake(arguments: ["agent", "--client", "unix:" + String(repeating: "x", count: 200)], code: 64, says: "shorter"),
        Mistake(arguments: ["agent"], variables: ["SESSIONMESH_WEIGHT": "\u{1}junk"], code: 64, says: "SESSIONMESH_WEIGHT"),
        Mistake(arguments: ["agent"], variables: ["SESSIONMESH_LOG_LEVEL": "loud"], code: 64, says: "SESSIONMESH_LOG_LEVEL"),
        Mistake(arguments: ["members"], variables: ["SESSIONMESH_JSON": "maybe"], code: 64, says: "--json"),
        Mistake(arguments: ["balance", "--upstream", "127.0.0.1:1", "--seed", "127.0.0.1:2"], code: 64, says: "one of them"),
        Mistake(arguments: ["session", "get"], code: 64, says: "--cookie"),
        Mistake(arguments: ["explain", "--slot", "4096"], code: 64, says: "4095"),
        Mistake(arguments: ["simulate", "--seeds", "9...1"], code: 64, says: "1...200"),
        Mistake(arguments: ["agent", "--name", String(repeating: "n", count: 65)], code: 78, says: "1 to 64"),
        Mistake(arguments: ["agent", "--label", String(repeating: "l", count: 256)], code: 78, says: "--label"),
        Mistake(arguments: ["agent", "--label", ""], code: 78, says: "--label"),
        Mistake(arguments: ["balance", "--label", "two\nlines"], code: 78, says: "--label"),
        Mistake(arguments: ["agent"], variables: ["SESSIONMESH_LABEL": "a\u{1}b"], code: 78, says: "SESSIONMESH_LABEL"),
        Mistake(arguments: ["agent", "--tag", "=x"], code: 64, says: "name=value"),
        Mistake(arguments: ["agent", "--bind", "127.0.0.1:0"] + longTags, code: 78, says: "512 bytes"),
        Mistake(arguments: ["run", "-n", "0", "--", "true"], code: 64, says: "-n is a whole number from 1 to 255"),
        Mistake(arguments: ["run", "-n", "2"], code: 64, says: "behind --"),
        Mistake(arguments: ["run", "--", "/nowhere/server"], code: 78, says: "there is no program /nowhere/server"),
        Mistake(arguments: ["run", "--", "no-such-program"], code: 78, says: "in $PATH"),
        Mistake(arguments: ["run", "--", "/etc/passwd"], code: 78, says: "chmod +x"),
        Mistake(arguments: ["run", "--ports", "3000", "--", "true"], code: 64, says: "FIRST-LAST"),
        Mistake(
            arguments: ["run", "--ports", "3000-3007", "--balance", "127.0.0.1:3004", "--", "true"], code: 64,
            says: "--balance has port 3004, which --ports gives to a worker"),
        Mistake(
            arguments: ["run", "--ports", "3000-3007", "--bind", "127.0.0.1:3000", "--", "true"], code: 64, says: "--bind has port 3000"),
        Mistake(arguments: ["run", "--ready", "soon", "--", "true"], code: 64, says: "a path such as /healthz"),
        Mistake(arguments: ["run", "--bind", "0.0.0.0:0", "--", "true"], code: 78, says: "--advertise"),
        Mistake(arguments: ["run", "--key-file", "-", "--", "true"], code: 64, says: "names a file here"),
        Mistake(arguments: ["scale", "0"], code: 64, says: "from 1 to 255"),
        Mistake(arguments: ["workers"], code: 78, says: "sessionmesh run"),
        Mistake(arguments: ["restart", "--control", "127.0.0.1:1"], code: 78, says: "no supervisor answers on 127.0.0.1:1"),
        Mistake(arguments: ["keys", "--force"], code: 64, says: "keys reload"),
        Mistake(arguments: ["keys", "show"], code: 64, says: "reload"),
        Mistake(arguments: ["keys"], code: 78, says: "--admin"),
        Mistake(arguments: ["keys", "reload", "--admin", "127.0.0.1:1"], code: 78, says: "127.0.0.1:1"),
        Mistake(arguments: ["health"], code: 1, says: "--admin"),
        Mistake(arguments: ["health", "--admin", "127.0.0.1:1"], code: 1, says: "127.0.0.1:1"),
        Mistake(arguments: ["health", "--admin", "there"], code: 64, says: "HOST:PORT"),
        Mistake(arguments: ["members", "--why", "a b"], code: 64, says: "node name"),
        Mistake(arguments: ["members", "--why", "n1"], code: 78, says: "--admin"),
        Mistake(arguments: ["members", "--why", "n1", "--agent", "unix:/nowhere/socket"], code: 78, says: "--admin"),
        Mistake(arguments: ["keygen", "--add"], code: 64, says: "which key file"),
        Mistake(arguments: ["keygen", "mesh.key"], code: 64, says: "--add"),
        Mistake(arguments: ["keygen", "--drop", "1", "--add", "mesh.key"], code: 64, says: "two steps"),
        Mistake(arguments: ["keygen", "--drop", "x", "mesh.key"], code: 64, says: "--drop"),
        Mistake(arguments: ["keygen", "--add", "/nowhere/key"], code: 78, says: "/nowhere/key"),
        Mistake(arguments: ["agent", "--key-file", "/nowhere/key"], code: 78, says: "keygen"),
        Mistake(arguments: ["agent", "--key-file", "/"], code: 78, says: "directory"),
        Mistake(arguments: ["agent", "--bind", "0.0.0.0:0", "--advertise", "10.0.0.1:7946"], code: 78, says: "--key-file"),
        Mistake(arguments: ["agent", "--bind", "127.0.0.1:0", "--client", "unix:/nowhere/socket"], code: 78, says: "/nowhere"),
        Mistake(arguments: ["balance", "--seed", "10.0.0.1:7946"], code: 78, says: "--bind"),
        Mistake(arguments: ["members"], code: 78, says: "--agent"),
        Mistake(arguments: ["members", "--agent", "unix:/nowhere/socket"], code: 78, says: "--agent"),
    ]

    @Test(arguments: mistakes)
    func aMistakeIsOneLine(mistake: Mistake) async throws {
        let result = try await CommandProcess.run(
            mistake.arguments, in: CommandDirectory(),
            variables: ["SESSIONMESH_LOG_LEVEL": "error"].merging(mistake.variables) { $1 })
        #expect(result.code == mistake.code, "\(result.errors)")
        #expect(result.errors.contains(mistake.says), "\(result.errors)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
        #expect(result.errors.hasPrefix("sessionmesh: "))
        #expect(result.output.isEmpty)
    }

    @Test(arguments: ["", "gossip 1 short\n", "gossip", "\u{0}\u{1}\u{2}", "# nothing\n"])
    func aKeyFileThatIsNoneIsSaidToBe(text: String) async throws {
        let directory = try CommandDirectory()
        let path = try directory.write(text, to: "key")
        let result = try await CommandProcess.run(["agent", "--key-file", path], in: directory)
        #expect(result.code == 78)
        #expect(result.errors.contains("key file"), "\(result.errors)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
    }

    @Test func aKeyFileOpenToOthersIsRefused() async throws {
        let directory = try CommandDirectory()
        let path = try directory.write(KeyFiles.newText(), to: "key", mode: 0o644)
        for arguments in [["agent", "--key-file", path], ["keygen", "--add", path]] {
            let result = try await CommandProcess.run(arguments, in: directory)
            #expect(result.code == 78 && result.errors.contains("chmod 600"), "\(result.errors)")
        }
    }

    @Test func aPasswordIsNeverRepeated() async throws {
        for arguments in [["agent", "--mirror", "redis://:hunter2@"], ["demo", "--mirror", "redis://:hunter2@:x"]] {
            let result = try await CommandProcess.run(arguments, in: CommandDirectory())
            #expect(result.code == 64)
            #expect(!result.errors.contains("hunter2"), "\(result.errors)")
        }
    }

    @Test func helpAndVersionAreNoMistakes() async throws {
        let help = try await CommandProcess.run(["agent", "--help"], in: CommandDirectory(), variables: ["SESSIONMESH_WEIGHT": "x"])
        #expect(help.code == 0)
        #expect(help.output.contains("--key-file"))
        let version = try await CommandProcess.run(["--version"], in: CommandDirectory())
        #expect(version.code == 0)
        #expect(version.output.split(separator: ".").count == 3)
    }
}
