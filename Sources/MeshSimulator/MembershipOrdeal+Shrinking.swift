extension MembershipOrdeal {
    /// No more than this many runs are spent, nor more members put through them, since one run of a thousand takes as long as all of a small
    /// mesh; what was found by then is given.
    public static let shrinkingRunsMax = 600
    static let shrinkingMembersMax = 30_000

    /// Takes members, faults and time away from a run that broke a promise for as long as it still breaks the same one.
    public static func shrink(_ failing: Report, promise: Promise? = nil) -> Shrunk<Report> {
        var members = 0
        return Shrinking.least(
            failing, runsMax: shrinkingRunsMax, broken: { $0.violations.first?.promise }, candidates: candidates
        ) { configuration, plan in
            guard members < shrinkingMembersMax else { return nil }
            members += configuration.nodes
            var ordeal = MembershipOrdeal(seed: failing.seed, configuration: configuration, plan: plan, promise: promise)
            return ordeal.run()
        }
    }

    private static func candidates(_ report: Report) -> [(Configuration, MembershipPlan)] {
        let (configuration, plan) = (report.configuration, report.plan)
        return Shrinking.fewer(plan.faults).map { (configuration, MembershipPlan(faults: $0)) } + fewerMembers(configuration, plan)
            + calmer(configuration).map { ($0, plan) } + shorter(plan).map { (configuration, $0) }
    }

    /// Faults of those who are taken away befall others.
    private static func fewerMembers(_ configuration: Configuration, _ plan: MembershipPlan) -> [(Configuration, MembershipPlan)] {
        Set([2, 3, configuration.nodes / 2, configuration.nodes * 3 / 4, configuration.nodes - 1]).sorted()
            .filter { $0 >= 1 && $0 < configuration.nodes }
            .map { nodes in
                var smaller = configuration
                smaller.nodes = nodes
                smaller.balancers = min(configuration.balancers, nodes - 1)
                var fewer = plan
                for index in fewer.faults.indices {
                    fewer.faults[index].member = (plan.faults[index].member - 1) % nodes + 1
                    fewer.faults[index].other = plan.faults[index].other.map { ($0 - 1) % nodes + 1 }
                }
                fewer.faults.removeAll { $0.other == $0.member }
                return (smaller, fewer)
            }
    }

    private static func calmer(_ configuration: Configuration) -> [Configuration] {
        Shrinking.changed(
            configuration,
            [
                { $0.balancers = 0 }, { $0.duplication = 0 }, { $0.reordering = 0 }, { $0.loss = 0 }, { $0.length = min($0.length, .zero) },
            ])
    }

    private static func shorter(_ plan: MembershipPlan) -> [MembershipPlan] {
        var changes: [(inout MembershipPlan) -> Void] = []
        // Everything from some fault on comes earlier: by half of the time before it, or to whole seconds.
        for index in plan.faults.indices {
            let before = plan.faults[index].at - (index > 0 ? plan.faults[index - 1].at : 0)
            for gap in Shrinking.shorter(before) {
                changes.append { for later in index..<plan.faults.count { $0.faults[later].at -= before - gap } }
            }
        }
        for index in plan.faults.indices where plan.faults[index].length > 0 {
            for length in Shrinking.shorter(plan.faults[index].length) where length > 0 {
                changes.append { $0.faults[index].length = length }
            }
        }
        return Shrinking.changed(plan, changes)
    }
}
