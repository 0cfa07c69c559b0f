// Replies and pushes of the client protocol. Numbers that may need all 64 bits unsigned travel as text, since a RESP integer is signed.

/// An agent's bytes that are RESP but not the client protocol. The connection can't be used any further.
public struct ClientProtocolError: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

// MARK: Written

extension ClientProtocol {
    public static func write(_ greeting: ClientGreeting, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(greeting, to: &$0) }
    }

    /// - Parameter kind: the kind of the request that is answered.
    public static func write(_ response: ClientResponse, answering kind: ClientRequest.Kind, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(response, answering: kind, to: &$0) }
    }

    public static func write(_ failure: ClientFailure, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(failure, to: &$0) }
    }

    public static func write(_ push: ClientPush, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(push, to: &$0) }
    }

    static func write(_ reason: SessionAbsence, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(reason, to: &$0) }
    }

    /// What ``write(_:answering:to:)`` writes of its snapshot.
    static func write(_ reading: SessionReading, cookie: String? = nil, to bytes: inout [UInt8]) {
        bytes.appendRESP { write(reading, cookie: cookie, to: &$0) }
    }

    private static func write(_ greeting: ClientGreeting, to writer: inout RESPWriter) {
        writer.add(map: 4)
        writer.add(word: "server")
        writer.add(text: greeting.server)
        writer.add(word: "version")
        writer.add(text: greeting.version)
        writer.add(word: "proto")
        writer.add(integer: version)
        writer.add(word: "node")
        writer.add(text: greeting.node.description)
    }

    private static func write(_ response: ClientResponse, answering kind: ClientRequest.Kind, to writer: inout RESPWriter) {
        switch response {
        case .done: writer.add(literal: kind == .ping ? "+PONG\r\n" : "+OK\r\n")
        case .session(nil): writer.addNull()
        case .session(let snapshot?): write(snapshot, to: &writer)
        case .opened(let snapshot, let cookie): write(snapshot, cookie: cookie, to: &writer)
        case .absent(let reason): write(reason, to: &writer)
        case .committed(let receipt): write(receipt, to: &writer)
        case .conflict(let fields):
            writer.add(map: 1)
            writer.add(word: "conflict")
            write(fields, to: &writer)
        case .listed(let page):
            writer.add(map: 2)
            writer.add(word: "sessions")
            writer.add(array: page.sessions.count)
            for summary in page.sessions { write(summary, to: &writer) }
            writer.add(word: "next")
            write(page.next, to: &writer)
        case .revoked(let count): writer.add(integer: Int64(clamping: count))
        case .published(let position):
            writer.add(map: 2)
            writer.add(word: "epoch")
            writer.add(textOf: position.epoch)
            writer.add(word: "offset")
            writer.add(textOf: position.offset)
        case .members(let view): write(view, to: &writer)
        case .placement(let answer):
            writer.add(map: 3)
            writer.add(word: "slot")
            writer.add(integer: answer.slot.rawValue)
            writer.add(word: "term")
            writer.add(textOf: answer.term)
            writer.add(word: "ranking")
            writer.add(array: answer.ranking.count)
            for name in answer.ranking { writer.add(text: name.description) }
        case .failure(let failure): write(failure, to: &writer)
        }
    }

    private static func write(_ failure: ClientFailure, to writer: inout RESPWriter) {
        writer.add("-", line: "\(failure.code.rawValue) \(failure.description)")
    }

    private static func write(_ push: ClientPush, to writer: inout RESPWriter) {
        switch push {
        case .message(let message): write(message, to: &writer)
        case .event(let event): write(event, to: &writer)
        case .gap:
            writer.add(push: 2)
            writer.add(word: "event")
            writer.add(word: "gap")
        }
    }

    private static func write(_ event: SessionEvent, to writer: inout RESPWriter) {
        let successor = event.kind.successor
        writer.add(push: successor == nil ? 4 : 5)
        writer.add(word: "event")
        writer.add(text: event.kind.description)
        writer.add(event.key)
        writer.add(integer: event.at)
        if let successor { writer.add(successor) }
    }

    /// The first three elements are those of a Redis `message`, so that a subscriber of any Redis client understands them.
    private static func write(_ message: ChannelMessage, to writer: inout RESPWriter) {
        writer.add(push: 5)
        writer.add(word: "message")
        writer.add(text: message.channel)
        writer.add(bulk: message.payload)
        writer.add(textOf: message.position.epoch)
        writer.add(textOf: message.position.offset)
    }

    private static func write(_ reason: SessionAbsence, to writer: inout RESPWriter) {
        writer.add(map: 1)
        writer.add(word: "absent")
        writer.add(text: reason.rawValue)
    }

    private static func write(_ snapshot: SessionSnapshot, cookie: String? = nil, to writer: inout RESPWriter) {
        writeHead(of: snapshot, cookie: cookie, fieldCount: snapshot.fields.count, to: &writer)
        for field in snapshot.fields { write(field, to: &writer) }
    }

    private static func write(_ reading: SessionReading, cookie: String? = nil, to writer: inout RESPWriter) {
        let fields = reading.fields
        writeHead(of: reading.head, cookie: cookie, fieldCount: fields.places.count(where: fields.isVisible), to: &writer)
        for place in fields.places where fields.isVisible(place) {
            writer.add(bulk: fields.bytes[place.name])
            if let value = fields.register(place) {
                writer.add(bulk: value)
            } else if let value = fields.value(place) {
                write(value, to: &writer)
            }
        }
    }

    /// Everything before the first field.
    private static func writeHead(of head: SessionSnapshot, cookie: String?, fieldCount: Int, to writer: inout RESPWriter) {
        writer.add(map: cookie == nil ? 9 : 10)
        if let cookie {
            writer.add(word: "cookie")
            writer.add(text: cookie)
        }
        writer.add(word: "key")
        writer.add(head.key)
        writer.add("created", integer: head.createdAt)
        writer.add("accessed", integer: head.accessedAt)
        writer.add("idle", integer: head.idleSeconds)
        writer.add("expires", integer: head.expiresAt)
        writer.add(word: "user")
        writer.add(text: head.user)
        writer.add(word: "primary")
        writer.add(text: head.primary.description)
        writer.add(word: "backup")
        if let backup = head.backup { writer.add(text: backup.description) } else { writer.addNull() }
        writer.add(word: "fields")
        writer.add(map: fieldCount)
    }

    private static func write(_ summary: SessionSummary, to writer: inout RESPWriter) {
        writer.add(map: 6)
        writer.add(word: "key")
        writer.add(summary.key)
        writer.add("created", integer: summary.createdAt)
        writer.add("accessed", integer: summary.accessedAt)
        writer.add("expires", integer: summary.expiresAt)
        writer.add("fields", integer: summary.fields)
        writer.add("bytes", integer: summary.bytes)
    }

    private static func write(_ receipt: CommitReceipt, to writer: inout RESPWriter) {
        writer.add(map: receipt.isMirrored ? 5 : 4)
        writer.add(word: "key")
        writer.add(receipt.key)
        writer.add(word: "cookie")
        write(receipt.cookie, to: &writer)
        writer.add("copies", integer: receipt.copies)
        if receipt.isMirrored { writer.add("mirrored", integer: UInt8(1)) }
        writer.add(word: "counters")
        writer.add(map: receipt.counters.count)
        for counter in receipt.counters { write(counter, to: &writer) }
    }

    private static func write(_ key: SessionKey?, to writer: inout RESPWriter) {
        guard let key else { return writer.addNull() }
        writer.add(key)
    }

    private static func write(_ text: String?, to writer: inout RESPWriter) {
        guard let text else { return writer.addNull() }
        writer.add(text: text)
    }

    private static func write(_ fields: [SessionSnapshot.Field], to writer: inout RESPWriter) {
        writer.add(map: fields.count)
        for field in fields { write(field, to: &writer) }
    }

    private static func write(_ field: SessionSnapshot.Field, to writer: inout RESPWriter) {
        writer.add(text: field.name)
        write(field.value, to: &writer)
    }

    private static func write(_ value: FieldValue, to writer: inout RESPWriter) {
        switch value {
        case .bytes(let value): writer.add(bulk: value)
        case .integer(let value): writer.add(integer: value)
        case .elements(let elements):
            writer.add(array: elements.count)
            for element in elements { writer.add(bulk: element) }
        }
    }

    private static func write(_ view: MeshView, to writer: inout RESPWriter) {
        writer.add(map: 4)
        writer.add(word: "epoch")
        writer.add(textOf: view.epoch)
        writer.add(word: "digest")
        writer.add(textOf: view.digest)
        writer.add(word: "members")
        writer.add(array: view.members.count)
        for member in view.members { write(member, to: &writer) }
        writer.add(word: "instances")
        writer.add(array: view.instances.count)
        for instance in view.instances { write(instance, to: &writer) }
    }

    private static func write(_ member: Member, to writer: inout RESPWriter) {
        // Only of one that is: so a reply to an older reader is what it was, and a quiet one no longer.
        writer.add(map: member.isDegraded ? 10 : 9)
        writer.add(word: "name")
        writer.add(text: member.name.description)
        writer.add(word: "life")
        writer.add(textOf: member.id.life.rawValue)
        writer.add(word: "incarnation")
        writer.add(integer: member.incarnation)
        writer.add(word: "status")
        writer.add(text: member.status.word)
        writer.add(word: "role")
        writer.add(text: member.role.word)
        writer.add(word: "stage")
        writer.add(text: member.stage.word)
        writer.add(word: "address")
        writer.add(text: member.endpoint.description)
        writer.add(word: "weight")
        writer.add(integer: member.weight)
        writer.add(word: "tags")
        writer.add(map: member.tags.count)
        for (name, value) in member.tags.sorted(by: { $0.key < $1.key }) {
            writer.add(text: name)
            writer.add(text: value)
        }
        if member.isDegraded {
            writer.add(word: "degraded")
            writer.add(boolean: true)
        }
    }

    private static func write(_ instance: Instance, to writer: inout RESPWriter) {
        writer.add(map: 7)
        writer.add(word: "node")
        writer.add(text: instance.node.name.description)
        writer.add(word: "life")
        writer.add(textOf: instance.node.life.rawValue)
        writer.add(word: "number")
        writer.add(integer: instance.number)
        writer.add(word: "service")
        writer.add(text: instance.service)
        writer.add(word: "address")
        writer.add(text: instance.address)
        writer.add(word: "weight")
        writer.add(integer: instance.weight)
        writer.add(word: "cookie")
        writer.add(text: instance.cookieName)
    }
}

/// The glossary's words, as they stand in replies and events.
extension Status {
    public var word: String {
        switch self {
        case .alive: "alive"
        case .suspect: "suspect"
        case .dead: "dead"
        case .left: "left"
        }
    }
}

extension Role {
    public var word: String {
        switch self {
        case .node: "node"
        case .balancer: "balancer"
        }
    }
}

extension Stage {
    public var word: String {
        switch self {
        case .syncing: "syncing"
        case .serving: "serving"
        case .draining: "draining"
        }
    }
}

// MARK: Read

extension ClientProtocol {
    public static func decodeGreeting(_ value: RESPValue) throws(ClientProtocolError) -> ClientGreeting {
        let map = try ReplyMap(value, "the greeting")
        guard try map.integer("proto") == Int64(version) else {
            throw ClientProtocolError("the agent speaks another version of the protocol")
        }
        return ClientGreeting(server: try map.text("server"), version: try map.text("version"), node: try map.name("node"))
    }

    /// - Parameter kind: the kind of the request that is answered: the oldest one that has no reply.
    public static func decode(_ value: RESPValue, to kind: ClientRequest.Kind) throws(ClientProtocolError) -> ClientResponse {
        if case .error(let line) = value { return .failure(failure(line)) }
        switch kind {
        case .ping, .register, .destroy, .subscribe, .unsubscribe, .follow, .unfollow:
            guard case .simple(let word) = value, word == (kind == .ping ? "PONG" : "OK") else {
                throw ClientProtocolError("the agent did not answer OK or an error")
            }
            return .done
        case .open:
            let map = try ReplyMap(value, "a session")
            guard map.optional("absent") == nil else { return .absent(try map.word("absent", \.rawValue)) }
            return .opened(try snapshot(value), cookie: try map.textIfSaid("cookie"))
        case .read: return .session(value == .null ? nil : try snapshot(value))
        case .commit:
            let map = try ReplyMap(value, "the receipt of a commit")
            if let present = map.optional("conflict") { return .conflict(try fields(present)) }
            return .committed(
                CommitReceipt(
                    key: try map.key("key"), cookie: try map.optionalText("cookie"), copies: try map.small("copies"),
                    isMirrored: map.optional("mirrored") == .integer(1), counters: try fields(try map.value("counters"))))
        case .list:
            let map = try ReplyMap(value, "a page of sessions")
            var sessions: [SessionSummary] = []
            for entry in try map.array("sessions") { sessions.append(try summary(entry)) }
            return .listed(SessionPage(sessions: sessions, next: try map.value("next") == .null ? nil : try map.key("next")))
        case .revoke:
            guard case .integer(let count) = value, count >= 0 else { throw ClientProtocolError("the agent did not answer a number") }
            return .revoked(UInt64(count))
        case .publish:
            let map = try ReplyMap(value, "the position of a message")
            return .published(ChannelPosition(epoch: try map.unsigned("epoch"), offset: try map.unsigned("offset")))
        case .members: return .members(try view(value))
        case .placement:
            let map = try ReplyMap(value, "the placement of a slot")
            guard let slot = Slot(rawValue: try map.small("slot")) else { throw ClientProtocolError("a slot above 4095") }
            var ranking: [NodeName] = []
            for entry in try map.array("ranking") { ranking.append(try ReplyMap.name(entry)) }
            return .placement(PlacementAnswer(slot: slot, term: try map.unsigned("term"), ranking: ranking))
        }
    }

    /// Nil for a push of a kind that this version doesn't know.
    public static func decodePush(_ values: [RESPValue]) throws(ClientProtocolError) -> ClientPush? {
        switch values.first {
        case .text("message"): .message(try message(values))
        case .text("event"): try event(values)
        default: nil
        }
    }

    private static func message(_ values: [RESPValue]) throws(ClientProtocolError) -> ChannelMessage {
        guard values.count >= 5, case .bulk(let payload) = values[2] else { throw ClientProtocolError("a message has five elements") }
        return ChannelMessage(
            channel: try ReplyMap.text(values[1]),
            position: ChannelPosition(epoch: try ReplyMap.unsigned(values[3]), offset: try ReplyMap.unsigned(values[4])),
            payload: payload)
    }

    /// Nil for one of a kind that this version doesn't know.
    private static func event(_ values: [RESPValue]) throws(ClientProtocolError) -> ClientPush? {
        guard values.count >= 2 else { throw ClientProtocolError("an event has no kind") }
        let word = try ReplyMap.text(values[1])
        if word == "gap" { return .gap }
        guard values.count >= 4, case .integer(let at) = values[3] else { throw ClientProtocolError("an event has four elements") }
        let kind: SessionEvent.Kind
        switch word {
        case "created": kind = .created
        case "expired": kind = .expired
        case "destroyed": kind = .destroyed
        case "moved":
            guard values.count >= 5 else { throw ClientProtocolError("a move has five elements") }
            kind = .moved(to: try ReplyMap.key(values[4], "an event"))
        default: return nil
        }
        return .event(SessionEvent(key: try ReplyMap.key(values[2], "an event"), kind: kind, at: at))
    }

    /// A code that this version doesn't know reads as invalid: trying again would not help a caller who can't tell why.
    private static func failure(_ line: String) -> ClientFailure {
        let parts = line.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let code = ClientFailure.Code(rawValue: String(parts[0])) else { return ClientFailure(.invalid, line) }
        return ClientFailure(code, String(parts[1]))
    }

    private static func snapshot(_ value: RESPValue) throws(ClientProtocolError) -> SessionSnapshot {
        let map = try ReplyMap(value, "a session")
        return SessionSnapshot(
            key: try map.key("key"), createdAt: try map.integer("created"), accessedAt: try map.integer("accessed"),
            idleSeconds: try map.small("idle"), expiresAt: try map.integer("expires"), user: try map.text("user"),
            fields: try fields(try map.value("fields")), primary: try map.name("primary"), backup: try map.optionalName("backup"))
    }

    private static func summary(_ value: RESPValue) throws(ClientProtocolError) -> SessionSummary {
        let map = try ReplyMap(value, "a session")
        return SessionSummary(
            key: try map.key("key"), createdAt: try map.integer("created"), accessedAt: try map.integer("accessed"),
            expiresAt: try map.integer("expires"), fields: try map.small("fields"), bytes: try map.small("bytes"))
    }

    private static func fields(_ value: RESPValue) throws(ClientProtocolError) -> [SessionSnapshot.Field] {
        guard case .map(let entries) = value else { throw ClientProtocolError("fields are a map") }
        var fields: [SessionSnapshot.Field] = []
        for entry in entries {
            let name = try ReplyMap.text(entry.key)
            switch entry.value {
            case .bulk(let bytes): fields.append(SessionSnapshot.Field(name: name, value: .bytes(bytes)))
            case .integer(let value): fields.append(SessionSnapshot.Field(name: name, value: .integer(value)))
            case .array(let values):
                var elements: [[UInt8]] = []
                for value in values {
                    guard case .bulk(let bytes) = value else { throw ClientProtocolError("an element of field \(name) is not bytes") }
                    elements.append(bytes)
                }
                fields.append(SessionSnapshot.Field(name: name, value: .elements(elements)))
            default: throw ClientProtocolError("field \(name) is neither bytes nor a number nor a set")
            }
        }
        return fields
    }

    private static func view(_ value: RESPValue) throws(ClientProtocolError) -> MeshView {
        let map = try ReplyMap(value, "the view")
        var view = MeshView(epoch: try map.unsigned("epoch"), digest: try map.unsigned("digest"))
        for entry in try map.array("members") { view.members.append(try member(entry)) }
        for entry in try map.array("instances") { view.instances.append(try instance(entry)) }
        return view
    }

    private static func member(_ value: RESPValue) throws(ClientProtocolError) -> Member {
        let map = try ReplyMap(value, "a member")
        guard let endpoint = Endpoint(text: try map.text("address")) else { throw ClientProtocolError("a member's address is malformed") }
        var tags: [String: String] = [:]
        guard case .map(let entries) = try map.value("tags") else { throw ClientProtocolError("tags are a map") }
        for entry in entries { tags[try ReplyMap.text(entry.key)] = try ReplyMap.text(entry.value) }
        var member = Member(
            id: try map.memberID("name"), incarnation: try map.small("incarnation"), status: try map.word("status", \.word),
            role: try map.word("role", \.word), stage: try map.word("stage", \.word), endpoint: endpoint, weight: try map.small("weight"),
            tags: tags)
        member.isDegraded = try map.flag("degraded")
        return member
    }

    private static func instance(_ value: RESPValue) throws(ClientProtocolError) -> Instance {
        let map = try ReplyMap(value, "an instance")
        return Instance(
            node: try map.memberID("node"), number: try map.small("number"), service: try map.text("service"),
            address: try map.text("address"), weight: try map.small("weight"), cookieName: try map.text("cookie"))
    }
}

/// A map of a reply, looked up by key. Maps are small: a linear search keeps the first of equal keys and needs no table.
private struct ReplyMap {
    private let entries: [RESPEntry]
    private let what: String

    init(_ value: RESPValue, _ what: String) throws(ClientProtocolError) {
        guard case .map(let entries) = value else { throw ClientProtocolError("\(what) is not a map") }
        self.entries = entries
        self.what = what
    }

    func optional(_ key: String) -> RESPValue? {
        let wanted = RESPValue.text(key)
        return entries.first { $0.key == wanted }?.value
    }

    func value(_ key: String) throws(ClientProtocolError) -> RESPValue {
        guard let value = optional(key) else { throw ClientProtocolError("\(what) lacks \(key)") }
        return value
    }

    /// False where it isn't said.
    func flag(_ key: String) throws(ClientProtocolError) -> Bool {
        guard let entry = optional(key) else { return false }
        guard case .boolean(let value) = entry else { throw ClientProtocolError("\(key) of \(what) is neither true nor false") }
        return value
    }

    func text(_ key: String) throws(ClientProtocolError) -> String { try Self.text(try value(key)) }
    func name(_ key: String) throws(ClientProtocolError) -> NodeName { try Self.name(try value(key)) }
    func unsigned(_ key: String) throws(ClientProtocolError) -> UInt64 { try Self.unsigned(try value(key)) }

    func optionalText(_ key: String) throws(ClientProtocolError) -> String? {
        let value = try value(key)
        return value == .null ? nil : try Self.text(value)
    }

    func textIfSaid(_ key: String) throws(ClientProtocolError) -> String? {
        guard let value = optional(key) else { return nil }
        return try Self.text(value)
    }

    func optionalName(_ key: String) throws(ClientProtocolError) -> NodeName? {
        let value = try value(key)
        return value == .null ? nil : try Self.name(value)
    }

    func integer(_ key: String) throws(ClientProtocolError) -> Int64 {
        guard case .integer(let number) = try value(key) else { throw ClientProtocolError("\(key) of \(what) is not a number") }
        return number
    }

    func small<Integer: FixedWidthInteger>(_ key: String) throws(ClientProtocolError) -> Integer {
        guard let number = Integer(exactly: try integer(key)) else { throw ClientProtocolError("\(key) of \(what) is out of range") }
        return number
    }

    func key(_ key: String) throws(ClientProtocolError) -> SessionKey {
        try Self.key(try value(key), what)
    }

    func array(_ key: String) throws(ClientProtocolError) -> [RESPValue] {
        guard case .array(let values) = try value(key) else { throw ClientProtocolError("\(key) of \(what) is not an array") }
        return values
    }

    func memberID(_ key: String) throws(ClientProtocolError) -> MemberID {
        MemberID(name: try name(key), life: Life(rawValue: try unsigned("life")))
    }

    func word<Case: CaseIterable>(_ key: String, _ spelling: (Case) -> String) throws(ClientProtocolError) -> Case {
        let word = try text(key)
        guard let match = Case.allCases.first(where: { spelling($0) == word }) else {
            throw ClientProtocolError("\(key) of \(what) is \(word), which this version doesn't know")
        }
        return match
    }

    static func text(_ value: RESPValue) throws(ClientProtocolError) -> String {
        guard case .bulk(let bytes) = value, let text = String(validating: bytes, as: UTF8.self) else {
            throw ClientProtocolError("a value is not text")
        }
        return text
    }

    static func key(_ value: RESPValue, _ what: String) throws(ClientProtocolError) -> SessionKey {
        guard let key = SessionKey(text: try text(value)) else { throw ClientProtocolError("the key of \(what) is not a session key") }
        return key
    }

    static func name(_ value: RESPValue) throws(ClientProtocolError) -> NodeName {
        do { return try NodeName(try text(value)) } catch { throw ClientProtocolError("\(error)") }
    }

    static func unsigned(_ value: RESPValue) throws(ClientProtocolError) -> UInt64 {
        guard let number = UInt64(try text(value)) else { throw ClientProtocolError("a value is not a number from 0 to 2^64 - 1") }
        return number
    }
}
