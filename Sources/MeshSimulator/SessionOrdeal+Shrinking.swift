extension SessionOrdeal {
    public struct Shrunk: Sendable {
        /// Of the smallest run found that breaks the same promise.
        public var report: Report
        /// How many runs it took.
        public var runs: Int

        public init(report: Report, runs: Int) {
            self.report = report
            self.runs = runs
        }
    }

    /// No more than this many runs are spent: a few minutes. What was found by then is given.
    public static let shrinkingRunsMax = 300

    /// Takes agents, clients, faults and time away from a run that broke a promise for as long as it still breaks the same one.
    public static func shrink(_ failing: Report, promise: Promise? = nil) -> Shrunk {
        guard let broken = failing.violations.first?.promise else { return Shrunk(report: failing, runs: 0) }
        var runs = 0
        let least = Shrinking.least(failing, candidates: candidates) { configuration, plan in
            guard runs < shrinkingRunsMax else { return nil }
            runs += 1
            var ordeal = SessionOrdeal(seed: failing.seed, configuration: configuration, plan: plan, promise: promise)
            let report = ordeal.run()
            return report.violations.first?.promise == broken ? report : nil
        }
        return Shrunk(report: least, runs: runs)
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
        var all: [Configuration] = []
        func add(_ change: (inout Configuration) -> Void) {
            var calmer = configuration
            change(&calmer)
            if calmer != configuration { all.append(calmer) }
        }
        add { $0.loss = 0 }
        add { $0.workload.expires = false }
        add { $0.workload.browsers = min($0.workload.browsers, max(1, $0.workload.browsers / 2)) }
        add { $0.workload.clientsPerBrowser = 1 }
        return all
    }

    private static func shorter(_ plan: SessionPlan) -> [SessionPlan] {
        var plans: [SessionPlan] = []
        for round in plan.rounds.indices {
            for index in plan.rounds[round].indices {
                let fault = plan.rounds[round][index]
                for length in Shrinking.shorter(fault.length) where length > 0 && length < fault.length {
                    var shorter = plan
                    shorter.rounds[round][index].length = length
                    plans.append(shorter)
                }
                if fault.directive != nil {
                    var simpler = plan
                    simpler.rounds[round][index].directive = nil
                    plans.append(simpler)
                }
            }
        }
        return plans
    }
}
