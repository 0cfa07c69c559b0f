// Copies that should be equal, compared.
//
// What an owner sends a synced copy arrives in its order or not at all: at any place in that stream both hold the same. So now and then an owner says
// what it holds at that place. First one sum over many slots, so that a quiet mesh says next to nothing; where that differs, a digest of each. A copy
// that differs, by whatever fault, is brought up anew. After Demers and others, "Epidemic algorithms for replicated database maintenance", PODC 1987.

struct AntiEntropy: Sendable {
    /// Whose copies were compared last, or are being compared when `slot` is not the first.
    var peer: NodeName?
    /// Where to go on.
    var slot = 0
    var dueAt = Int64.min
    /// Copies of slots that differed, since the start.
    var staleCopies: UInt64 = 0

    /// From one peer's copies to the next one's.
    static let interval: Duration = .seconds(6)
    /// Sessions whose digest is taken at once, some milliseconds' worth; the rest of a peer's slots have their turn a second later.
    static let sessionsMax = 4096
    /// So many digests fit a message of a link, even with the longest names.
    static let digestsMax = 256
}

/// Digest of all sessions of a slot, as owner and copies hold them under that tenure.
struct SlotDigest: Hashable, Sendable {
    var slot: SlotTenure
    var digest: UInt64
}

extension AgentCore {
    // MARK: The owner's side

    /// Says to the next peer what is held here of the slots that it has synced copies of.
    mutating func compareCopies() {
        guard now.uptime >= antiEntropy.dueAt else { return }
        let names = peers.keys.filter { hasLink(to: $0) }.sorted()
        if antiEntropy.slot > 0, let peer = antiEntropy.peer, names.contains(peer) {
            _ = compareCopies(of: peer, from: antiEntropy.slot)
            return
        }
        let start = names.firstIndex { name in antiEntropy.peer.map { $0 < name } ?? true } ?? 0
        for name in names[start...] + names[..<start] where compareCopies(of: name, from: 0) { return }
    }

    /// False when it has none, and nothing was said.
    private mutating func compareCopies(of name: NodeName, from first: Int) -> Bool {
        var sum: UInt64 = 0
        var (index, taken, isAny) = (first, 0, false)
        while index < Slot.count, taken < AntiEntropy.sessionsMax {
            if hasSyncedCopy(name, of: index) {
                isAny = true
                taken += slots[index].isDigestKnown ? 0 : slots[index].sessions.count
                sum &+= slots[index].digest(in: Slot.all[index])
            }
            index += 1
        }
        let isDone = index == Slot.count
        guard isAny || first > 0 else { return false }
        antiEntropy.peer = name
        antiEntropy.slot = isDone ? 0 : index
        antiEntropy.dueAt = now.uptime + (isDone ? AntiEntropy.interval.nanoseconds : 0)
        send(.compare(SlotRange(first: Slot.all[first], last: Slot.all[index - 1]), sum: sum), to: name)
        return true
    }

    private func hasSyncedCopy(_ name: NodeName, of index: Int) -> Bool {
        guard case .owner(let ownership) = slots[index].part, ownership.inquiry == nil else { return false }
        return ownership.replicas.contains { $0.member.name == name && $0.progress == .synced }
    }

    /// The sum was not the same: which slots are it?
    mutating func sendDigests(of range: SlotRange, to name: NodeName) {
        var digests: [SlotDigest] = []
        for index in range.indices where hasSyncedCopy(name, of: index) {
            let slot = SlotTenure(slot: Slot.all[index], tenure: slots[index].tenure)
            digests.append(SlotDigest(slot: slot, digest: slots[index].digest(in: slot.slot)))
            if digests.count == AntiEntropy.digestsMax {
                send(.digests(digests), to: name)
                digests = []
            }
        }
        if !digests.isEmpty { send(.digests(digests), to: name) }
    }

    /// These copies are not what they should be.
    mutating func receiveStale(_ stale: [SlotTenure], from peer: MemberID) {
        for slot in stale where bringUpAnew(slot, peer) { antiEntropy.staleCopies += 1 }
        pumpSyncStreams()
    }

    // MARK: The copy's side

    mutating func receiveSum(_ sum: UInt64, of range: SlotRange, from peer: MemberID) {
        var own: UInt64 = 0
        for index in range.indices where slots[index].isSyncedReplica && slots[index].tenure.owner == peer {
            own &+= slots[index].digest(in: Slot.all[index])
        }
        if own != sum { send(.differs(range), to: peer.name) }
    }

    mutating func receiveDigests(_ digests: [SlotDigest], from peer: MemberID) {
        var stale: [SlotTenure] = []
        for item in digests where item.slot.tenure.owner == peer && heard(item.slot) {
            let index = Int(item.slot.slot.rawValue)
            if !slots[index].isSyncedReplica || slots[index].digest(in: item.slot.slot) != item.digest { stale.append(item.slot) }
        }
        if !stale.isEmpty { send(.stale(stale), to: peer.name) }
    }
}

extension SlotState {
    var isDigestKnown: Bool { keptDigest != nil }

    /// Of all that copies must agree on; the order of sessions doesn't count. Kept until one of them changes.
    mutating func digest(in slot: Slot) -> UInt64 {
        if let keptDigest { return keptDigest }
        var sum = Mix.finish(UInt64(slot.rawValue) &+ 1)
        var writer = ByteWriter(reserving: 512)
        for (key, entry) in sessions {
            writer.removeAll(keepingCapacityOf: 512)
            writer.write(key)
            entry.state.writeLasting(to: &writer)
            sum &+= Mix.hash(writer.bytes)
        }
        keptDigest = sum
        return sum
    }
}

extension SessionState {
    var digest: UInt64 {
        var writer = ByteWriter()
        writeLasting(to: &writer)
        return Mix.hash(writer.bytes)
    }

    /// What copies must agree on: not marks, nor what is kept for a while of a session that ended, which each holder forgets by its own clock.
    fileprivate func writeLasting(to writer: inout ByteWriter) {
        writer.write(created.rawValue)
        writer.write(UInt64(bitPattern: accessedAt))
        writer.write(latest.rawValue)
        writer.write(destroyed?.rawValue ?? 0)
        if !isDestroyed { writer.write(fields) }
    }
}
