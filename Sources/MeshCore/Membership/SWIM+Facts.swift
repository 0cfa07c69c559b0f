// Merging what others say.

extension SWIM {
    /// - Parameters:
    ///   - endpoint: where the message came from; nil in an exchange, over a peer link or by deltas, where both sides say what they know anyway.
    ///   - outdated: collects the lives that the sender should have known to be over.
    mutating func merge(_ fact: Fact, from sender: MemberID, at endpoint: Endpoint?, outdated: inout [MemberID]) {
        switch fact {
        case .member(let member, let goneFor):
            switch relation(to: member.id, sender: sender, at: endpoint, outdated: &outdated) {
            case .over: break
            case .own: hearOfMyself(incarnation: member.incarnation, status: member.status, from: sender, at: endpoint)
            case .laterSelf: hearOfLaterSelf(member)
            case .unknown: meet(member, goneFor: goneFor, from: sender, isUrgent: endpoint != nil || member.id == sender)
            case .later: meet(member, goneFor: goneFor, from: sender, isUrgent: true)
            case .known(let index): merge(member, goneFor: goneFor, into: index, from: sender)
            }
        case .claim(let id, let incarnation, let status, let accuser):
            switch relation(to: id, sender: sender, at: endpoint, outdated: &outdated) {
            case .over: break
            case .own: hearOfMyself(incarnation: incarnation, status: status, from: sender, at: endpoint)
            case .laterSelf where status != .suspect: hearOfLaterLife(id.life)
            case .unknown, .later, .laterSelf:
                // A claim doesn't say where its subject lives. The sender knows.
                if let endpoint { sync(with: endpoint) }
            case .known(let index):
                guard records[index].member.status < .dead || status == .left else { break }
                guard status != .suspect else {
                    let word = Testimony(subject: id, incarnation: incarnation, witness: accuser, finding: .silent)
                    hear(word, on: index, from: sender, at: endpoint)
                    break
                }
                var member = records[index].member
                guard member.status != status else { break }
                member.status = status
                settle(index, as: member, goneFor: 0, by: accuser)
                tell(fact, about: .member(member.name))
            }
        case .testimony(let word):
            switch relation(to: word.subject, sender: sender, at: endpoint, outdated: &outdated) {
            case .over: break
            case .own: if word.accuses { hearOfMyself(incarnation: word.incarnation, status: .suspect, from: sender, at: endpoint) }
            case .unknown, .later, .laterSelf: if word.accuses, let endpoint { sync(with: endpoint) }
            case .known(let index): hear(word, on: index, from: sender, at: endpoint)
            }
        case .survival(let id, let life):
            // Of a life not heard of yet it comes again.
            guard id != local.id, let index = find(id), records[index].isReachable else { break }
            guard records[index].steadiness.outlived.map({ $0 < life }) ?? true else { break }
            noteSurvival(index, of: life)
            tell(fact, about: .survival(id.name))
        case .instance(let instance, let version):
            change(instancesOf: instance.node, telling: fact, about: instance.number) { $0.put(instance, version: version) }
        case .instanceRemoved(let node, let number, let version):
            change(instancesOf: node, telling: fact, about: number) { $0.remove(number, version: version) }
        case .roster(let node, let version, let span, let numbers):
            guard node == sender, endpoint == nil else { break }
            change(instancesOf: node, telling: nil, about: 0) { $0.keep(only: numbers, in: span, version: version) }
        }
    }

    private enum Relation {
        case unknown
        /// The same life is known.
        case known(Int)
        /// An earlier life is known.
        case later
        /// A later life is known, so this is about somebody who is gone.
        case over
        /// It is about this life of ours.
        case own
        /// It is about a later life of our name.
        case laterSelf
    }

    private mutating func relation(to id: MemberID, sender: MemberID, at endpoint: Endpoint?, outdated: inout [MemberID]) -> Relation {
        if id == local.id { return .own }
        guard let index = find(id.name) else { return .unknown }
        let known = records[index].id
        if id.life < known.life {
            if !outdated.contains(known) { outdated.append(known) }
            return .over
        }
        guard id.name != local.name else { return .laterSelf }
        return id.life == known.life ? .known(index) : .later
    }

    /// One not known before, or not in this life: it replaces an earlier one whatever was held of that.
    mutating func meet(_ member: Member, goneFor: UInt32, from sender: MemberID, isUrgent: Bool) {
        var fresh = member
        if member.status.isReachable {
            fresh.status = .alive
        } else if Int64(goneFor) > configuration.memory.nanoseconds / 2_000_000_000 {
            // About to be forgotten; taking it up now would keep it in the mesh for ever.
            return
        }
        let index: Int
        var isBack: Life?
        if let known = find(member.name) {
            index = known
            digest &-= records[index].hash &+ records[index].instances.digest
            let hadInstances = !records[index].instances.entries.isEmpty
            let former = records[index]
            records[index] = MemberRecord(member: fresh, after: former)
            isBack = former.member.status == .dead && former.deathWasSilent ? former.id.life : nil
            if hadInstances { directives.append(.instancesChanged) }
        } else {
            guard makePlace() else {
                refusedMembers += 1
                return
            }
            index = position(of: member.name)
            records.insert(MemberRecord(member: fresh), at: index)
            nameSeeds.insert(Watchers.seed(of: member.name), at: index)
            nameChanges += 1
        }
        epoch += 1
        if fresh.status.isReachable {
            records[index].hash = MemberRecord.hash(of: fresh)
            digest &+= records[index].hash
            // Into the turn at a random place, so that a newcomer is neither everybody's first nor last.
            if !turn.contains(fresh.name) { turn.insert(fresh.name, at: Int.random(in: 0...turn.count, using: &random)) }
        } else {
            markGone(index, goneFor: goneFor)
        }
        directives.append(.memberChanged(fresh, from: nil))
        tell(fact(about: records[index]), about: .member(fresh.name), isUrgent: isUrgent || !fresh.status.isReachable)
        // It was silent, not gone; perhaps it stood still. Its own word on that may come later.
        if fresh.status.isReachable, let isBack { noteSurvival(index, of: isBack) }
    }

    private mutating func merge(_ member: Member, goneFor: UInt32, into index: Int, from sender: MemberID) {
        let known = records[index].member
        switch (known.status.isReachable, member.status.isReachable) {
        case (true, true):
            guard member.incarnation >= known.incarnation else { return }
            if member.incarnation > known.incarnation {
                var news = member
                news.status = known.status
                news.isDegraded = known.isDegraded
                update(index, to: news)
                tell(.member(news), about: .member(news.name))
                refuted(index, isDirect: sender == member.id)
            }
        case (_, false):
            guard member.status > known.status else { return }
            var gone = known
            gone.status = member.status
            settle(index, as: gone, goneFor: goneFor, by: sender.name)
            tell(fact(about: records[index]), about: .member(gone.name))
        case (false, true): break
        }
    }

    // MARK: About ourselves

    /// A suspicion is refuted with a higher incarnation. A death can't be: this life is over for whoever heard of it.
    mutating func hearOfMyself(incarnation: UInt32, status: Status, from sender: MemberID, at endpoint: Endpoint?) {
        switch status {
        case .alive:
            if incarnation > local.incarnation { raiseIncarnation(above: incarnation) }
        case .suspect:
            if incarnation >= local.incarnation { raiseIncarnation(above: incarnation) }
        case .dead, .left:
            if status == .dead { outlived = local.id.life }
            phase = .disowned(by: endpoint ?? find(sender).map { records[$0].member.endpoint })
            directives.append(.declaredDead)
        }
    }

    private mutating func raiseIncarnation(above incarnation: UInt32) {
        guard incarnation < .max else {
            // No refutation is left in this life. Only a holder of the key can have said so.
            phase = .disowned(by: nil)
            directives.append(.declaredDead)
            return
        }
        local.incarnation = incarnation + 1
        announce()
    }

    mutating func hearOfLaterLife(_ life: Life) {
        guard life > local.id.life, now.uptime >= deafToStaleUntil, phase == .running else { return }
        // Asked already, with its address known.
        guard !contests.contains(where: { $0.claimant == local.id && $0.holder.id.life == life }) else { return }
        phase = .disowned(by: nil)
        directives.append(.becameStale(known: life))
    }

    /// Tells the mesh what has changed in ``local``.
    mutating func announce() {
        guard let index = find(local.name) else { return }
        update(index, to: local)
        guard phase == .running else { return }
        tell(.member(local), about: .member(local.name), isOwn: true)
    }

    mutating func setStage(_ stage: Stage) {
        guard stage != local.stage, local.incarnation < .max else { return }
        local.stage = stage
        // Before the start nobody has heard of the former stage.
        if phase == .running { local.incarnation += 1 }
        announce()
    }

    mutating func setKeys(_ keys: [KeyMark], cookies: [KeyMark]) {
        guard keys != local.keys || cookies != local.cookieKeys, local.incarnation < .max else { return }
        local.keys = keys
        local.cookieKeys = cookies
        if phase == .running { local.incarnation += 1 }
        announce()
    }

    /// Puts a new life of ours in the place of the old one.
    mutating func reannounce(as id: MemberID, stage: Stage) {
        guard let index = find(local.name) else { return }
        let instances = records[index].instances.entries.map(\.instance)
        digest &-= records[index].hash &+ records[index].instances.digest
        local.id = id
        local.incarnation = 0
        local.status = .alive
        local.stage = stage
        records[index] = MemberRecord(member: local, hash: MemberRecord.hash(of: local))
        digest &+= records[index].hash
        epoch += 1
        directives.append(.memberChanged(local, from: nil))
        tell(.member(local), about: .member(local.name), isOwn: true)
        instanceVersion = 0
        for instance in instances { register(instance) }
    }

    // MARK: Instances

    mutating func register(_ instance: Instance) {
        guard instance.fits else {
            directives.append(.instanceRefused(number: instance.number, .outOfBounds))
            return
        }
        guard let index = find(local.name) else { return }
        guard records[index].instances.entries.count < Self.instancesMax || records[index].instances.contains(instance.number) else {
            directives.append(.instanceRefused(number: instance.number, .tooMany))
            return
        }
        var own = instance
        own.node = local.id
        instanceVersion &+= 1
        let version = instanceVersion
        change(instancesOf: local.id, telling: .instance(own, version: version), about: own.number) { $0.put(own, version: version) }
    }

    mutating func unregister(_ number: UInt32) {
        guard let index = find(local.name), records[index].instances.contains(number) else { return }
        instanceVersion &+= 1
        let version = instanceVersion
        change(instancesOf: local.id, telling: .instanceRemoved(node: local.id, number: number, version: version), about: number) {
            $0.remove(number, version: version)
        }
    }

    private mutating func change(
        instancesOf node: MemberID, telling fact: Fact?, about number: UInt32, _ body: (inout InstanceRoll) -> Bool
    ) {
        // Of a node or life not known here nothing is kept: it comes with that node's state.
        guard let index = find(node), records[index].isReachable else { return }
        let before = records[index].instances.digest
        guard body(&records[index].instances) else { return }
        digest = digest &- before &+ records[index].instances.digest
        epoch += 1
        directives.append(.instancesChanged)
        if let fact { tell(fact, about: .instance(node.name, number), isOwn: node == local.id) }
    }

    // MARK: Records

    /// Replaces what is held of a reachable member.
    mutating func update(_ index: Int, to member: Member) {
        let before = records[index].member
        guard member != before else { return }
        digest &-= records[index].hash
        records[index].member = member
        records[index].hash = MemberRecord.hash(of: member)
        digest &+= records[index].hash
        epoch += 1
        var comparable = before
        comparable.incarnation = member.incarnation
        comparable.keys = member.keys
        comparable.cookieKeys = member.cookieKeys
        if comparable != member { directives.append(.memberChanged(member, from: before.status)) }
    }

    /// The member is dead or has left. Its instances go with it.
    mutating func settle(_ index: Int, as member: Member, goneFor: UInt32, by decider: NodeName? = nil, ground: Verdict.Ground = .told) {
        if member.status == .dead { conclude(index, by: decider, ground: ground) }
        let before = records[index].member.status
        let hadInstances = !records[index].instances.entries.isEmpty
        digest &-= records[index].hash &+ records[index].instances.digest
        records[index].member = member
        records[index].hash = 0
        records[index].suspicion = nil
        records[index].candidates = nil
        records[index].instances = InstanceRoll()
        epoch += 1
        markGone(index, goneFor: goneFor)
        directives.append(.memberChanged(member, from: before))
        if hadInstances { directives.append(.instancesChanged) }
    }

    private mutating func markGone(_ index: Int, goneFor: UInt32) {
        if records[index].goneAt == nil { records[index].goneAt = now.uptime - Int64(goneFor) * 1_000_000_000 }
        records[index].hash = MemberRecord.hash(of: records[index].member)
        digest &+= records[index].hash
        records[index].reunionDue = now.uptime + configuration.reunionInterval.nanoseconds
        records[index].reunionInterval = configuration.reunionInterval
        if records[index].member.status == .dead { scheduleReunion() }
    }

    private mutating func makePlace() -> Bool {
        guard records.count >= Self.membersMax else { return true }
        let gone = records.indices.filter { records[$0].goneAt != nil }
        guard let oldest = gone.min(by: { (records[$0].goneAt ?? 0) < (records[$1].goneAt ?? 0) }) else { return false }
        forget(oldest)
        return true
    }

    mutating func forget(_ index: Int) {
        digest &-= records[index].hash
        records.remove(at: index)
        nameSeeds.remove(at: index)
        nameChanges += 1
        epoch += 1
    }

    mutating func scheduleSweep(round: UInt64) {
        directives.append(.startTimer(.sweep(round: round + 1), after: .seconds(60)))
        sweepRound = round + 1
    }

    /// Forgets those who have been gone for too long. For the second half of that time they don't count in the digest, so observers that
    /// forget a little apart don't give them back to each other.
    mutating func sweep(round: UInt64) {
        guard round == sweepRound else { return }
        scheduleSweep(round: round)
        let memory = configuration.memory.nanoseconds
        for index in records.indices.reversed() {
            guard let goneAt = records[index].goneAt else { continue }
            if now.uptime - goneAt >= memory {
                forget(index)
            } else if now.uptime - goneAt >= memory / 2 {
                digest &-= records[index].hash
                records[index].hash = 0
            }
        }
    }
}
