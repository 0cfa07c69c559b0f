public import MeshCore

extension JSON {
    /// A view as `/v1/members` and the command line show it.
    public init(_ view: MeshView) {
        self = .object([
            ("epoch", .number(view.epoch)),
            ("digest", .text(String(view.digest, radix: 16))),
            ("members", .array(view.members.map(JSON.init))),
            ("instances", .array(view.instances.map(JSON.init))),
        ])
    }

    init(_ member: Member) {
        self = .object([
            ("name", .text(member.name.description)),
            ("life", .text(String(member.id.life.rawValue, radix: 16))),
            ("incarnation", .number(Int64(member.incarnation))),
            ("status", .text(member.status.word)),
            ("degraded", member.isDegraded ? .bool(true) : nil),
            ("stage", .text(member.stage.word)),
            ("role", .text(member.role.word)),
            ("address", .text(member.endpoint.description)),
            ("weight", .number(Int64(member.weight))),
            ("tags", .object(member.tags.sorted { $0.key < $1.key }.map { JSON.Pair($0.key, .text($0.value)) })),
        ])
    }

    private init(_ instance: Instance) {
        self = .object([
            ("node", .text(instance.node.name.description)),
            ("number", .number(Int64(instance.number))),
            ("service", .text(instance.service)),
            ("address", .text(instance.address)),
            ("weight", .number(Int64(instance.weight))),
            ("cookie", .text(instance.cookieName)),
        ])
    }
}
