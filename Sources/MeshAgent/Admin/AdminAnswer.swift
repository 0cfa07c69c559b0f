import MeshCore

/// The body of an admin answer, before HTTP.
package struct AdminAnswer: Hashable, Sendable {
    package var status: Int
    package var contentType: ContentType
    package var body: String
    package var allow: String?

    package enum ContentType: String, Sendable {
        case json = "application/json"
        case html = "text/html; charset=utf-8"
        /// Prometheus' text format, version 0.0.4.
        case metrics = "text/plain; version=0.0.4; charset=utf-8"
    }

    package init(_ status: Int = 200, json: JSON) {
        self.init(status, .json, json.line + "\n")
    }

    package init(_ status: Int = 200, _ contentType: ContentType, _ body: String, allow: String? = nil) {
        self.status = status
        self.contentType = contentType
        self.body = body
        self.allow = allow
    }

    package init(_ refusal: AdminRefusal) {
        self.init(refusal.status, .json, JSON.object([("error", .text(refusal.reason))]).line + "\n", allow: refusal.allow)
    }
}

/// Everything that the figures are made of, taken at one moment.
struct AgentFigures {
    var status: AgentStatus
    var view: MeshView
    /// By kind, in a fixed order.
    var troubles: [(String, UInt64)]
    var links: Int
    var clients: Int
}

extension AdminAnswer {
    /// 200 also when the mirror is lost: the mesh serves alone, and restarting the agent would not bring the mirror back.
    static func health(_ status: AgentStatus) -> AdminAnswer {
        AdminAnswer(
            json: .object([
                ("status", .text(status.mirror?.isLost ?? false ? "degraded" : "ok")),
                ("stage", .text(status.stage.word)),
                ("mirror", .text(status.mirror.map { $0.isLost ? "lost" : "connected" } ?? "none")),
                ("mirrorReason", status.mirror?.loss.map { .text($0) }),
                ("mirrorDirty", .number(status.mirror?.dirty ?? 0)),
                ("sessions", .number(status.sessions)),
                ("underReplicatedSlots", .number(status.underReplicatedSlots)),
                ("alone", .bool(status.isAlone)),
            ]))
    }

    static func readiness(_ status: AgentStatus, companionIsReady: Bool = true) -> AdminAnswer {
        let isReady = status.isReady && companionIsReady
        return AdminAnswer(isReady ? 200 : 503, json: .object([("ready", .bool(isReady)), ("stage", .text(status.stage.word))]))
    }

    static func members(_ view: MeshView) -> AdminAnswer { AdminAnswer(json: JSON(view)) }

    /// One member, and how every suspicion of it ended that is remembered here, the oldest first. Also of one that was forgotten since.
    static func member(_ name: NodeName, in view: MeshView, _ verdicts: [SWIM.Verdict]) -> AdminAnswer {
        let member = view.member(name)
        let verdicts = verdicts.filter { $0.subject.name == name }
        guard member != nil || !verdicts.isEmpty else { return AdminAnswer(AdminRefusal(404, "no member is called \(name)")) }
        return AdminAnswer(json: .object([("member", member.map(JSON.init)), ("verdicts", .array(verdicts.map(JSON.init)))]))
    }

    static func keys(_ report: KeyReport) -> AdminAnswer { AdminAnswer(json: JSON(report)) }

    static func reloaded(_ result: Result<KeyReport, KeyReloadFailure>) -> AdminAnswer {
        switch result {
        case .success(let report): keys(report)
        case .failure(let failure): AdminAnswer(AdminRefusal(failure.httpStatus, failure.description))
        }
    }

    /// A session, or how it ended if that is known here: that is gone for good, where 404 is what this mesh knows nothing of.
    static func session(_ key: SessionKey, _ response: ClientResponse, end: SessionEnd?) -> AdminAnswer {
        guard response == .session(nil), let end else { return answer(response) }
        return AdminAnswer(
            410,
            json: .object([
                ("key", .text(key.description)),
                ("slot", .number(Int64(key.slot.rawValue))),
                ("ended", .bool(true)),
                ("how", .text(end.isMoved ? "moved" : "destroyed")),
                ("endedAt", .number(end.at)),
            ]))
    }

    /// What this agent holds of each slot; two holders hold the same where the digests are equal.
    static func slots(_ reports: [SlotReport]) -> AdminAnswer {
        let slots = reports.map { report in
            JSON.object([
                ("slot", .number(Int64(report.slot.rawValue))),
                ("part", .text(report.part.rawValue)),
                ("term", .number(report.term)),
                ("owner", report.owner.map { .text($0.description) } ?? .null),
                ("sessions", .number(report.sessions)),
                ("digest", report.digest.map { .text(String($0, radix: 16)) } ?? .null),
            ])
        }
        return AdminAnswer(json: .object([("slots", .array(slots))]))
    }

    /// The core's word on a slot or a session. Of a session only what is about it: never a value, and of a field no more than its size.
    static func answer(_ response: ClientResponse) -> AdminAnswer {
        switch response {
        case .placement(let placement):
            AdminAnswer(
                json: .object([
                    ("slot", .number(Int64(placement.slot.rawValue))),
                    ("term", .number(placement.term)),
                    ("ranking", .array(placement.ranking.map { .text($0.description) })),
                ]))
        case .session(let session?):
            AdminAnswer(
                json: .object([
                    ("key", .text(session.key.description)),
                    ("slot", .number(Int64(session.key.slot.rawValue))),
                    ("createdAt", .number(session.createdAt)),
                    ("accessedAt", .number(session.accessedAt)),
                    ("idleSeconds", .number(Int64(session.idleSeconds))),
                    ("expiresAt", .number(session.expiresAt)),
                    ("ended", .bool(false)),
                    ("hasUser", .bool(!session.user.isEmpty)),
                    ("primary", .text(session.primary.description)),
                    ("backup", session.backup.map { .text($0.description) } ?? .null),
                    ("fields", .number(session.fields.count)),
                    ("bytes", .number(session.fields.reduce(0) { $0 + $1.name.utf8.count + $1.value.byteCount })),
                ]))
        case .session(nil): AdminAnswer(AdminRefusal(404, "there is no such session"))
        case .failure(let failure):
            AdminAnswer(AdminRefusal(failure.code.httpStatus, failure.description))
        case .done, .opened, .absent, .committed, .conflict, .listed, .revoked, .published, .members:
            AdminAnswer(AdminRefusal(500, "the agent answered another question"))
        }
    }
}

extension FieldValue {
    fileprivate var byteCount: Int {
        switch self {
        case .bytes(let bytes): bytes.count
        case .integer: MemoryLayout<Int64>.size
        case .elements(let elements): elements.reduce(0) { $0 + $1.count }
        }
    }
}

extension KeyReloadFailure {
    fileprivate var httpStatus: Int {
        switch self {
        case .notAFile, .refused: 409
        case .unusable: 500
        case .notRunning: 503
        }
    }
}

extension ClientFailure.Code {
    fileprivate var httpStatus: Int {
        switch self {
        case .notFound: 404
        case .invalid: 400
        default: 503
        }
    }
}
