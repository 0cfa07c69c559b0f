import MeshCore

// What must never happen, whatever the faults. All of it is looked for as the world runs: what a step can break, after that step; what costs a walk
// over views, on a sample.

/// A promise that was broken.
public struct Violation: Hashable, Sendable, CustomStringConvertible {
    public enum Promise: String, Hashable, Sendable {
        /// Who runs, is not paused for long and not cut off, is never declared dead; and nobody is said to have left who has not.
        case falseDeath
        /// A view shows each name once.
        case twoLives
        /// An observer's epoch only rises.
        case epoch
        /// A life that an observer saw end is never reachable for it again, as long as its own life lasts.
        case returned
        /// Two digests are equal exactly when the views are.
        case digest
        /// No queue is above its bound.
        case bound
        /// No packet is above ``PacketSealer/packetBytesMax``.
        case packet
        /// What a member wrote another can read.
        case codec
        /// In quiet all come to see the same, and it is what there is.
        case agreement
        /// One that a test put there.
        case planted
    }

    public let promise: Promise
    /// Since the world began.
    public let at: Duration
    public let text: String

    public init(promise: Promise, at: Duration, text: String) {
        self.promise = promise
        self.at = at
        self.text = text
    }

    public var description: String { "\(promise.rawValue) at \(Double(at.milliseconds) / 1000) s: \(text)" }
}

extension MembershipWorld {
    /// What the checkers remember.
    struct Watch: Sendable {
        var violations: [Violation] = []
        var nextSample: Int64 = 0
        /// Lives whose death was first declared under a fault that excuses it. Everybody may repeat it.
        var excused: Set<MemberID> = []
        var generator = SeededGenerator(seed: 0x5EE)

        /// Enough to see what went wrong.
        static let violationsMax = 32
        static let sampleInterval: Int64 = 100_000_000
    }

    /// What a host suffers, and what it has seen, as far as checkers need to know.
    struct Faults: Sendable {
        /// Cuts and losses of its own under way.
        var underWay = 0
        /// Until when a verdict on it, or by it, is put down to faults that have ended.
        var excusedUntil = Int64.min
        var epoch: UInt64 = 0
        /// The latest life of each name that this host's present life saw end.
        var ended: [NodeName: Life] = [:]
        var snapshotDue: Int64 = 0
    }

    /// A pause up to this is survived.
    public static let pauseTolerated = Duration.milliseconds(1500)
    /// How long a verdict may still follow from a fault that has ended: a suspicion raised at its end takes that long to be refuted.
    public static let aftermath = Duration.seconds(3)

    public var violations: [Violation] { watch.violations }

    mutating func violated(_ promise: Violation.Promise, _ text: String) {
        guard watch.violations.count < Watch.violationsMax else { return }
        watch.violations.append(Violation(promise: promise, at: .nanoseconds(uptime), text: text))
    }

    // MARK: Faults as the checkers see them

    mutating func began(_ host: Int) {
        hosts[host].faults.epoch = 0
        hosts[host].faults.ended = [:]
        hosts[host].faults.snapshotDue = uptime
    }

    /// Who was held for dead itself may learn anew whom it held for dead.
    mutating func beganNewLife(_ host: Int) { hosts[host].faults.ended = [:] }

    mutating func woke(_ host: Int, after time: Int64) {
        if time > Self.pauseTolerated.nanoseconds { excuse(host) }
    }

    mutating func faultBegan(at host: Int) { hosts[host].faults.underWay += 1 }

    mutating func faultEnded(at host: Int) {
        hosts[host].faults.underWay = max(0, hosts[host].faults.underWay - 1)
        excuse(host)
    }

    private mutating func excuse(_ host: Int) {
        hosts[host].faults.excusedUntil = max(hosts[host].faults.excusedUntil, uptime + Self.aftermath.nanoseconds)
    }

    private func isExcused(_ host: Int) -> Bool {
        let faults = hosts[host].faults
        if faults.underWay > 0 || uptime < faults.excusedUntil { return true }
        return hosts[host].pausedAt.map { uptime - $0 > Self.pauseTolerated.nanoseconds } ?? false
    }

    // MARK: After a step

    mutating func epochFell(_ host: Int, from before: UInt64) {
        violated(.epoch, "\(hosts[host].name) went from \(before) to \(hosts[host].faults.epoch)")
    }

    mutating func sent(_ bytes: Int, by host: Int) {
        if bytes > PacketSealer.packetBytesMax { violated(.packet, "\(hosts[host].name) sent \(bytes) bytes") }
    }

    mutating func saw(_ member: Member, at observer: Int) {
        if let ended = hosts[observer].faults.ended[member.name], member.status.isReachable, member.id.life <= ended {
            violated(.returned, "\(hosts[observer].name) shows \(member.id) again, whose end it has seen")
        }
        guard !member.status.isReachable else { return }
        let ended = hosts[observer].faults.ended[member.name]
        hosts[observer].faults.ended[member.name] = max(ended ?? member.id.life, member.id.life)
        checkDeath(of: member, by: observer)
    }

    private mutating func checkDeath(of member: Member, by observer: Int) {
        guard let subject = number(of: member.name), let local = hosts[subject].process?.swim.local, local.id == member.id,
            !hosts[subject].isLeaving, !watch.excused.contains(member.id)
        else { return }
        if isExcused(subject) || isExcused(observer) {
            watch.excused.insert(member.id)
        } else {
            watch.excused.insert(member.id)
            violated(.falseDeath, "\(hosts[observer].name) holds \(member.id) for \(member.status), which runs")
        }
    }

    // MARK: On a sample

    /// One host's bounds and names, and two hosts' digests.
    mutating func sample() {
        watch.nextSample = uptime + Watch.sampleInterval
        guard let one = anyRunning(), let two = anyRunning(), let first = hosts[one].process, let second = hosts[two].process else {
            return
        }
        for load in first.swim.loads where load.count > load.bound {
            violated(.bound, "\(hosts[one].name) has \(load.count) \(load.part), at most \(load.bound) are allowed")
        }
        let view = first.swim.view
        for (former, latter) in zip(view.members, view.members.dropFirst()) where former.name >= latter.name {
            violated(.twoLives, "\(hosts[one].name) shows \(former.id) and then \(latter.id)")
        }
        guard one != two else { return }
        let areEqual = Self.sameBeliefs(view, second.swim.view)
        if areEqual != (first.swim.digest == second.swim.digest) {
            violated(
                .digest,
                "views of \(hosts[one].name) and \(hosts[two].name) are \(areEqual ? "equal" : "different") and their digests not so")
        }
    }

    private mutating func anyRunning() -> Int? {
        for _ in 0..<8 {
            guard let host = hosts.indices.randomElement(using: &watch.generator) else { return nil }
            if hosts[host].process != nil { return host }
        }
        return nil
    }

    /// What a digest covers: see ``MeshView/digest``.
    private static func sameBeliefs(_ one: MeshView, _ two: MeshView) -> Bool {
        one.members.count == two.members.count
            && zip(one.members, two.members).allSatisfy { first, second in
                first.id == second.id && first.status.isReachable == second.status.isReachable
                    && (first.status.isReachable ? first.incarnation == second.incarnation : first.status == second.status)
            }
    }

    // MARK: In quiet

    /// What keeps the mesh from being one: nil when all members that run see the same, and see each other and nobody else.
    public var disagreement: String? {
        let present = hosts.indices.filter { hosts[$0].process != nil && !hosts[$0].isLeaving }
        guard let first = present.first, let process = hosts[first].process else { return nil }
        if let other = present.first(where: { hosts[$0].digest != process.swim.digest }) {
            return "\(hosts[first].name) and \(hosts[other].name) see different meshes"
        }
        let there = present.compactMap { hosts[$0].id }
        let members = process.swim.others + [process.swim.local]
        // Each name is there once, so as many as there are, all of them there, are the same.
        let isWhole =
            members.count(where: \.status.isReachable) == there.count
            && there.allSatisfy { id in process.swim.member(named: id.name).map { $0.id == id && $0.status.isReachable } ?? false }
        if !isWhole {
            let seen = members.filter(\.status.isReachable).map(\.id)
            let missing = Set(there).subtracting(seen).sorted().prefix(3)
            let tooMany = Set(seen).subtracting(there).sorted().prefix(3)
            return "all miss \(missing.count) such as \(missing) and show \(tooMany.count) such as \(tooMany) too many"
        }
        if let suspect = members.first(where: { $0.status == .suspect }) { return "\(hosts[first].name) still suspects \(suspect.id)" }
        return nil
    }
}
