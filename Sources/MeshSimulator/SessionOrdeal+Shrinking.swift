extension SessionOrdeal {
    /// No more than this many runs are spent: a few minutes. What was found by then is given.
    public static let shrinkingRunsMax = 300

    /// Takes agents, clients, faults and time away from a run that broke a promise for as long as it still breaks the same one.
    public static func shrink(_ failing: Report, promise: Promise? = nil) -> Shrunk<Report> {
        Shrinking.least(
            failing, runsMax: shrinkingRunsMax, broken: { $0.violations.first?.promise }, candidates: candidates
        ) { configuration, plan in
            var ordeal = SessionOrdeal(seed: failing.seed, configuration: configuration, plan: plan, promise: promise)
            return ordeal.run()
        }
    }

    private static func candidates(_ report: Report) -> [(Configuration, SessionPlan)] {
        let (configuration, plan) = (report.configuration, report.plan)
        return Shrinking.fewer(plan.rounds).map { (configuration, SessionPlan(rounds: $0)) }
            + single(plan).map { (configuration, $0) } + fewerNodes(configuration, plan) + calmer(configuration).map { ($0, plan) }
            + shorter(plan).map { (configuration, $0) }
    }

    /// One fault of a pair.
    private static func single(_ plan: SessionPlan) -> [SessionPlan] {
        plan.rounds.indices.filter { plan.rounds[$0].count > 1 }.flatMap { index in
            plan.rounds[index].indices.map { left in
                var single = plan
                single.rounds[index].remove(at: left)
                return single
            }
        }
    }

    /// Faults of those who are taken away befall others.
    private static func fewerNodes(_ configuration: Configuration, _ plan: SessionPlan) -> [(Configuration, SessionPlan)] {
        Set([2, 3, configuration.nodes - 1]).sorted().filter { $0 >= 2 && $0 < configuration.nodes }.map { nodes in
            var smaller = configuration
            smaller.nodes = nodes
            var fewer = plan
            for round in fewer.rounds.indices {
                for index in fewer.rounds[round].indices {
                    let fault = fewer.rounds[round][index]
                    fewer.rounds[round][index].member = (fault.member - 1) % nodes + 1
                    fewer.rounds[round][index].other = fault.other.map { ($0 - 1) % nodes + 1 }
                }
                fewer.rounds[round].removeAll { $0.other == $0.member }
            }
            fewer.rounds.removeAll(where: \.isEmpty)
            return (smaller, fewer)
        }
    }

    private static func calmer(_ configuration: Configuration) -> [Configuration] {
        Shrinking.changed(
            configuration,
            [
                { $0.loss = 0 }, { $0.workload.expires = false },
                { $0.workload.browsers = min($0.workload.browsers, max(1, $0.workload.browsers / 2)) },
                { $0.workload.clientsPerBrowser = 1 },
            ])
    }

    private static func shorter(_ plan: SessionPlan) -> [SessionPlan] {
        var changes: [(inout SessionPlan) -> Void] = []
        for round in plan.rounds.indices {
            for index in plan.rounds[round].indices {
                let fault = plan.rounds[round][index]
                for length in Shrinking.shorter(fault.length) where length > 0 {
                    changes.append { $0.rounds[round][index].length = length }
                }
                changes.append { $0.rounds[round][index].directive = nil }
            }
        }
        return Shrinking.changed(plan, changes)
    }
}
