// A walk over all sessions of the mesh: to list a user's, or to end many.
//
// There is no index in memory. Every node goes through the slots that it owns, some at a time so that nobody else waits for it, and answers which slots
// that was. Who was asked by an application joins the answers, and asks again for what nobody answered for: a slot that changed hands
// meanwhile. An answer is given when every slot is in it, or not at all.
//
// A user's sessions may also be in the mirror alone, after all agents were started anew. The mirror does have an index: whatever is in it is read first, by
// which its owner takes it into memory, and then the walk begins.

/// What a walk is for.
enum WalkPurpose: Hashable, Sendable {
    /// The sessions of that user with greater keys than `after`, by their keys.
    case list(user: String, after: SessionKey?)
    /// To end those of a user, or with nil all there are.
    case revoke(user: String?, except: SessionKey?)

    var user: String? {
        switch self {
        case .list(let user, _): user
        case .revoke(let user, _): user
        }
    }

    /// Whether it begins at the first session.
    var isWhole: Bool { if case .list(_, .some) = self { false } else { true } }
}

struct Walks: Sendable {
    /// Those that applications asked this agent for, by number.
    var asked: [UInt64: Asked] = [:]
    /// Those that this agent is on, by number.
    var given: [UInt64: Given] = [:]
    /// The timer of the next stretch is set.
    var isTimed = false
    /// What the mirror was asked for, by ticket: one a walk.
    var indexes: [UInt64: (walk: UInt64, permit: CircuitBreaker.Permit)] = [:]

    struct Asked: Sendable {
        let request: RequestID
        let purpose: WalkPurpose
        let deadline: Int64
        var missing: SlotSet
        var waiting: Set<NodeName> = []
        var askAgainAt = Int64.min
        var found: [SessionSummary] = []
        var count: UInt64 = 0
        /// Sessions of the mirror's index that are being read.
        var reading = 0
        /// The mirror may have more that could not be read.
        var isPartial = false
    }

    struct Given: Sendable {
        enum Asker: Sendable {
            /// This agent itself, under that number.
            case own(UInt64)
            case peer(LinkID, id: UInt64)
        }

        let asker: Asker
        let purpose: WalkPurpose
        let wanted: SlotSet
        var position = 0
        var covered = SlotSet()
        var found: [SessionSummary] = []
        var count: UInt64 = 0
        /// Sessions whose end waits for its second copy.
        var ending = 0
    }

    /// Operators and logins everywhere; more are told to come back.
    static let askedMax = 64
    /// Of all nodes together. Who asks for more is answered for no slot, and asks again.
    static let givenMax = 256
    /// At 250 sessions a slot, as with a million, some milliseconds.
    static let slotsPerStretch = 64
    static let pause: Duration = .milliseconds(2)
    /// So that a walk never fills the agent's table of operations.
    static let endingMax = 1024
    /// To end a million sessions takes longer; what is left is ended by asking again.
    static let patience: Duration = .seconds(8)
    static let askAgainAfter: Duration = .milliseconds(100)
}

extension AgentCore {
    // MARK: Asking

    mutating func walk(_ request: RequestID, for purpose: WalkPurpose) {
        guard configuration.role == .node else {
            return reply(request, .failure(ClientFailure(.invalid, "a balancer holds no sessions; ask an agent with --role node")))
        }
        guard walks.asked.count < Walks.askedMax else {
            return reply(
                request, .failure(ClientFailure(.full, "this agent goes through all sessions for others already; try again shortly")))
        }
        var missing = SlotSet.all
        if case .list(_, let after?) = purpose { for slot in Slot.all where slot < after.slot { missing.remove(slot) } }
        let number = nextNumber()
        walks.asked[number] = .init(
            request: request, purpose: purpose, deadline: now.uptime + Walks.patience.nanoseconds, missing: missing)
        if mirror != nil, purpose.isWhole, let user = purpose.user { askForIndex(of: user, on: number) } else { askForWalk(number) }
    }

    private mutating func askForIndex(of user: String, on number: UInt64) {
        guard let permit = mirror?.breaker.admit(at: now) else { return beginPartly(number) }
        let ticket = nextNumber()
        walks.indexes[ticket] = (number, permit)
        directives.append(.mirror(.sessions(of: UserKey(of: user), ticket: ticket)))
    }

    mutating func indexFound(_ ticket: UInt64, _ keys: [SessionKey]) {
        guard let (number, permit) = walks.indexes.removeValue(forKey: ticket) else { return }
        record(.succeeded, of: permit)
        guard walks.asked[number] != nil else { return }
        let keys = keys.prefix(MirrorRecord.sessionsOfUserMax)
        guard !keys.isEmpty else { return askForWalk(number) }
        walks.asked[number]?.reading = keys.count
        for key in keys { begin(.read(key), for: .index(number)) }
    }

    mutating func indexFailed(_ ticket: UInt64, _ error: MirrorError) {
        guard let (number, permit) = walks.indexes.removeValue(forKey: ticket) else { return }
        record(error.isFailureOfTheMirror ? .failed : .succeeded, of: permit, error: error)
        if walks.asked[number] != nil { beginPartly(number) }
    }

    private mutating func beginPartly(_ number: UInt64) {
        walks.asked[number]?.isPartial = true
        askForWalk(number)
    }

    /// A session of the index is in memory now, or is no more.
    mutating func indexWent(on number: UInt64, _ result: OperationResult) {
        guard let walk = walks.asked[number], walk.reading > 0 else { return }
        if case .session = result {} else { walks.asked[number]?.isPartial = true }
        walks.asked[number]?.reading -= 1
        if walk.reading == 1 { askForWalk(number) }
    }

    private mutating func askForWalk(_ number: UInt64) {
        guard let walk = walks.asked[number] else { return }
        let names = otherNodes.filter { hasLink(to: $0) }.map(\.name)
        let waiting = Set(names).union([id.name])
        walks.asked[number]?.waiting = waiting
        walks.asked[number]?.askAgainAt = .max
        send(.walk(id: number, walk.purpose, walk.missing), to: names)
        begin(Walks.Given(asker: .own(number), purpose: walk.purpose, wanted: walk.missing))
    }

    mutating func walked(_ number: UInt64, covering slots: SlotSet, _ found: [SessionSummary], count: UInt64, by name: NodeName) {
        guard var walk = walks.asked[number], walk.waiting.remove(name) != nil else { return }
        walk.missing.subtract(slots)
        // A slot that changed hands may be in two answers.
        let known = Set(walk.found.map(\.key))
        let all = (walk.found + found.filter { !known.contains($0.key) }).sorted { $0.key < $1.key }
        walk.found = Array(all.prefix(SessionPage.sessionsMax))
        walk.count += count
        if walk.waiting.isEmpty { walk.askAgainAt = now.uptime + Walks.askAgainAfter.nanoseconds }
        walks.asked[number] = walk.missing.isEmpty ? nil : walk
        guard walk.missing.isEmpty else { return }
        switch walk.purpose {
        case .list:
            let next = walk.found.count == SessionPage.sessionsMax ? walk.found.last?.key : nil
            reply(walk.request, .listed(SessionPage(sessions: walk.found, next: next)))
        case .revoke where walk.isPartial:
            let reason = "\(walk.count) sessions were ended; the mirror, which may have more of that user's, does not answer: ask again"
            reply(walk.request, .failure(ClientFailure(.unavailable, reason)))
        case .revoke: reply(walk.request, .revoked(walk.count))
        }
    }

    /// Asks again for what is missing, and gives up what is past its deadline.
    mutating func lookAfterWalks() {
        for (number, walk) in walks.asked.sorted(by: { $0.key < $1.key }) {
            if walk.deadline <= now.uptime {
                walks.asked[number] = nil
                let ended = if case .revoke = walk.purpose { "\(walk.count) sessions were ended, and " } else { "" }
                reply(
                    walk.request, .failure(ClientFailure(.unavailable, "\(ended)not every session could be looked at in time; ask again")))
                continue
            }
            let waiting = walk.waiting.filter { $0 == id.name || hasLink(to: $0) }
            walks.asked[number]?.waiting = waiting
            let isLost = !walk.waiting.isEmpty && waiting.isEmpty
            if isLost || walk.askAgainAt <= now.uptime { askForWalk(number) }
        }
    }

    // MARK: Walking

    mutating func begin(_ walk: Walks.Given) {
        guard walks.given.count < Walks.givenMax else { return answer(walk) }
        walks.given[nextNumber()] = walk
        guard !walks.isTimed else { return }
        walks.isTimed = true
        directives.append(.timer(.walk, after: .zero))
    }

    /// The next stretch of every walk.
    mutating func goOnWalking() {
        walks.isTimed = false
        for number in walks.given.keys.sorted() {
            for _ in 0..<Walks.slotsPerStretch {
                guard let walk = walks.given[number], walk.position < Slot.count, walk.ending < Walks.endingMax else { break }
                walks.given[number]?.position += 1
                let slot = Slot.all[walk.position]
                guard walk.wanted.contains(slot), slots[walk.position].isOwner, slots[walk.position].doubt == nil,
                    mayAnswer(for: slot)
                else { continue }
                walks.given[number]?.covered.insert(slot)
                look(over: slot, on: number)
            }
            endIfDone(number)
        }
        guard !walks.given.isEmpty else { return }
        walks.isTimed = true
        directives.append(.timer(.walk, after: Walks.pause))
    }

    private mutating func look(over slot: Slot, on number: UInt64) {
        guard let walk = walks.given[number] else { return }
        let wall = wall
        let living = slots[Int(slot.rawValue)].sessions.filter { !$0.value.state.isDestroyed }
        switch walk.purpose {
        case .list(let user, let after):
            for (key, entry) in living.filter({ $0.value.state.user == user }).sorted(by: { $0.key < $1.key }) {
                // All slots that follow have greater keys.
                guard walks.given[number]?.found.count ?? 0 < SessionPage.sessionsMax else { return }
                guard after.map({ $0 < key }) ?? true, !entry.state.isExpired(wall: wall, policy: configuration.expiry) else { continue }
                walks.given[number]?.found.append(SessionSummary(key, entry.state, configuration.expiry))
            }
        case .revoke(let user, let except):
            for (key, entry) in living.sorted(by: { $0.key < $1.key }) where key != except && user.map({ $0 == entry.state.user }) ?? true {
                walks.given[number]?.ending += 1
                begin(.destroy(key, CommitID(using: &generator)), for: .walk(number))
            }
        }
    }

    /// A session that the walk was to end is ended, or isn't.
    mutating func walkWent(on number: UInt64, _ result: OperationResult, in slot: Slot) {
        walks.given[number]?.ending -= 1
        switch result {
        case .committed(let copies, _): if copies.nodes > 0 { walks.given[number]?.count += 1 }
        default: walks.given[number]?.covered.remove(slot)
        }
    }

    private mutating func endIfDone(_ number: UInt64) {
        guard let walk = walks.given[number], walk.position == Slot.count, walk.ending == 0 else { return }
        walks.given[number] = nil
        answer(walk)
    }

    private mutating func answer(_ walk: Walks.Given) {
        switch walk.asker {
        case .own(let number): walked(number, covering: walk.covered, walk.found, count: walk.count, by: id.name)
        case .peer(let link, let id):
            guard linkNames[link] != nil else { return }
            let message = PeerMessage.walked(id: id, walk.covered, walk.found, count: walk.count)
            directives.append(.linkMessage(link, message.encoded))
        }
    }
}

extension SessionSummary {
    fileprivate init(_ key: SessionKey, _ state: SessionState, _ policy: ExpiryPolicy) {
        let visible = state.fields.places.filter(state.fields.isVisible)
        self.init(
            key: key, createdAt: state.created.milliseconds, accessedAt: state.accessedAt, expiresAt: state.expiresAt(policy),
            fields: UInt16(clamping: visible.count),
            bytes: UInt32(clamping: visible.reduce(0) { $0 + $1.name.count + state.fields.byteCount($1) }))
    }
}
