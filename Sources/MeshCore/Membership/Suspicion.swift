/// What is held of a member between the first word against it and its death or refutation.
///
/// The first accusation is told to the subject's ``Watchers``, and they find out at once. Enough of them agreeing, and none objecting, is a death
/// soon: at once when its port refuses, after a pause's length when it is silent. Otherwise it lasts as Lifeguard times it: long while
/// one alone holds it, shorter with each who confirms it independently.
///
/// Source: Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2018, section IV-B.
struct Suspicion: Sendable {
    struct Word: Sendable {
        var testimony: Testimony
        /// When it was heard here.
        var at: Int64
    }

    /// One a witness, in the order in which they were heard first. Only of those whose word counts, of the first accuser, and our own.
    private(set) var words: [Word]
    /// It stays the first even if it withdraws.
    let firstAccuser: NodeName
    var startedAt: Int64
    /// The last objection, or the start: silence counts from there.
    var quietSince: Int64
    /// Names the timer that counts; an earlier one is stale.
    var generation: UInt64 = 0
    var deadline = Int64.max
    /// Whether it is shown outside: another than the first accuser agrees, or there is nobody else.
    var isConfirmed = false
    var wasVetoed = false
    /// The last ping that we sent before we found its port to refuse: an answer to a later one disproves that.
    var refusedAfterPing: UInt32 = 0

    /// Those listened to, the first accuser and ourselves, and some change in who is listened to. When full, who is new isn't heard.
    static let wordsMax = 2 * Watchers.heardCount

    init(first: Testimony, at now: Int64) {
        words = [Word(testimony: first, at: now)]
        firstAccuser = first.witness
        startedAt = now
        quietSince = now
    }

    func word(of witness: NodeName) -> Testimony? {
        words.first { $0.testimony.witness == witness }?.testimony
    }

    var hasVeto: Bool { words.contains { !$0.testimony.accuses } }
    var accusers: [NodeName] { words.filter(\.testimony.accuses).map(\.testimony.witness) }

    /// Files a word. False when it says nothing new, or that witness has said something later since.
    mutating func file(_ testimony: Testimony, at now: Int64) -> Bool {
        if let place = words.firstIndex(where: { $0.testimony.witness == testimony.witness }) {
            guard testimony.number > words[place].testimony.number else { return false }
            // The moment of an accusation is when it became one.
            let at = words[place].testimony.finding == testimony.finding ? words[place].at : now
            words[place] = Word(testimony: testimony, at: at)
        } else {
            guard words.count < Self.wordsMax else { return false }
            words.append(Word(testimony: testimony, at: now))
        }
        if !testimony.accuses {
            quietSince = now
            wasVetoed = true
        }
        return true
    }

    /// Gives back time that did not count.
    mutating func postpone(by gap: Int64) {
        startedAt += gap
        quietSince += gap
        for place in words.indices { words[place].at += gap }
    }

    struct Ruling: Sendable {
        var isConfirmed: Bool
        var quorum: Int
        /// Nil when nobody accuses it any more: at the deadline the suspicion is dropped.
        var ground: SWIM.Verdict.Ground?
        var deadline: Int64
    }

    /// - Parameters:
    ///   - council: whose word counts, the best first.
    ///   - patience: how many times longer than others' this member's silence may last.
    func ruling(council: [NodeName], local: NodeName, patience: Int64, _ configuration: SWIM.Configuration) -> Ruling {
        let accusations = words.filter { $0.testimony.accuses && council.contains($0.testimony.witness) }
        let isVetoed = words.contains { !$0.testimony.accuses && council.contains($0.testimony.witness) }
        let quorum = Watchers.quorum(of: council.count)
        func decide(_ ground: SWIM.Verdict.Ground?, at deadline: Int64) -> Ruling {
            let isBacked = accusations.contains { $0.testimony.witness != firstAccuser }
            let isLonely = !council.contains { $0 != firstAccuser }
            return Ruling(isConfirmed: ground != nil && (isBacked || isLonely), quorum: quorum, ground: ground, deadline: deadline)
        }
        func after(_ wait: Duration) -> Int64 {
            let (product, overflow) = wait.nanoseconds.multipliedReportingOverflow(by: patience)
            let (sum, carried) = quietSince.addingReportingOverflow(product)
            return overflow || carried ? .max : sum
        }

        guard words.contains(where: \.testimony.accuses) else {
            return decide(nil, at: quietSince + configuration.suspicionMax.nanoseconds)
        }
        let own = words.first { $0.testimony.witness == local && $0.testimony.accuses }
        if let own, !council.contains(where: { $0 != local }) {
            let isRefusal = own.testimony.finding == .refused
            return isRefusal
                ? decide(.alone, at: own.at + configuration.suspicionGone.nanoseconds)
                : decide(.alone, at: after(configuration.suspicionAlone))
        }
        if !isVetoed, accusations.count >= quorum {
            let refusals = accusations.filter { $0.testimony.finding == .refused }.map(\.at).sorted()
            if refusals.count >= quorum {
                return decide(.refused, at: refusals[quorum - 1] + configuration.suspicionGone.nanoseconds)
            }
            return decide(.silent, at: after(configuration.suspicionSilent))
        }
        let confirmations = accusations.count { $0.testimony.witness != firstAccuser }
        let timeout = Self.timeout(
            confirmations: confirmations, needed: max(1, quorum - 1), min: configuration.suspicionMin, max: configuration.suspicionMax)
        return decide(.timeout, at: after(timeout))
    }

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
