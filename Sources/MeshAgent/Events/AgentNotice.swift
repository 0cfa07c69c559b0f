public import MeshCore

/// One line of `--events json`: something that an operator or a test harness may want to know at once.
public struct AgentNotice: Hashable, Sendable {
    /// Unix milliseconds.
    public var time: Int64
    public var kind: Kind

    public enum Kind: Hashable, Sendable {
        /// All listeners are up. Comes once.
        case ready(BoundAddresses)
        case agent(AgentEvent)
    }

    public init(time: Int64, kind: Kind) {
        self.time = time
        self.kind = kind
    }

    /// One JSON object without a line end. Readers must ignore keys they don't know.
    public var jsonLine: String {
        JSON.object([("time", .number(time)), ("event", .text(kind.name))] + kind.details).line
    }
}

extension AgentNotice.Kind {
    fileprivate var name: String {
        switch self {
        case .ready: "ready"
        case .agent(.member): "member"
        case .agent(.serving): "serving"
        case .agent(.mirrorLost): "mirror-lost"
        case .agent(.discarded): "discarded"
        case .agent(.handOffUnfinished): "hand-off-unfinished"
        case .agent(.mirrorBack): "mirror-back"
        case .agent(.mirrorStale): "mirror-stale"
        case .agent(.newLife): "new-life"
        case .agent(.instanceRefused): "instance-refused"
        case .agent(.keys): "keys"
        }
    }

    fileprivate var details: [(String, JSON?)] {
        switch self {
        case .ready(let addresses):
            [
                ("address", .text(addresses.endpoint.description)),
                ("client", addresses.client.map { .text($0.description) }),
                ("admin", addresses.admin.map { .text($0.description) }),
            ]
        case .agent(.member(let member, let epoch, let verdict)):
            [
                ("member", .text(member.name.description)),
                ("status", .text(member.status.word)),
                ("address", .text(member.endpoint.description)),
                ("epoch", .number(epoch)),
                ("role", .text(member.role.word)),
                ("stage", .text(member.stage.word)),
                ("degraded", member.isDegraded ? .bool(true) : nil),
            ] + (verdict.map(JSON.grounds) ?? [])
        case .agent(.mirrorLost(let reason)): [("reason", .text(reason))]
        case .agent(.discarded(let sessions)): [("sessions", .number(sessions))]
        case .agent(.handOffUnfinished(let slots)): [("slots", .number(slots))]
        case .agent(.newLife(let life)): [("life", .text(String(life.rawValue, radix: 16)))]
        case .agent(.instanceRefused(let number, let reason)):
            [("number", .number(Int64(number))), ("reason", .text("\(reason)"))]
        case .agent(.keys(let report)):
            [
                ("wanted", .number(Int64(report.wanted.number))),
                ("used", .number(Int64(report.used.number))),
                ("lacking", .array(report.lacking.map { .text($0.description) })),
                ("cookies", JSON.cookies(of: report)),
            ]
        case .agent(.serving), .agent(.mirrorBack), .agent(.mirrorStale): []
        }
    }
}
