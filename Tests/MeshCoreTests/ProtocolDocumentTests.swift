import Foundation
import Testing

@testable import MeshCore

/// Holds the byte examples and tables of Docs/PROTOCOL.md to the real coders.
@Suite struct ProtocolDocumentTests {
    // MARK: What the examples say

    private static let day: Int64 = 1_767_225_600_000

    private static func id(_ name: String, _ salt: UInt16) throws -> MemberID {
        MemberID(name: try NodeName(name), life: Life(startedAt: day, salt: salt))
    }

    private static func ping() throws -> GossipMessage {
        GossipMessage(
            sender: try id("n1", 1), digest: 0x1122_3344_5566_7788, kind: .ping(number: 7, target: try id("n2", 2)),
            facts: [.claim(try id("n3", 3), incarnation: 4, .suspect, accuser: try NodeName("n1"))])
    }

    private static func testimony() throws -> GossipMessage {
        let word = Testimony(
            subject: try id("n3", 3), incarnation: 4, witness: try NodeName("n1"), number: 9, finding: .silent, pings: 3,
            heardAgo: .milliseconds(1500), roundTrip: .microseconds(250))
        return GossipMessage(
            sender: try id("n1", 1), digest: 0x1122_3344_5566_7788, kind: .gossip,
            facts: [.testimony(word), .survival(try id("n4", 5), of: Life(startedAt: day, salt: 4))])
    }

    private static func state() throws -> GossipMessage {
        let n1 = try id("n1", 1)
        let member = Member(
            id: n1, incarnation: 2, stage: .serving, endpoint: .loopback(port: 7946), weight: 1, tags: ["zone": "a"],
            keys: [KeyMark(number: 1, check: 0x1A2B_3C4D)], cookieKeys: [KeyMark(number: 1, check: 0x5E6F_7A8B)])
        let instance = Instance(node: n1, number: 1, service: "shop", address: "127.0.0.1:3000")
        return GossipMessage(
            sender: n1, digest: 0x1122_3344_5566_7788, kind: .state(isLast: true, asking: true),
            facts: [
                .member(member), .instance(instance, version: 1), .instanceRemoved(node: n1, number: 2, version: 3),
                .roster(node: n1, version: 3, span: 0...UInt32.max, numbers: [1]),
            ])
    }

    /// Sixteen numbers, which add up to the lower half of what is given.
    private static func buckets(of digest: UInt64) -> ViewBuckets {
        var buckets = ViewBuckets()
        buckets.add(digest - 0x5566_7707, of: 15 << 60)
        buckets.add(0x5566_7700, of: 12 << 60)
        buckets.add(7, of: 3 << 60)
        return buckets
    }

    private static func digests() throws -> GossipMessage {
        let digest: UInt64 = 0x1122_3344_5566_7788
        return GossipMessage(sender: try id("n1", 1), digest: digest, kind: .digests(buckets(of: digest)))
    }

    private static func delta() throws -> GossipMessage {
        let digest: UInt64 = 0x1122_3344_5566_7780
        return GossipMessage(
            sender: try id("n2", 2), digest: digest, kind: .delta(asking: buckets(of: digest)), facts: [try state().facts[0]])
    }

    /// `theme` set, `count` raised by one, a user bound.
    private static func session() throws -> SessionState {
        var state = SessionState(createdAt: day)
        let commit = SessionCommit(
            key: nil, id: commit, changes: [.set("theme", Array("\"dark\"".utf8)), .increment("count", by: 1)], user: "ann")
        _ = try state.apply(commit, life: try id("n1", 1).life, wall: day + 1000)
        return state
    }

    private static let commit = CommitID(upper: 0x0011_2233_4455_6677, lower: 0x8899_AABB_CCDD_EEFF)
    private static func key() throws -> SessionKey { try #require(SessionKey(bytes: Array(0..<32))) }

    private static func other() throws -> SessionKey { try #require(SessionKey(bytes: Array(32..<64))) }

    private static func peerMessages() throws -> [String: PeerMessage] {
        let tenure = SlotTenure(slot: Slot(masking: 17), tenure: Tenure(term: 3, owner: try id("n2", 2)))
        let increment = SessionCommit(key: try key(), id: commit, changes: [.increment("count", by: 1)])
        return [
            "claim": .claim([Slot(masking: 17), Slot(masking: 4095)]),
            "grant": .grant([SlotGrant(slot: tenure, synced: [try id("n1", 1)])]),
            "refuse": .refuse(tenure, ticket: 9, .copyNotWhole),
            "inquire": .inquire(round: 7, isTakeover: true, [tenure]),
            "forward": .forward(id: 5, .commit(try key(), increment)),
            "move": .forward(
                id: 6,
                .move(try key(), SessionCommit(key: try key(), id: commit, user: "ann"), to: try other(), draw: 0x0102_0304_0506_0708)),
            "answer": .answer(id: 5, .committed(CommitCopies(nodes: 2), counters: [.init(name: "count", value: .integer(2))])),
        ]
    }

    // MARK: Examples

    @Test func theGossipExamplesDecode() throws {
        for (name, message) in [
            ("gossip ping", try Self.ping()), ("gossip testimony", try Self.testimony()), ("gossip state", try Self.state()),
            ("gossip digests", try Self.digests()), ("gossip delta", try Self.delta()),
        ] {
            let bytes = try Self.example(name, is: message.encoded)
            #expect(try GossipMessage(decoding: bytes) == message)
        }
    }

    @Test func theSealedPacketOpensToTheGossipExample() throws {
        var sender = PacketSealer(ring: try Self.ring(), label: "sessionmesh", sid: 0x0102_0304_0506_0708)
        var receiver = PacketSealer(ring: try Self.ring(), label: "sessionmesh", sid: 9)
        let (from, to, now) = (Endpoint.loopback(port: 7946), Endpoint.loopback(port: 7947), Moment(uptime: 0, wall: 0))
        let packet = try Self.example("packet", is: try present(sender.seal(try Self.ping().encoded, to: to, at: now)))
        let question = try present(try receiver.open(packet, from: from, at: now).reply)
        let answer = try present(try sender.open(question.packet, from: to, at: now).reply)
        let message = try present(try receiver.open(answer.packet, from: from, at: now).payload)
        #expect(try GossipMessage(decoding: message) == Self.ping())
    }

    @Test func theLinkExampleIsWhatTwoMachinesSay() throws {
        func machine(_ role: PeerLinkMachine.Role, _ name: String, _ byte: UInt8, _ port: UInt16) throws -> PeerLinkMachine {
            PeerLinkMachine(
                role: role, ring: try Self.ring(), label: "sessionmesh", nonce: [UInt8](repeating: byte, count: 32),
                local: try Self.id(name, UInt16(byte & 0xF)), endpoint: .loopback(port: port))
        }
        func sent(_ events: [PeerLinkMachine.Event]) -> [UInt8] {
            events.flatMap { if case .send(let bytes) = $0 { bytes } else { [UInt8]() } }
        }
        var initiator = try machine(.initiator, "n1", 0xA1, 7946)
        var acceptor = try machine(.acceptor, "n2", 0xB2, 7947)
        let hello = try Self.example("link 1", is: sent(initiator.start()))
        let answer = try Self.example("link 2", is: sent(try acceptor.receive(hello)))
        let proof = try Self.example("link 3", is: sent(try initiator.receive(answer)))
        #expect(try acceptor.receive(proof) == [.established(peer: try Self.id("n1", 1), endpoint: .loopback(port: 7946))])
        let messages = [PeerMessage.inquired(round: 7).encoded, PeerMessage.ack(ticket: 9).encoded]
        for message in messages { #expect(try initiator.gather(message) == nil) }
        let frame = try Self.example("link 4", is: try present(try initiator.seal()))
        #expect(try acceptor.receive(frame) == messages.map { .message($0) })
    }

    @Test func thePeerMessageExamplesDecode() throws {
        for (name, message) in try Self.peerMessages() {
            let bytes = try Self.example("peer \(name)", is: message.encoded)
            #expect(try PeerMessage(decoding: bytes) == message)
        }
    }

    @Test func theSnapshotExampleDecodes() throws {
        let members = try Self.state().facts.compactMap { if case .member(let member, _) = $0 { member } else { nil } }
        let snapshot = Snapshot(label: "sessionmesh", members: members)
        #expect(try Snapshot(decoding: try Self.example("snapshot", is: snapshot.encoded)) == snapshot)
    }

    @Test func theSessionExampleDecodes() throws {
        var writer = ByteWriter()
        writer.write(try Self.session())
        let bytes = try Self.example("session", is: writer.bytes)
        var reader = ByteReader(bytes)
        #expect(try reader.readSessionState() == Self.session())
        #expect(reader.isAtEnd)
    }

    @Test func theMirrorExampleIsThatSession() throws {
        let record = try Self.session().mirrorRecord(of: try Self.key(), policy: ExpiryPolicy())
        let expected = record.entries.map { "\(Self.hex($0.name)) => \(Self.hex($0.version)) \(Self.hex($0.payload))" }
        let entries = try Self.lines("mirror").map { line -> MirrorEntry in
            let parts = line.split(separator: "=>").map { Self.parse(String($0)) }
            try #require(parts.count == 2)
            return MirrorEntry(name: parts[0], version: Array(parts[1].prefix(16)), payload: Array(parts[1].dropFirst(16)))
        }
        #expect(entries == record.entries, "\(expected.joined(separator: "\n"))")
        let again = try SessionState(MirrorRecord(key: try Self.key(), entries: entries, expiresAt: record.expiresAt))
        #expect(again.visibleFields == (try Self.session().visibleFields))
    }

    // MARK: Tables

    /// Every peer message stands in the table under the tag it is written with. Who adds one is sent here by the switch.
    @Test func everyPeerMessageIsInTheTable() throws {
        let document = try Self.document()
        let tenure = SlotTenure(slot: Slot(masking: 0), tenure: .none)
        let all: [PeerMessage] = [
            .membership([]), .clock(0), .forward(id: 0, .read(try Self.key())), .answer(id: 0, .session(nil)),
            .delta(tenure, ticket: 0, try Self.key(), SessionState(), whole: false), .sync(ticket: 0, []), .ack(ticket: 0),
            .superseded([]), .grant([]), .lead([]), .release([]), .spare([]), .push(ticket: 0, []), .claim([]),
            .claimAnswer(nothing: [], held: []),
            .pull([]), .inquire(round: 0, isTakeover: true, []), .inquired(round: 0), .mirrored([]),
            .refuse(tenure, ticket: 0, .copyNotWhole),
            .message(ChannelMessage(channel: "c", position: ChannelPosition(epoch: 0, offset: 0), payload: [])),
            .walk(id: 0, .revoke(user: nil, except: nil), .all), .walked(id: 0, .all, [], count: 0),
            .whole([]), .doubt([]), .drop([]), .compare(SlotRange(first: tenure.slot, last: tenure.slot), sum: 0),
            .differs(SlotRange(first: tenure.slot, last: tenure.slot)), .digests([]), .stale([]),
            .following(.begins), .events(ticket: 0, isGapped: false, []),
        ]
        for message in all {
            let tag = try #require(message.encoded.first)
            let row = "| \(tag) | \(Self.name(of: message)) |"
            let isThere = document.contains(row)
            #expect(isThere, "no row begins with \(row)")
        }
        #expect(Set(all.map(Self.name)).count == all.count)
    }

    private static func name(of message: PeerMessage) -> String {
        switch message {
        case .membership: "membership"
        case .clock: "clock"
        case .forward: "forward"
        case .answer: "answer"
        case .delta: "delta"
        case .sync: "sync"
        case .ack: "ack"
        case .refuse: "refuse"
        case .superseded: "superseded"
        case .grant: "grant"
        case .lead: "lead"
        case .release: "release"
        case .spare: "spare"
        case .push: "push"
        case .claim: "claim"
        case .claimAnswer: "claim answer"
        case .pull: "pull"
        case .inquire: "inquire"
        case .inquired: "inquired"
        case .mirrored: "mirrored"
        case .message: "message"
        case .renewed: "renewed"
        case .welcomed: "welcomed"
        case .walk: "walk"
        case .walked: "walked"
        case .whole: "whole"
        case .doubt: "doubt"
        case .drop: "drop"
        case .compare: "compare"
        case .differs: "differs"
        case .digests: "digests"
        case .stale: "stale"
        case .following: "following"
        case .events: "events"
        }
    }

    @Test func everyBoundOfTheTablesIsTheCodesOwn() throws {
        let document = try Self.document().replacing("\n", with: " ")
        for claim in [
            "at most \(PacketSealer.packetBytesMax) bytes", "last \(ReplayWindow.width) counters",
            "\(PeerLinkMachine.unprovenFrameBytesMax) bytes before the proof", "\(PeerLinkMachine.messageBytesMax) bytes a message",
            "last \(SessionState.commitAgeMilliseconds / 1000) s, at most \(SessionState.commitsMax)", "\(MirrorRecord.entriesMax) entries",
        ] {
            let isSaid = document.contains(claim)
            #expect(isSaid, "PROTOCOL.md does not say \"\(claim)\"")
        }
    }

    // MARK: Reading the document

    private static func document(file: String = #filePath) throws -> String {
        let path = URL(filePath: file).deletingLastPathComponent().appending(path: "../../Docs/PROTOCOL.md").path
        return try String(contentsOfFile: path, encoding: .utf8)
    }

    /// The lines of the fenced block named `hex NAME`, without what follows a `#`.
    private static func lines(_ name: String) throws -> [String] {
        var found: [String]?
        var isInside = false
        for line in try document().split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isInside = line == "```hex \(name)"
                if isInside { found = [] }
            } else if isInside {
                let bytes = String(line.prefix { $0 != "#" })
                if !bytes.isEmpty { found?.append(bytes) }
            }
        }
        return try #require(found, "PROTOCOL.md has no block \"hex \(name)\"")
    }

    /// The bytes of a block, which must be those that the code writes.
    private static func example(_ name: String, is written: [UInt8]) throws -> [UInt8] {
        let bytes = try lines(name).flatMap(parse)
        let wanted = hex(written)
        #expect(hex(bytes) == wanted, "the block \"hex \(name)\"")
        return written
    }

    private static func parse(_ line: String) -> [UInt8] {
        let digits = line.compactMap { $0.hexDigitValue }
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
    }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }

    private static func ring() throws -> GossipKeyRing {
        try #require(GossipKey(number: 1, secret: Array(0..<32)).flatMap { GossipKeyRing([$0]) })
    }
}
