public import MeshCore

// Faults of the network, with their ends. Each may overlap any other.

extension MembershipWorld {
    /// Lets nothing through from one to another.
    public mutating func cut(from: NodeName, to: NodeName) { setCut(true, ways: [(from, to)], suffering: [from, to]) }
    public mutating func mend(from: NodeName, to: NodeName) { setCut(false, ways: [(from, to)], suffering: [from, to]) }

    /// Lets nothing reach one member, which can still be heard.
    public mutating func deafen(_ name: NodeName) { setCut(true, ways: waysInto(name), suffering: [name]) }
    public mutating func undeafen(_ name: NodeName) { setCut(false, ways: waysInto(name), suffering: [name]) }

    /// Parts the members up to and including `last`, in the order in which they came, from all others.
    public mutating func split(after last: NodeName) { setCut(true, ways: waysAcross(last), suffering: names) }
    public mutating func join(after last: NodeName) { setCut(false, ways: waysAcross(last), suffering: names) }

    /// A share of its own of what a member sends, and of what is sent to it, is lost.
    public mutating func setLoss(_ share: Double?, at name: NodeName) {
        guard let host = number(of: name) else { return }
        network.setLoss(share, at: host)
        if share != nil { faultBegan(at: host) } else { faultEnded(at: host) }
    }

    private func waysInto(_ name: NodeName) -> [(NodeName, NodeName)] {
        names.filter { $0 != name }.map { ($0, name) }
    }

    private func waysAcross(_ last: NodeName) -> [(NodeName, NodeName)] {
        guard let border = number(of: last) else { return [] }
        return names[...border].flatMap { one in names[(border + 1)...].flatMap { [(one, $0), ($0, one)] } }
    }

    private mutating func setCut(_ isCut: Bool, ways: [(NodeName, NodeName)], suffering: [NodeName]) {
        for (from, to) in ways {
            guard let from = number(of: from), let to = number(of: to) else { continue }
            if isCut { network.cut(from: from, to: to) } else { network.mend(from: from, to: to) }
        }
        for name in suffering {
            guard let host = number(of: name) else { continue }
            if isCut { faultBegan(at: host) } else { faultEnded(at: host) }
        }
    }
}
