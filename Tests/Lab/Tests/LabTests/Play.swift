import LabControl
import Testing

/// What visitors may meet with while something is broken, as ARCHITECTURE says under "What fails, and what a visitor sees".
enum Allowance {
    /// 502 for a change that was inside the process that died: nobody can say whether it counts.
    case badGateway
    /// 504 for one that was inside a node that went silent.
    case gatewayTimeout
    /// 503 with Retry-After: not now.
    case tryAgain
    /// The connection itself, for it is the balancer that dies.
    case reconnect

    fileprivate func covers(_ failure: Visitors.Failure) -> Bool {
        switch self {
        case .badGateway: failure.method == "POST" && failure.status == 502
        case .gatewayTimeout: failure.method == "POST" && failure.status == 504
        case .tryAgain: failure.status == 503 && failure.hasRetryAfter
        case .reconnect: failure.status == nil
        }
    }
}

/// Four acts, with visitors who never pause: all is quiet; something breaks, and every visitor is served again; those who are left become whole;
/// what was broken comes back. Until it does, what is allowed may fail; in the last act nothing, unless `later` says so. Where a member that nobody
/// harmed says that it stood still, for the machine gave it no time, a visitor may be told to try again until a few seconds after: so it is with
/// frozen processes. How often that excused a failure is printed.
func play(
    _ title: String, _ lab: Lab, allowing allowances: Allowance..., later: [Allowance] = [], left: [Lab.Node]? = nil,
    fault: () throws -> Void, return comeBack: () throws -> Void = {}
) throws {
    // Seconds on a machine that has time; a loaded one has less.
    let bound = Duration.seconds(30)
    let visitors = Visitors(12, at: lab.front)
    let bystanders = (left ?? lab.nodes).map(\.name) + ["balancer"]
    let watch = Standstills(of: bystanders, in: lab)
    var acts: [ContinuousClock.Instant] = []
    let outcome = Result {
        try visitors.untilServed(within: .seconds(30))
        acts.append(.now)
        try fault()
        try visitors.untilServed(within: bound)
        try lab.untilWhole(left)
        try visitors.untilServed(within: bound)
        acts.append(.now)
        try comeBack()
        try lab.untilWhole()
        try visitors.untilServed(within: bound)
    }
    let report = visitors.end()
    let standstills = watch.end()
    // 0, 1 and 2: before, while and after it was broken.
    func act(of failure: Visitors.Failure) -> Int { acts.count(where: { failure.at >= $0 }) }
    let allowed: [[Allowance]] = [[], allowances, later]
    let unforeseen = report.failures.filter { !$0.isCovered(by: allowed[act(of: $0)]) }
    let unexcused = unforeseen.filter { !$0.isExcused(by: standstills) }
    let who = Set(standstills.map(\.member)).sorted().joined(separator: ", ")
    let note = who.isEmpty ? "" : "; no time for \(who), failures excused: \(unforeseen.count - unexcused.count)"
    print("\(title): \(report.summary)\(note)")
    try outcome.get()
    let failures = Dictionary(grouping: unexcused, by: act)
    #expect(report.lost.isEmpty)
    #expect(failures[0, default: []].isEmpty, "before anything was broken")
    #expect(failures[1, default: []].isEmpty, "while it was broken")
    #expect(failures[2, default: []].isEmpty, "while what was broken came back")
}

extension Visitors.Failure {
    func isCovered(by allowances: [Allowance]) -> Bool { allowances.contains { $0.covers(self) } }

    func isExcused(by standstills: [Standstill]) -> Bool { isCovered(by: [.tryAgain]) && standstills.contains { $0.reaches(asked...at) } }
}

extension Visitors.Report {
    var summary: String {
        let kinds = Dictionary(grouping: failures) { "\($0.method) \($0.status.map(String.init) ?? "broken")" }
        let failed = kinds.sorted { $0.key < $1.key }.map { "\($0.value.count) x \($0.key)" }.joined(separator: ", ")
        return "\(requests) requests, \(failed.isEmpty ? "none" : failed) failed, longest pause \(longestPause.milliseconds) ms"
    }
}

extension Duration {
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
