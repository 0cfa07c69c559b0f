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
            ("members", .array(report.members.map { JSON($0, wanted: report.wanted) })),
        ])
    }

    private init(_ holder: KeyReport.Holder, wanted: KeyMark) {
        self = .object([
            ("name", .text(holder.name.description)),
            ("acceptsWanted", .bool(holder.keys.contains(wanted))),
            ("accepts", .array(holder.keys.map(JSON.init))),
            ("uses", holder.keys.last.map(JSON.init)),
        ])
    }

    private init(_ mark: KeyMark) {
        let check = String(mark.check, radix: 16)
        self = .object([
            ("number", .number(Int64(mark.number))), ("check", .text(String(repeating: "0", count: 8 - check.count) + check)),
        ])
    }
}
