// Strict commits.
//
// Two sides of a mesh that is cut in two each have an owner of every slot, for a while or until they meet again; what both changed is merged
// then. A change that must not be made twice, the use of a token say, is made only once more than half of all nodes have said that
// they know of no greater tenure than the owner's. Of two sides one at most has a majority, and whoever says so has heard of a takeover on its own side
// before: it was asked then too. When the sides meet, the one with such a commit must be owner, or the other could make it again before it is
// handed over. So an owner that not everybody has answered raises its tenure first, above any that they may have come to without hearing of it:
// whoever assents to a commit on the other side later is one of the majority that knows of this one.
//
// A cut may fall after that, and before every replica has the commit: one that hasn't takes over and knows nothing of it. So a commit that some
// replica may miss counts only once those within reach, half of all at least, have assented again, to a tenure that was raised without the replica.
// Nobody else is given it before: whoever had it would bring it along when the sides meet. Where they are fewer than half it waits, with what else is
// committed in its slot, until then, and is taken back.

extension AgentCore {
    /// Whether an operation on a slot of ours waits for a majority's word that this agent is its owner. It goes on by ``route(_:)``, or has failed.
    mutating func waitsForAssent(_ number: UInt64, in slot: Slot) -> Bool {
        let tenure = slots[Int(slot.rawValue)].tenure
        guard operations[number]?.assent != tenure else { return false }
        let absent = nodesPerhapsAlive
        guard !hasMajority(1, absent: absent.count) else { return false }
        guard hasMajority(1 + otherNodes.count, absent: absent.count) else {
            let names = absent.map(\.description).joined(separator: ", ")
            let failure = ClientFailure(
                .unavailable, "a strict commit needs more than half of all nodes; out of reach: \(names); try again later")
            counters.unavailableWithoutAssent += 1
            finish(number, .failed(failure))
            return true
        }
        if assents[number]?.tenure != tenure { askForAssent(number, in: slot) }
        return true
    }

    private mutating func askForAssent(_ number: UInt64, in slot: Slot) {
        let tenure = slots[Int(slot.rawValue)].tenure
        assents[number] = Assents(slot: slot, tenure: tenure, askedAt: now.uptime)
        let question = PeerMessage.inquire(round: number, isTakeover: false, [SlotTenure(slot: slot, tenure: tenure)])
        send(question, to: otherNodes.map(\.name))
    }

    /// Asks anew about those that were made and that a replica may miss.
    mutating func askForAssentsAnew() {
        let missed = commits.filter { $0.value.isMissed && isLate($0.value) }
        for (ticket, slot) in missed.map({ ($0.key, $0.value.key.slot) }).sorted(by: { $0.0 < $1.0 }) {
            guard assents[ticket].map({ now.uptime - $0.askedAt >= Self.claimInterval.nanoseconds }) ?? true else { continue }
            askForAssent(ticket, in: slot)
        }
    }

    /// Whether there is one in a slot that nobody else is given before.
    func isToBeAssented(_ slot: Slot) -> Bool {
        slots[Int(slot.rawValue)].pending.contains { ticket in commits[ticket].map { $0.isMissed && isLate($0) } ?? false }
    }

    /// Whether a commit rests on a strict one that waits for that.
    func waitsForAssent(_ ticket: UInt64, of key: SessionKey) -> Bool {
        slots[Int(key.slot.rawValue)].pending.contains { earlier in
            earlier < ticket && commits[earlier].map { $0.key == key && $0.isMissed } ?? false
        }
    }

    /// A node knows of no greater tenure, or has said so before.
    mutating func assented(_ number: UInt64, by name: NodeName) {
        guard assents[number] != nil else { return }
        assents[number]?.names.insert(name)
        goOnWithAssent(number)
    }

    /// Those who have not answered are waited for no longer.
    mutating func goOnWithAssents() {
        for number in assents.keys.sorted() { goOnWithAssent(number) }
    }

    private mutating func goOnWithAssent(_ number: UInt64) {
        guard let given = assents[number] else { return }
        let slot = given.slot
        let absent = nodesPerhapsAlive
        let state = slots[Int(slot.rawValue)]
        let count = 1 + given.names.count
        // Of one that was made already half of all is enough: the others can make none.
        guard state.tenure == given.tenure, let ownership = state.ownership, mayAnswer(for: slot),
            commits[number] == nil ? hasMajority(count, absent: absent.count) : isHalf(count, absent: absent.count)
        else { return }
        let missing = otherNames.union(absent).subtracting(given.names)
        if missing.isSubset(of: ownership.raisedWithout) {
            assents[number] = nil
            if commits[number] == nil {
                operations[number]?.assent = given.tenure
                route(number)
            } else {
                commits[number]?.unheard = []
                plan(slot)
                pumpSyncStreams()
            }
        } else if missing.isDisjoint(with: otherNames) || now.uptime - given.askedAt >= Self.assentPatience.nanoseconds {
            raiseTenure(of: slot, without: missing)
        }
    }

    /// How long all others are waited for once most have assented.
    private static let assentPatience: Duration = .milliseconds(50)
    /// More than takeovers and grants of one slot while its mesh is cut.
    private static let raise: UInt64 = 1 << 20

    /// Makes this agent's tenure greater than any that those who are missing may have come to meanwhile, and asks anew.
    private mutating func raiseTenure(of slot: Slot, without missing: Set<NodeName>) {
        let index = Int(slot.rawValue)
        guard var ownership = slots[index].ownership else { return }
        let tenure = Tenure(term: slots[index].tenure.term + Self.raise, owner: id)
        slots[index].tenure = tenure
        for position in ownership.replicas.indices {
            let replica = ownership.replicas[position]
            switch replica.progress {
            case .synced where hasLink(to: replica.member): lead(replica.member, in: SlotTenure(slot: slot, tenure: tenure))
            case .synced, .queued:
                peers[replica.member.name]?.syncStream.cancel(slot)
                ownership.replicas[position].progress = .unsynced
            case .unsynced, .aside: break
            }
        }
        ownership.raisedWithout = missing
        slots[index].ownership = ownership
        for number in assents.keys.sorted() where assents[number]?.slot == slot { askForAssent(number, in: slot) }
        plan(slot)
        pumpSyncStreams()
    }

    /// Who is back within reach may have heard of a tenure that was raised without it.
    mutating func forgetWhoIsBack() {
        let names = otherNames
        for index in slots.indices {
            guard let raisedWithout = slots[index].ownership?.raisedWithout, !raisedWithout.isDisjoint(with: names) else { continue }
            slots[index].ownership?.raisedWithout = raisedWithout.subtracting(names)
        }
    }

    /// The slot changes hands: its new owner asks anew.
    mutating func abandonAssents(in slot: Slot) {
        for number in assents.keys.sorted() where assents[number]?.slot == slot {
            assents[number] = nil
            park(number)
        }
    }

    private func hasMajority(_ count: Int, absent: Int) -> Bool { 2 * count > 1 + otherNodes.count + absent }
    private func isHalf(_ count: Int, absent: Int) -> Bool { 2 * count >= 1 + otherNodes.count + absent }

    /// Nodes out of reach that may be alive, and may be the greater part: one counts until it left, its process is known to be gone, or it has been
    /// silent for as long as a session may idle.
    private var nodesPerhapsAlive: [NodeName] {
        let latest = now.uptime - configuration.expiry.idle.nanoseconds
        let silent = silent.lazy.filter { $0.since > latest && !gone.contains($0.member.id) }.map(\.member.name)
        // Of newcomers some are in the view a moment before they count as within reach.
        let newcomers = swim.others.lazy.filter { $0.role == .node && isReachable($0.id) && !otherNames.contains($0.name) }.map(\.name)
        return Set(silent).union(newcomers).sorted()
    }
}

/// Who has assented to a strict commit.
struct Assents: Sendable {
    let slot: Slot
    let tenure: Tenure
    /// In uptime nanoseconds.
    let askedAt: Int64
    var names: Set<NodeName> = []
}
