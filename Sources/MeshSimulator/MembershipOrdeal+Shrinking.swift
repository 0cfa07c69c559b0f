// A failing run of fifty members and twenty faults tells little. What remains when nothing more can be taken away tells nearly all.

extension MembershipOrdeal {
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

    /// No more than this many runs are spent, nor more members put through them, since one run of a thousand takes as long as all of a small
    /// mesh; what was found by then is given.
    public static let shrinkingRunsMax = 600
    static let shrinkingMembersMax = 30_000

    /// Takes members, faults and time away from a run that broke a promise for as long as it still breaks the same one.
    public static func shrink(_ failing: Report, promise: Promise? = nil) -> Shrunk {
        var shrunk = Shrunk(report: failing, runs: 0)
        guard let broken = failing.violations.first?.promise else { return shrunk }
        var members = 0
        var isSmaller = true
        while isSmaller {
            isSmaller = false
            for (configuration, plan) in candidates(shrunk.report) {
                guard shrunk.runs < shrinkingRunsMax, members < shrinkingMembersMax else { return shrunk }
                shrunk.runs += 1
                members += configuration.nodes
                var ordeal = MembershipOrdeal(seed: failing.seed, configuration: configuration, plan: plan, promise: promise)
                let report = ordeal.run()
                guard report.violations.first?.promise == broken else { continue }
                shrunk.report = report
                isSmaller = true
                break
            }
        }
        return shrunk
    }

    /// All that is a little smaller, the greatest steps first. Each makes something less and nothing more, so that this comes to an end.
    private static func candidates(_ report: Report) -> [(Configuration, MembershipPlan)] {
        let (configuration, plan) = (report.configuration, report.plan)
        return fewerFaults(plan).map { (configuration, $0) } + fewerMembers(configuration, plan)
            + calmer(configuration).map { ($0, plan) } + shorter(plan).map { (configuration, $0) }
    }

    private static func fewerFaults(_ plan: MembershipPlan) -> [MembershipPlan] {
        var plans: [MembershipPlan] = []
        var size = plan.faults.count
        while size > 0 {
            for start in stride(from: 0, to: plan.faults.count, by: size) {
                var fewer = plan
                fewer.faults.removeSubrange(start..<min(start + size, plan.faults.count))
                plans.append(fewer)
            }
            size /= 2
        }
        return plans
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
        var all: [Configuration] = []
        func add(_ change: (inout Configuration) -> Void) {
            var calmer = configuration
            change(&calmer)
            if calmer != configuration { all.append(calmer) }
        }
        add { $0.balancers = 0 }
        add { $0.duplication = 0 }
        add { $0.reordering = 0 }
        add { $0.loss = 0 }
        add { $0.length = min($0.length, .zero) }
        return all
    }

    private static func shorter(_ plan: MembershipPlan) -> [MembershipPlan] {
        var plans: [MembershipPlan] = []
        func add(_ change: (inout MembershipPlan) -> Void) {
            var shorter = plan
            change(&shorter)
            if shorter != plan { plans.append(shorter) }
        }
        // Everything from some fault on comes earlier: by half of the time before it, or to whole seconds.
        for index in plan.faults.indices {
            let before = plan.faults[index].at - (index > 0 ? plan.faults[index - 1].at : 0)
            for gap in [before / 2, before / 1000 * 1000] {
                add { for later in index..<plan.faults.count { $0.faults[later].at -= before - gap } }
            }
        }
        for index in plan.faults.indices where plan.faults[index].length > 0 {
            for length in [plan.faults[index].length / 2, plan.faults[index].length / 1000 * 1000] where length > 0 {
                add { $0.faults[index].length = length }
            }
        }
        return plans
    }
}
