// Strict commits.
//
// Two sides of a mesh that is cut in two each have an owner of every slot, for a while or until they meet again; what both changed is merged
// then. A change that must not be made twice, the use of a token say, is made only once more than half of all nodes have said that
// they know of no greater tenure than the owner's. Of two sides one at most has a majority, and whoever says so has heard of a takeover on its own side
// before: it was asked then too.

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
        if assents[number]?.tenure != tenure {
            assents[number] = Assents(tenure: tenure)
            let question = PeerMessage.inquire(round: number, isTakeover: false, [SlotTenure(slot: slot, tenure: tenure)])
            send(question, to: otherNodes.map(\.name))
        }
        return true
    }

    /// A node knows of no greater tenure, or has said so before.
    mutating func assented(_ number: UInt64, by name: NodeName) {
        guard var given = assents[number], let operation = operations[number] else { return }
        given.names.insert(name)
        assents[number] = given
        guard slots[Int(operation.body.slot.rawValue)].tenure == given.tenure,
            hasMajority(1 + given.names.count, absent: nodesPerhapsAlive.count)
        else { return }
        assents[number] = nil
        operations[number]?.assent = given.tenure
        route(number)
    }

    /// The slot changes hands: its new owner asks anew.
    mutating func abandonAssents(in slot: Slot) {
        for number in assents.keys.sorted() where operations[number]?.body.slot == slot {
            assents[number] = nil
            park(number)
        }
    }

    private func hasMajority(_ count: Int, absent: Int) -> Bool { 2 * count > 1 + otherNodes.count + absent }

    /// Nodes out of reach that may be alive, and may be the greater part: one counts until it left, its process is known to be gone, or it has been
    /// silent for as long as a session may idle.
    private var nodesPerhapsAlive: [NodeName] {
        silentNodes.filter { swim.silence(of: $0.name, at: now) < configuration.expiry.idle }.map(\.name)
    }
}

/// Who has assented to a strict commit.
struct Assents: Sendable {
    let tenure: Tenure
    var names: Set<NodeName> = []
}
