// The binary form of peer messages: one tag byte, then the fields in order. Docs/PROTOCOL.md has the table.

extension PeerMessage {
    private enum Tag: UInt8 {
        case membership = 1, clock, forward, answer, delta, sync, ack, superseded, grant, lead, release, push, claim, claimAnswer, pull,
            inquire, inquired, mirrored, message, spare, renewed, welcomed, refuse, walk, walked, whole, doubt,
            drop, compare, differs, digests, stale, following, events
    }

    /// No list in a message is longer than there are slots; sessions are cut by bytes long before.
    private static let listMax = Slot.count

    var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 256)
        switch self {
        case .membership(let bytes):
            writer.write(Tag.membership)
            writer.write(long: bytes)
        case .renewed(let life):
            writer.write(Tag.renewed)
            writer.write(life.rawValue)
        case .welcomed(let life):
            writer.write(Tag.welcomed)
            writer.write(life.rawValue)
        case .clock(let wall):
            writer.write(Tag.clock)
            writer.write(UInt64(bitPattern: wall))
        case .forward(let id, let operation):
            writer.write(Tag.forward)
            writer.write(id)
            writer.write(operation)
        case .answer(let id, let result):
            writer.write(Tag.answer)
            writer.write(id)
            writer.write(result)
        case .delta(let slot, let ticket, let key, let state, let whole):
            writer.write(Tag.delta)
            writer.write(slot)
            writer.write(ticket)
            writer.write(key)
            writer.write(UInt8(whole ? 1 : 0))
            writer.write(state)
        case .sync(let ticket, let chunks):
            writer.write(Tag.sync)
            writer.write(ticket)
            writer.write(list: chunks) { writer, chunk in
                writer.write(chunk.slot)
                writer.write(UInt8((chunk.isFirst ? 1 : 0) | (chunk.isLast ? 2 : 0)))
                writer.write(sessions: chunk.sessions)
            }
        case .ack(let ticket):
            writer.write(Tag.ack)
            writer.write(ticket)
        case .refuse(let slot, let ticket, let refusal):
            writer.write(Tag.refuse)
            writer.write(slot)
            writer.write(ticket)
            writer.write(refusal.rawValue)
        case .superseded(let slots):
            writer.write(Tag.superseded)
            writer.write(list: slots) { $0.write($1) }
        case .grant(let slots):
            writer.write(Tag.grant)
            writer.write(list: slots) { writer, grant in
                writer.write(grant.slot)
                writer.write(list: grant.synced) { $0.write($1) }
            }
        case .lead(let slots):
            writer.write(Tag.lead)
            writer.write(list: slots) { $0.write($1) }
        case .release(let slots):
            writer.write(Tag.release)
            writer.write(list: slots) { $0.write($1) }
        case .spare(let slots):
            writer.write(Tag.spare)
            writer.write(list: slots) { $0.write($1) }
        case .push(let ticket, let sessions):
            writer.write(Tag.push)
            writer.write(ticket)
            writer.write(sessions: sessions)
        case .claim(let slots):
            writer.write(Tag.claim)
            writer.write(list: slots) { $0.write($1.rawValue) }
        case .claimAnswer(let nothing, let held):
            writer.write(Tag.claimAnswer)
            writer.write(list: nothing) { $0.write($1.rawValue) }
            writer.write(list: held) { $0.write($1) }
        case .pull(let slots):
            writer.write(Tag.pull)
            writer.write(list: slots) { $0.write($1.rawValue) }
        case .inquire(let round, let isTakeover, let slots):
            writer.write(Tag.inquire)
            writer.write(round)
            writer.write(UInt8(isTakeover ? 1 : 0))
            writer.write(list: slots) { $0.write($1) }
        case .inquired(let round):
            writer.write(Tag.inquired)
            writer.write(round)
        case .whole(let slots):
            writer.write(Tag.whole)
            writer.write(list: slots) { $0.write($1.rawValue) }
        case .doubt(let doubts):
            writer.write(Tag.doubt)
            writer.write(list: doubts) { writer, doubt in
                writer.write(doubt.slot)
                writer.write(list: doubt.members) { $0.write($1) }
            }
        case .drop(let drops):
            writer.write(Tag.drop)
            writer.write(list: drops) { writer, drop in
                writer.write(drop.slot)
                writer.write(drop.key)
            }
        case .compare(let range, let sum):
            writer.write(Tag.compare)
            writer.write(range)
            writer.write(sum)
        case .differs(let range):
            writer.write(Tag.differs)
            writer.write(range)
        case .digests(let digests):
            writer.write(Tag.digests)
            writer.write(list: digests) { writer, item in
                writer.write(item.slot)
                writer.write(item.digest)
            }
        case .stale(let slots):
            writer.write(Tag.stale)
            writer.write(list: slots) { $0.write($1) }
        case .mirrored(let sessions):
            writer.write(Tag.mirrored)
            writer.write(list: sessions) { writer, session in
                writer.write(session.key)
                writer.write(session.stamp.rawValue)
            }
        case .message(let message):
            writer.write(Tag.message)
            writer.write(text: message.channel)
            writer.write(message.position)
            writer.write(long: message.payload)
        case .following(let following):
            writer.write(Tag.following)
            writer.write(following.rawValue)
        case .events(let ticket, let isGapped, let events):
            writer.write(Tag.events)
            writer.write(ticket)
            writer.write(UInt8(isGapped ? 1 : 0))
            writer.write(list: events) { $0.write($1) }
        case .walk(let id, let purpose, let slots):
            writer.write(Tag.walk)
            writer.write(id)
            writer.write(purpose)
            writer.write(slots)
        case .walked(let id, let slots, let found, let count):
            writer.write(Tag.walked)
            writer.write(id)
            writer.write(slots)
            writer.write(list: found) { $0.write($1) }
            writer.write(count)
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ByteReader(bytes)
        guard let tag = Tag(rawValue: try reader.read()) else { throw .unknownValue }
        switch tag {
        case .membership: self = .membership(Array(try reader.readLong(limit: reader.remaining)))
        case .renewed: self = .renewed(Life(rawValue: try reader.read()))
        case .welcomed: self = .welcomed(Life(rawValue: try reader.read()))
        case .clock: self = .clock(try reader.readMilliseconds())
        case .forward: self = .forward(id: try reader.read(), try reader.readOperation())
        case .answer: self = .answer(id: try reader.read(), try reader.readResult())
        case .delta:
            let slot = try reader.readSlotTenure()
            let ticket: UInt64 = try reader.read()
            let key = try reader.readSessionKey()
            let whole = try reader.read(UInt8.self) == 1
            self = .delta(slot, ticket: ticket, key, try reader.readSessionState(), whole: whole)
        case .sync:
            let ticket: UInt64 = try reader.read()
            self = .sync(
                ticket: ticket,
                try reader.readList(itemBytesMin: 15, limit: Self.listMax) { reader throws(WireError) in
                    let slot = try reader.readSlotTenure()
                    let flags: UInt8 = try reader.read()
                    return SyncChunk(
                        slot: slot, isFirst: flags & 1 != 0, isLast: flags & 2 != 0, sessions: try reader.readSessions())
                })
        case .ack: self = .ack(ticket: try reader.read())
        case .refuse:
            let slot = try reader.readSlotTenure()
            let ticket: UInt64 = try reader.read()
            guard let refusal = Refusal(rawValue: try reader.read()) else { throw .unknownValue }
            self = .refuse(slot, ticket: ticket, refusal)
        case .superseded: self = .superseded(try reader.readSlotTenures())
        case .grant:
            self = .grant(
                try reader.readList(itemBytesMin: 15, limit: Self.listMax) { reader throws(WireError) in
                    let slot = try reader.readSlotTenure()
                    let synced = try reader.readList(itemBytesMin: 10, limit: Self.listMax) { reader throws(WireError) in
                        try reader.readMemberID()
                    }
                    return SlotGrant(slot: slot, synced: synced)
                })
        case .lead: self = .lead(try reader.readSlotTenures())
        case .release: self = .release(try reader.readSlotTenures())
        case .spare: self = .spare(try reader.readSlotTenures())
        case .push: self = .push(ticket: try reader.read(), try reader.readSessions())
        case .claim: self = .claim(try reader.readSlots())
        case .claimAnswer:
            let nothing = try reader.readSlots()
            self = .claimAnswer(nothing: nothing, held: try reader.readSlotTenures())
        case .pull: self = .pull(try reader.readSlots())
        case .inquire:
            let round: UInt64 = try reader.read()
            let isTakeover = try reader.read(UInt8.self) == 1
            self = .inquire(round: round, isTakeover: isTakeover, try reader.readSlotTenures())
        case .inquired: self = .inquired(round: try reader.read())
        case .whole: self = .whole(try reader.readSlots())
        case .doubt:
            self = .doubt(
                try reader.readList(itemBytesMin: 13, limit: Self.listMax) { reader throws(WireError) in
                    let slot = try reader.readSlotTenure()
                    let members = try reader.readList(itemBytesMin: 2, limit: SlotDoubt.membersMax) { reader throws(WireError) in
                        try reader.readName()
                    }
                    return SlotDoubt(slot: slot, members: members)
                })
        case .drop:
            self = .drop(
                try reader.readList(itemBytesMin: 11 + SessionKey.byteCount, limit: Self.listMax) { reader throws(WireError) in
                    DroppedSession(slot: try reader.readSlotTenure(), key: try reader.readSessionKey())
                })
        case .compare: self = .compare(try reader.readSlotRange(), sum: try reader.read())
        case .differs: self = .differs(try reader.readSlotRange())
        case .digests:
            self = .digests(
                try reader.readList(itemBytesMin: 19, limit: Self.listMax) { reader throws(WireError) in
                    SlotDigest(slot: try reader.readSlotTenure(), digest: try reader.read())
                })
        case .stale: self = .stale(try reader.readSlotTenures())
        case .mirrored:
            self = .mirrored(
                try reader.readList(itemBytesMin: 40, limit: Self.listMax) { reader throws(WireError) in
                    MirroredSession(key: try reader.readSessionKey(), stamp: Stamp(rawValue: try reader.read()))
                })
        case .message:
            let channel = try reader.readText()
            let position = ChannelPosition(epoch: try reader.read(), offset: try reader.read())
            self = .message(
                ChannelMessage(
                    channel: channel, position: position, payload: Array(try reader.readLong(limit: SessionLimits.messageBytesMax))))
        case .following:
            guard let following = Following(rawValue: try reader.read()) else { throw .unknownValue }
            self = .following(following)
        case .events:
            let ticket: UInt64 = try reader.read()
            let isGapped = try reader.read(UInt8.self) == 1
            let events = try reader.readList(itemBytesMin: SessionKey.byteCount + 9, limit: SessionEvents.messageMax) {
                reader throws(WireError) in try reader.readSessionEvent()
            }
            self = .events(ticket: ticket, isGapped: isGapped, events)
        case .walk: self = .walk(id: try reader.read(), try reader.readWalkPurpose(), try reader.readSlotSet())
        case .walked:
            let id: UInt64 = try reader.read()
            let slots = try reader.readSlotSet()
            let found = try reader.readList(itemBytesMin: 62, limit: SessionPage.sessionsMax) { reader throws(WireError) in
                try reader.readSummary()
            }
            self = .walked(id: id, slots, found, count: try reader.read())
        }
        try reader.finish()
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ tag: some RawRepresentable<UInt8>) { write(tag.rawValue) }

    fileprivate mutating func write<Item>(list: [Item], _ each: (inout ByteWriter, Item) -> Void) {
        write(UInt32(list.count))
        for item in list { each(&self, item) }
    }

    fileprivate mutating func write(_ slot: SlotTenure) {
        write(slot.slot.rawValue)
        write(slot.tenure.term)
        if let owner = slot.tenure.owner {
            write(UInt8(1))
            write(owner)
        } else {
            write(UInt8(0))
        }
    }

    fileprivate mutating func write(sessions: [SyncedSession]) {
        write(list: sessions) { writer, session in
            writer.write(session.key)
            writer.write(session.mirrored.rawValue)
            writer.write(session.state)
        }
    }

    fileprivate mutating func write(_ position: ChannelPosition) {
        write(position.epoch)
        write(position.offset)
    }

    fileprivate mutating func write(_ operation: SessionOperation) {
        switch operation {
        case .read(let key):
            write(UInt8(0))
            write(key)
        case .move(let key, let commit, let successor, let draw):
            write(UInt8(1))
            write(key)
            write(commit)
            write(successor)
            write(draw)
        case .commit(let key, let commit):
            write(UInt8(2))
            write(key)
            write(commit)
        case .create(let key, let commit, let state):
            write(UInt8(3))
            write(key)
            write(commit)
            write(list: state.map { [$0] } ?? []) { $0.write($1) }
        case .destroy(let key, let commit):
            write(UInt8(4))
            write(key)
            write(commit)
        case .publish(let channel, let payload):
            write(UInt8(5))
            write(text: channel)
            write(long: payload)
        case .open(let key):
            write(UInt8(6))
            write(key)
        }
    }

    /// The key and the regenerate flag are left out: the first stands beside it, the second is settled before anything is forwarded.
    fileprivate mutating func write(_ commit: SessionCommit) {
        write(commit.id)
        var flags: UInt8 = commit.makesSession ? 4 : 0
        if commit.user != nil { flags |= 1 }
        if commit.idleSeconds != nil { flags |= 2 }
        if commit.absoluteSeconds != nil { flags |= 8 }
        if let isRolling = commit.isRolling { flags |= isRolling ? 16 : 32 }
        if commit.until != nil { flags |= 64 }
        if commit.isStrict { flags |= 128 }
        write(flags)
        write(commit.acknowledgement.rawValue)
        if let user = commit.user { write(text: user) }
        if let idle = commit.idleSeconds { write(idle) }
        if let absolute = commit.absoluteSeconds { write(absolute) }
        if let until = commit.until { write(UInt64(bitPattern: until)) }
        write(list: commit.changes) { writer, change in
            switch change {
            case .set(let name, let bytes):
                writer.write(UInt8(0))
                writer.write(text: name)
                writer.write(long: bytes)
            case .remove(let name):
                writer.write(UInt8(1))
                writer.write(text: name)
            case .increment(let name, let amount):
                writer.write(UInt8(2))
                writer.write(text: name)
                writer.write(UInt64(bitPattern: amount))
            case .raise(let name, let value):
                writer.write(UInt8(3))
                writer.write(text: name)
                writer.write(UInt64(bitPattern: value))
            case .insert(let name, let element):
                writer.write(UInt8(4))
                writer.write(text: name)
                writer.write(short: element)
            case .erase(let name, let element):
                writer.write(UInt8(5))
                writer.write(text: name)
                writer.write(short: element)
            case .drop(let name, let bytes):
                writer.write(UInt8(6))
                writer.write(text: name)
                writer.write(long: bytes)
            }
        }
        write(list: commit.conditions) { writer, condition in
            switch condition {
            case .holds(let name, let bytes):
                writer.write(UInt8(0))
                writer.write(text: name)
                writer.write(long: bytes)
            case .isAbsent(let name):
                writer.write(UInt8(1))
                writer.write(text: name)
            }
        }
    }

    fileprivate mutating func write(_ result: OperationResult) {
        switch result {
        case .session(let snapshot):
            write(UInt8(0))
            write(list: snapshot.map { [$0] } ?? []) { $0.write($1) }
        case .moved(let successor, let draw, let copies, let counters):
            write(UInt8(1))
            write(successor)
            write(draw)
            write(copies)
            write(fields: counters)
        case .committed(let copies, let counters):
            write(UInt8(2))
            write(copies.nodes)
            write(UInt8(copies.isMirrored ? 1 : 0))
            write(fields: counters)
        case .published(let position):
            write(UInt8(3))
            write(position)
        case .failed(let failure):
            write(UInt8(4))
            write(text: failure.code.rawValue)
            write(long: Array(failure.description.utf8))
        case .elsewhere(let member):
            write(UInt8(5))
            write(list: member.map { [$0] } ?? []) { $0.write($1) }
        case .conflict(let fields):
            write(UInt8(6))
            write(fields: fields)
        }
    }

    fileprivate mutating func write(_ range: SlotRange) {
        write(range.first.rawValue)
        write(range.last.rawValue)
    }

    fileprivate mutating func write(_ purpose: WalkPurpose) {
        switch purpose {
        case .list(let user, let after):
            write(UInt8(0))
            write(text: user)
            write(list: after.map { [$0] } ?? []) { $0.write($1) }
        case .revoke(let user, let except):
            write(UInt8(1))
            write(list: user.map { [$0] } ?? []) { $0.write(text: $1) }
            write(list: except.map { [$0] } ?? []) { $0.write($1) }
        }
    }

    fileprivate mutating func write(_ event: SessionEvent) {
        write(event.key)
        write(UInt64(bitPattern: event.at))
        switch event.kind {
        case .created: write(UInt8(0))
        case .expired: write(UInt8(1))
        case .destroyed: write(UInt8(2))
        case .moved(let successor):
            write(UInt8(3))
            write(successor)
        }
    }

    fileprivate mutating func write(_ summary: SessionSummary) {
        write(summary.key)
        write(UInt64(bitPattern: summary.createdAt))
        write(UInt64(bitPattern: summary.accessedAt))
        write(UInt64(bitPattern: summary.expiresAt))
        write(summary.fields)
        write(summary.bytes)
    }

    fileprivate mutating func write(_ snapshot: SessionSnapshot) {
        write(snapshot.key)
        write(UInt64(bitPattern: snapshot.createdAt))
        write(UInt64(bitPattern: snapshot.accessedAt))
        write(snapshot.idleSeconds)
        write(UInt64(bitPattern: snapshot.expiresAt))
        write(text: snapshot.user)
        write(snapshot.primary)
        write(list: snapshot.backup.map { [$0] } ?? []) { $0.write($1) }
        write(fields: snapshot.fields)
    }

    fileprivate mutating func write(fields: [SessionSnapshot.Field]) {
        write(list: fields) { writer, field in
            writer.write(text: field.name)
            switch field.value {
            case .bytes(let bytes):
                writer.write(UInt8(0))
                writer.write(long: bytes)
            case .integer(let value):
                writer.write(UInt8(1))
                writer.write(UInt64(bitPattern: value))
            case .elements(let elements):
                writer.write(UInt8(2))
                writer.write(list: elements) { $0.write(short: $1) }
            }
        }
    }
}

extension ByteReader {
    fileprivate mutating func readList<Item>(
        itemBytesMin: Int, limit: Int, _ each: (inout ByteReader) throws(WireError) -> Item
    ) throws(WireError) -> [Item] {
        let count = try readCount(itemBytesMin: itemBytesMin, limit: limit)
        var items: [Item] = []
        items.reserveCapacity(count)
        for _ in 0..<count { items.append(try each(&self)) }
        return items
    }

    fileprivate mutating func readOptional<Item>(_ each: (inout ByteReader) throws(WireError) -> Item) throws(WireError) -> Item? {
        try readList(itemBytesMin: 1, limit: 1, each).first
    }

    fileprivate mutating func readSlot() throws(WireError) -> Slot {
        guard let slot = Slot(rawValue: try read()) else { throw .unknownValue }
        return slot
    }

    fileprivate mutating func readSlots() throws(WireError) -> [Slot] {
        try readList(itemBytesMin: 2, limit: Slot.count) { reader throws(WireError) in try reader.readSlot() }
    }

    fileprivate mutating func readSlotTenure() throws(WireError) -> SlotTenure {
        let slot = try readSlot()
        let term: UInt64 = try read()
        let owner = try read(UInt8.self) == 1 ? try readMemberID() : nil
        return SlotTenure(slot: slot, tenure: Tenure(term: term, owner: owner))
    }

    fileprivate mutating func readSlotRange() throws(WireError) -> SlotRange {
        guard let first = Slot(rawValue: try read()), let last = Slot(rawValue: try read()) else { throw .unknownValue }
        return SlotRange(first: first, last: last)
    }

    fileprivate mutating func readSlotTenures() throws(WireError) -> [SlotTenure] {
        try readList(itemBytesMin: 11, limit: Slot.count) { reader throws(WireError) in try reader.readSlotTenure() }
    }

    fileprivate mutating func readSessions() throws(WireError) -> [SyncedSession] {
        try readList(itemBytesMin: SessionKey.byteCount + 8 + SessionState.wireBytesMin, limit: .max) { reader throws(WireError) in
            let key = try reader.readSessionKey()
            let mirrored = Stamp(rawValue: try reader.read())
            return SyncedSession(key: key, mirrored: mirrored, state: try reader.readSessionState())
        }
    }

    fileprivate mutating func readOperation() throws(WireError) -> SessionOperation {
        switch try read(UInt8.self) {
        case 0: return .read(try readSessionKey())
        case 1:
            let key = try readSessionKey()
            let commit = try readCommit(key)
            return .move(key, commit, to: try readSessionKey(), draw: try read())
        case 2:
            let key = try readSessionKey()
            return .commit(key, try readCommit(key))
        case 3:
            let key = try readSessionKey()
            let commit = try readCommit(key)
            return .create(key, commit, try readOptional { reader throws(WireError) in try reader.readSessionState() })
        case 4: return .destroy(try readSessionKey(), try readCommitID())
        case 5:
            let channel = try readText()
            return .publish(channel: channel, payload: Array(try readLong(limit: SessionLimits.messageBytesMax)))
        case 6: return .open(try readSessionKey())
        default: throw .unknownValue
        }
    }

    private mutating func readCommit(_ key: SessionKey) throws(WireError) -> SessionCommit {
        var commit = SessionCommit(key: key, id: try readCommitID())
        let flags: UInt8 = try read()
        guard let level = AcknowledgementLevel(rawValue: try read()) else { throw .unknownValue }
        commit.acknowledgement = level
        commit.isStrict = flags & 128 != 0
        if flags & 1 != 0 { commit.user = try readText() }
        if flags & 2 != 0 { commit.idleSeconds = try read() }
        commit.makesSession = flags & 4 != 0
        if flags & 8 != 0 { commit.absoluteSeconds = try read() }
        commit.isRolling = flags & 48 == 0 ? nil : flags & 16 != 0
        if flags & 64 != 0 { commit.until = try readMilliseconds() }
        commit.changes = try readList(itemBytesMin: 2, limit: SessionLimits.changesMax) { reader throws(WireError) in
            let kind: UInt8 = try reader.read()
            let name = try reader.readText()
            switch kind {
            case 0: return .set(name, Array(try reader.readLong(limit: SessionLimits.fieldBytesMax)))
            case 1: return .remove(name)
            case 2: return .increment(name, by: Int64(bitPattern: try reader.read()))
            case 3: return .raise(name, to: Int64(bitPattern: try reader.read()))
            case 4: return .insert(name, Array(try reader.readShort()))
            case 5: return .erase(name, Array(try reader.readShort()))
            case 6: return .drop(name, Array(try reader.readLong(limit: SessionLimits.fieldBytesMax)))
            default: throw .unknownValue
            }
        }
        commit.conditions = try readList(itemBytesMin: 2, limit: SessionLimits.changesMax) { reader throws(WireError) in
            let kind: UInt8 = try reader.read()
            let name = try reader.readText()
            switch kind {
            case 0: return .holds(name, Array(try reader.readLong(limit: SessionLimits.fieldBytesMax)))
            case 1: return .isAbsent(name)
            default: throw .unknownValue
            }
        }
        return commit
    }

    fileprivate mutating func readResult() throws(WireError) -> OperationResult {
        switch try read(UInt8.self) {
        case 0: return .session(try readOptional { reader throws(WireError) in try reader.readSnapshot() })
        case 1:
            let successor = try readSessionKey()
            let draw: UInt64 = try read()
            let copies: UInt8 = try read()
            return .moved(to: successor, draw: draw, copies: copies, counters: try readFields())
        case 2:
            let nodes: UInt8 = try read()
            let copies = CommitCopies(isMirrored: try read(UInt8.self) == 1, nodes: nodes)
            return .committed(copies, counters: try readFields())
        case 3: return .published(ChannelPosition(epoch: try read(), offset: try read()))
        case 4:
            guard let code = ClientFailure.Code(rawValue: try readText()) else { throw .unknownValue }
            guard let text = String(validating: try readLong(limit: 1024), as: UTF8.self) else { throw .malformedText }
            return .failed(ClientFailure(code, text))
        case 5: return .elsewhere(try readOptional { reader throws(WireError) in try reader.readMemberID() })
        case 6: return .conflict(try readFields())
        default: throw .unknownValue
        }
    }

    fileprivate mutating func readWalkPurpose() throws(WireError) -> WalkPurpose {
        let kind: UInt8 = try read()
        switch kind {
        case 0: return .list(user: try readText(), after: try readOptional { reader throws(WireError) in try reader.readSessionKey() })
        case 1:
            let user = try readOptional { reader throws(WireError) in try reader.readText() }
            return .revoke(user: user, except: try readOptional { reader throws(WireError) in try reader.readSessionKey() })
        default: throw .unknownValue
        }
    }

    fileprivate mutating func readSessionEvent() throws(WireError) -> SessionEvent {
        let key = try readSessionKey()
        let at = try readMilliseconds()
        let kind: SessionEvent.Kind =
            switch try read(UInt8.self) {
            case 0: .created
            case 1: .expired
            case 2: .destroyed
            case 3: .moved(to: try readSessionKey())
            default: throw .unknownValue
            }
        return SessionEvent(key: key, kind: kind, at: at)
    }

    fileprivate mutating func readSummary() throws(WireError) -> SessionSummary {
        SessionSummary(
            key: try readSessionKey(), createdAt: try readMilliseconds(), accessedAt: try readMilliseconds(),
            expiresAt: Int64(bitPattern: try read()), fields: try read(), bytes: try read())
    }

    private mutating func readSnapshot() throws(WireError) -> SessionSnapshot {
        let key = try readSessionKey()
        let created = try readMilliseconds()
        let accessed = try readMilliseconds()
        let idle: UInt32 = try read()
        let expires = Int64(bitPattern: try read())
        let user = try readText()
        let primary = try readName()
        let backup = try readOptional { reader throws(WireError) in try reader.readName() }
        return SessionSnapshot(
            key: key, createdAt: created, accessedAt: accessed, idleSeconds: idle, expiresAt: expires, user: user, fields: try readFields(),
            primary: primary, backup: backup)
    }

    private mutating func readFields() throws(WireError) -> [SessionSnapshot.Field] {
        try readList(itemBytesMin: 2, limit: SessionState.fieldsWireMax) { reader throws(WireError) in
            let name = try reader.readText()
            switch try reader.read(UInt8.self) {
            case 0: return .init(name: name, value: .bytes(Array(try reader.readLong(limit: SessionLimits.fieldBytesMax))))
            case 1: return .init(name: name, value: .integer(Int64(bitPattern: try reader.read())))
            case 2:
                let elements = try reader.readList(itemBytesMin: 1, limit: ElementSet.presentMax) { reader throws(WireError) in
                    Array(try reader.readShort())
                }
                return .init(name: name, value: .elements(elements))
            default: throw .unknownValue
            }
        }
    }
}
