// Second copies: what an owner sends and what a replica does with it.

/// Whole slots on their way to one peer. A few messages are under way at a time, so that a slow peer holds up nobody's memory.
struct SyncStream: Sendable {
    private(set) var waiting: [Slot] = []
    /// The slot that was cut off at a message's end, and what is left of it, last key first.
    var unfinished: (slot: SlotTenure, keys: [SessionKey])?
    /// Slots that are whole once their ticket is acknowledged.
    var finishing: [UInt64: [SlotTenure]] = [:]

    /// About one socket buffer; a message is never held up behind more than this much of another.
    static let messageBytes = 48 * 1024
    static let messagesInFlightMax = 4
    /// When a peer that joins may be sent the next message, in uptime nanoseconds.
    var nextAt = Int64.min
    /// From one message to a peer that joins to the next: 8 MiB a second from each owner. There are two copies without it, and who asks for
    /// sessions meanwhile comes first.
    static let pause: Duration = .milliseconds(6)

    mutating func enqueue(_ slot: Slot) {
        waiting.append(slot)
    }

    /// The peer is no replica of the slot any more. Should it be one again, it is synced from the beginning.
    mutating func cancel(_ slot: Slot) {
        waiting.removeAll { $0 == slot }
        if unfinished?.slot.slot == slot { unfinished = nil }
        for ticket in finishing.keys { finishing[ticket]?.removeAll { $0.slot == slot } }
    }

    mutating func next() -> Slot? {
        waiting.isEmpty ? nil : waiting.removeFirst()
    }

    var hasMore: Bool { unfinished != nil || !waiting.isEmpty }
}

extension AgentCore {
    // MARK: The owner's side

    /// Sends a change to every replica and gives those whose word is waited for: the synced ones and whoever stands aside, or, when none is synced,
    /// all that could be reached with the whole session.
    mutating func replicate(_ delta: SessionState, of key: SessionKey, ticket: UInt64) -> [MemberID] {
        let index = Int(key.slot.rawValue)
        guard let replicas = slots[index].ownership?.replicas else { return [] }
        let slot = SlotTenure(slot: key.slot, tenure: slots[index].tenure)
        var awaited: [MemberID] = []
        var others: [MemberID] = []
        var isAnySynced = false
        for (position, replica) in replicas.enumerated() {
            let isSynced = replica.progress == .synced
            guard let sent = isSynced ? delta : slots[index].sessions[key]?.state else { continue }
            guard send(.delta(slot, ticket: ticket, key, sent, whole: !isSynced), to: replica.member) else {
                if replica.progress != .aside { slots[index].ownership?.replicas[position].progress = .unsynced }
                continue
            }
            if isSynced { isAnySynced = true }
            if isSynced || replica.progress == .aside { awaited.append(replica.member) } else { others.append(replica.member) }
        }
        return isAnySynced ? awaited : awaited + others
    }

    /// Sends replicas the whole of a session that came by another way than a commit, and sees to it that it arrives.
    ///
    /// - Parameter isPromised: whether nobody else has it any more: then it stays, though another turn out to be owner.
    mutating func tellReplicas(of key: SessionKey, before: SessionState?, isPromised: Bool = true) {
        guard let state = slots[Int(key.slot.rawValue)].sessions[key]?.state else { return }
        hold(nil, key, nil, state, former: before.map { .session($0) } ?? .none, counters: [], isPromised: isPromised)
    }

    mutating func pumpSyncStreams() {
        for name in peers.lazy.filter({ $0.value.syncStream.hasMore }).map(\.key).sorted() {
            let isPaced = table.candidates.count > 1 && swim.member(named: name)?.stage == .syncing
            while let stream = peers[name]?.syncStream, stream.hasMore, stream.finishing.count < SyncStream.messagesInFlightMax {
                guard !isPaced || stream.nextAt <= now.uptime else {
                    setSyncTimer()
                    break
                }
                guard sendSync(to: name) else { break }
                if isPaced { peers[name]?.syncStream.nextAt = now.uptime + SyncStream.pause.nanoseconds }
            }
        }
    }

    private mutating func setSyncTimer() {
        guard !isSyncTimed else { return }
        isSyncTimed = true
        directives.append(.timer(.sync, after: SyncStream.pause))
    }

    mutating func goOnSyncing() {
        isSyncTimed = false
        pumpSyncStreams()
    }

    /// Sends one message's worth of slots. False when nothing was left to send.
    private mutating func sendSync(to name: NodeName) -> Bool {
        guard var stream = peers[name]?.syncStream else { return false }
        var chunks: [SyncChunk] = []
        var finished: [SlotTenure] = []
        var bytes = 0
        while bytes < SyncStream.messageBytes {
            let slot: Slot
            var keys: [SessionKey]
            let isFirst: Bool
            if let unfinished = stream.unfinished {
                (slot, keys, isFirst) = (unfinished.slot.slot, unfinished.keys, false)
                stream.unfinished = nil
                // Begun in another tenure, it is in the queue again.
                guard slots[Int(slot.rawValue)].tenure == unfinished.slot.tenure else { continue }
            } else if let next = stream.next() {
                (slot, keys, isFirst) = (next, slots[Int(next.rawValue)].sortedKeys.reversed(), true)
            } else {
                break
            }
            let state = slots[Int(slot.rawValue)]
            guard state.ownership?.replicas.contains(where: { $0.member.name == name && $0.progress == .queued }) ?? false else { continue }
            var sessions: [SyncedSession] = []
            while bytes < SyncStream.messageBytes, let key = keys.popLast() {
                guard let entry = state.sessions[key] else { continue }
                sessions.append(SyncedSession(key: key, mirrored: entry.mirrored, state: entry.state))
                bytes += entry.state.byteCount
            }
            let tenure = SlotTenure(slot: slot, tenure: state.tenure)
            chunks.append(SyncChunk(slot: tenure, isFirst: isFirst, isLast: keys.isEmpty, sessions: sessions))
            bytes += SyncChunk.byteCountEmpty
            if keys.isEmpty { finished.append(tenure) } else { stream.unfinished = (tenure, keys) }
        }
        guard !chunks.isEmpty else {
            peers[name]?.syncStream = stream
            return false
        }
        let ticket = nextNumber()
        stream.finishing[ticket] = finished
        peers[name]?.syncStream = stream
        counters.slotsSynced += UInt64(finished.count)
        counters.sessionsSynced += UInt64(chunks.reduce(0) { $0 + $1.sessions.count })
        send(.sync(ticket: ticket, chunks), to: name)
        peers[name]?.askedAt = now.uptime
        return true
    }

    mutating func acknowledged(_ ticket: UInt64, by peer: MemberID) {
        if let finished = peers[peer.name]?.syncStream.finishing.removeValue(forKey: ticket) {
            for slot in finished { replicaSynced(peer, slot) }
            pumpSyncStreams()
        } else if !leftoverTaken(ticket), !eventsTaken(ticket, by: peer.name) {
            settle(ticket, heldBy: peer)
        }
    }

    /// A copy is not whole after all. It is brought up anew, and what waited for its word waits for the next best.
    mutating func refused(_ slot: SlotTenure, _ ticket: UInt64, by peer: MemberID) {
        guard slots[Int(slot.slot.rawValue)].tenure == slot.tenure else { return }
        commits[ticket]?.waiting.removeAll { $0 == peer }
        // One that is queued already refused an earlier change as well.
        if !bringUpAnew(slot, peer) { plan(slot.slot) }
        pumpSyncStreams()
    }

    /// A copy that was taken for whole is none. False when it isn't taken for that.
    mutating func bringUpAnew(_ slot: SlotTenure, _ peer: MemberID) -> Bool {
        let index = Int(slot.slot.rawValue)
        guard slots[index].tenure == slot.tenure, var ownership = slots[index].ownership,
            let position = ownership.replicas.firstIndex(where: { $0.member == peer && $0.progress == .synced })
        else { return false }
        ownership.replicas[position].progress = .unsynced
        slots[index].ownership = ownership
        plan(slot.slot)
        return true
    }

    private mutating func replicaSynced(_ replica: MemberID, _ synced: SlotTenure) {
        let index = Int(synced.slot.rawValue)
        guard slots[index].tenure == synced.tenure, var ownership = slots[index].ownership,
            let position = ownership.replicas.firstIndex(where: { $0.member == replica && $0.progress == .queued })
        else { return }
        ownership.replicas[position].progress = .synced
        slots[index].ownership = ownership
        if slots[index].doubt != nil { tellDoubt(of: synced.slot, to: replica.name) }
        plan(synced.slot)
    }

    /// The link to a replica broke. A synced copy stays one until something is written that it misses; a sync under way starts over.
    mutating func replicaLost(_ name: NodeName) {
        peers[name]?.syncStream = SyncStream()
        for slot in Slot.all {
            let index = Int(slot.rawValue)
            guard var ownership = slots[index].ownership,
                let position = ownership.replicas.firstIndex(where: { $0.member.name == name })
            else { continue }
            let member = ownership.replicas[position].member
            for ticket in slots[index].pending where ownership.replicas[position].progress == .aside {
                commits[ticket]?.waiting.removeAll { $0 == member }
            }
            guard ownership.replicas[position].progress != .aside else {
                slots[index].ownership?.replicas.remove(at: position)
                continue
            }
            let missesWrites = slots[index].pending.contains { commits[$0]?.waiting.contains(member) ?? false }
            if ownership.replicas[position].progress == .queued || missesWrites {
                ownership.replicas[position].progress = .unsynced
                slots[index].ownership = ownership
            }
            for ticket in slots[index].pending { commits[ticket]?.waiting.removeAll { $0 == member } }
        }
    }

    // MARK: The replica's side

    mutating func receiveDelta(
        _ slot: SlotTenure, ticket: UInt64, _ key: SessionKey, _ delta: SessionState, whole: Bool, from peer: MemberID
    ) {
        comesInOrder(ticket, from: peer)
        guard follow(slot, peer) else { return }
        let index = Int(slot.slot.rawValue)
        guard key.slot == slot.slot, case .replica(var replica) = slots[index].part else { return }
        if whole {
            let mirrored = slots[index].sessions[key]?.mirrored ?? .zero
            take(SyncedSession(key: key, mirrored: mirrored, state: delta), isKnown: replica.knows(key))
            if !replica.isSynced {
                replica.mentioned.insert(key)
                slots[index].part = .replica(replica)
            }
        } else if replica.isSynced {
            merge(SyncedSession(key: key, mirrored: .zero, state: delta))
        } else {
            // The owner takes this copy for whole and is mistaken. To believe it would make an empty copy count.
            send(.refuse(slot, ticket: ticket, .copyNotWhole), to: peer.name)
            return
        }
        if ticket != 0 { send(.ack(ticket: ticket), to: peer.name) }
    }

    mutating func receiveSync(ticket: UInt64, _ chunks: [SyncChunk], from peer: MemberID) {
        // What was said since is missing in it. Its owner has begun it anew over the link that it uses now.
        guard comesInOrder(ticket, from: peer) else { return }
        for chunk in chunks {
            guard follow(chunk.slot, peer) else { continue }
            let index = Int(chunk.slot.slot.rawValue)
            if chunk.isFirst { becomeReplica(of: chunk.slot.slot) }
            guard case .replica(var replica) = slots[index].part else { continue }
            for session in chunk.sessions where session.key.slot == chunk.slot.slot {
                take(session, isKnown: replica.knows(session.key))
                replica.mentioned.insert(session.key)
            }
            if chunk.isLast {
                for key in slots[index].sortedKeys where !replica.mentioned.contains(key) {
                    slots[index].sessions[key] = nil
                }
                replica = .init(isSynced: true)
            }
            slots[index].part = .replica(replica)
        }
        send(.ack(ticket: ticket), to: peer.name)
    }

    /// Accepts `peer` as owner of the slot, or tells it who is.
    private mutating func follow(_ slot: SlotTenure, _ peer: MemberID) -> Bool {
        guard configuration.role == .node else { return false }
        let index = Int(slot.slot.rawValue)
        guard slot.tenure.owner == peer, heard(slot) else {
            send(.superseded([SlotTenure(slot: slot.slot, tenure: slots[index].tenure)]), to: peer.name)
            return false
        }
        if case .replica = slots[index].part { return true }
        becomeReplica(of: slot.slot)
        return true
    }

    /// False for what a later message has overtaken, over another link.
    @discardableResult
    private mutating func comesInOrder(_ ticket: UInt64, from peer: MemberID) -> Bool {
        let last = peers[peer.name]?.lastTicket ?? 0
        peers[peer.name]?.lastTicket = max(last, ticket)
        return ticket >= last
    }

    private mutating func becomeReplica(of slot: Slot) {
        slots[Int(slot.rawValue)].part = .replica(.init(isSynced: false))
        slots[Int(slot.rawValue)].wasWhole = false
        setDoubt(slot, nil)
    }

    /// The owner let go of sessions that expired.
    mutating func receiveDrops(_ drops: [DroppedSession], from peer: MemberID) {
        for drop in drops where drop.slot.tenure.owner == peer && drop.key.slot == drop.slot.slot && heard(drop.slot) {
            guard case .replica = slots[Int(drop.slot.slot.rawValue)].part else { continue }
            remove(drop.key)
        }
    }

    // MARK: Entries

    /// Takes what an owner has of a session in the place of what was held, or with it if that is of the same tenure.
    private mutating func take(_ session: SyncedSession, isKnown: Bool) {
        let index = Int(session.key.slot.rawValue)
        guard isKnown, let held = slots[index].sessions[session.key] else {
            return put(session.key, session.state, mirrored: session.mirrored)
        }
        merge(session)
        slots[index].sessions[session.key]?.mirrored = max(held.mirrored, session.mirrored)
    }

    /// Replaces what is held of a session.
    private mutating func put(_ key: SessionKey, _ state: SessionState, mirrored: Stamp) {
        let index = Int(key.slot.rawValue)
        let former = slots[index].sessions.updateValue(SessionEntry(state: state, mirrored: mirrored), forKey: key)
        if former == nil { memory.add(state, in: key.slot) }
    }

    /// Merges into what is held of a session.
    mutating func merge(_ session: SyncedSession) {
        let index = Int(session.key.slot.rawValue)
        if slots[index].sessions[session.key] == nil {
            put(session.key, session.state, mirrored: session.mirrored)
        } else {
            slots[index].sessions[session.key]?.state.merge(session.state)
        }
        if slots[index].isOwner { markDirty(session.key) }
    }
}

extension SyncChunk {
    /// What a chunk costs besides its sessions, about.
    static let byteCountEmpty = 48
}

extension SessionState {
    /// About what the session takes in a message.
    var byteCount: Int { 48 + commits.count * 24 + fields.bytes.count }
}
