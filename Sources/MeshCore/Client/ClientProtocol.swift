/// The client protocol on the wire: commands and replies as RESP3, in both directions.
///
/// The agent and the client library both use it, so that they can't drift apart. `Docs/PROTOCOL.md` describes it with examples that a
/// test decodes. Maps may grow keys: a reader ignores those it doesn't know.
public enum ClientProtocol {
    /// The only version of the handshake.
    public static let version = 3
}

/// One command of an application, as it stands on the wire.
public enum ClientCommand: Hashable, Sendable {
    /// `HELLO 3`: the first command of an application that wants pushes; answered with a ``ClientGreeting``.
    case hello
    /// `AUTH token`: proves the right to speak over TCP; the shell decides.
    case authenticate(token: [UInt8])
    case request(ClientRequest)

    /// Longest token, in bytes.
    public static let tokenBytesMax = 256
    /// Longest cookie value that is looked at. An honest one is far shorter; a browser sends at most 4 KiB.
    public static let cookieBytesMax = 4096
}

/// What an agent says to `HELLO 3`.
public struct ClientGreeting: Hashable, Sendable {
    /// `sessionmesh`, so that an application notices when it talks to something else.
    public var server: String
    public var version: String
    public var node: NodeName

    public static let serverName = "sessionmesh"

    public init(server: String = ClientGreeting.serverName, version: String, node: NodeName) {
        self.server = server
        self.version = version
        self.node = node
    }
}

extension ClientRequest {
    /// Which question a reply answers: replies carry no tag, they come in the order of the requests.
    public enum Kind: Hashable, Sendable, CaseIterable {
        case ping, register, open, read, commit, destroy, list, revoke, publish, subscribe, unsubscribe, follow, unfollow, members,
            placement
    }

    public var kind: Kind {
        switch self {
        case .ping: .ping
        case .register: .register
        case .open: .open
        case .read: .read
        case .commit: .commit
        case .destroy: .destroy
        case .list: .list
        case .revoke: .revoke
        case .publish: .publish
        case .subscribe: .subscribe
        case .unsubscribe: .unsubscribe
        case .follow: .follow
        case .unfollow: .unfollow
        case .members: .members
        case .placement: .placement
        }
    }
}

// MARK: Commands, written

extension ClientProtocol {
    public static func encode(_ command: ClientCommand) -> RESPValue {
        switch command {
        case .hello: return .array([.text("HELLO"), .text(String(version))])
        case .authenticate(let token): return .array([.text("AUTH"), .bulk(token)])
        case .request(let request): return .array(words(of: request))
        }
    }

    private static func words(of request: ClientRequest) -> [RESPValue] {
        switch request {
        case .ping: [.text("PING")]
        case .register(let service, let address, let weight, let cookieName):
            [.text("INSTANCE.REGISTER"), .text(service), .text(address), .text(String(weight)), .text(cookieName)]
        case .open(let cookie): [.text("SESSION.OPEN"), .bulk(cookie)]
        case .read(let key): [.text("SESSION.READ"), .text(key.description)]
        case .commit(let commit): words(of: commit)
        case .destroy(let key, let id): [.text("SESSION.DESTROY"), .text(key.description), .text(id.hex)]
        case .list(let user, let after):
            [.text("SESSION.LIST"), .text(user)] + (after.map { [.text("AFTER"), .text($0.description)] } ?? [])
        case .revoke(let user, let except):
            [.text("SESSION.REVOKE")] + (user.map { [.text("USER"), .text($0)] } ?? [.text("ALL")])
                + (except.map { [.text("EXCEPT"), .text($0.description)] } ?? [])
        case .publish(let channel, let payload): [.text("CHANNEL.PUBLISH"), .text(channel), .bulk(payload)]
        case .subscribe(let channel): [.text("CHANNEL.SUBSCRIBE"), .text(channel)]
        case .unsubscribe(let channel): [.text("CHANNEL.UNSUBSCRIBE"), .text(channel)]
        case .follow: [.text("SESSION.FOLLOW")]
        case .unfollow: [.text("SESSION.UNFOLLOW")]
        case .members: [.text("MESH.MEMBERS")]
        case .placement(let slot): [.text("MESH.PLACEMENT"), .text(slot.description)]
        }
    }

    private static func words(of commit: SessionCommit) -> [RESPValue] {
        var words: [RESPValue] = [.text("SESSION.COMMIT"), .text(commit.key?.description ?? "*"), .text(commit.id.hex)]
        for change in commit.changes {
            switch change {
            case .set(let field, let value): words += [.text("SET"), .text(field), .bulk(value)]
            case .remove(let field): words += [.text("DEL"), .text(field)]
            case .increment(let field, let amount): words += [.text("INCR"), .text(field), .text(String(amount))]
            case .raise(let field, let value): words += [.text("MAX"), .text(field), .text(String(value))]
            case .insert(let field, let element): words += [.text("ADD"), .text(field), .bulk(element)]
            case .erase(let field, let element): words += [.text("REM"), .text(field), .bulk(element)]
            case .drop(let field, let value): words += [.text("DROP"), .text(field), .bulk(value)]
            }
        }
        for condition in commit.conditions {
            switch condition {
            case .holds(let field, let value): words += [.text("IF"), .text(field), .bulk(value)]
            case .isAbsent(let field): words += [.text("IFNOT"), .text(field)]
            }
        }
        if commit.makesSession { words.append(.text("UPSERT")) }
        if let user = commit.user { words += [.text("USER"), .text(user)] }
        if let idle = commit.idleSeconds { words += [.text("IDLE"), .text(String(idle))] }
        if let absolute = commit.absoluteSeconds { words += [.text("ABSOLUTE"), .text(String(absolute))] }
        if let isRolling = commit.isRolling { words.append(.text(isRolling ? "ROLLING" : "FIXED")) }
        if let until = commit.until { words += [.text("UNTIL"), .text(String(until))] }
        if commit.regenerate { words.append(.text("REGENERATE")) }
        if commit.isStrict { words.append(.text("STRICT")) }
        switch commit.acknowledgement {
        case .local: words += [.text("ACK"), .text("LOCAL")]
        case .replicated: break
        case .mirrored: words += [.text("ACK"), .text("MIRRORED")]
        }
        return words
    }
}

extension CommitID {
    /// 32 lower-case hexadecimal digits.
    public var hex: String { upper.hex + lower.hex }

    /// Reads what ``hex`` writes, in either case; nil for anything else.
    public init?(hex text: some StringProtocol) {
        self.init(hex: Array(text.utf8))
    }

    init?(hex text: some Collection<UInt8>) {
        guard text.count == 32 else { return nil }
        var (upper, lower): (UInt64, UInt64) = (0, 0)
        for digit in text {
            guard let value = digit.hexValue else { return nil }
            upper = upper << 4 | lower >> 60
            lower = lower << 4 | value
        }
        self.init(upper: upper, lower: lower)
    }
}

extension UInt64 {
    /// 16 lower-case hexadecimal digits.
    fileprivate var hex: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}

extension UInt8 {
    fileprivate var hexValue: UInt64? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(self - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(self - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(self - UInt8(ascii: "A")) + 10
        default: nil
        }
    }
}

// MARK: Commands, read

extension ClientProtocol {
    /// Reads one command.
    /// - Throws: a failure to send back; the connection stays usable.
    public static func decode(_ command: RESPValue) throws(ClientFailure) -> ClientCommand {
        try decode(CommandWords(command))
    }

    static func decode(_ command: CommandWords) throws(ClientFailure) -> ClientCommand {
        var words = command
        let decoded = try decode(words.nextWord("a command"), &words)
        try words.finish()
        return decoded
    }

    private static func decode(_ name: CommandWord, _ words: inout CommandWords) throws(ClientFailure) -> ClientCommand {
        switch name {
        case "HELLO":
            guard "3" ~= (try words.nextWord("the protocol's version")) else {
                throw ClientFailure(.invalid, "HELLO: this agent speaks RESP3 only; send HELLO 3")
            }
            return .hello
        case "AUTH":
            let token = try words.next("a token")
            guard 1...ClientCommand.tokenBytesMax ~= token.count else {
                throw ClientFailure(.invalid, "AUTH: a token has 1 to \(ClientCommand.tokenBytesMax) bytes")
            }
            return .authenticate(token: Array(token))
        case "PING": return .request(.ping)
        case "INSTANCE.REGISTER":
            return .request(
                .register(
                    service: try words.nextToken("service", bytesMax: Instance.textBytesMax),
                    address: try words.nextToken("address", bytesMax: Instance.textBytesMax),
                    weight: try words.nextInteger("weight", in: 1...100),
                    cookieName: try words.nextToken("cookie name", bytesMax: Instance.textBytesMax)))
        case "SESSION.OPEN":
            let cookie = try words.next("a cookie value")
            guard cookie.count <= ClientCommand.cookieBytesMax else {
                throw ClientFailure(.invalid, "SESSION.OPEN: the cookie value is longer than \(ClientCommand.cookieBytesMax) bytes")
            }
            return .request(.open(cookie: Array(cookie)))
        case "SESSION.READ": return .request(.read(try words.nextKey()))
        case "SESSION.COMMIT": return .request(.commit(try words.nextCommit()))
        case "SESSION.DESTROY": return .request(.destroy(try words.nextKey(), try words.nextCommitID()))
        case "SESSION.LIST":
            let user = try words.nextText("the user's name", bytes: 1...SessionLimits.userBytesMax)
            return .request(.list(user: user, after: try words.nextKey(behind: "AFTER")))
        case "SESSION.REVOKE":
            let user = try words.nextUser()
            return .request(.revoke(user: user, except: try words.nextKey(behind: "EXCEPT")))
        case "CHANNEL.PUBLISH":
            let channel = try words.nextChannel()
            let payload = try words.next("a payload")
            guard payload.count <= SessionLimits.messageBytesMax else {
                throw ClientFailure(.invalid, "CHANNEL.PUBLISH: a message has at most \(SessionLimits.messageBytesMax) bytes")
            }
            return .request(.publish(channel: channel, payload: Array(payload)))
        case "CHANNEL.SUBSCRIBE": return .request(.subscribe(channel: try words.nextChannel()))
        case "CHANNEL.UNSUBSCRIBE": return .request(.unsubscribe(channel: try words.nextChannel()))
        case "SESSION.FOLLOW": return .request(.follow)
        case "SESSION.UNFOLLOW": return .request(.unfollow)
        case "MESH.MEMBERS": return .request(.members)
        case "MESH.PLACEMENT":
            return .request(.placement(Slot(masking: try words.nextInteger("slot", in: 0...UInt16(Slot.count - 1)))))
        default:
            throw ClientFailure(.invalid, "unknown command \(name.printable); Docs/PROTOCOL.md lists them all")
        }
    }
}

extension CommandWords {
    mutating func nextText(_ what: String, bytes: ClosedRange<Int>) throws(ClientFailure) -> String {
        let raw = try next(what)
        guard bytes ~= raw.count else { throw invalid("\(what) has \(raw.count) bytes, not \(bytes.lowerBound) to \(bytes.upperBound)") }
        guard let text = String(validating: raw, as: UTF8.self) else { throw invalid("\(what) is not UTF-8") }
        guard raw.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw invalid("\(what) has a control character") }
        return text
    }

    /// Printable ASCII without a space.
    mutating func nextToken(_ what: String, bytesMax: Int) throws(ClientFailure) -> String {
        let text = try nextText(what, bytes: 1...bytesMax)
        guard text.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else { throw invalid("\(what) is not printable ASCII without spaces") }
        return text
    }

    mutating func nextInteger<Integer: FixedWidthInteger>(
        _ what: String, in range: ClosedRange<Integer> = .min ... .max
    ) throws(ClientFailure) -> Integer {
        let text = String(decoding: try next(what), as: UTF8.self)
        guard let value = Integer(text), range ~= value else {
            throw invalid("\(what) is not a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    mutating func nextKey() throws(ClientFailure) -> SessionKey {
        guard let key = SessionKey(text: try next("a session key")) else {
            throw invalid("a session key is 43 characters of base64url")
        }
        return key
    }

    /// The key that follows `word`; nil when nothing more follows.
    mutating func nextKey(behind word: StaticString) throws(ClientFailure) -> SessionKey? {
        guard !isAtEnd else { return nil }
        guard take(word) else { throw invalid("what follows is not \(word)") }
        return try nextKey()
    }

    /// `USER name`, or `ALL`, which is nil.
    mutating func nextUser() throws(ClientFailure) -> String? {
        switch try nextWord("USER or ALL") {
        case "USER": return try nextText("the user's name", bytes: 1...SessionLimits.userBytesMax)
        case "ALL": return nil
        default: throw invalid("whose sessions is neither USER nor ALL")
        }
    }

    mutating func nextCommitID() throws(ClientFailure) -> CommitID {
        guard let id = CommitID(hex: try next("a commit id")) else {
            throw invalid("a commit id is 32 hexadecimal digits")
        }
        return id
    }

    mutating func nextChannel() throws(ClientFailure) -> String {
        try nextText("the channel's name", bytes: 1...SessionLimits.channelNameBytesMax)
    }

    private mutating func nextAcknowledgement() throws(ClientFailure) -> AcknowledgementLevel {
        switch try nextWord("how far the commit is to get") {
        case "LOCAL": return .local
        case "REPLICATED": return .replicated
        case "MIRRORED": return .mirrored
        default: throw invalid("what follows ACK is not LOCAL, REPLICATED or MIRRORED")
        }
    }

    mutating func nextCommit() throws(ClientFailure) -> SessionCommit {
        let key = take("*") ? nil : try nextKey()
        var commit = SessionCommit(key: key, id: try nextCommitID())
        var bytes = 0
        while !isAtEnd {
            switch try nextWord("a change") {
            case "SET": commit.changes.append(try nextValue(FieldChange.set, bytes: &bytes))
            case "DEL": commit.changes.append(.remove(try nextField(bytes: &bytes)))
            case "INCR": commit.changes.append(.increment(try nextField(bytes: &bytes), by: try nextInteger("the increment")))
            case "MAX": commit.changes.append(.raise(try nextField(bytes: &bytes), to: try nextInteger("the maximum")))
            case "ADD": commit.changes.append(try nextElement(FieldChange.insert, bytes: &bytes))
            case "REM": commit.changes.append(try nextElement(FieldChange.erase, bytes: &bytes))
            case "DROP": commit.changes.append(try nextValue(FieldChange.drop, bytes: &bytes))
            case "IF": commit.conditions.append(try nextValue(FieldCondition.holds, bytes: &bytes))
            case "IFNOT": commit.conditions.append(.isAbsent(try nextField(bytes: &bytes)))
            case "UPSERT": commit.makesSession = true
            case "USER": commit.user = try nextText("the user's name", bytes: 0...SessionLimits.userBytesMax)
            case "IDLE": commit.idleSeconds = try nextInteger("the idle time in seconds", in: 1...UInt32.max)
            case "ABSOLUTE": commit.absoluteSeconds = try nextInteger("the greatest age in seconds", in: 1...UInt32.max)
            case "ROLLING": commit.isRolling = true
            case "FIXED": commit.isRolling = false
            case "UNTIL": commit.until = try nextInteger("the date in Unix milliseconds", in: 0...SessionLimits.dateMax)
            case "REGENERATE": commit.regenerate = true
            case "STRICT": commit.isStrict = true
            case "ACK": commit.acknowledgement = try nextAcknowledgement()
            case let other: throw invalid("\(other.printable) is no change or condition; Docs/PROTOCOL.md lists them all")
            }
            guard commit.changes.count <= SessionLimits.fieldsMax else { throw invalid("more than \(SessionLimits.fieldsMax) changes") }
            guard commit.conditions.count <= SessionLimits.fieldsMax else {
                throw invalid("more than \(SessionLimits.fieldsMax) conditions")
            }
            guard bytes <= SessionLimits.sessionBytesMax else {
                throw invalid("more than \(SessionLimits.sessionBytesMax) bytes of changes")
            }
        }
        return commit
    }

    private mutating func nextValue<Change>(_ change: (String, [UInt8]) -> Change, bytes: inout Int) throws(ClientFailure) -> Change {
        let field = try nextField(bytes: &bytes)
        let value = try next("the field's value")
        guard value.count <= SessionLimits.fieldBytesMax else {
            throw invalid("field \(field) has \(value.count) bytes, more than \(SessionLimits.fieldBytesMax)")
        }
        bytes += value.count
        return change(field, Array(value))
    }

    private mutating func nextElement(
        _ change: (String, [UInt8]) -> FieldChange, bytes: inout Int
    ) throws(ClientFailure) -> FieldChange {
        let field = try nextField(bytes: &bytes)
        let element = try next("the element")
        guard element.count <= SessionLimits.elementBytesMax else {
            throw invalid("an element of field \(field) has \(element.count) bytes, more than \(SessionLimits.elementBytesMax)")
        }
        bytes += element.count
        return change(field, Array(element))
    }

    /// Names and values together are what a commit's bytes are counted by.
    private mutating func nextField(bytes: inout Int) throws(ClientFailure) -> String {
        let name = try nextText("the field's name", bytes: 1...SessionLimits.fieldNameBytesMax)
        bytes += name.utf8.count
        return name
    }
}
