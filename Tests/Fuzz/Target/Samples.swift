@testable import MeshCore

/// Real values as their owners write them: what a fuzzer changes finds its way deeper than what it makes up.
enum Samples {
    static func all() throws -> [(name: String, input: [UInt8])] {
        var all: [(String, [UInt8])] = []
        func add(_ decoder: FuzzDecoder, _ bodies: [[UInt8]]) {
            for (number, body) in bodies.enumerated() { all.append(("\(decoder)-\(number)", [decoder.rawValue] + body)) }
        }
        let messages = gossip().map(\.encoded)
        add(.gossipMessage, messages)
        add(.sealedPacket, messages)
        add(.question, [[0x00] + messages[0], [0x40] + zeros(16), [0x80] + zeros(16) + messages[0], [0xC0] + zeros(32)])
        add(.swim, [messages.flatMap { run(0, $0) }] + messages.map { run(2, $0) + run(7, $0) })
        var peer = FuzzDecoder.Fixture.peer
        add(.packet, messages.prefix(3).compactMap { peer.seal($0, to: FuzzDecoder.Fixture.here, at: FuzzDecoder.Fixture.now) })
        add(.linkBytes, FuzzDecoder.Fixture.initiator.start().compactMap { if case .send(let bytes) = $0 { bytes } else { nil } })
        let peerMessages = try peerMessages().map(\.encoded)
        add(.peerMessage, peerMessages)
        add(.linkFrame, [framed(peerMessages.prefix(1)), framed(peerMessages.prefix(4))])
        add(.sessionState, [written(try session())])
        add(.mirrorRecord, [entries(try session().mirrorRecord(of: FuzzDecoder.Fixture.session, policy: ExpiryPolicy()))])
        let commands = commands().map(ClientProtocol.encode)
        add(.command, commands.map(words))
        add(.commandBytes, commands.map(bytes))
        add(.replyBytes, replies())
        add(.keyFile, [Array(FuzzDecoder.Fixture.file.text.utf8)])
        add(.requestHead, requests.map { Array($0.utf8) })
        add(.responseHead, responses.map { Array($0.utf8) })
        add(.chunks, ["5;a=\"b\"\r\nhello\r\n0\r\nX: 1\r\n\r\n", "0\r\n\r\n"].map { Array($0.utf8) })
        let cookie = SessionID(bytes: zeros(32)).map(FuzzDecoder.Fixture.cookies.value) ?? ""
        add(.cookie, [Array(cookie.utf8)])
        add(.cookieField, [Array("a=b; sid=\"\(cookie)\"; sid=x".utf8)])
        add(.endpoint, ["127.0.0.1:7946", "[2001:db8::1]:80", "[::ffff:1.2.3.4]:1"].map { Array($0.utf8) })
        add(.name, [Array("n-1.example_org".utf8)])
        return all
    }

    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    private static func gossip() -> [GossipMessage] {
        let (you, other, me) = (FuzzDecoder.Fixture.others[0], FuzzDecoder.Fixture.others[1], FuzzDecoder.Fixture.local)
        var tagged = you
        tagged.incarnation = 3
        tagged.tags = ["zone": "a"]
        let instance = Instance(node: you.id, number: 1, service: "web", address: "127.0.0.1:80", weight: 2, cookieName: "sid")
        let word = Testimony(subject: other.id, incarnation: 0, witness: you.name, finding: .silent)
        let facts: [Fact] = [
            .member(tagged, goneFor: 0), .claim(other.id, incarnation: 0, .dead, accuser: you.name),
            .claim(me.id, incarnation: 0, .suspect, accuser: you.name), .testimony(word), .instance(instance, version: 1),
            .instanceRemoved(node: you.id, number: 1, version: 2), .survival(you.id, of: Life(rawValue: 100)),
            .roster(node: you.id, version: 3, span: 1...9, numbers: [1, 5]),
        ]
        let kinds: [GossipMessage.Kind] = [
            .ping(number: 1, target: me.id), .ack(number: 1), .pingRequest(number: 2, target: other.id, at: other.endpoint),
            .relayedAck(number: 2, subject: other.id), .gossip, .stale(me.id), .state(isLast: true, asking: true), .taken(me.id),
            .nack(number: 2, subject: other.id), .digests(ViewBuckets()), .delta(asking: nil), .delta(asking: ViewBuckets()),
        ]
        return kinds.enumerated().map { index, kind in
            GossipMessage(sender: you.id, digest: 1, kind: kind, facts: index < facts.count ? [facts[index]] : facts)
        }
    }

    private static func run(_ what: UInt8, _ message: [UInt8]) -> [UInt8] {
        [what, UInt8(message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
    }

    private static func session() throws -> SessionState {
        var state = SessionState(createdAt: 5)
        _ = try state.apply(SessionCommit(key: nil, id: CommitID(upper: 1, lower: 2), changes: changes), life: Life(rawValue: 1), wall: 6)
        return state
    }

    private static func commit(of key: SessionKey) -> SessionCommit {
        var commit = SessionCommit(
            key: key, id: CommitID(upper: 1, lower: 2), changes: changes, conditions: [.holds("a", [1]), .isAbsent("b")],
            makesSession: true)
        commit.user = "ann"
        return commit
    }

    private static let changes: [FieldChange] = [
        .set("a", [1]), .remove("b"), .increment("n", by: -4), .raise("m", to: 7), .insert("s", [1]), .erase("s", [2]), .drop("d", [2]),
    ]

    private static func written(_ state: SessionState) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(state)
        return writer.bytes
    }

    private static func framed(_ messages: some Sequence<[UInt8]>) -> [UInt8] {
        var writer = ByteWriter()
        for message in messages { writer.write(long: message) }
        return writer.bytes
    }

    private static func entries(_ record: MirrorRecord) -> [UInt8] {
        var writer = ByteWriter()
        for entry in record.entries {
            writer.write(short: entry.name)
            writer.write(short: entry.version)
            writer.write(short: entry.payload)
        }
        return writer.bytes
    }

    private static func peerMessages() throws -> [PeerMessage] {
        let (key, member) = (FuzzDecoder.Fixture.session, FuzzDecoder.Fixture.others[0].id)
        let slot = SlotTenure(slot: Slot(masking: 4095), tenure: Tenure(term: 9, owner: member))
        let commit = Self.commit(of: key)
        let fields = [SessionSnapshot.Field(name: "a", value: .bytes([])), .init(name: "n", value: .integer(-1))]
        let snapshot = SessionSnapshot(
            key: key, createdAt: 5, accessedAt: 6, idleSeconds: 7, expiresAt: 9, user: "ann", fields: fields, primary: member.name,
            backup: member.name)
        let synced = SyncedSession(key: key, mirrored: Stamp(rawValue: 3), state: try session())
        return [
            .membership(gossip()[6].encoded), .clock(1_795_000_000_000), .delta(slot, ticket: 5, key, try session(), whole: true),
            .sync(ticket: 6, [SyncChunk(slot: slot, isFirst: true, isLast: false, sessions: [synced])]), .ack(ticket: .max),
            .refuse(slot, ticket: 7, .copyNotWhole),
            .grant([SlotGrant(slot: slot, synced: [member])]), .lead([slot]), .claim([slot.slot]),
            .claimAnswer(nothing: [slot.slot], held: [slot]),
            .forward(id: 1, .commit(key, commit)), .forward(id: 1, .publish(channel: "c", payload: [1, 2])),
            .answer(id: 1, .session(snapshot)), .answer(id: 1, .conflict(fields)),
            .answer(id: 1, .committed(CommitCopies(nodes: 2), counters: fields)),
            .mirrored([MirroredSession(key: key, stamp: Stamp(rawValue: 1))]),
            .message(ChannelMessage(channel: "c", position: ChannelPosition(epoch: 1, offset: 1), payload: [0])),
            .inquire(round: 3, isTakeover: true, [slot]), .inquired(round: 3), .whole([slot.slot]),
            .doubt([SlotDoubt(slot: slot, members: [member.name])]),
            .drop([DroppedSession(slot: slot, key: key)]), .compare(SlotRange(first: slot.slot, last: slot.slot), sum: 1),
            .differs(SlotRange(first: slot.slot, last: slot.slot)), .digests([SlotDigest(slot: slot, digest: 1)]), .stale([slot]),
            .renewed(member.life), .welcomed(member.life),
            .walk(id: 4, .list(user: "ann", after: key), .all), .walk(id: 4, .revoke(user: nil, except: nil), .all),
            .walked(id: 4, .all, [SessionSummary(key: key, createdAt: 1, accessedAt: 2, expiresAt: 3, fields: 4, bytes: 5)], count: 6),
        ]
    }

    private static func commands() -> [ClientCommand] {
        let key = FuzzDecoder.Fixture.session
        var commit = Self.commit(of: key)
        commit.idleSeconds = 60
        return [
            .hello, .authenticate(token: [1, 2, 3]), .request(.ping), .request(.open(cookie: [97])), .request(.read(key)),
            .request(.commit(commit)), .request(.destroy(key, commit.id)), .request(.publish(channel: "c", payload: [1])),
            .request(.list(user: "ann", after: key)), .request(.revoke(user: nil, except: key)), .request(.subscribe(channel: "c")),
            .request(.members), .request(.placement(Slot(masking: 7))),
            .request(.register(service: "web", address: "127.0.0.1:80", weight: 1, cookieName: "sid")),
        ]
    }

    private static func replies() -> [[UInt8]] {
        let view = MeshView(epoch: 1, digest: 2, members: FuzzDecoder.Fixture.others)
        let message = ChannelMessage(channel: "c", position: ChannelPosition(epoch: 1, offset: 1), payload: [0])
        let writers: [(inout [UInt8]) -> Void] = [
            { ClientProtocol.write(.members(view), answering: .members, to: &$0) }, { ClientProtocol.write(message, to: &$0) },
            { ClientProtocol.write(ClientGreeting(version: "1", node: FuzzDecoder.Fixture.local.name), to: &$0) },
            { ClientProtocol.write(.published(message.position), answering: .publish, to: &$0) },
        ]
        return writers.map { write in
            var bytes: [UInt8] = []
            write(&bytes)
            return bytes
        }
    }

    private static func words(_ command: RESPValue) -> [UInt8] {
        guard case .array(let values) = command else { return [] }
        return values.flatMap { value -> [UInt8] in
            guard case .bulk(let word) = value else { return [] }
            return [UInt8(word.count >> 8), UInt8(truncatingIfNeeded: word.count)] + word
        }
    }

    private static func bytes(_ value: RESPValue) -> [UInt8] {
        var bytes: [UInt8] = []
        value.append(to: &bytes)
        return bytes
    }

    private static let requests = [
        "GET /a?b HTTP/1.1\r\nHost: [::1]:80\r\nCookie: a=b; sid=x.1.y\r\nConnection: close, x\r\nX: y\r\n\r\n",
        "POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ]
    private static let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: sid=x\r\n\r\n", "HTTP/1.0 304 \r\nConnection: keep-alive\r\n\r\n",
    ]
}
