import Testing

@testable import MeshCore

@Suite struct PeerMessageTests {
    /// Every case, and every case of what is inside.
    static func samples() throws -> [PeerMessage] {
        var chance = RandomSessions(seed: 9)
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 0xA5, count: 32)))
        let member = MemberID(name: try NodeName("n2"), life: Life(rawValue: 77))
        let slot = SlotTenure(slot: Slot(masking: 4095), tenure: Tenure(term: 9, owner: member))
        let unowned = SlotTenure(slot: Slot(masking: 0), tenure: .none)
        let smallest = SyncedSession(key: key, mirrored: .zero, state: SessionState())
        let synced = SyncedSession(key: key, mirrored: Stamp(rawValue: 3), state: chance.session())
        var commit = SessionCommit(
            key: key, id: CommitID(upper: 1, lower: 2),
            changes: [
                .set("a", [1]), .remove("b"), .increment("n", by: -4), .raise("m", to: -1), .insert("s", [1]), .erase("s", []),
                .drop("a", [2]),
            ],
            conditions: [.holds("a", [1]), .isAbsent("b")], makesSession: true)
        commit.user = "ann"
        commit.idleSeconds = 9
        commit.absoluteSeconds = 10
        commit.isRolling = false
        commit.until = 11
        let fields = [
            SessionSnapshot.Field(name: "a", value: .bytes([])), .init(name: "n", value: .integer(-1)),
            .init(name: "s", value: .elements([[1], [2, 3]])),
        ]
        let snapshot = SessionSnapshot(
            key: key, createdAt: 5, accessedAt: 6, idleSeconds: 7, expiresAt: 9, user: "ann", fields: fields, primary: member.name,
            backup: member.name)
        let operations: [SessionOperation] = [
            .open(key), .read(key), .move(key, commit, to: key, draw: 5), .commit(key, commit), .create(key, commit, nil),
            .create(key, commit, chance.session()),
            .destroy(key, commit.id), .publish(channel: "c", payload: [1, 2]),
        ]
        let results: [OperationResult] = [
            .session(nil), .session(snapshot), .moved(to: key, draw: 6, copies: 2, counters: fields),
            .committed(CommitCopies(nodes: 2), counters: fields),
            .published(ChannelPosition(epoch: 1, offset: 2)), .failed(ClientFailure(.unavailable, "try again")), .elsewhere(nil),
            .elsewhere(member), .conflict(fields),
        ]
        let grant = SlotGrant(slot: slot, synced: [member])
        return [
            .membership([1, 2, 3]), .renewed(member.life), .welcomed(member.life), .clock(1_795_000_000_000),
            .delta(slot, ticket: 5, key, chance.session(), whole: true),
            .sync(ticket: 6, [SyncChunk(slot: slot, isFirst: true, isLast: false, sessions: [synced, synced])]), .ack(ticket: .max),
            .refuse(slot, ticket: 7, .copyNotWhole),
            .superseded([slot, unowned]), .grant([grant]), .lead([slot]), .release([unowned]), .spare([slot]),
            .push(ticket: 8, [synced]), .push(ticket: 0, [smallest]), .claim([Slot(masking: 1)]),
            .claimAnswer(nothing: [Slot(masking: 2)], held: [slot]), .pull([]),
            .inquire(round: 3, isTakeover: true, [slot]), .inquired(round: 3), .whole([Slot(masking: 3)]),
            .doubt([SlotDoubt(slot: slot, members: [member.name]), SlotDoubt(slot: slot, members: [])]),
            .drop([DroppedSession(slot: slot, key: key)]),
            .compare(SlotRange(first: Slot(masking: 1), last: Slot(masking: 4095)), sum: .max),
            .differs(SlotRange(first: Slot(masking: 0), last: Slot(masking: 9))), .digests([SlotDigest(slot: slot, digest: 7)]),
            .stale([slot]),
            .walk(id: 4, .list(user: "ann", after: nil), .all), .walk(id: 4, .list(user: "ann", after: key), SlotSet()),
            .walk(id: 4, .revoke(user: "ann", except: key), .all), .walk(id: 4, .revoke(user: nil, except: nil), .all),
            .walked(id: 4, .all, [SessionSummary(key: key, createdAt: 1, accessedAt: 2, expiresAt: 3, fields: 4, bytes: 5)], count: 6),
            .following(.begins), .following(.ended), .events(ticket: 5, isGapped: true, []),
            .events(
                ticket: 6, isGapped: false,
                [
                    SessionEvent(key: key, kind: .created, at: 1), SessionEvent(key: key, kind: .expired, at: 2),
                    SessionEvent(key: key, kind: .destroyed, at: 3), SessionEvent(key: key, kind: .moved(to: key), at: 4),
                ]),
            .mirrored([MirroredSession(key: key, stamp: Stamp(rawValue: 1))]),
            .message(ChannelMessage(channel: "c", position: ChannelPosition(epoch: 1, offset: 1), payload: [0])),
        ] + operations.map { .forward(id: 1, $0) } + results.map { .answer(id: 1, $0) }
    }

    @Test func everyMessageComesBackFromTheWire() throws {
        let samples = try Self.samples()
        for message in samples { #expect(try PeerMessage(decoding: message.encoded) == message) }
        #expect(Set(samples.compactMap(\.encoded.first)) == Set(1...34))
    }

    @Test func everySessionComesBackFromTheWire() throws {
        var chance = RandomSessions(seed: 10)
        for _ in 0..<500 {
            let state = chance.session()
            var writer = ByteWriter()
            writer.write(state)
            var reader = ByteReader(writer.bytes)
            #expect(try reader.readSessionState() == state)
            #expect(reader.isAtEnd)
        }
    }

    @Test func aMessageThatIsCutOffOrGoesOnIsRefused() throws {
        for message in try Self.samples() {
            let bytes = message.encoded
            for count in 0..<bytes.count { #expect(throws: WireError.self) { try PeerMessage(decoding: Array(bytes[..<count])) } }
            #expect(throws: WireError.self) { try PeerMessage(decoding: bytes + [0]) }
        }
    }

    @Test func aHundredThousandMessagesOfJunkAreUnderstoodOrRefusedAndWhatIsUnderstoodCanBeWrittenAgain() throws {
        var generator = SeededGenerator(seed: 11)
        let samples = try Self.samples().map(\.encoded)
        for round in 0..<100_000 {
            var bytes: [UInt8]
            if round.isMultiple(of: 2) {
                bytes = samples[round / 2 % samples.count]
                for _ in 0...round % 3 {
                    bytes[Int.random(in: bytes.indices, using: &generator)] ^= 1 << UInt8.random(in: 0...7, using: &generator)
                }
            } else {
                bytes = [UInt8.random(in: 0...32, using: &generator)]
                for _ in 0..<round % 48 { bytes.append(UInt8.random(in: 0...255, using: &generator)) }
            }
            guard let message = try? PeerMessage(decoding: bytes) else { continue }
            #expect(message.encoded.count <= bytes.count)
        }
    }

    @Test func aLengthThatIsNotThereTakesNoMemory() {
        // Four thousand million of whatever it is, in a message of nine bytes.
        for tag in 1...23 as ClosedRange<UInt8> {
            #expect(throws: WireError.self) { try PeerMessage(decoding: [tag] + [UInt8](repeating: 0xFF, count: 40)) }
        }
    }
}
