// Whether the mirror still has what it acknowledged.
//
// Once a second an agent leaves a number in the mirror and is told what it had left before. Another generation, or an older number, means that the store was
// flushed, swapped for another, or came back with older data; then all that is held goes out anew, some slots at a time. Every agent finds out by
// itself, for second copies keep note of what is mirrored too.

struct MirrorVisits: Sendable {
    /// Of the mirror when it was last visited.
    var generation: UInt64?
    /// The number that was left last, as far as is known. They only go up.
    var last: UInt64?
    var underWay: (ticket: UInt64, number: UInt64, permit: CircuitBreaker.Permit)?
    /// Slots whose sessions are to be written anew.
    var stale = SlotSet()

    /// In a round of housekeeping: with a million sessions 16,000, some milliseconds.
    static let slotsPerRound = 64
}

extension AgentCore {
    mutating func visitMirror() {
        guard let visits = mirror?.visits, visits.underWay == nil, let permit = mirror?.breaker.admit(at: now) else { return }
        let ticket = nextNumber()
        // A clock that is set back must not make it less.
        let number = max(UInt64(clamping: now.wall), (visits.last ?? 0) + 1)
        mirror?.visits.underWay = (ticket, number, permit)
        directives.append(.mirror(.visit(number, by: id.name, ticket: ticket)))
    }

    mutating func visited(_ ticket: UInt64, _ visit: MirrorVisit) {
        guard let visits = mirror?.visits, let underWay = visits.underWay, underWay.ticket == ticket else { return }
        mirror?.visits.underWay = nil
        mirror?.visits.generation = visit.generation
        mirror?.visits.last = underWay.number
        record(.succeeded, of: underWay.permit)
        let isOther = visits.generation.map { $0 != visit.generation } ?? false
        let isOlder = visits.last.map { visit.last ?? 0 < $0 } ?? false
        guard isOther || isOlder else { return }
        mirror?.visits.stale = .all
        mirror?.counters.stale += 1
        directives.append(.event(.mirrorStale))
    }

    mutating func visitFailed(_ ticket: UInt64, _ error: MirrorError) {
        guard let underWay = mirror?.visits.underWay, underWay.ticket == ticket else { return }
        mirror?.visits.underWay = nil
        record(error.isFailureOfTheMirror ? .failed : .succeeded, of: underWay.permit, error: error)
    }

    /// The next slots that are to be written anew.
    mutating func goOnWritingAnew() {
        guard let stale = mirror?.visits.stale, !stale.isEmpty else { return }
        for slot in Slot.all.lazy.filter(stale.contains).prefix(MirrorVisits.slotsPerRound) {
            mirror?.visits.stale.remove(slot)
            let index = Int(slot.rawValue)
            for key in slots[index].sortedKeys {
                slots[index].update(key) { $0.mirrored = .zero }
                if slots[index].isOwner { markDirty(key) }
            }
        }
        flushMirror()
    }
}
