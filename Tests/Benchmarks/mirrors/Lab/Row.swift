import AgentTools

/// What can be measured, by its name.
struct Row {
    enum Kind {
        case harm(Harm.Kind)
        case restart, drain, cost, tail
    }

    let name: String
    let store: StoreKind
    let kind: Kind

    static let all: [Row] =
        StoreKind.allCases.flatMap { store in
            Harm.Kind.allCases.map { Row(name: "harm-\(store.rawValue)-\($0.rawValue)", store: store, kind: .harm($0)) }
        } + StoreKind.allCases.map { Row(name: "restart-\($0.rawValue)", store: $0, kind: .restart) }
        + StoreKind.allCases.map { Row(name: "drain-\($0.rawValue)", store: $0, kind: .drain) }
        + [Row(name: "cpu-redis", store: .redis, kind: .cost)]
        + StoreKind.allCases.map { Row(name: "tail-\($0.rawValue)", store: $0, kind: .tail) }

    /// Those of a name, or of the beginning of names: `harm-redis` are four.
    static func named(_ name: String) -> [Row] { all.filter { $0.name == name || $0.name.hasPrefix("\(name)-") } }

    func run(_ settings: Settings, with toolbox: Toolbox) throws -> [Figure] {
        switch kind {
        case .harm(let harm): try Harm(store: store, kind: harm, time: settings.time, seed: settings.seed).run(with: toolbox)
        case .restart: try Restart(store: store, seed: settings.seed).run(with: toolbox)
        case .drain: try Drain(store: store, sessions: settings.sessions, seed: settings.seed).run(with: toolbox)
        case .cost: try Cost(rounds: settings.rounds, seed: settings.seed).run(with: toolbox)
        case .tail: try Tailing(store: store).run(with: toolbox)
        }
    }
}
