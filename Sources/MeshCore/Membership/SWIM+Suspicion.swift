// From silence to death, or back.

extension SWIM {
    // MARK: Words

    /// This member itself found the other silent, or its port to refuse.
    mutating func accuse(_ index: Int, finding: Testimony.Finding, pings: Int) {
        guard now.uptime >= lenientUntil, records[index].isReachable else { return }
        if let own = records[index].suspicion?.word(of: local.name), own.finding >= finding { return }
        let isNew = records[index].suspicion == nil
        let word = testify(finding, on: index, pings: pings)
        let hasSay = council(on: index).contains { records[$0].member.name == local.name }
        guard file(word, on: index) else { return }
        records[index].suspicion?.refusedAfterPing = lastNumber
        if isNew { counters.suspicionsRaised += 1 }
        // What nobody counts need not be told by everybody who sees a socket close.
        if isNew || hasSay { say(word, on: index) }
        if finding == .silent { checkPort(index) }
        pursue(index)
        judge(index)
    }

    /// It answered us. Whoever accused it says so, and so does who was asked, unless another has.
    /// - Parameter number: of the ping that it answered; nil for another sign of life, given now.
    mutating func foundAlive(_ index: Int, answering number: UInt32?) {
        let suspicion = records[index].suspicion
        let own = suspicion?.word(of: local.name)
        if own?.finding == .refused, let number, let before = suspicion?.refusedAfterPing, Int32(bitPattern: number &- before) <= 0 {
            return
        }
        let wasAsked = records[index].inquiry != nil
        records[index].inquiry = nil
        guard let suspicion, own?.accuses ?? (wasAsked && local.role == .node && !suspicion.hasVeto) else { return }
        let word = testify(.alive, on: index, pings: 1)
        guard file(word, on: index) else { return }
        say(word, on: index)
        judge(index)
    }

    /// Another's word, of the life known here.
    mutating func hear(_ word: Testimony, on index: Int, from sender: MemberID, at endpoint: Endpoint?) {
        let isDirect = sender.name == word.witness
        let member = records[index].member
        guard records[index].isReachable, word.incarnation == member.incarnation else {
            // Settled here already, which its witness should know; or about an incarnation that comes with what else is new in it.
            guard word.accuses, let endpoint else { return }
            if !records[index].isReachable || word.incarnation < member.incarnation {
                if isDirect { send(.gossip, to: endpoint, leading: [fact(about: records[index])]) }
            } else {
                sync(with: endpoint)
            }
            return
        }
        let isNew = records[index].suspicion == nil
        if file(word, on: index) {
            if isNew { counters.suspicionsHeard += 1 }
            tell(.testimony(word), about: .testimony(of: word.witness, on: member.name))
            judge(index)
        }
        // Who asks again has not heard our answer, or wants a later one.
        if word.accuses, isWatcher(of: index, atMost: isDirect ? Watchers.heardCount : Watchers.count) { inquire(index) }
    }

    /// Puts a word to the others. False when it changes nothing here.
    private mutating func file(_ word: Testimony, on index: Int) -> Bool {
        guard records[index].suspicion != nil else {
            guard word.accuses else { return false }
            records[index].suspicion = Suspicion(first: word, at: now.uptime)
            return true
        }
        let isKnown = records[index].suspicion?.word(of: word.witness) != nil
        guard isKnown || word.witness == local.name || council(on: index).contains(where: { records[$0].member.name == word.witness })
        else {
            return false
        }
        let wasVetoed = records[index].suspicion?.wasVetoed ?? false
        let isNews = records[index].suspicion?.file(word, at: now.uptime) ?? false
        if isNews, !word.accuses, !wasVetoed { counters.suspicionsVetoed += 1 }
        return isNews
    }

    private mutating func testify(_ finding: Testimony.Finding, on index: Int, pings: Int) -> Testimony {
        lastWord &+= 1
        return Testimony(
            subject: records[index].id, incarnation: records[index].member.incarnation, witness: local.name, number: lastWord,
            finding: finding, pings: UInt8(clamping: pings),
            heardAgo: records[index].heardAt.map { .milliseconds((now.uptime - $0) / 1_000_000) },
            roundTrip: records[index].roundTrip.map { .microseconds($0 / 1000) })
    }

    /// Tells our own word to those who should find out, and to some others at once; from there it spreads.
    private mutating func say(_ word: Testimony, on index: Int) {
        for watcher in council(on: index) where records[watcher].member.name != local.name {
            send(.gossip, to: records[watcher].member.endpoint, leading: [.testimony(word)])
        }
        tell(.testimony(word), about: .testimony(of: local.name, on: word.subject.name), isOwn: true)
    }

    mutating func isWatcher(of index: Int, atMost limit: Int) -> Bool {
        local.role == .node && council(on: index).prefix(limit).contains { records[$0].member.name == local.name }
    }

    // MARK: Judgement

    /// Weighs the words anew: what is shown of the member, and when it is held for dead.
    mutating func judge(_ index: Int, anew: Bool = false) {
        guard let ruling = ruling(on: index), let suspicion = records[index].suspicion else { return }
        records[index].suspicion?.isConfirmed = ruling.isConfirmed
        if ruling.isConfirmed, !suspicion.isConfirmed {
            counters.suspicionsConfirmed += 1
            noteTrouble(index)
        }
        show(index)
        let deadline = max(ruling.deadline, lenientUntil)
        guard anew || deadline != suspicion.deadline else { return }
        generation += 1
        records[index].suspicion?.deadline = deadline
        records[index].suspicion?.generation = generation
        let wait = Duration.nanoseconds(max(0, deadline - now.uptime))
        directives.append(.startTimer(.suspicion(records[index].id, generation: generation), after: wait))
    }

    private mutating func ruling(on index: Int) -> Suspicion.Ruling? {
        guard records[index].suspicion != nil else { return nil }
        let council = council(on: index).map { records[$0].member.name }
        let patience = records[index].steadiness.patience(at: now.uptime, configuration)
        return records[index].suspicion?.ruling(council: council, local: local.name, patience: patience, configuration)
    }

    /// What is shown of a reachable member. One that is degraded stays so: that it is silent at times is known.
    mutating func show(_ index: Int) {
        guard records[index].isReachable, records[index].member.name != local.name else { return }
        var member = records[index].member
        member.isDegraded = records[index].steadiness.isDegraded(at: now.uptime)
        member.status = records[index].suspicion?.isConfirmed ?? false && !member.isDegraded ? .suspect : .alive
        update(index, to: member)
    }

    mutating func suspicionTimedOut(_ id: MemberID, generation: UInt64) {
        guard let index = find(id), let suspicion = records[index].suspicion, suspicion.generation == generation,
            let ruling = ruling(on: index)
        else { return }
        // Who counts may have changed since.
        guard max(ruling.deadline, lenientUntil) <= now.uptime else { return judge(index, anew: true) }
        guard let ground = ruling.ground else { return drop(index) }
        var member = records[index].member
        member.status = .dead
        settle(index, as: member, goneFor: 0, by: local.name, ground: ground)
        tell(.claim(id, incarnation: member.incarnation, .dead, accuser: local.name), about: .member(id.name), isOwn: true)
    }

    /// The member said something new of itself.
    mutating func refuted(_ index: Int, isDirect: Bool) {
        guard let suspicion = records[index].suspicion else { return }
        counters.suspicionsRefuted += 1
        if suspicion.isConfirmed { records[index].steadiness.trouble(at: now.uptime, configuration) }
        remember(.refuted, of: index, ground: .answer, by: records[index].member.name)
        // Who began it may be the one that can't reach it. A refutation is the best of vetoes.
        if isDirect, records[index].inquiry != nil, suspicion.firstAccuser != local.name, let asker = find(suspicion.firstAccuser) {
            send(.gossip, to: records[asker].member.endpoint, leading: [fact(about: records[index])])
        }
        drop(index)
    }

    /// Nobody holds anything against it any more.
    private mutating func drop(_ index: Int) {
        forgetWords(on: index)
        records[index].suspicion = nil
        records[index].candidates = nil
        records[index].inquiry = nil
        show(index)
    }

    private mutating func forgetWords(on index: Int) {
        let name = records[index].member.name
        for word in records[index].suspicion?.words ?? [] { rumours.remove(.testimony(of: word.testimony.witness, on: name)) }
    }

    /// Called for every death, while what led to it is still there.
    mutating func conclude(_ index: Int, by decider: NodeName?, ground: Verdict.Ground) {
        counters.deaths += 1
        remember(.dead, of: index, ground: ground, by: decider ?? records[index].member.name)
        records[index].deathIsOwnWord = ground == .alone || ground == .timeout
        records[index].deathWasSilent =
            records[index].suspicion.map { suspicion in
                suspicion.words.allSatisfy { $0.testimony.finding != .refused }
            } ?? false
        forgetWords(on: index)
        records[index].inquiry = nil
    }

    private mutating func remember(_ outcome: Verdict.Outcome, of index: Int, ground: Verdict.Ground, by decider: NodeName) {
        let suspicion = records[index].suspicion
        if verdicts.count >= Self.verdictsMax { verdicts.removeFirst() }
        verdicts.append(
            Verdict(
                subject: records[index].id, incarnation: records[index].member.incarnation, outcome: outcome, ground: ground,
                decidedBy: decider, at: now.wall, took: .nanoseconds(suspicion.map { now.uptime - $0.startedAt } ?? 0),
                quorum: ruling(on: index)?.quorum ?? 0, testimonies: suspicion?.words.map(\.testimony) ?? [],
                suspectedBy: suspicion?.firstAccuser))
    }

    /// What a ping to it should carry, so that it can refute.
    func claim(about record: MemberRecord) -> Fact? {
        if let suspicion = record.suspicion {
            return .claim(record.id, incarnation: record.member.incarnation, .suspect, accuser: suspicion.firstAccuser)
        }
        guard !record.isReachable else { return nil }
        return .claim(record.id, incarnation: record.member.incarnation, record.member.status, accuser: local.name)
    }

    // MARK: What peer links tell

    mutating func linkUp(_ peer: MemberID) {
        contestPort(of: peer, is: .open)
        guard let index = find(peer), records[index].isReachable, peer != local.id else { return }
        if probe?.target == peer { probe = nil }
        foundAlive(index, answering: nil)
        if records[index].suspicion != nil { sendPing(to: index) }
    }

    mutating func linkDown(_ peer: MemberID, refused: Bool) {
        if refused { contestPort(of: peer, is: .refused) }
        guard let index = find(peer), records[index].isReachable, peer != local.id else { return }
        if refused {
            accuse(index, finding: .refused, pings: records[index].inquiry?.pings ?? 0)
            // Whatever is answered to this was said afterwards.
            sendPing(to: index)
        } else {
            inquire(index)
        }
    }
}
