/// How steady a member has been, as this observer saw it: how much patience its silence is met with, and whether to lean on it.
///
/// A member that comes and goes costs a mesh more than one that is slow to be given up: each change moves slots. So a death that it turns out
/// to have lived through buys it patience, and trouble within the same minutes keeps that up.
struct Steadiness: Sendable {
    /// When suspicions of it were confirmed, latest last.
    private var confirmed: [Int64] = []
    /// Patience is two to this power.
    private var patienceLevel = 0
    /// How often the hold-down doubles.
    private var holdLevel = 0
    /// The last trouble; levels fall by one a ``SWIM/Configuration/calmInterval`` from there.
    private var troubledAt = Int64.min
    private(set) var degradedUntil = Int64.min
    /// The last life that it is known to have outlived its death in, so that news of it counts once.
    var outlived: Life?

    /// Sixteen times: a one-way cut of 20 s is outlived.
    static let patienceLevelMax = 4
    /// 5 s doubled four times is beyond the minute at which it stops.
    static let holdLevelMax = 4
    /// More than the threshold of three, and four times a median of two.
    private static let confirmedMax = 8

    private func calm(_ level: Int, at now: Int64, _ configuration: SWIM.Configuration) -> Int {
        guard level > 0 else { return 0 }
        return max(0, level - Int(clamping: (now - troubledAt) / max(1, configuration.calmInterval.nanoseconds)))
    }

    /// What its silence may last, as a multiple of what others' may.
    func patience(at now: Int64, _ configuration: SWIM.Configuration) -> Int64 { 1 << Int64(calm(patienceLevel, at: now, configuration)) }

    func isDegraded(at now: Int64) -> Bool { now < degradedUntil }

    /// Confirmed suspicions of late.
    func recentCount(at now: Int64, _ configuration: SWIM.Configuration) -> Int {
        let since = now - configuration.degradedWindow.nanoseconds
        return confirmed.count { $0 >= since }
    }

    /// A suspicion was confirmed.
    mutating func confirm(at now: Int64, _ configuration: SWIM.Configuration) {
        trouble(at: now, configuration)
        if confirmed.count >= Self.confirmedMax { confirmed.removeFirst() }
        confirmed.append(now)
    }

    /// What it had earned so far counts from now on.
    mutating func trouble(at now: Int64, _ configuration: SWIM.Configuration) {
        patienceLevel = calm(patienceLevel, at: now, configuration)
        holdLevel = calm(holdLevel, at: now, configuration)
        troubledAt = now
    }

    mutating func degrade(at now: Int64, _ configuration: SWIM.Configuration) {
        trouble(at: now, configuration)
        let hold = min(configuration.degradedHold.nanoseconds << Int64(holdLevel), configuration.degradedHoldMax.nanoseconds)
        degradedUntil = max(degradedUntil, now + hold)
        holdLevel = min(holdLevel + 1, Self.holdLevelMax)
    }

    /// It is back from a death that was none.
    mutating func outlive(at now: Int64, _ configuration: SWIM.Configuration) {
        degrade(at: now, configuration)
        patienceLevel = Self.patienceLevelMax
    }
}

extension SWIM {
    /// A suspicion of it was confirmed. It is degraded when that happens often, and far more often than to others: general loss degrades no one.
    mutating func noteTrouble(_ index: Int) {
        records[index].steadiness.confirm(at: now.uptime, configuration)
        let own = records[index].steadiness.recentCount(at: now.uptime, configuration)
        guard own >= configuration.degradedCount else { return }
        let counts = reachableOthers.filter { $0 != index }
            .map { records[$0].steadiness.recentCount(at: now.uptime, configuration) }.sorted()
        let median = counts.isEmpty ? 0 : counts[(counts.count - 1) / 2]
        guard own >= 4 * median else { return }
        records[index].steadiness.degrade(at: now.uptime, configuration)
        showDegraded(index)
    }

    /// It turned out to have lived through the death of `life`.
    mutating func noteSurvival(_ index: Int, of life: Life) {
        guard records[index].steadiness.outlived.map({ $0 < life }) ?? true else { return }
        counters.deathsLivedThrough += 1
        records[index].steadiness.outlived = life
        records[index].steadiness.outlive(at: now.uptime, configuration)
        showDegraded(index)
    }

    private mutating func showDegraded(_ index: Int) {
        let name = records[index].member.name
        if !degraded.contains(name) { degraded.append(name) }
        show(index)
    }

    /// Those whose hold-down is over are as good as any.
    mutating func releaseDegraded() {
        guard !degraded.isEmpty else { return }
        var still: [NodeName] = []
        for name in degraded {
            guard let index = find(name) else { continue }
            if records[index].steadiness.isDegraded(at: now.uptime) { still.append(name) } else { show(index) }
        }
        degraded = still
    }
}
