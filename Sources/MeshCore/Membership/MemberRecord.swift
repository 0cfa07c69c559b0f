/// What this observer keeps of one member, itself included.
struct MemberRecord: Sendable {
    var member: Member
    var instances = InstanceRoll()
    /// Only while the status is suspect.
    var suspicion: Suspicion?
    /// When it died or left, on this observer's monotonic clock. It may be before our own start. Nil while reachable.
    var goneAt: Int64?
    /// What it adds to the view's digest; 0 when it has been gone for too long.
    var hash: UInt64 = 0

    /// Since when its digest has differed from ours; nil after one that did not.
    var digestDiffersSince: Int64?
    /// When a dead one is pinged next, and how long it waits then.
    var reunionDue: Int64 = 0
    var reunionInterval: Duration = .seconds(1)

    var id: MemberID { member.id }
    var isReachable: Bool { member.status.isReachable }

    /// A reachable one is its life and incarnation: nobody but itself changes what goes with them. Of one that is gone observers may have
    /// seen different last words, but they agree that it is gone.
    static func hash(of member: Member) -> UInt64 {
        var writer = ByteWriter(reserving: 96)
        writer.write(member.id)
        if member.status.isReachable {
            writer.write(0 as UInt8)
            writer.write(member.incarnation)
        } else {
            writer.write(member.status.rawValue)
        }
        return Mix.hash(writer.bytes)
    }
}

/// A suspicion as Lifeguard times it: long while one observer alone holds it, short once others have confirmed it independently.
///
/// Source: Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2018, section IV-B.
struct Suspicion: Sendable {
    /// Nodes that found it silent themselves. Balancers are not counted. No more than can matter are kept.
    var accusers: [NodeName]
    var startedAt: Int64
    /// Names the timer that counts; an earlier one is stale.
    var generation: UInt64
    var deadline: Int64
    /// Since when its peer port has refused connections, with the number of the last ping sent before: an ack of a later one disproves it.
    var gone: (at: Int64, lastPing: UInt32)?

    /// One more than the most confirmations that can be asked for.
    static let accusersMax = 5

    /// How long a suspicion lasts with `confirmations` of the `needed` ones.
    static func timeout(confirmations: Int, needed: Int, min: Duration, max: Duration) -> Duration {
        guard confirmations < needed else { return min }
        // ln(1...5): the core has no logarithm, and two builds must agree on the digits.
        let logarithms = [0, 0.693147, 1.098612, 1.386294, 1.609438]
        let share = logarithms[Swift.min(confirmations, 4)] / logarithms[Swift.min(needed, 4)]
        let span = Double(max.nanoseconds - min.nanoseconds)
        return .nanoseconds(max.nanoseconds - Int64(span * share))
    }
}
