import ArgumentParser
import Testing

@testable import MeshCommand

@Suite struct VariablesTests {
    private func complete(_ arguments: [String], _ environment: [String: String]) -> Variables.Completed {
        Variables.complete(arguments, of: SessionMeshCommand.self, from: environment)
    }

    @Test func aVariableStandsForAFlag() {
        let completed = complete(["agent"], ["SESSIONMESH_KEY_FILE": "k", "SESSIONMESH_WEIGHT": "3", "HOME": "/"])
        #expect(Set(completed.arguments) == ["agent", "--key-file=k", "--weight=3"])
        #expect(completed.variables == ["--key-file": "SESSIONMESH_KEY_FILE", "--weight": "SESSIONMESH_WEIGHT"])
        #expect(completed.command == ["agent"])
    }

    @Test func theCommandLineWins() {
        #expect(complete(["agent", "--name", "a"], ["SESSIONMESH_NAME": "b"]).arguments == ["agent", "--name", "a"])
        #expect(complete(["agent", "--name=a"], ["SESSIONMESH_NAME": "b"]).arguments == ["agent", "--name=a"])
    }

    @Test func aListIsSplitAndAToggleIsRead() {
        #expect(
            complete(["agent"], ["SESSIONMESH_SEED": "a:1, b:2"]).arguments == ["agent", "--seed=a:1", "--seed=b:2"])
        #expect(complete(["members"], ["SESSIONMESH_JSON": "yes"]).arguments == ["members", "--json"])
        #expect(complete(["members"], ["SESSIONMESH_JSON": "0"]).arguments == ["members"])
        #expect(complete(["members"], ["SESSIONMESH_JSON": ""]).arguments == ["members"])
    }

    @Test func variablesStandBeforeATerminator() {
        let completed = complete(["publish", "--", "--json"], ["SESSIONMESH_JSON": "1"])
        #expect(completed.arguments == ["publish", "--json", "--", "--json"])
    }

    @Test func nestedCommandsHaveVariablesToo() {
        let completed = complete(["session", "get"], ["SESSIONMESH_COOKIE": "c"])
        #expect(completed.arguments == ["session", "get", "--cookie=c"])
    }

    @Test func helpIsGivenWhateverTheVariablesSay() {
        #expect(complete(["agent", "--help"], ["SESSIONMESH_WEIGHT": "x"]).arguments == ["agent", "--help"])
    }

    /// The names are derived twice, by the parser and here; help shows the parser's.
    @Test func everyFlagOfEveryCommandHasItsVariable() {
        for command in Self.commands(of: SessionMeshCommand.self) {
            let known = Set(Variables.flags(of: command).map(\.name) + ["--help", "--version"])
            let shown = command.helpMessage(includeHidden: true, columns: 200).split(separator: "\n")
                .compactMap { $0.prefixMatch(of: #/  (?:-\w, )?(--[a-z-]+)/#).map { String($0.1) } }
            #expect(Set(shown).subtracting(known).isEmpty, "\(command)")
            #expect(known.subtracting(shown + ["--help", "--version"]).isEmpty, "\(command)")
        }
    }

    @Test func everyCommandExplainsItself() {
        for command in Self.commands(of: SessionMeshCommand.self) {
            #expect(!command.configuration.abstract.isEmpty, "\(command)")
            if command.configuration.subcommands.isEmpty, command.configuration.shouldDisplay {
                #expect(command.configuration.discussion.contains("sessionmesh "), "\(command) has no example")
            }
        }
    }

    private static func commands(of root: any ParsableCommand.Type) -> [any ParsableCommand.Type] {
        [root] + root.configuration.subcommands.flatMap { commands(of: $0) }
    }
}
