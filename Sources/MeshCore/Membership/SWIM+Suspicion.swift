// From silence to death, or back.

extension SWIM {
    /// This member itself found the other silent.
    mutating func suspectOnOwnEvidence(_ index: Int) {
        guard now.uptime >= lenientUntil, records[index].isReachable else { return }
        let member = records[index].member
        directives.append(.checkPort(of: member.id, at: member.endpoint))
        suspect(index, accuser: local.name)
    }

    /// Somebody found the member silent, in the incarnation known here.
    mutating func suspect(_ index: Int, accuser: NodeName) {
        let isNew = records[index].suspicion == nil
        var suspicion = records[index].suspicion ?? Suspicion(accusers: [], startedAt: now.uptime, generation: 0, deadline: .max)
        let counts = find(accuser).map { records[$0].member.role == .node && records[$0].isReachable } ?? false
        let confirms = counts && !suspicion.accusers.contains(accuser) && suspicion.accusers.count < Suspicion.accusersMax
        if confirms { suspicion.accusers.append(accuser) }
        guard isNew || confirms else { return }
        records[index].suspicion = suspicion
        var member = records[index].member
        member.status = .suspect
        update(index, to: member)
        timeSuspicion(index, anew: isNew)
        tell(
            .claim(member.id, incarnation: member.incarnation, .suspect, accuser: accuser), about: .member(member.name),
            isOwn: accuser == local.name)
        // Our own probe confirms or clears it soonest.
        if isNew, accuser != local.name { hurry(member.name) }
    }

    /// Its peer port refuses connections.
    mutating func suspectGone(_ index: Int) {
        guard records[index].suspicion?.gone == nil else { return }
        if now.uptime >= lenientUntil {
            if records[index].suspicion == nil { suspect(index, accuser: local.name) }
            records[index].suspicion?.gone = (now.uptime, lastNumber)
            timeSuspicion(index, anew: false)
        }
        // Whatever is answered to this was said afterwards.
        sendPing(to: index)
    }

    /// It answered after all; the suspicion goes on as one of silence.
    mutating func disproveGone(_ index: Int) {
        guard records[index].suspicion?.gone != nil else { return }
        records[index].suspicion?.gone = nil
        timeSuspicion(index, anew: true)
    }

    /// Sets the suspicion's timer, if that has moved nearer or `anew`.
    mutating func timeSuspicion(_ index: Int, anew: Bool) {
        guard let suspicion = records[index].suspicion else { return }
        let voters = records.count {
            $0.isReachable && $0.member.role == .node && $0.member.name != local.name && $0.member.name != records[index].member.name
        }
        var timeout = configuration.suspicionAlone
        if voters > 0 || !suspicion.accusers.contains(local.name) && local.role == .node {
            timeout = Suspicion.timeout(
                confirmations: max(0, suspicion.accusers.count - 1), needed: min(4, max(voters, 1) / 2 + 1),
                min: configuration.suspicionMin, max: configuration.suspicionMax)
        }
        var deadline = suspicion.startedAt + timeout.nanoseconds
        if let gone = suspicion.gone { deadline = min(deadline, gone.at + configuration.suspicionGone.nanoseconds) }
        deadline = max(deadline, lenientUntil)
        guard anew || deadline < suspicion.deadline else { return }
        generation += 1
        records[index].suspicion?.deadline = deadline
        records[index].suspicion?.generation = generation
        let wait = Duration.nanoseconds(max(0, deadline - now.uptime))
        directives.append(.startTimer(.suspicion(records[index].id, generation: generation), after: wait))
    }

    mutating func suspicionTimedOut(_ id: MemberID, generation: UInt64) {
        guard let index = find(id), let suspicion = records[index].suspicion, suspicion.generation == generation else { return }
        var member = records[index].member
        member.status = .dead
        settle(index, as: member, goneFor: 0)
        tell(.claim(id, incarnation: member.incarnation, .dead, accuser: local.name), about: .member(id.name), isOwn: true)
    }

    /// What a ping to it should carry, so that it can refute.
    func claim(about record: MemberRecord) -> Fact? {
        guard record.member.status != .alive else { return nil }
        let accuser = record.suspicion?.accusers.first ?? local.name
        return .claim(record.id, incarnation: record.member.incarnation, record.member.status, accuser: accuser)
    }

    // MARK: What peer links tell

    mutating func linkUp(_ peer: MemberID) {
        contestPort(of: peer, is: .open)
        guard let index = find(peer), records[index].isReachable, peer != local.id else { return }
        if probe?.target == peer { probe = nil }
        disproveGone(index)
        if records[index].suspicion != nil { sendPing(to: index) }
    }

    mutating func linkDown(_ peer: MemberID, refused: Bool) {
        if refused { contestPort(of: peer, is: .refused) }
        guard let index = find(peer), records[index].isReachable, peer != local.id else { return }
        if refused {
            suspectGone(index)
        } else if records[index].suspicion == nil {
            sendPing(to: index)
            hurry(peer.name)
            directives.append(.checkPort(of: peer, at: records[index].member.endpoint))
        }
    }
}
