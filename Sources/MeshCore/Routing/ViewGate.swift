/// Decides when a balancer routes by a newer view, and how far it believes one in which much has died at once.
///
/// Every routing update costs each loop a table, and a calamity or a burst of joins is many views within a moment. So changes are gathered:
/// a death that comes alone is let through at once, everything else when nothing has changed for a moment, or, while the fate of a suspect
/// is open, when it is settled. After a death was let through the gate waits longer for what belongs to the same calamity.
///
/// The brake: when more than a third of the nodes seem to die within seconds, or fewer than half are left, it is as likely that this balancer
/// is cut off. Then nobody is taken out: the dead stay as suspects, with the instances they had. Whoever is bound to one is sent there as
/// before, and to its backup when nobody answers; new visitors go to those whom the view holds alive. When nobody has died for
/// half a minute and at least half are left, the dead are believed.
public struct ViewGate: Sendable {
    public struct Configuration: Hashable, Sendable {
        /// Without a change for so long, what was gathered is shown.
        public var quiet: Duration = .milliseconds(100)
        /// At the latest after this, while changes keep coming.
        public var gatherMax: Duration = .milliseconds(400)
        /// Both so many times as long, at most, while all that happens is that more and more come: twice with each update shown within
        /// ``calamity`` of the one before. Nobody is sent astray meanwhile; a newcomer only waits for its first visitors.
        public var arrivalsPatienceMax: Int64 = 4
        /// At the latest after this, while suspicions are open.
        public var suspenseMax: Duration = .milliseconds(500)
        /// After exactly this within ``calamity`` of a death, or of several suspects, that were shown: the rest of it makes one more update.
        public var aftershock: Duration = .seconds(1)
        public var calamity: Duration = .seconds(2)
        /// A suspicion older than this holds nothing up.
        public var suspicionMax: Duration = .seconds(2)
        /// Deaths within this of each other count together for the brake.
        public var brakeWindow: Duration = .seconds(5)
        /// Without a death for so long, the view is stable again.
        public var steady: Duration = .seconds(30)

        public init() {}

        /// A suspicion that may still end in a death holds up what is shown.
        public init(under swim: SWIM.Configuration) {
            suspicionMax = max(suspicionMax, swim.suspicionSilent + .milliseconds(500))
        }
    }

    public enum Input: Hashable, Sendable {
        case view(MeshView)
        /// The timer of that number fired. A stale one is ignored.
        case timer(UInt64)
    }

    public enum Directive: Hashable, Sendable {
        /// Route by this view from now on.
        case route(MeshView)
        /// Give the number back after that time; an earlier timer no longer counts.
        case startTimer(UInt64, after: Duration)
        case braked(Brake)
        case released
    }

    /// Why the dead are still routed to.
    public struct Brake: Hashable, Sendable {
        public enum Reason: String, Hashable, Sendable {
            /// More than a third died within seconds.
            case massDeath
            /// Fewer than half can be reached.
            case minority
        }

        public var reason: Reason
        public var dead: Int
        /// Nodes of the last stable view.
        public var nodes: Int

        public init(reason: Reason, dead: Int, nodes: Int) {
            self.reason = reason
            self.dead = dead
            self.nodes = nodes
        }
    }

    /// A node of the last stable view, or one that came since.
    private struct Node: Sendable {
        /// As it was when last reachable, with its instances.
        var member: Member
        var instances: [Instance]
        var diedAt: Int64?
        var suspectSince: Int64?
    }

    /// What routing is made of; two equal ones make equal tables.
    private struct Picture: Hashable, Sendable {
        struct Row: Hashable, Sendable {
            var id: MemberID
            var isSuspect: Bool
            var isDraining: Bool
            var weight: UInt8
        }

        var rows: [Row] = []
        var instances: [Instance] = []
    }

    /// The brake that is on.
    public private(set) var brake: Brake?
    /// Views that were let through.
    public private(set) var updates: UInt64 = 0

    private let configuration: Configuration
    private var now = Moment(uptime: 0, wall: 0)
    private var directives: [Directive] = []

    private var latest = MeshView()
    private var shown = Picture()
    /// As many as the view has members, at most. Looked up, and walked only to count.
    private var nodes: [NodeName: Node] = [:]
    private var lastDeath: Int64?
    private var calamityShownAt: Int64?
    /// The last update that only added, and how much longer the next of its kind waits.
    private var arrivals: (shownAt: Int64, patience: Int64)?

    /// Since when something waits to be shown, and when something last changed.
    private var gathering: (since: Int64, changed: Int64)?
    private var pending = Picture()
    private var timer: (number: UInt64, due: Int64) = (0, .max)

    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
    }

    public mutating func step(_ input: Input, at now: Moment) -> [Directive] {
        self.now = now
        switch input {
        case .view(let view):
            settle()
            take(view)
        case .timer(let number):
            guard number == timer.number else { return [] }
            timer.due = .max
        }
        settle()
        gather()
        showIfDue()
        setTimer()
        defer { directives = [] }
        return directives
    }

    // MARK: Who there is

    private mutating func take(_ view: MeshView) {
        latest = view
        let instances = Dictionary(grouping: view.instances, by: \.node)
        var seen: Set<NodeName> = []
        for member in view.members where member.role == .node && member.status != .left {
            seen.insert(member.name)
            if member.status.isReachable {
                guard member.ranks || nodes[member.name] != nil else { continue }
                let since = member.status == .suspect ? nodes[member.name]?.suspectSince ?? now.uptime : nil
                nodes[member.name] = Node(member: member, instances: instances[member.id] ?? [], suspectSince: since)
            } else if var node = nodes[member.name], node.diedAt == nil {
                node.diedAt = now.uptime
                node.suspectSince = nil
                // Of a life that was never seen here nothing can be kept.
                if node.member.id != member.id { node.instances = [] }
                nodes[member.name] = node
                lastDeath = now.uptime
            }
        }
        // Who left or was forgotten is not missed.
        if nodes.keys.contains(where: { !seen.contains($0) }) { nodes = nodes.filter { seen.contains($0.key) } }
    }

    /// After a while without a death the dead are believed, unless they are most of what was there.
    private mutating func settle() {
        guard let lastDeath, now.uptime - lastDeath >= configuration.steady.nanoseconds, !isMinority(deadCount) else { return }
        nodes = nodes.filter { $0.value.diedAt == nil }
        self.lastDeath = nil
    }

    private var deadCount: Int { nodes.values.count { $0.diedAt != nil } }

    /// One death is never a calamity: in a mesh of two it leaves half.
    private func isMinority(_ dead: Int) -> Bool { dead > 1 && (nodes.count - dead) * 2 < nodes.count }

    private func brakeDue() -> Brake? {
        let dead = deadCount
        guard dead > 1 else { return nil }
        if isMinority(dead) { return Brake(reason: .minority, dead: dead, nodes: nodes.count) }
        let window = configuration.brakeWindow.nanoseconds
        // Once on, it holds for as long as that many are missing.
        let counted = brake == nil ? nodes.values.count { $0.diedAt.map { now.uptime - $0 <= window } ?? false } : dead
        return counted > 1 && counted * 3 > nodes.count ? Brake(reason: .massDeath, dead: dead, nodes: nodes.count) : nil
    }

    // MARK: What is shown of it

    /// The latest view, with the dead in their old places when the brake is due.
    private func candidate(_ brake: Brake?) -> MeshView {
        guard brake != nil else { return latest }
        var view = latest
        for index in view.members.indices where !view.members[index].status.isReachable {
            guard let node = nodes[view.members[index].name], node.diedAt != nil, node.member.ranks else { continue }
            view.members[index] = node.member
            view.members[index].status = .suspect
            view.instances += node.instances
        }
        view.instances.sort { ($0.node, $0.number) < ($1.node, $1.number) }
        return view
    }

    private static func picture(of view: MeshView) -> Picture {
        let members = view.members.filter(\.ranks)
        let ids = Set(members.map(\.id))
        return Picture(
            rows: members.map {
                Picture.Row(id: $0.id, isSuspect: $0.status == .suspect, isDraining: $0.stage == .draining, weight: $0.weight)
            },
            instances: view.instances.filter { ids.contains($0.node) })
    }

    private mutating func gather() {
        let picture = Self.picture(of: candidate(brakeDue()))
        if picture != pending {
            pending = picture
            gathering = (gathering?.since ?? now.uptime, now.uptime)
        }
        // What came and went again is no change.
        if picture == shown { gathering = nil }
    }

    private var isAftershock: Bool { calamityShownAt.map { now.uptime - $0 < configuration.calamity.nanoseconds } ?? false }

    /// When what was gathered is to be shown.
    private func due(_ gathering: (since: Int64, changed: Int64)) -> Int64 {
        if isLoneDeath { return now.uptime }
        if isAftershock { return gathering.since + configuration.aftershock.nanoseconds }
        let patience = arrivalsPatience > 1 && isOnlyArrivals ? arrivalsPatience : 1
        let quiet = gathering.changed + configuration.quiet.nanoseconds * patience
        guard let opened = suspicionsOpened().max() else {
            return min(quiet, gathering.since + configuration.gatherMax.nanoseconds * patience)
        }
        // Each may be settled, or grow old, before.
        let old = opened + configuration.suspicionMax.nanoseconds
        return min(gathering.since + configuration.suspenseMax.nanoseconds, max(quiet, old))
    }

    private var arrivalsPatience: Int64 {
        guard let arrivals, now.uptime - arrivals.shownAt < configuration.calamity.nanoseconds else { return 1 }
        return arrivals.patience
    }

    /// What is about to be shown takes nothing back.
    private var isOnlyArrivals: Bool {
        Set(pending.rows).isSuperset(of: shown.rows) && Set(pending.instances).isSuperset(of: shown.instances)
    }

    /// Since when each suspicion that is not old has been open.
    private func suspicionsOpened() -> [Int64] {
        nodes.values.compactMap(\.suspectSince).filter { now.uptime - $0 < configuration.suspicionMax.nanoseconds }
    }

    /// Somebody died, nothing else happened, and nothing else seems about to.
    private var isLoneDeath: Bool {
        guard !isAftershock, suspicionsOpened().isEmpty, pending.rows.count == shown.rows.count - 1 else { return false }
        guard let gone = zip(shown.rows, pending.rows).first(where: { $0.id != $1.id })?.0 ?? shown.rows.last else { return false }
        guard nodes[gone.id.name]?.diedAt != nil else { return false }
        return pending.rows == shown.rows.filter { $0.id != gone.id } && pending.instances == shown.instances.filter { $0.node != gone.id }
    }

    /// What is about to be shown has a death in it, or several new suspects, who may be about to die.
    private var isCalamitous: Bool {
        let rows = Set(pending.rows)
        if shown.rows.contains(where: { nodes[$0.id.name]?.diedAt != nil && !rows.contains($0) }) { return true }
        let former = Set(shown.rows)
        return pending.rows.count { $0.isSuspect && !former.contains($0) } > 1
    }

    private mutating func showIfDue() {
        let brake = brakeDue()
        guard let gathering, due(gathering) <= now.uptime else {
            // Nothing to route anew, but it may have changed why: half of those who were missing are back, or others went.
            if gathering == nil { set(brake) }
            return
        }
        set(brake)
        if isCalamitous { calamityShownAt = now.uptime }
        if isOnlyArrivals { arrivals = (now.uptime, min(configuration.arrivalsPatienceMax, arrivalsPatience * 2)) }
        self.gathering = nil
        shown = pending
        updates += 1
        directives.append(.route(candidate(brake)))
    }

    /// Said when it goes on, when it goes off, and when its reason changes; not at every further death.
    private mutating func set(_ brake: Brake?) {
        defer { self.brake = brake }
        if let brake, self.brake?.reason != brake.reason { directives.append(.braked(brake)) }
        if brake == nil, self.brake != nil { directives.append(.released) }
    }

    private mutating func setTimer() {
        var due = gathering.map { self.due($0) } ?? .max
        if let lastDeath {
            let steady = lastDeath + configuration.steady.nanoseconds
            if steady > now.uptime { due = min(due, steady) }
        }
        guard due != timer.due else { return }
        timer = (timer.number + 1, due)
        if due < .max { directives.append(.startTimer(timer.number, after: .nanoseconds(max(0, due - now.uptime)))) }
    }
}
