import LabTools

/// What the person who runs the lab wants.
struct Settings {
    private(set) var rows: [Row] = []
    private(set) var time: Duration = .seconds(60)
    private(set) var sessions = 100_000
    private(set) var rounds = 5
    private(set) var seed: UInt64 = 1
    private(set) var isJSON = false
    private(set) var sessionmesh: String?
    private(set) var directory: String?

    static let usage = """
        Real agents mirrored to real stores: what becomes of requests and of sessions while a store is harmed, and what mirroring costs.

          mirror-lab [OPTION ...] [ROW ...]

        STORE is redis, memcached or mongodb. A row is also chosen by the beginning of its name: harm, harm-redis, drain. Without any, all of them run.

          harm-STORE-killed     three agents, 1,000 requests a second; the store is gone and comes back. Redis and Memcached come back empty
          harm-STORE-stopped    it is stopped by SIGSTOP and goes on
          harm-STORE-flushed    it is emptied every 5 s
          harm-STORE-slow       each of its answers takes 2 s
          restart-STORE         all agents are killed at once under load and started again
          drain-STORE           two agents hold sessions that the store has never seen; then it is there
          cpu-redis             what mirroring adds to the agents' CPU
          tail-STORE            one process appends to the log of a channel slot, another tails it

          --seconds N       of harm, 5 to 3600, default 60; half as long the mesh is watched before
          --sessions N      drain: 1000 to 1000000, default 100000
          --rounds N        cpu-redis: 1 to 100, default 5
          --seed N          of what is asked, default 1
          --sessionmesh P   the program under test; default: the one beside this program
          --directory D     for sockets, stores and what agents say; it stays. Default: a temporary one, kept when a row could not be run
          --json            one JSON object instead of text

        Ends with 0 when every goal was met, 1 when one was missed or a row could not be run, 64 when it can't run like that, 130 after Ctrl-C.
        """

    /// Nil when help is asked for.
    init?(_ arguments: [String]) throws {
        var words = LabArguments(arguments)
        while let word = words.next() {
            switch word {
            case "--help", "-h": return nil
            case "--json": isJSON = true
            case "--sessionmesh": sessionmesh = try words.value(of: word)
            case "--directory": directory = try words.value(of: word)
            case "--seconds": time = .seconds(try words.number(of: word, in: 5...3600))
            case "--sessions": sessions = try words.number(of: word, in: 1000...1_000_000)
            case "--rounds": rounds = try words.number(of: word, in: 1...100)
            case "--seed": seed = UInt64(try words.number(of: word, in: 0...Int.max))
            default:
                let named = Row.named(word)
                guard !named.isEmpty else { throw LabFailure("there is no row \(word); --help lists them") }
                rows += named.filter { row in !rows.contains { $0.name == row.name } }
            }
        }
        if rows.isEmpty { rows = Row.all }
    }
}
