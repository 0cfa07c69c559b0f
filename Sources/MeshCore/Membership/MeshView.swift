/// Everything one observer believes about the mesh at one moment: who is in it and which applications they run.
public struct MeshView: Hashable, Sendable {
    /// Counts this observer's changes. Never compared with another observer's; compare ``digest``.
    public var epoch: UInt64
    /// Equal in two observers exactly when they believe the same (up to a 64-bit collision). Suspicions are left out: they are settled one
    /// way or the other within seconds, and a digest that moved with each would have observers compare notes all the time. So are those
    /// who have been gone for half a day, since observers forget them at slightly different moments.
    public var digest: UInt64
    /// In the order of their names, one life a name.
    public var members: [Member]
    /// Instances of reachable members, in the order of node and number.
    public var instances: [Instance]

    public init(epoch: UInt64 = 0, digest: UInt64 = 0, members: [Member] = [], instances: [Instance] = []) {
        self.epoch = epoch
        self.digest = digest
        self.members = members
        self.instances = instances
    }

    public func member(_ name: NodeName) -> Member? {
        members.first { $0.name == name }
    }

    /// Placement over the members that rank.
    public var placementCandidates: [PlacementCandidate] {
        members.filter(\.ranks).map(PlacementCandidate.init(of:))
    }
}
