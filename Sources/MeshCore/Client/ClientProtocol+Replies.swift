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
        bytes.appendRESP(map: 4)
        bytes.appendRESP(word: "server")
        bytes.appendRESP(text: greeting.server)
        bytes.appendRESP(word: "version")
        bytes.appendRESP(text: greeting.version)
        bytes.appendRESP(word: "proto")
        bytes.appendRESP(integer: version)
        bytes.appendRESP(word: "node")
        bytes.appendRESP(text: greeting.node.description)
    }

    /// - Parameter kind: the kind of the request that is answered.
    public static func write(_ response: ClientResponse, answering kind: ClientRequest.Kind, to bytes: inout [UInt8]) {
        switch response {
        case .done: bytes.appendRESP(kind == .ping ? "+PONG\r\n" : "+OK\r\n")
        case .session(nil): bytes.appendRESPNull()
        case .session(let snapshot?): write(snapshot, to: &bytes)
        case .opened(let snapshot, let cookie): write(snapshot, cookie: cookie, to: &bytes)
        case .absent(let reason): write(reason, to: &bytes)
        case .committed(let receipt): write(receipt, to: &bytes)
        case .conflict(let fields):
            bytes.appendRESP(map: 1)
            bytes.appendRESP(word: "conflict")
            write(fields, to: &bytes)
        case .listed(let page):
            bytes.appendRESP(map: 2)
            bytes.appendRESP(word: "sessions")
            bytes.appendRESP(array: page.sessions.count)
            for summary in page.sessions { write(summary, to: &bytes) }
            bytes.appendRESP(word: "next")
            write(page.next, to: &bytes)
        case .revoked(let count): bytes.appendRESP(integer: Int64(clamping: count))
        case .published(let position):
            bytes.appendRESP(map: 2)
            bytes.appendRESP(word: "epoch")
            bytes.appendRESP(textOf: position.epoch)
            bytes.appendRESP(word: "offset")
            bytes.appendRESP(textOf: position.offset)
        case .members(let view): write(view, to: &bytes)
        case .placement(let answer):
            bytes.appendRESP(map: 3)
            bytes.appendRESP(word: "slot")
            bytes.appendRESP(integer: answer.slot.rawValue)
            bytes.appendRESP(word: "term")
            bytes.appendRESP(textOf: answer.term)
            bytes.appendRESP(word: "ranking")
            bytes.appendRESP(array: answer.ranking.count)
            for name in answer.ranking { bytes.appendRESP(text: name.description) }
        case .failure(let failure): write(failure, to: &bytes)
        }
    }

    public static func write(_ failure: ClientFailure, to bytes: inout [UInt8]) {
        bytes.appendRESP("-", line: "\(failure.code.rawValue) \(failure.description)")
    }

    public static func write(_ push: ClientPush, to bytes: inout [UInt8]) {
        switch push {
        case .message(let message): write(message, to: &bytes)
        case .event(let event): write(event, to: &bytes)
        case .gap:
            bytes.appendRESP(push: 2)
            bytes.appendRESP(word: "event")
            bytes.appendRESP(word: "gap")
        }
    }

    private static func write(_ event: SessionEvent, to bytes: inout [UInt8]) {
        let successor = event.kind.successor
        bytes.appendRESP(push: successor == nil ? 4 : 5)
        bytes.appendRESP(word: "event")
        bytes.appendRESP(text: event.kind.description)
        bytes.appendRESP(event.key)
        bytes.appendRESP(integer: event.at)
        if let successor { bytes.appendRESP(successor) }
    }

    /// The first three elements are those of a Redis `message`, so that a subscriber of any Redis client understands them.
    private static func write(_ message: ChannelMessage, to bytes: inout [UInt8]) {
        bytes.appendRESP(push: 5)
        bytes.appendRESP(word: "message")
        bytes.appendRESP(text: message.channel)
        bytes.appendRESP(bulk: message.payload)
        bytes.appendRESP(textOf: message.position.epoch)
        bytes.appendRESP(textOf: message.position.offset)
    }

    static func write(_ reason: SessionAbsence, to bytes: inout [UInt8]) {
        bytes.appendRESP(map: 1)
        bytes.appendRESP(word: "absent")
        bytes.appendRESP(text: reason.rawValue)
    }

    private static func write(_ snapshot: SessionSnapshot, cookie: String? = nil, to bytes: inout [UInt8]) {
        writeHead(of: snapshot, cookie: cookie, fieldCount: snapshot.fields.count, to: &bytes)
        for field in snapshot.fields { write(field, to: &bytes) }
    }

    /// What ``write(_:answering:to:)`` writes of its snapshot.
    static func write(_ reading: SessionReading, cookie: String? = nil, to bytes: inout [UInt8]) {
        let fields = reading.fields
        writeHead(of: reading.head, cookie: cookie, fieldCount: fields.places.count(where: fields.isVisible), to: &bytes)
        for place in fields.places where fields.isVisible(place) {
            bytes.appendRESP(bulk: fields.bytes[place.name])
            if let value = fields.register(place) {
                bytes.appendRESP(bulk: value)
            } else if let value = fields.value(place) {
                write(value, to: &bytes)
            }
        }
    }

    /// Everything before the first field.
    private static func writeHead(of head: SessionSnapshot, cookie: String?, fieldCount: Int, to bytes: inout [UInt8]) {
        bytes.appendRESP(map: cookie == nil ? 9 : 10)
        if let cookie {
            bytes.appendRESP(word: "cookie")
            bytes.appendRESP(text: cookie)
        }
        bytes.appendRESP { pieces in
            pieces.add(word: "key")
            pieces.add(head.key)
            pieces.add("created", integer: head.createdAt)
            pieces.add("accessed", integer: head.accessedAt)
            pieces.add("idle", integer: head.idleSeconds)
            pieces.add("expires", integer: head.expiresAt)
            pieces.add(word: "user")
        }
        bytes.appendRESP(text: head.user)
        bytes.appendRESP { pieces in
            pieces.add(word: "primary")
            pieces.add(head.primary)
            pieces.add(word: "backup")
            if let backup = head.backup { pieces.add(backup) } else { pieces.add("_\r\n") }
            pieces.add(word: "fields")
            pieces.add(map: fieldCount)
        }
    }

    private static func write(_ summary: SessionSummary, to bytes: inout [UInt8]) {
        bytes.appendRESP { pieces in
            pieces.add(map: 6)
            pieces.add(word: "key")
            pieces.add(summary.key)
            pieces.add("created", integer: summary.createdAt)
            pieces.add("accessed", integer: summary.accessedAt)
            pieces.add("expires", integer: summary.expiresAt)
            pieces.add("fields", integer: summary.fields)
            pieces.add("bytes", integer: summary.bytes)
        }
    }

    private static func write(_ receipt: CommitReceipt, to bytes: inout [UInt8]) {
        bytes.appendRESP { pieces in
            pieces.add(map: receipt.isMirrored ? 5 : 4)
            pieces.add(word: "key")
            pieces.add(receipt.key)
            pieces.add(word: "cookie")
        }
        write(receipt.cookie, to: &bytes)
        bytes.appendRESP { pieces in
            pieces.add("copies", integer: receipt.copies)
            if receipt.isMirrored { pieces.add("mirrored", integer: UInt8(1)) }
            pieces.add(word: "counters")
            pieces.add(map: receipt.counters.count)
        }
        for counter in receipt.counters { write(counter, to: &bytes) }
    }

    private static func write(_ key: SessionKey?, to bytes: inout [UInt8]) {
        guard let key else { return bytes.appendRESPNull() }
        bytes.appendRESP(key)
    }

    private static func write(_ text: String?, to bytes: inout [UInt8]) {
        guard let text else { return bytes.appendRESPNull() }
        bytes.appendRESP(text: text)
    }

    private static func write(_ fields: [SessionSnapshot.Field], to bytes: inout [UInt8]) {
        bytes.appendRESP(map: fields.count)
        for field in fields { write(field, to: &bytes) }
    }

    private static func write(_ field: SessionSnapshot.Field, to bytes: inout [UInt8]) {
        bytes.appendRESP(text: field.name)
        write(field.value, to: &bytes)
    }

    private static func write(_ value: FieldValue, to bytes: inout [UInt8]) {
        switch value {
        case .bytes(let value): bytes.appendRESP(bulk: value)
        case .integer(let value): bytes.appendRESP(integer: value)
        case .elements(let elements):
            bytes.appendRESP(array: elements.count)
            for element in elements { bytes.appendRESP(bulk: element) }
        }
    }

    private static func write(_ view: MeshView, to bytes: inout [UInt8]) {
        bytes.appendRESP(map: 4)
        bytes.appendRESP(word: "epoch")
        bytes.appendRESP(textOf: view.epoch)
        bytes.appendRESP(word: "digest")
        bytes.appendRESP(textOf: view.digest)
        bytes.appendRESP(word: "members")
        bytes.appendRESP(array: view.members.count)
        for member in view.members { write(member, to: &bytes) }
        bytes.appendRESP(word: "instances")
        bytes.appendRESP(array: view.instances.count)
        for instance in view.instances { write(instance, to: &bytes) }
    }

    private static func write(_ member: Member, to bytes: inout [UInt8]) {
        // Only of one that is: so a reply to an older reader is what it was, and a quiet one no longer.
        bytes.appendRESP(map: member.isDegraded ? 10 : 9)
        bytes.appendRESP(word: "name")
        bytes.appendRESP(text: member.name.description)
        bytes.appendRESP(word: "life")
        bytes.appendRESP(textOf: member.id.life.rawValue)
        bytes.appendRESP(word: "incarnation")
        bytes.appendRESP(integer: member.incarnation)
        bytes.appendRESP(word: "status")
        bytes.appendRESP(text: member.status.word)
        bytes.appendRESP(word: "role")
        bytes.appendRESP(text: member.role.word)
        bytes.appendRESP(word: "stage")
        bytes.appendRESP(text: member.stage.word)
        bytes.appendRESP(word: "address")
        bytes.appendRESP(text: member.endpoint.description)
        bytes.appendRESP(word: "weight")
        bytes.appendRESP(integer: member.weight)
        bytes.appendRESP(word: "tags")
        bytes.appendRESP(map: member.tags.count)
        for (name, value) in member.tags.sorted(by: { $0.key < $1.key }) {
            bytes.appendRESP(text: name)
            bytes.appendRESP(text: value)
        }
        if member.isDegraded {
            bytes.appendRESP(word: "degraded")
            bytes.appendRESP(boolean: true)
        }
    }

    private static func write(_ instance: Instance, to bytes: inout [UInt8]) {
        bytes.appendRESP(map: 7)
        bytes.appendRESP(word: "node")
        bytes.appendRESP(text: instance.node.name.description)
        bytes.appendRESP(word: "life")
        bytes.appendRESP(textOf: instance.node.life.rawValue)
        bytes.appendRESP(word: "number")
        bytes.appendRESP(integer: instance.number)
        bytes.appendRESP(word: "service")
        bytes.appendRESP(text: instance.service)
        bytes.appendRESP(word: "address")
        bytes.appendRESP(text: instance.address)
        bytes.appendRESP(word: "weight")
        bytes.appendRESP(integer: instance.weight)
        bytes.appendRESP(word: "cookie")
        bytes.appendRESP(text: instance.cookieName)
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
