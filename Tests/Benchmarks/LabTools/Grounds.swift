/// Network namespaces and what is dropped between them.
package enum Grounds {
    package static func name(_ number: Int) -> String { "m\(number)" }

    /// A namespace for each number, with 10.77.0.number on a bridge that all share. Whoever has none yet gets one.
    package static func prepare(_ numbers: [Int]) throws {
        let made = try Child.run(["ip", "-o", "netns", "list"])
        let there = Set(made.split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) })
        var commands: [String] = []
        if there.isEmpty { commands += ["link add lab0 type bridge", "link set lab0 up"] }
        let missing = numbers.filter { !there.contains(name($0)) }
        guard !missing.isEmpty else { return try clear(numbers) }
        Say.progress("  making \(missing.count) network namespaces")
        for number in missing {
            commands += [
                "netns add \(name(number))", "link add lab\(number) type veth peer name eth0 netns \(name(number))",
                "link set lab\(number) master lab0 up",
            ]
        }
        try Child.run(["ip", "-batch", "-"], input: commands.joined(separator: "\n"))
        for number in missing {
            try Child.run(
                ["ip", "-n", name(number), "-batch", "-"],
                input: "link set lo up\naddr add 10.77.0.\(number)/24 dev eth0\nlink set eth0 up")
        }
        try clear(numbers)
    }

    /// Drops a share of the packets that reach each of `numbers`. When all do it, each direction loses that share.
    package static func lose(_ share: Double, at numbers: [Int]) throws {
        for number in numbers { try rule(number, "-m", "statistic", "--mode", "random", "--probability", "\(share)") }
    }

    /// Nothing reaches it; what it sends arrives.
    package static func deafen(_ number: Int) throws { try rule(number) }

    /// Nothing from addresses of `network` reaches it.
    package static func cut(_ number: Int, from network: String) throws { try rule(number, "-s", network) }

    package static func clear(_ numbers: [Int]) throws {
        for number in numbers { try Child.run(["ip", "netns", "exec", name(number), "iptables", "-F", "INPUT"]) }
    }

    private static func rule(_ number: Int, _ match: String...) throws {
        try Child.run(
            ["ip", "netns", "exec", name(number), "iptables", "-A", "INPUT", "-i", "eth0"] + match + ["-j", "DROP"])
    }
}
