/// Who answers for a slot, and in which term. The greater tenure holds: a replica refuses messages of a lesser one, and an owner
/// who hears of a greater one steps down.
///
/// The term rises at every takeover and hand-over, so two tenures of one term come only from two sides that could not hear each
/// other; the owner then breaks the tie, alike for everybody.
public struct Tenure: Hashable, Comparable, Sendable {
    /// 0 before anybody has answered for the slot.
    public var term: UInt64
    public var owner: MemberID?

    public static let none = Tenure(term: 0, owner: nil)

    public init(term: UInt64, owner: MemberID?) {
        self.term = term
        self.owner = owner
    }

    public static func < (lhs: Tenure, rhs: Tenure) -> Bool {
        guard lhs.term == rhs.term else { return lhs.term < rhs.term }
        guard let right = rhs.owner else { return false }
        guard let left = lhs.owner else { return true }
        return left < right
    }
}

/// A tenure and the slot it is of.
public struct SlotTenure: Hashable, Sendable {
    public var slot: Slot
    public var tenure: Tenure

    public init(slot: Slot, tenure: Tenure) {
        self.slot = slot
        self.tenure = tenure
    }
}
