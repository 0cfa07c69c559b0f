import Foundation
import MeshCore
import Testing

@Suite struct ClientProtocolTests {
    static func key(_ byte: UInt8) throws -> SessionKey { try #require(SessionKey(bytes: [UInt8](repeating: byte, count: 32))) }
    static let id = CommitID(upper: 1, lower: .max)

    static func command(_ words: String...) -> RESPValue { .array(words.map { .text($0) }) }

    static func written(_ response: ClientResponse, answering kind: ClientRequest.Kind) -> [UInt8] {
        var bytes: [UInt8] = []
        ClientProtocol.write(response, answering: kind, to: &bytes)
        return bytes
    }

    static func written(_ push: ClientPush) -> [UInt8] {
        var bytes: [UInt8] = []
        ClientProtocol.write(push, to: &bytes)
        return bytes
    }

    static func failure(_ words: RESPValue) -> ClientFailure? {
        do {
            _ = try ClientProtocol.decode(words)
            return nil
        } catch { return error }
    }

    @Test func everyRequestComesBackFromTheWire() throws {
        let key = try Self.key(0xAB)
        let requests: [ClientRequest] = [
            .ping, .register(service: "shop", address: "10.0.0.1:80", weight: 100, cookieName: "__Host-sid"),
            .open(cookie: [1, 2, 0, 255]),
            .list(user: "ann", after: nil), .list(user: "ä", after: key), .revoke(user: nil, except: nil),
            .revoke(user: "ann", except: key),
            .read(key), .destroy(key, Self.id), .publish(channel: "räume/1", payload: [0, 13, 10]), .subscribe(channel: "chat"),
            .unsubscribe(channel: "chat"), .follow, .unfollow, .members, .placement(Slot(masking: 4095)),
            .commit(SessionCommit(key: nil, id: Self.id)),
            .commit(
                SessionCommit(
                    key: key, id: Self.id,
                    changes: [.set("a", [0, 1]), .set("b", []), .remove("c"), .increment("n", by: .min), .increment("n", by: 3)],
                    user: "", idleSeconds: .max, absoluteSeconds: 1, isRolling: true, until: 0, regenerate: true)),
            .commit(
                SessionCommit(
                    key: key, id: Self.id, changes: [.raise("m", to: -1), .insert("s", [0]), .erase("s", []), .drop("a", [13, 10])],
                    conditions: [.holds("a", [13, 10]), .isAbsent("b")], makesSession: true, isRolling: false, until: 1 << 48)),
        ]
        for request in requests {
            let bytes = ClientProtocol.encode(.request(request)).bytes
            let value = try #require(try RESPTests.parse(bytes, limits: .commands).first)
            #expect(try ClientProtocol.decode(value) == .request(request))
        }
        #expect(Set(requests.map(\.kind)) == Set(ClientRequest.Kind.allCases))
    }

    @Test func everyResponseComesBackFromTheWire() throws {
        let key = try Self.key(7)
        let (n1, n2) = (try NodeName("n1"), try NodeName("n2"))
        let ipv6 = try #require(Endpoint(address: [0xFE, 0x80] + [UInt8](repeating: 0, count: 13) + [1], port: 1))
        let member = Member(
            id: MemberID(name: n1, life: Life(rawValue: .max)), incarnation: .max, status: .left, role: .balancer, stage: .draining,
            endpoint: ipv6, weight: 16, tags: ["zone": "a", "": "ü"])
        var second = Member(id: MemberID(name: n2, life: Life(rawValue: 0)), endpoint: .loopback(port: 7946))
        second.isDegraded = true
        let view = MeshView(
            epoch: .max, digest: .max, members: [member, second],
            instances: [Instance(node: member.id, number: 3, service: "shop", address: "a:1", weight: 9, cookieName: "c")])
        let snapshot = SessionSnapshot(
            key: key, createdAt: 1, accessedAt: -1, idleSeconds: .max, expiresAt: 9, user: "ann",
            fields: [
                .init(name: "a", value: .bytes([0, 255])), .init(name: "n", value: .integer(.min)),
                .init(name: "s", value: .elements([[], [0, 13]])),
            ], primary: n1, backup: nil)
        var other = snapshot
        other.backup = n2
        let answers: [(ClientRequest.Kind, ClientResponse)] = [
            (.ping, .done), (.subscribe, .done), (.open, .opened(snapshot, cookie: nil)), (.open, .opened(snapshot, cookie: "c")),
            (.read, .session(nil)), (.read, .session(other)),
            (.commit, .committed(CommitReceipt(key: key, copies: 1))),
            (.commit, .committed(CommitReceipt(key: key, cookie: "c", copies: 2, counters: [.init(name: "n", value: .integer(4))]))),
            (.list, .listed(SessionPage(sessions: [], next: nil))),
            (
                .list,
                .listed(
                    SessionPage(
                        sessions: [SessionSummary(key: key, createdAt: 1, accessedAt: 2, expiresAt: 3, fields: 4, bytes: 5)], next: key))
            ),
            (.open, .absent(.malformed)), (.open, .absent(.unknownKey)), (.open, .absent(.badSignature)), (.open, .absent(.ended)),
            (.revoke, .revoked(7)), (.commit, .conflict([])), (.commit, .conflict([.init(name: "a", value: .bytes([1]))])),
            (.publish, .published(ChannelPosition(epoch: .max, offset: 0))), (.members, .members(MeshView())), (.members, .members(view)),
            (.placement, .placement(PlacementAnswer(slot: Slot(masking: 9), term: .max, ranking: [n2, n1]))),
        ]
        for (kind, response) in answers {
            let values = try RESPTests.parse(Self.written(response, answering: kind))
            #expect(values.count == 1)
            #expect(try ClientProtocol.decode(try #require(values.first), to: kind) == response)
        }
        for code in ClientFailure.Code.allCases {
            let response = ClientResponse.failure(ClientFailure(code, "wait, then retry"))
            for kind in ClientRequest.Kind.allCases {
                let value = try #require(try RESPTests.parse(Self.written(response, answering: kind)).first)
                #expect(try ClientProtocol.decode(value, to: kind) == response)
            }
        }
    }

    @Test func aMessageComesBackFromTheWire() throws {
        let message = ChannelMessage(channel: "chat", position: ChannelPosition(epoch: .max, offset: 2), payload: [0, 1, 13])
        guard case .push(let values) = try RESPTests.parse(Self.written(.message(message))).first else {
            Issue.record("not a push")
            return
        }
        #expect(try ClientProtocol.decodePush(values) == .message(message))
        #expect(try ClientProtocol.decodePush([.text("invalidate"), .null]) == nil)
    }

    @Test func whatBecomesOfSessionsComesBackFromTheWire() throws {
        let key = try Self.key(1)
        let kinds: [SessionEvent.Kind] = [.created, .expired, .destroyed, .moved(to: try Self.key(2))]
        for push in kinds.map({ ClientPush.event(SessionEvent(key: key, kind: $0, at: 1_795_000_000_000)) }) + [.gap] {
            guard case .push(let values)? = try RESPTests.parse(Self.written(push)).first else { return #expect(Bool(false)) }
            #expect(try ClientProtocol.decodePush(values) == push)
        }
        // One of a later version is passed over; one that is cut or no event is not.
        #expect(try ClientProtocol.decodePush([.text("event"), .text("frozen"), .text(key.description), .integer(1)]) == nil)
        let broken: [[RESPValue]] = [
            [.text("event")], [.text("event"), .text("created")], [.text("event"), .text("created"), .text("key"), .integer(1)],
            [.text("event"), .text("created"), .text(key.description), .text("1")],
            [.text("event"), .text("moved"), .text(key.description), .integer(1)],
        ]
        for values in broken { #expect(throws: ClientProtocolError.self) { try ClientProtocol.decodePush(values) } }
    }

    @Test func limitsAreCheckedWhereACommandIsRead() throws {
        let key = try Self.key(1).description
        let id = Self.id.hex
        func long(_ count: Int) -> String { String(repeating: "x", count: count) }
        let refused: [(RESPValue, String)] = [
            (Self.command("FLUSHALL"), "unknown command FLUSHALL"),
            (Self.command("EVIL\r\n\u{1B}[2J"), "unknown command EVIL??"),
            (Self.command("HELLO"), "version is missing"), (Self.command("HELLO", "2"), "HELLO 3"),
            (Self.command("PING", "x"), "1 more arguments"), (Self.command("AUTH", ""), "1 to 256"),
            (Self.command("SESSION.READ"), "SESSION.READ: a session key is missing"),
            (Self.command("SESSION.READ", "abc"), "43 characters"),
            (Self.command("SESSION.OPEN", long(4097)), "longer than 4096"),
            (Self.command("SESSION.DESTROY", key, "00"), "32 hexadecimal"),
            (Self.command("SESSION.DESTROY", key, "+" + long(31)), "32 hexadecimal"),
            (Self.command("SESSION.COMMIT", key, id, "SET", long(65), "v"), "65 bytes, not 1 to 64"),
            (Self.command("SESSION.COMMIT", key, id, "SET", "", "v"), "0 bytes"),
            (Self.command("SESSION.COMMIT", key, id, "SET", "f", long(16 * 1024 + 1)), "more than 16384"),
            (Self.command("SESSION.COMMIT", key, id, "SET", "f"), "value is missing"),
            (Self.command("SESSION.COMMIT", key, id, "INCR", "f", "1.5"), "whole number"),
            (Self.command("SESSION.COMMIT", key, id, "MAX", "f", "1e3"), "whole number"),
            (Self.command("SESSION.COMMIT", key, id, "ADD", "f", long(129)), "more than 128"),
            (Self.command("SESSION.COMMIT", key, id, "IF", "f"), "value is missing"),
            (Self.command("SESSION.COMMIT", key, id, "IFNOT", ""), "0 bytes"),
            (Self.command("SESSION.COMMIT", key, id, "USER", long(129)), "129 bytes"),
            (Self.command("SESSION.COMMIT", key, id, "USER", "a\nb"), "control character"),
            (Self.command("SESSION.COMMIT", key, id, "IDLE", "0"), "1 to 4294967295"),
            (Self.command("SESSION.COMMIT", key, id, "ABSOLUTE", "0"), "1 to 4294967295"),
            (Self.command("SESSION.COMMIT", key, id, "UNTIL", "-1"), "0 to 281474976710656"),
            (Self.command("SESSION.COMMIT", key, id, "GET", "f"), "GET is no change"),
            (Self.command("SESSION.LIST", ""), "0 bytes"), (Self.command("SESSION.LIST", "ann", "BEFORE", key), "not AFTER"),
            (Self.command("SESSION.REVOKE", "NOBODY"), "neither USER nor ALL"), (Self.command("SESSION.REVOKE"), "USER or ALL is missing"),
            (Self.command("SESSION.REVOKE", "ALL", "EXCEPT", "x"), "43 characters"),
            (Self.command("INSTANCE.REGISTER", "s", "a:1", "0", "sid"), "1 to 100"),
            (Self.command("INSTANCE.REGISTER", "s p", "a:1", "1", "sid"), "without spaces"),
            (Self.command("INSTANCE.REGISTER", "s", long(121), "1", "sid"), "121 bytes"),
            (Self.command("CHANNEL.SUBSCRIBE", ""), "0 bytes"), (Self.command("CHANNEL.SUBSCRIBE", long(201)), "201 bytes"),
            (Self.command("CHANNEL.PUBLISH", "c", long(64 * 1024 + 1)), "65536"),
            (Self.command("MESH.PLACEMENT", "4096"), "0 to 4095"),
            (.array([.text("CHANNEL.SUBSCRIBE"), .bulk([0xC3, 0x28])]), "not UTF-8"),
            (.array([.integer(1)]), "not a bulk string"), (.simple("PING"), "array of bulk strings"), (.array([]), "missing"),
            (
                .array([.text("SESSION.COMMIT"), .text(key), .text(id)] + (0..<129).flatMap { [.text("DEL"), .text("f\($0)")] }),
                "more than 128 changes"
            ),
            (
                .array(
                    [.text("SESSION.COMMIT"), .text(key), .text(id)]
                        + (0..<5).flatMap { [.text("SET"), .text("f\($0)"), .bulk([UInt8](repeating: 0, count: 16 * 1024))] }),
                "more than 65536 bytes"
            ),
        ]
        for (command, reason) in refused {
            let failure = try #require(Self.failure(command), "accepted: \(reason)")
            #expect(failure.code == .invalid)
            #expect(failure.description.contains(reason), "\(failure) lacks: \(reason)")
            #expect(!failure.description.contains { $0.isNewline || $0 == "\u{1B}" })
        }
        #expect(try ClientProtocol.decode(Self.command("session.commit", "*", id.uppercased(), "set", "f", "v")) != .hello)
    }

    @Test func aReplyMayGrowKeysButNotLoseThem() throws {
        let position = ClientResponse.published(ChannelPosition(epoch: 1, offset: 2))
        guard case .map(let entries) = try RESPTests.parse(Self.written(position, answering: .publish)).first else { return }
        let grown = RESPValue.map(entries + [RESPEntry("later", .map([]))])
        #expect(try ClientProtocol.decode(grown, to: .publish) == .published(ChannelPosition(epoch: 1, offset: 2)))
        #expect(throws: ClientProtocolError.self) { try ClientProtocol.decode(.map(entries.dropLast()), to: .publish) }
        #expect(throws: ClientProtocolError.self) { try ClientProtocol.decode(.null, to: .commit) }
        #expect(throws: ClientProtocolError.self) { try ClientProtocol.decode(.simple("OK"), to: .ping) }
    }

    @Test func everyExampleOfTheDocumentIsReadAndWrittenAlike() throws {
        let examples = try Self.examples()
        #expect(examples.count >= 30)
        var kinds: Set<ClientRequest.Kind> = []
        var asked: ClientCommand?
        for (isCommand, bytes) in examples {
            let value = try #require(try RESPTests.parse(bytes, limits: isCommand ? .commands : .replies).first)
            var written: [UInt8]?
            if isCommand {
                let command = try ClientProtocol.decode(value)
                asked = command
                written = ClientProtocol.encode(command).bytes
                if case .request(let request) = command { kinds.insert(request.kind) }
            } else if case .push(let values) = value {
                written = try ClientProtocol.decodePush(values).map(Self.written)
            } else if case .request(let request) = asked {
                written = Self.written(try ClientProtocol.decode(value, to: request.kind), answering: request.kind)
            } else if asked == .hello {
                var greeting: [UInt8] = []
                ClientProtocol.write(try ClientProtocol.decodeGreeting(value), to: &greeting)
                written = greeting
            } else {
                written = value.bytes
            }
            #expect(written == bytes, "\(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(kinds == Set(ClientRequest.Kind.allCases), "a command has no example")
    }

    /// The lines of the fenced blocks named `client-protocol`, in order: whether the application sends it, and its bytes.
    static func examples(file: String = #filePath) throws -> [(Bool, [UInt8])] {
        let path = URL(filePath: file).deletingLastPathComponent().appending(path: "../../Docs/PROTOCOL.md").path
        let text = try String(contentsOfFile: path, encoding: .utf8)
        var isInside = false
        var examples: [(Bool, [UInt8])] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isInside = line == "```client-protocol"
            } else if isInside {
                examples.append((line.hasPrefix("> "), try unescape(line.dropFirst(2))))
            }
        }
        return examples
    }

    static func unescape(_ text: Substring) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "r"): bytes.append(13)
            case UInt8(ascii: "n"): bytes.append(10)
            case UInt8(ascii: "x"):
                bytes.append(try #require(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)))
                rest = rest.dropFirst(2)
            case let other: bytes.append(try #require(other))
            }
        }
        return bytes
    }
}
