// Requests: where they go, and what an owner does with them.
//
// An application's request becomes an operation on one slot. This agent carries it out when it is the slot's owner; else it forwards it to who
// is, follows a hint when that one is no longer, and parks it while the slot changes hands. Whatever happens, it ends with one answer before its deadline.

/// One request under way.
struct Operation: Sendable {
    var requester: Requester
    var body: SessionOperation
    /// In uptime nanoseconds.
    var deadline: Int64
    /// The peer whose answer is awaited.
    var sentTo: NodeName?
    /// Whether somebody was asked and never answered, and so may have done it.
    var mayBeDone = false
    /// Forwards so far; a wheel of hints is slowed down by it.
    var hops = 0
    /// What its commit asks for.
    let acknowledgement: AcknowledgementLevel
    /// Set once a majority has assented to its strict commit in that tenure.
    var assent: Tenure?

    enum Requester: Sendable {
        /// An application of ours. `cookie` is the value for a session made by this operation, or opened by it under an older key.
        case client(RequestID, cookie: String?)
        case peer(LinkID, id: UInt64)
        /// The move of that session, which the operation of that number asked for.
        case move(SessionKey, UInt64)
        /// The walk of that number, which ends sessions.
        case walk(UInt64)
        /// The walk of that number, which is yet to begin.
        case index(UInt64)
    }
}

extension Operation {
    /// Whether its answer waits for the mirror: asked for by the request or by the operator, or because an end that only the nodes knew would be undone
    /// should all of them end too.
    func isWrittenThrough(under mode: MirrorMode?) -> Bool {
        let isAsked = acknowledgement == .mirrored || (acknowledgement == .replicated && mode == .through)
        return switch body {
        case .destroy, .move: true
        case .create(_, _, let moved): moved != nil || isAsked
        case .commit: isAsked
        case .open, .read, .publish: false
        }
    }

    /// Whether a result can be told as it is. That there is no such session says nothing of what another owner, on the other side of a cut perhaps, may
    /// have made of the commit.
    func isTold(_ result: OperationResult) -> Bool {
        guard mayBeDone, body.commit != nil, case .client = requester, case .failed(let failure) = result else { return true }
        return failure.code != .notFound
    }
}

extension AgentCore {
    /// Requests under way at once; more are told to come back. Each costs about 300 bytes beside its payload.
    static let operationsMax = 16_384
    private static let hopsMax = 8

    // MARK: From applications

    mutating func receive(_ request: RequestID, _ body: ClientRequest) {
        switch body {
        case .ping: reply(request, .done)
        case .register(let service, let address, let weight, let cookieName):
            let instance = Instance(
                node: id, number: UInt32(truncatingIfNeeded: request.client.rawValue), service: service, address: address, weight: weight,
                cookieName: cookieName)
            gossip(.register(instance))
            reply(request, .done)
        case .members: reply(request, .members(swim.view))
        case .placement(let slot):
            let term = slots.isEmpty ? 0 : slots[Int(slot.rawValue)].tenure.term
            reply(request, .placement(PlacementAnswer(slot: slot, term: term, ranking: table.ranking(of: slot))))
        case .subscribe(let channel):
            let isTaken = channels.subscribe(request.client, to: channel)
            let full = ClientFailure(.full, "one client listens to at most \(ChannelRegistry.subscriptionsMax) channels; open another")
            reply(request, isTaken ? .done : .failure(full))
        case .unsubscribe(let channel):
            channels.unsubscribe(request.client, from: channel)
            reply(request, .done)
        case .follow: follow(request)
        case .unfollow:
            unfollow(request.client)
            reply(request, .done)
        case .open(let cookie):
            switch verdict(of: cookie) {
            case .signed(let session, let number):
                let renewal = cookies?.renewal(of: session, signedBy: number)
                begin(.open(SessionKey(of: session)), for: .client(request, cookie: renewal))
            case .refused(let reason): reply(request, .absent(reason))
            }
        case .read(let key): begin(.read(key), for: .client(request, cookie: nil))
        case .destroy(let key, let commit): begin(.destroy(key, commit), for: .client(request, cookie: nil))
        case .publish(let channel, let payload): begin(.publish(channel: channel, payload: payload), for: .client(request, cookie: nil))
        case .list(let user, let after): walk(request, for: .list(user: user, after: after))
        case .revoke(let user, let except): walk(request, for: .revoke(user: user, except: except))
        case .commit(let commit): receive(request, commit)
        }
    }

    /// Whether a cookie is ours, and if not, counted.
    mutating func verdict(of cookie: [UInt8]) -> CookieVerdict {
        let verdict = cookies?.verdict(of: cookie) ?? .refused(.unknownKey)
        if case .refused(let reason) = verdict { counters.refused(reason) }
        return verdict
    }

    private mutating func receive(_ request: RequestID, _ commit: SessionCommit) {
        if commit.regenerate, commit.acknowledgement != .replicated {
            return reply(request, .failure(ClientFailure(.invalid, "REGENERATE takes no ACK; two nodes hold it before it is answered")))
        }
        if cookies == nil, commit.key == nil || commit.regenerate {
            return reply(request, .failure(ClientFailure(.invalid, "this agent's key file holds no cookie key; add one with keygen")))
        }
        guard let key = commit.key else {
            guard let (key, cookie) = mintSession() else { return }
            return begin(.create(key, commit, nil), for: .client(request, cookie: cookie))
        }
        guard commit.regenerate else { return begin(.commit(key, commit), for: .client(request, cookie: nil)) }
        guard let (successor, draw) = mintSuccessor(of: key, by: commit.id) else { return }
        begin(.move(key, commit, to: successor, draw: draw), for: .client(request, cookie: nil))
    }

    /// A new id. Only the one that is taken is signed.
    private mutating func mintSession() -> (SessionKey, cookie: String)? {
        var secrets = secrets
        defer { self.secrets = secrets }
        guard let cookies, let (session, key) = mint({ SessionID(bytes: secrets.next()) }) else { return nil }
        return (key, cookies.value(for: session))
    }

    /// Draws ids until one has a slot that is ours, if that can be had: then the visitor, whom the balancer sent here, is already where the
    /// session lives.
    func mint(_ draw: () -> SessionID?) -> (SessionID, SessionKey)? {
        var minted: (SessionID, SessionKey)?
        for _ in 0..<(16 * max(1, table.candidates.count)) {
            guard let session = draw() else { return nil }
            let key = SessionKey(of: session)
            minted = (session, key)
            if table.primary(of: key.slot) == id.name { break }
        }
        return minted
    }

    mutating func clientClosed(_ client: ClientID) {
        channels.remove(client)
        unfollow(client)
        gossip(.unregister(number: UInt32(truncatingIfNeeded: client.rawValue)))
    }

    mutating func reply(_ request: RequestID, _ response: ClientResponse) {
        directives.append(.reply(request, response))
    }

    // MARK: From peers

    mutating func accept(_ body: SessionOperation, from link: LinkID, id: UInt64) {
        guard configuration.role == .node else { return }
        begin(body, for: .peer(link, id: id))
    }

    // MARK: Routing

    mutating func begin(_ body: SessionOperation, for requester: Operation.Requester) {
        let number = nextNumber()
        operations[number] = Operation(
            requester: requester, body: body, deadline: now.uptime + configuration.requestDeadline.nanoseconds,
            acknowledgement: body.commit?.acknowledgement ?? .replicated)
        guard operations.count <= Self.operationsMax else {
            return finish(number, .failed(ClientFailure(.full, "this agent has too many requests under way; try again shortly")))
        }
        guard configuration.role == .node else {
            return finish(number, .failed(ClientFailure(.invalid, "a balancer holds no sessions; ask an agent with --role node")))
        }
        route(number)
    }

    mutating func route(_ number: UInt64) {
        guard let operation = operations[number] else { return }
        let slot = operation.body.slot
        if slots[Int(slot.rawValue)].isOwner {
            if mayAnswer(for: slot) { execute(number, operation.body) } else { park(number) }
            return
        }
        let owner = slots[Int(slot.rawValue)].tenure.owner.flatMap { $0 != id && isReachable($0) ? $0.name : nil }
        let heir = table.primary(of: slot)
        if case .peer = operation.requester {
            // Whoever asked can ask the owner itself. Only rank 0 waits, because it is about to be owner.
            if heir == id.name, owner == nil { park(number) } else { finish(number, .elsewhere(hint(owner ?? heir))) }
        } else if let target = owner ?? heir, target != id.name, operation.hops < Self.hopsMax {
            forward(number, to: target)
        } else {
            park(number)
        }
    }

    private func hint(_ name: NodeName?) -> MemberID? {
        name.flatMap { swim.member(named: $0)?.id }
    }

    private mutating func forward(_ number: UInt64, to name: NodeName) {
        guard let operation = operations[number] else { return }
        guard send(.forward(id: number, operation.body), to: name) else {
            if let endpoint = swim.member(named: name)?.endpoint { dial(endpoint) }
            return park(number)
        }
        operations[number]?.sentTo = name
        operations[number]?.hops += 1
        counters.forwards += 1
    }

    mutating func answered(_ number: UInt64, _ result: OperationResult, by peer: MemberID) {
        guard let operation = operations[number], operation.sentTo == peer.name else { return }
        operations[number]?.sentTo = nil
        guard case .elsewhere(let hint) = result else { return finish(number, result) }
        if let hint, hint != id, hint != peer, isReachable(hint), operation.hops < Self.hopsMax {
            forward(number, to: hint.name)
        } else {
            park(number)
        }
    }

    /// Puts an operation aside until something changes, or until the next round of housekeeping.
    mutating func park(_ number: UInt64) {
        guard let operation = operations[number] else { return }
        if operation.sentTo != nil { operations[number]?.mayBeDone = true }
        operations[number]?.sentTo = nil
        parked.append(number)
    }

    mutating func retryParked() {
        let retried = parked
        parked = []
        for number in retried { route(number) }
    }

    /// Fails what is past its deadline.
    mutating func expireOperations() {
        let expired = operations.filter { $0.value.deadline <= now.uptime }.keys.sorted()
        counters.unavailableAtDeadline += UInt64(expired.count)
        for number in expired {
            finish(number, .failed(ClientFailure(.unavailable, "no node that holds this session could be reached in time; try again")))
        }
        parked.removeAll { operations[$0] == nil }
        for number in parked { operations[number]?.hops = 0 }
    }

    mutating func finish(_ number: UInt64, _ result: OperationResult) {
        guard let operation = operations.removeValue(forKey: number) else { return }
        var result = result
        if !operation.isTold(result) {
            counters.unavailableMoving += 1
            result = .failed(Self.mayBeDone)
        }
        if !assents.isEmpty { assents[number] = nil }
        switch operation.requester {
        case .client(let request, let cookie):
            let response = response(to: operation.body, result, cookie: cookie)
            counters.answered(response, to: operation.body)
            switch (result, response) {
            case (.moved, .failure), (.elsewhere, .failure): counters.unavailableMoving += 1
            default: break
            }
            reply(request, response)
        case .move(let key, let mover): moveWent(on: key, for: mover, result)
        case .walk(let walk): walkWent(on: walk, result, in: operation.body.slot)
        case .index(let walk): indexWent(on: walk, result)
        case .peer(let link, let id):
            if linkNames[link] != nil { directives.append(.linkMessage(link, PeerMessage.answer(id: id, result).encoded)) }
        }
    }

    private func response(to body: SessionOperation, _ result: OperationResult, cookie: String?) -> ClientResponse {
        switch (result, body) {
        case (.session(let snapshot?), .open): .opened(snapshot, cookie: cookie)
        case (.session(nil), .open): .absent(.ended)
        case (.session(let snapshot), _): .session(snapshot)
        case (.published(let position), _): .published(position)
        case (.failed(let failure), _): .failure(failure)
        case (.conflict(let fields), _): .conflict(fields)
        case (.committed, .destroy): .done
        case (.committed(let copies, let counters), _):
            body.key.map { key in
                .committed(
                    CommitReceipt(key: key, cookie: cookie, copies: copies.nodes, isMirrored: copies.isMirrored, counters: counters))
            } ?? .done
        case (.moved(let successor, let draw, let copies, let counters), .move(let key, let commit, _, _)):
            if let cookie = cookies?.value(ofSuccessor: successor, of: key, by: commit.id, draw: draw) {
                .committed(CommitReceipt(key: successor, cookie: cookie, copies: copies, counters: counters))
            } else {
                .failure(ClientFailure(.unavailable, "the session was moved by an agent with another cookie key; try again"))
            }
        case (.moved, _), (.elsewhere, _):
            .failure(ClientFailure(.unavailable, "the session is changing hands; try again"))
        }
    }

    private static var mayBeDone: ClientFailure {
        ClientFailure(.unavailable, "the node that was asked first fell silent, and the next one knows of no such session; try again")
    }

    static var noSuchSession: ClientFailure {
        ClientFailure(.notFound, "there is no such session: it expired, was destroyed, or never was")
    }

    // MARK: At the owner

    private mutating func execute(_ number: UInt64, _ body: SessionOperation) {
        if let commit = body.commit {
            if commit.acknowledgement == .mirrored, mirror == nil { return finish(number, .failed(Self.noMirror)) }
            if commit.isStrict, waitsForAssent(number, in: body.slot) { return }
        }
        switch body {
        case .publish(let channel, let payload): publish(number, channel, payload)
        case .create(let key, let commit, let state): create(number, key, commit, state)
        case .open(let key), .read(let key), .move(let key, _, _, _), .commit(let key, _), .destroy(let key, _):
            let wall = wall
            if let isOver = slots[Int(key.slot.rawValue)].sessions[key].map({ mayForget($0.state, wall: wall) }) {
                if !isOver { return execute(number, body, on: key) }
                expire(key)
            }
            // A synced copy says that there is none; the mirror may know better.
            if mirror != nil { loadFromMirror(key, for: number) } else { isAbsent(number) }
        }
    }

    /// The operation's session is known not to be.
    mutating func isAbsent(_ number: UInt64) {
        guard let body = operations[number]?.body else { return }
        if let doubt = slots[Int(body.slot.rawValue)].doubt {
            counters.unavailableInDoubt += 1
            let names = doubt.members.map(\.description).joined(separator: ", ")
            finish(number, .failed(ClientFailure(.unavailable, "who may hold the session is out of reach: \(names); try again later")))
        } else if case .commit(let key, let commit) = body, commit.makesSession {
            create(number, key, commit, nil)
        } else if case .destroy(let key, let commit) = body, memory.bytes < configuration.memoryMax / 2 {
            destroyUnseen(number, key, commit)
        } else {
            finish(number, absent(body))
        }
    }

    /// Ends a session that isn't here, so that it is ended too where it may be: on the other side of a cut, which this one need not have noticed.
    private mutating func destroyUnseen(_ number: UInt64, _ key: SessionKey, _ commit: CommitID) {
        var end = SessionState()
        _ = end.destroy(commit, wall: wall)
        slots[Int(key.slot.rawValue)].sessions[key] = SessionEntry(state: end)
        memory.add(end, in: key.slot)
        hold(number, key, commit, end, former: .none, counters: [], event: .destroyed)
    }

    private static var noMirror: ClientFailure {
        ClientFailure(.invalid, "the agent that owns the session has no mirror to wait for; start agents with --mirror")
    }

    var wall: Int64 { clock.wall(at: now) }

    /// The answer when a session is known not to be.
    private func absent(_ body: SessionOperation) -> OperationResult {
        switch body {
        case .open, .read: .session(nil)
        case .destroy: .committed(CommitCopies(nodes: 0), counters: [])
        case .commit, .create, .move, .publish: .failed(Self.noSuchSession)
        }
    }

    /// The session is held here.
    private mutating func execute(_ number: UInt64, _ body: SessionOperation, on key: SessionKey) {
        if body.changesSession, waitsForMove(number, of: key) { return }
        let index = Int(key.slot.rawValue)
        switch body {
        case .open, .read:
            // What has no second copy yet might be taken back by a kill; nobody is shown it.
            guard !waitsForCopies(number, of: key) else { return }
            finish(number, read(body, key))
        case .move(_, let commit, let successor, let draw): move(number, key, commit, to: successor, draw: draw)
        case .commit(_, let commit), .create(_, let commit, _):
            apply(number, key, commit)
        case .destroy(_, let commit):
            guard let before = slots[index].sessions[key]?.state else { return }
            if before.hasApplied(commit) { return joinCommit(number, key, commit, counters: []) }
            let wall = wall
            guard let delta = slots[index].update(key, { $0.state.destroy(commit, wall: wall) }) else { return }
            counters.destroyed += 1
            hold(number, key, commit, delta, former: .session(before), counters: [], event: .destroyed)
        case .publish: break
        }
    }

    private mutating func read(_ body: SessionOperation, _ key: SessionKey) -> OperationResult {
        let index = Int(key.slot.rawValue)
        let wall = wall
        guard let state = slots[index].sessions[key]?.state, state.isReadable(wall: wall) else { return absent(body) }
        if case .open = body { touch(key) }
        return .session(reading(of: state, state.terms, key, backup: slots[index].ownership?.backup).snapshot)
    }

    private mutating func create(_ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, _ state: SessionState?) {
        let index = Int(key.slot.rawValue)
        // One that expired, and is kept until its end is known, makes way.
        if let held = slots[index].sessions[key]?.state, mayForget(held, wall: wall) { drop(key) }
        guard slots[index].sessions[key] == nil else {
            return createAgain(number, key, commit, state)
        }
        // One that was given another id lives on: nobody is logged out at a login for want of a place.
        guard state != nil || memory.bytes < configuration.memoryMax else {
            let most = configuration.memoryMax >> 20
            let full = ClientFailure(.full, "the sessions of agent \(id.name) take \(most) MiB, as much as they may; see --memory-max")
            return finish(number, .failed(full))
        }
        var fresh = SessionState(createdAt: wall)
        if let state { fresh.merge(state) }
        slots[index].sessions[key] = SessionEntry(state: fresh)
        memory.add(fresh, in: key.slot)
        apply(number, key, commit, isNew: true, event: state == nil ? .created : nil)
        // Neither one that was refused nor one that was given another id.
        if state == nil, slots[index].sessions[key] != nil { counters.created += 1 }
    }

    /// Another owner of the old id had begun to move it here. Something may have been committed to the old one since.
    private mutating func createAgain(_ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, _ state: SessionState?) {
        guard let before = slots[Int(key.slot.rawValue)].sessions[key]?.state else { return }
        if let state, !before.isDestroyed, before.hasApplied(commit.id) {
            merge(SyncedSession(key: key, mirrored: .zero, state: state))
            if let merged = slots[Int(key.slot.rawValue)].sessions[key]?.state, merged != before {
                return hold(number, key, commit.id, merged, former: .session(before), counters: merged.counters(changedBy: commit))
            }
        }
        if let body = operations[number]?.body { execute(number, body, on: key) }
    }

    /// - Parameter isNew: whether the session is just being made.
    private mutating func apply(
        _ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, isNew: Bool = false, event: SessionEvent.Kind? = nil
    ) {
        let index = Int(key.slot.rawValue)
        let (life, wall) = (id.life, wall)
        do throws(ClientFailure) {
            // Where it lies: a copy of the session would be one of all its marks.
            let taken = try slots[index].update(key) { entry throws(ClientFailure) in
                (try entry.state.take(commit, isNew: isNew, life: life, wall: wall), entry.state.counters(changedBy: commit))
            }
            guard let (outcome, counters) = taken else { return }
            switch outcome {
            case .applied(let delta, let former):
                // Of a session that is new here nobody else has anything yet, and one that was moved came with all it had.
                let sent = isNew ? slots[index].sessions[key]?.state ?? delta : delta
                hold(number, key, commit.id, sent, former: isNew ? .none : .unmarked(former), counters: counters, event: event)
            case .repeated: joinCommit(number, key, commit.id, counters: counters)
            case .ended: finish(number, .failed(Self.noSuchSession))
            case .unchanged: confirm(number, key, counters: counters)
            case .conflict(let present):
                if isNew { remove(key) }
                if !waitsForCopies(number, of: key) { finish(number, .conflict(present)) }
            }
        } catch {
            if isNew { remove(key) }
            finish(number, .failed(error))
        }
    }

    /// Everything is as the commit wants it; it counts as an access.
    private mutating func confirm(_ number: UInt64, _ key: SessionKey, counters: [SessionSnapshot.Field]) {
        guard !waitsForCopies(number, of: key) else { return }
        touch(key)
        answerCommit(number, key, nodes: nodesHolding(key.slot), counters: counters)
    }

    /// Puts an operation whose answer would show what has no second copy yet behind those that make it.
    mutating func waitsForCopies(_ number: UInt64, of key: SessionKey) -> Bool {
        guard isPending(key) else { return false }
        slots[Int(key.slot.rawValue)].update(key) { $0.readers.append(number) }
        return true
    }

    private mutating func touch(_ key: SessionKey) {
        let wall = wall
        guard let delta = slots[Int(key.slot.rawValue)].sessions[key]?.state.touch(wall: wall, policy: configuration.expiry) else { return }
        _ = replicate(delta, of: key, ticket: 0)
        markDirty(key)
    }

    // MARK: Letting go

    mutating func remove(_ key: SessionKey) {
        let index = Int(key.slot.rawValue)
        slots[index].sessions[key] = nil
        mirror?.queue.forget(key)
    }

    /// Lets go of a session of ours that expired, here and in every copy.
    mutating func drop(_ key: SessionKey) {
        let index = Int(key.slot.rawValue)
        // The end of one that was destroyed is forgotten at last.
        if let state = slots[index].sessions[key]?.state, !state.isDestroyed { counters.expired += 1 }
        remove(key)
        let slot = SlotTenure(slot: key.slot, tenure: slots[index].tenure)
        for replica in slots[index].ownership?.replicas ?? [] where replica.progress != .unsynced {
            tell(replica.member.name, DroppedSession(slot: slot, key: key), in: \.dropped)
        }
    }

    // MARK: Channels

    private mutating func publish(_ number: UInt64, _ channel: String, _ payload: [UInt8]) {
        let position = channels.next(in: channel, using: &generator)
        let message = ChannelMessage(channel: channel, position: position, payload: payload)
        send(.message(message), to: otherNodes.map(\.name))
        sendApart(.message(message))
        deliver(message)
        finish(number, .published(position))
    }

    mutating func deliver(_ message: ChannelMessage) {
        let subscribers = channels.subscribers(of: message.channel)
        if !subscribers.isEmpty { directives.append(.push(subscribers, .message(message))) }
    }
}
