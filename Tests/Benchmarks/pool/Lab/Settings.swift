import LabTools

/// What the person who runs the lab wants.
struct Settings {
    private(set) var rounds = 5
    private(set) var seconds = 5
    private(set) var rate = 500
    private(set) var callers = 8
    private(set) var work = 32
    /// Handed on to the server: how its pool is made.
    private(set) var server: [String] = []
    private(set) var arguments: [String]

    static let usage = """
        What requests wait while a server computes: in a ComputePool, in its handlers, or on its event loops.

          pool-lab [OPTION ...]

          --rounds N     1 to 100, default 5; each has all parts
          --seconds N    of each part, 1 to 60, default 5
          --rate N       requests of / a second, 10 to 900, default 500
          --callers N    connections that each ask for work as soon as they have an answer, 1 to 64, default 8
          --work N       the Fibonacci number that is computed, 20 to 40, default 32
          --threads N    of the pool; default: a pool's own
          --priority P   of the pool, idle or normal; default: a pool's own

        Ends with 0 when the goal was met, 1 when it was missed, 64 when it can't run like that, 130 after Ctrl-C.
        """

    /// Nil when help is asked for.
    init?(_ arguments: [String]) throws {
        self.arguments = arguments
        var rest = arguments[...]
        func number(of flag: String, in range: ClosedRange<Int>) throws -> Int {
            guard let word = rest.popFirst(), let number = Int(word), range.contains(number) else {
                throw LabFailure("\(flag) wants a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        while let word = rest.popFirst() {
            switch word {
            case "--help", "-h": return nil
            case "--rounds": rounds = try number(of: word, in: 1...100)
            case "--seconds": seconds = try number(of: word, in: 1...60)
            case "--rate": rate = try number(of: word, in: 10...900)
            case "--callers": callers = try number(of: word, in: 1...64)
            case "--work": work = try number(of: word, in: 20...40)
            case "--threads": server += [word, String(try number(of: word, in: 1...1024))]
            case "--priority":
                guard let priority = rest.popFirst(), ["idle", "normal"].contains(priority) else {
                    throw LabFailure("--priority wants idle or normal")
                }
                server += [word, priority]
            default: throw LabFailure("there is no option \(word); --help lists them")
            }
        }
    }
}
