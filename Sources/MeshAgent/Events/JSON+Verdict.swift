import MeshCore

extension JSON {
    /// A verdict with the words that led to it. Of one that was only heard of, little may be known.
    init(_ verdict: SWIM.Verdict) {
        var pairs: [(String, JSON?)] = [
            ("life", .text(String(verdict.subject.life.rawValue, radix: 16))),
            ("incarnation", .number(Int64(verdict.incarnation))),
            ("outcome", .text(verdict.outcome.rawValue)),
            ("at", .number(verdict.at)),
        ]
        pairs += Self.grounds(of: verdict)
        pairs.append(("needed", .number(verdict.quorum)))
        pairs.append(("testimonies", .array(verdict.testimonies.map { JSON($0) })))
        self = .object(pairs)
    }

    /// Who held what against the member.
    static func grounds(of verdict: SWIM.Verdict) -> [(String, JSON?)] {
        func names(_ names: [NodeName]) -> JSON { .array(names.map { .text($0.description) }) }
        return [
            ("reason", .text(verdict.ground.rawValue)),
            ("decidedBy", .text(verdict.decidedBy.description)),
            ("suspectedBy", verdict.suspectedBy.map { .text($0.description) }),
            ("confirmedBy", names(verdict.confirmedBy)),
            ("vetoedBy", verdict.vetoedBy.isEmpty ? nil : names(verdict.vetoedBy)),
            ("refused", .bool(verdict.isRefusal)),
            ("tookMilliseconds", .number(verdict.took.milliseconds)),
        ]
    }

    private init(_ testimony: Testimony) {
        self = .object([
            ("witness", .text(testimony.witness.description)),
            ("finding", .text(testimony.finding.word)),
            ("pings", .number(Int64(testimony.pings))),
            ("heardMillisecondsAgo", testimony.heardAgo.map { .number($0.milliseconds) }),
            ("roundTripMicroseconds", testimony.roundTrip.map { .number($0.nanoseconds / 1000) }),
        ])
    }
}

extension Testimony.Finding {
    fileprivate var word: String {
        switch self {
        case .alive: "alive"
        case .silent: "silent"
        case .refused: "refused"
        }
    }
}
