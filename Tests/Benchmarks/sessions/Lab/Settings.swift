import AgentTools
import LabTools
import MeshCore
import MeshSimulator

/// What the person who runs the lab wants.
struct Settings {
    enum Task {
        case ordeal(Ordeal.Settings)
        case join(Join.Settings)
    }

    private(set) var task: Task
    private(set) var isJSON = false
    private var sessionmesh: String?
    private var directory: String?
    private var clockShift: String?

    static let usage = """
        Real agents put through real faults while clients use sessions; then every promise of sessions is held against what the clients saw.

          session-lab [--kills N | --faults LIST --rounds N | --plan PLAN] [--seconds N] [OPTION ...]
          session-lab join [--sessions N] [--rate N] [OPTION ...]

        The first runs rounds of one fault each; the next begins when the mesh is whole again. Without more it is 20 rounds of crash, pause and leave.
        The second fills three agents with sessions, asks at a steady rate, and starts a fourth.

          --kills N         the same as --faults crash --rounds N
          --faults LIST     some of \(kinds), separated by commas
          --rounds N        1 to \(roundsMax)
          --pairs           two faults of different agents in each round
          --plan PLAN       what happens, as `sessionmesh simulate --plan` takes it: 0.5:crash:n3:2,1:cut:n1:n2:8
          --seconds N       no round begins after so many seconds, 1 to 86400
          --agents N        2 to 9, default 5
          --browsers N      1 to 50, default 6; each has a session
          --clients N       1 to 20, default 3; so many of each browser use its session at once
          --seed N          of faults and clients, default 1. Real processes don't repeat themselves to the byte, but the plan is the same
          --sessions N      join: 1000 to 1000000, default 300000, of some 300 bytes
          --rate N          join: requests a second, 10 to 20000, default 2000
          --sessionmesh P   the program under test; default: the one beside this program
          --clock-shift P   the library made of Tests/Benchmarks/sessions/ClockShift, which the fault `clock` needs
          --directory D     where sockets, what agents say and a broken history go, and stay; default: a temporary one, kept when a promise broke
          --json            one JSON object instead of text

        cut and split need root: they put each agent into a network namespace, in namespaces that end with the lab.
        Ends with 0 when every promise held, 1 when one broke, 64 when it can't run like that, 130 after Ctrl-C.

          session-lab --kills 200
          session-lab --faults crash,pause --seconds 60 --seed 7
          session-lab --faults cut,split --rounds 20
          session-lab join
        """

    /// What real agents can be put through. Nobody waits two hours for a cut to heal.
    private static let faults = SessionPlan.Fault.Kind.allCases.filter { $0 != .sever }
    private static let kinds = faults.map(\.rawValue).joined(separator: ", ")
    private static let roundsMax = 10_000

    /// Nil when help is asked for.
    init?(_ arguments: [String]) throws {
        var words = LabArguments(arguments)
        var ordeal = Ordeal.Settings()
        var join = Join.Settings()
        let joins = words.begins(with: "join")
        var kinds: Set<SessionPlan.Fault.Kind> = [.crash, .pause, .leave]
        var rounds: Int?
        var pairs = false
        var hasSeconds = false
        while let word = words.next() {
            switch word {
            case "--help", "-h": return nil
            case "--json": isJSON = true
            case "--sessionmesh": sessionmesh = try words.value(of: word)
            case "--directory": directory = try words.value(of: word)
            case "--seed":
                guard let seed = UInt64(try words.value(of: word)) else { throw LabFailure("--seed is a whole number") }
                ordeal.seed = seed
                join.seed = seed
            case "--sessions" where joins: join.sessions = try words.number(of: word, in: 1000...1_000_000)
            case "--rate" where joins: join.rate = try words.number(of: word, in: 10...20_000)
            case "--kills" where !joins:
                kinds = [.crash]
                rounds = try words.number(of: word, in: 1...Self.roundsMax)
            case "--faults" where !joins:
                kinds = try Set(
                    words.value(of: word).split(separator: ",").map { word in
                        guard let kind = Self.faults.first(where: { $0.rawValue == word }) else {
                            throw LabFailure("\(word) is no fault; --faults takes some of \(Self.kinds)")
                        }
                        return kind
                    })
            case "--rounds" where !joins: rounds = try words.number(of: word, in: 1...Self.roundsMax)
            case "--pairs" where !joins: pairs = true
            case "--plan" where !joins:
                let text = try words.value(of: word)
                guard let plan = SessionPlan(text), plan.rounds.joined().allSatisfy({ Self.faults.contains($0.kind) }) else {
                    throw LabFailure("\(text) is no plan")
                }
                ordeal.plan = plan
            case "--seconds" where !joins:
                ordeal.time = .seconds(try words.number(of: word, in: 1...86_400))
                hasSeconds = true
            case "--agents" where !joins: ordeal.agents = try words.number(of: word, in: 2...9)
            case "--browsers" where !joins: ordeal.browsers = try words.number(of: word, in: 1...50)
            case "--clients" where !joins: ordeal.clientsPerBrowser = try words.number(of: word, in: 1...20)
            case "--clock-shift" where !joins: clockShift = try words.value(of: word)
            default: throw LabFailure("\(word) is nothing that it takes; see --help")
            }
        }
        if ordeal.plan.rounds.isEmpty {
            ordeal.plan = SessionPlan(
                seed: ordeal.seed, nodes: ordeal.agents, rounds: rounds ?? (hasSeconds ? Self.roundsMax : 20), kinds: kinds, pairs: pairs)
        }
        guard ordeal.plan.membersMax <= ordeal.agents else { throw LabFailure("the plan names an agent that there is not; see --agents") }
        task = joins ? .join(join) : .ordeal(ordeal)
        guard clockShift != nil || !has([.clock]) else { throw LabFailure("clocks can't be shifted without --clock-shift") }
    }

    /// Whether packets have to be dropped on their way.
    var ground: Mesh.Ground { has([.cut, .split]) ? .apart : .loopback }

    private func has(_ kinds: Set<SessionPlan.Fault.Kind>) -> Bool {
        guard case .ordeal(let ordeal) = task else { return false }
        return ordeal.plan.rounds.joined().contains { kinds.contains($0.kind) }
    }

    /// Whether the directory is to be removed in the end.
    var isTemporary: Bool { directory == nil }

    func makeToolbox() throws -> Toolbox {
        try Toolbox(sessionmesh: sessionmesh, directory: directory, clockShift: clockShift)
    }
}
