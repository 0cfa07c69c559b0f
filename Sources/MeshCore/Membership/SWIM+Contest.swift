// One name, two addresses: a node that came back elsewhere, or a name given twice.
//
// A later life at the same address is its own proof: the former process has given up the port. At another address both may be alive, and
// the mesh must end with exactly one of them. Whoever meets such a newcomer first contests the name: it asks the former life for a sign, by
// itself and by way of others, for 0.3 s. Without one the newcomer takes the name, and everybody else believes that from who has asked.
// With one it is told that the name is taken, and ends; until then nothing that it says is used, and nobody is told of it.
//
// Two newcomers may be let in at one moment at two ends of the mesh, and a process that stood still wakes when its name is long
// another's. So who hears of a later life of its own name asks that one in turn, and ends if it answers. Both can't end: an answer is a
// promise. Who has answered such a question, or any ping, in its present life ends for no earlier life's sake; and who ends has had an answer.

extension SWIM {
    /// One question whether a name is free.
    struct Contest: Sendable {
        enum State: Hashable, Sendable {
            /// So many times. Can transition to lost, won.
            case asking(rounds: Int)
            /// The holder lives. The claimant was told so many times.
            case lost(told: Int)
            /// The holder gave no sign. The claimant has yet to say who it is.
            case won
        }

        /// Of the pings, and of the timer.
        let number: UInt32
        /// Who wants the name. It is ourselves who ask, when a later life of our own name is heard of.
        let claimant: MemberID
        /// What the claimant says of itself, when it has.
        var said: Member?
        /// Where it is answered.
        var endpoint: Endpoint
        /// Who has the name.
        let holder: Member
        var state = State.asking(rounds: 0)
        /// The holder's peer port: open, somebody who proved to be the holder answered there; or refused.
        var port: Port?
        let until: Int64

        enum Port: Sendable { case open, refused }
    }

    /// Questions at once. When full the next newcomer asks again, as it does every second.
    static let contestsMax = 64
    private static let contestRounds = 3
    /// When the holder's port answers and its acks don't come: packets are lost, or its UDP is blocked.
    private static let contestRoundsMax = 10
    /// How often the refusal is said unasked; packets are lost.
    private static let refusals = 3

    // MARK: A newcomer

    /// Whether a later life that speaks for itself takes the name of the member at `index` at once. Otherwise it is asked about.
    /// - Parameters:
    ///   - said: what the newcomer says of itself, if it did.
    ///   - endpoint: where it speaks from.
    mutating func yields(_ index: Int, to claimant: MemberID, said: Member?, at endpoint: Endpoint) -> Bool {
        let holder = records[index].member
        guard holder.status.isReachable, holder.endpoint != said?.endpoint ?? endpoint else { return true }
        contests.removeAll { $0.until <= now.uptime }
        guard let place = contests.firstIndex(where: { $0.claimant == claimant && $0.holder.id == holder.id }) else {
            contest(holder, for: claimant, said: said, at: endpoint)
            return false
        }
        if let said {
            contests[place].said = said
            contests[place].endpoint = said.endpoint
        }
        switch contests[place].state {
        case .asking: return false
        case .lost:
            tellLoser(place)
            return false
        case .won: return true
        }
    }

    /// Whether pages from that life count. A newcomer's do not before it has the name, nor do those of a life that is over.
    mutating func listens(to peer: MemberID, saying facts: [Fact]) -> Bool {
        let said = Self.word(about: peer, in: facts)
        if peer.name == local.name {
            if let said { meetRival(peer, at: said.endpoint) }
            return false
        }
        guard let index = find(peer.name), records[index].id != peer else { return true }
        guard let said else { return peer.life > records[index].id.life && !records[index].isReachable }
        guard peer.life > records[index].id.life else {
            send(.stale(records[index].id), to: said.endpoint, leading: [fact(about: records[index])])
            return false
        }
        return yields(index, to: peer, said: said, at: said.endpoint)
    }

    /// What `facts` say of that life.
    static func word(about id: MemberID, in facts: [Fact]) -> Member? {
        for case .member(let member, _) in facts where member.id == id { return member }
        return nil
    }

    // MARK: A rival

    /// A later life of our name is known to the mesh.
    mutating func hearOfLaterSelf(_ member: Member) {
        guard member.id.life > local.id.life, phase == .running else { return }
        guard member.status.isReachable, member.endpoint != local.endpoint else { return hearOfLaterLife(member.id.life) }
        contests.removeAll { $0.until <= now.uptime }
        guard !contests.contains(where: { $0.claimant == local.id && $0.holder.id == member.id }) else { return }
        contest(member, for: local.id, said: local, at: local.endpoint)
    }

    /// Another process of our name speaks to us itself. The earlier one stands its ground; if the mesh knows the later one, that says so.
    mutating func meetRival(_ rival: MemberID, at endpoint: Endpoint) {
        guard rival != local.id, phase == .running else { return }
        guard rival.life > local.id.life else { return send(.stale(local.id), to: endpoint, leading: [.member(local)]) }
        // Late words of an earlier run at this address, before a clock was set back.
        guard endpoint != local.endpoint else { return hearOfLaterLife(rival.life) }
        hasVouched = true
        send(.taken(local.id), to: endpoint, leading: [.member(local)])
    }

    /// What another process of our name says is no gossip: it is answered, asked, or given way to.
    mutating func receiveFromRival(_ message: GossipMessage, from endpoint: Endpoint) {
        switch message.kind {
        case .ping(let number, local.id):
            hasVouched = true
            send(.ack(number: number), to: endpoint)
        case .ack(let number): contestAnswered(by: message.sender, number: number)
        default: meetRival(message.sender, at: endpoint)
        }
    }

    /// Somebody says that our name is taken.
    mutating func hearTaken(by id: MemberID, _ message: GossipMessage, from endpoint: Endpoint) {
        guard id.name == local.name, id != local.id, let holder = Self.word(about: id, in: message.facts) else { return }
        if id.life > local.id.life {
            hearOfLaterSelf(holder)
        } else if !hasVouched {
            giveUpName(to: holder)
        } else if message.sender == id {
            // It has promised somebody to live, and so have we. The later life keeps the name; it will ask.
            send(.taken(local.id), to: endpoint, leading: [.member(local)])
        }
    }

    private mutating func giveUpName(to holder: Member) {
        phase = .refused
        directives.append(.nameTaken(by: holder))
    }

    // MARK: Asking

    private mutating func contest(_ holder: Member, for claimant: MemberID, said: Member?, at endpoint: Endpoint) {
        guard contests.count < Self.contestsMax else { return }
        lastNumber &+= 1
        let until = now.uptime + 8 * configuration.contestTime.nanoseconds
        contests.append(
            Contest(
                number: lastNumber, claimant: claimant, said: said, endpoint: said?.endpoint ?? endpoint, holder: holder,
                until: until))
        // An answer of ours to a rival is a promise, and the port can't make one.
        if claimant != local.id { directives.append(.checkPort(of: holder.id, at: holder.endpoint)) }
        ask(contests.count - 1)
    }

    private mutating func ask(_ place: Int) {
        guard case .asking(let rounds) = contests[place].state else { return }
        contests[place].state = .asking(rounds: rounds + 1)
        let (number, holder) = (contests[place].number, contests[place].holder)
        send(.ping(number: number, target: holder.id), to: holder.endpoint)
        if contests[place].claimant != local.id {
            let helpers = reachableOthers.filter { records[$0].id != holder.id }.shuffled(using: &random).prefix(configuration.helperCount)
            for helper in helpers {
                send(.pingRequest(number: number, target: holder.id, at: holder.endpoint), to: records[helper].member.endpoint)
            }
        }
        scheduleContest(number)
    }

    private mutating func scheduleContest(_ number: UInt32) {
        let wait = Duration.nanoseconds(configuration.contestTime.nanoseconds / Int64(Self.contestRounds))
        directives.append(.startTimer(.contest(number: number), after: wait))
    }

    mutating func contestTick(_ number: UInt32) {
        guard let place = contests.firstIndex(where: { $0.number == number }) else { return }
        let contest = contests[place]
        switch contest.state {
        case .won: break
        case .lost(let told):
            guard told < Self.refusals else { return }
            contests[place].state = .lost(told: told + 1)
            tellLoser(place)
            scheduleContest(number)
        case .asking(let rounds):
            let isOurs = contest.claimant == local.id
            let isHeld = isOurs || find(contest.holder.id).map { records[$0].isReachable } ?? false
            if isHeld, rounds < (contest.port == .open ? Self.contestRoundsMax : Self.contestRounds), contest.port != .refused {
                ask(place)
            } else if isOurs {
                contests.remove(at: place)
                hearOfLaterLife(contest.holder.id.life)
            } else if isHeld, contest.port == .open {
                lose(place)
            } else {
                win(place)
            }
        }
    }

    /// An ack came, by whatever way.
    mutating func contestAnswered(by id: MemberID, number: UInt32) {
        guard let place = contests.firstIndex(where: { $0.number == number && $0.holder.id == id }), case .asking = contests[place].state
        else { return }
        guard contests[place].claimant != local.id else { return giveUpName(to: contests[place].holder) }
        lose(place)
    }

    /// Word from the peer port of a member.
    mutating func contestPort(of id: MemberID, is port: Contest.Port) {
        for place in contests.indices where contests[place].holder.id == id { contests[place].port = port }
    }

    /// Time that we stood still is nobody's silence.
    mutating func restartContests() {
        for place in contests.indices {
            if case .asking = contests[place].state { contests[place].state = .asking(rounds: 0) }
        }
    }

    private mutating func lose(_ place: Int) {
        contests[place].state = .lost(told: 1)
        tellLoser(place)
        scheduleContest(contests[place].number)
    }

    private mutating func tellLoser(_ place: Int) {
        let holder = contests[place].holder
        let known = find(holder.id).map { fact(about: records[$0]) } ?? .member(holder)
        send(.taken(holder.id), to: contests[place].endpoint, leading: [known])
    }

    private mutating func win(_ place: Int) {
        let contest = contests[place]
        let known = find(contest.claimant.name)
        // Somebody else was first, or the claimant itself is known by now.
        let isFree = known.map {
            records[$0].id.life < contest.claimant.life && (records[$0].id == contest.holder.id || !records[$0].isReachable)
        }
        guard isFree ?? true else {
            contests.remove(at: place)
            return
        }
        if let said = contest.said {
            contests.remove(at: place)
            meet(said, goneFor: 0, from: contest.claimant, isUrgent: true)
            // Nobody else knows.
            gossipsNow = true
        } else {
            contests[place].state = .won
        }
        // Nothing of what it knows was taken until now, and it was told nothing.
        sync(with: contest.endpoint)
    }
}
