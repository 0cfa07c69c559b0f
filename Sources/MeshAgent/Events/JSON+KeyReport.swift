import MeshCore

extension JSON {
    /// Keys by their numbers, and never what they are made of. The check tells two secrets apart that were given one number.
    init(_ report: KeyReport) {
        self = .object([
            ("summary", .text(report.summary)),
            ("wanted", JSON(report.wanted)),
            ("used", JSON(report.used)),
            ("kept", .array(report.kept.map(JSON.init))),
            ("lacking", .array(report.lacking.map { .text($0.description) })),
            ("cookies", JSON.cookies(of: report)),
            ("members", .array(report.members.map { JSON($0, in: report) })),
        ])
    }

    /// Which cookie keys are wanted and used; nil for a member without any.
    static func cookies(of report: KeyReport) -> JSON? {
        report.cookies.map { cookies in
            .object([
                ("wanted", JSON(cookies.wanted)), ("used", JSON(cookies.used)),
                ("lacking", .array(report.lackingCookie.map { .text($0.description) })),
            ])
        }
    }

    private init(_ holder: KeyReport.Holder, in report: KeyReport) {
        let keys = Self.keys(holder.keys, wanted: report.wanted)
        let cookies = report.cookies.map { Self.keys(holder.cookieKeys, wanted: $0.wanted) }
        self = .object([("name", .text(holder.name.description))] + keys + [("cookies", cookies.map(JSON.object))])
    }

    private static func keys(_ keys: [KeyMark], wanted: KeyMark) -> [(String, JSON?)] {
        [
            ("acceptsWanted", .bool(keys.contains(wanted))), ("accepts", .array(keys.map(JSON.init))), ("uses", keys.last.map(JSON.init)),
        ]
    }

    private init(_ mark: KeyMark) {
        let check = String(mark.check, radix: 16)
        self = .object([
            ("number", .number(Int64(mark.number))), ("check", .text(String(repeating: "0", count: 8 - check.count) + check)),
        ])
    }
}
