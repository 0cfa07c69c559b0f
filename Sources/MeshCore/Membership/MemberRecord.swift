/// What this observer keeps of one member, itself included.
struct MemberRecord: Sendable {
    var member: Member
    var instances = InstanceRoll()
    /// From the first word against it until it refutes or dies. Shown, as its status, only once it is confirmed.
    var suspicion: Suspicion?
    /// While this member wants to know whether it lives.
    var inquiry: SWIM.Inquiry?
    /// When anything came from it last, and what a ping and its answer took when last measured, in nanoseconds.
    var heardAt: Int64?
    var roundTrip: Int64?
    var steadiness = Steadiness()
    /// Of a dead one: whether this member declared it without enough others agreeing, and whether nobody found its port to refuse.
    var deathIsOwnWord = false
    var deathWasSilent = false
    /// Who might judge it, once that was asked; nil after the matter was settled.
    var candidates: SWIM.Candidates?
    /// When it died or left, on this observer's monotonic clock. It may be before our own start. Nil while reachable.
    var goneAt: Int64?
    /// What it adds to the view's digest; 0 when it has been gone for too long.
    var hash: UInt64 = 0

    /// Since when its digest has differed from ours; nil after one that did not.
    var digestDiffersSince: Int64?
    /// Repairs by packets that its digest has not come to agree after.
    var packetRepairs = 0
    /// It was sent the digests of our buckets, and has not answered yet.
    var awaitsDeltas = false
    /// When a dead one is pinged next, and how long it waits then.
    var reunionDue: Int64 = 0
    var reunionInterval: Duration = .seconds(1)

    init(member: Member, hash: UInt64 = 0) {
        self.member = member
        self.hash = hash
    }

    /// A later life in the place of `former`. What was learnt of its steadiness stays with the name.
    init(member: Member, after former: MemberRecord) {
        self.init(member: member)
        steadiness = former.steadiness
    }

    var id: MemberID { member.id }
    var isReachable: Bool { member.status.isReachable }

    /// A reachable one is its life and incarnation: nobody but itself changes what goes with them. Of one that is gone observers may have
    /// seen different last words, but they agree that it is gone.
    static func hash(of member: Member) -> UInt64 {
        var writer = ByteWriter(reserving: 96)
        writer.write(member.id)
        if member.status.isReachable {
            writer.write(0 as UInt8)
            writer.write(member.incarnation)
        } else {
            writer.write(member.status.rawValue)
        }
        return Mix.hash(writer.bytes)
    }
}
