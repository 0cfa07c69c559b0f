import ArgumentParser

/// Flags from the environment: `--key-file` is also `SESSIONMESH_KEY_FILE`.
///
/// Variables become arguments before anything is parsed, so that a wrong value is found by the same parser, and told in the same words.
enum Variables {
    struct Completed: Equatable {
        /// The words that name the subcommand.
        var command: [String] = []
        var arguments: [String]
        /// By flag, the variable that gave its value.
        var variables: [String: String]
    }

    static func complete(_ arguments: [String], of root: any ParsableCommand.Type, from environment: [String: String]) -> Completed {
        let (command, words) = subcommand(of: root, in: arguments)
        let rest = Array(arguments.dropFirst(words))
        let given = rest.prefix { $0 != "--" }
        // Help is given to those whose variables are wrong, too.
        guard !given.contains("--help"), !given.contains("-h") else { return Completed(arguments: arguments, variables: [:]) }
        let path = Array(arguments.prefix(words))
        var completed = Completed(command: path, arguments: path, variables: [:])
        for flag in flags(of: command) where !given.contains(where: { $0 == flag.name || $0.hasPrefix(flag.name + "=") }) {
            guard let value = environment[flag.variable], !value.isEmpty else { continue }
            completed.arguments += flag.arguments(for: value)
            completed.variables[flag.name] = flag.variable
        }
        completed.arguments += rest
        return completed
    }

    struct FlagDescription: Equatable {
        enum Kind { case value, list, toggle }

        /// With its dashes.
        var name: String
        var kind: Kind

        var variable: String {
            "SESSIONMESH_" + name.dropFirst(2).uppercased().replacing("-", with: "_")
        }

        func arguments(for value: String) -> [String] {
            switch kind {
            case .value: ["\(name)=\(value)"]
            case .list: value.split { $0 == "," || $0.isWhitespace }.map { "\(name)=\($0)" }
            case .toggle:
                switch value.lowercased() {
                case "1", "true", "yes", "on": [name]
                case "0", "false", "no", "off": []
                // Refused by the parser, which says that the flag takes no value.
                default: ["\(name)=\(value)"]
                }
            }
        }
    }

    /// As the parser derives them: from the names of the properties.
    static func flags(of type: any ParsableArguments.Type) -> [FlagDescription] {
        Mirror(reflecting: type.init()).children.flatMap { child -> [FlagDescription] in
            if let group = child.value as? any FlagGroup { return flags(of: group.members) }
            guard let label = child.label, let wrapper = child.value as? any FlagWrapper else { return [] }
            return [FlagDescription(name: "--" + kebab(label.drop { $0 == "_" }), kind: wrapper.kind)]
        }
    }

    private static func kebab(_ name: Substring) -> String {
        name.reduce(into: "") { $0 += $1.isUppercase ? "-" + $1.lowercased() : String($1) }
    }

    private static func subcommand(
        of root: any ParsableCommand.Type, in arguments: [String]
    ) -> (command: any ParsableCommand.Type, words: Int) {
        var command = root
        var words = 0
        for word in arguments {
            guard let next = command.configuration.subcommands.first(where: { $0.configuration.commandName == word }) else { break }
            command = next
            words += 1
        }
        return (command, words)
    }
}

private protocol FlagWrapper {
    var kind: Variables.FlagDescription.Kind { get }
}

private protocol FlagGroup {
    var members: any ParsableArguments.Type { get }
}

private protocol Listing {}
extension Array: Listing {}

extension Option: FlagWrapper {
    fileprivate var kind: Variables.FlagDescription.Kind { Value.self is any Listing.Type ? .list : .value }
}

extension Flag: FlagWrapper {
    fileprivate var kind: Variables.FlagDescription.Kind { .toggle }
}

extension OptionGroup: FlagGroup {
    fileprivate var members: any ParsableArguments.Type { Value.self }
}
