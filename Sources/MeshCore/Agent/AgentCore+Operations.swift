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
    /// Forwards so far; a wheel of hints is slowed down by it.
    var hops = 0

    enum Requester: Sendable {
        /// An application of ours. `cookie` is the value for a session made by this operation.
        case client(RequestID, cookie: String?)
        case peer(LinkID, id: UInt64)
        /// The move of that session, which the operation of that number asked for.
        case move(SessionKey, UInt64)
        /// The walk of that number, which ends sessions.
        case walk(UInt64)
    }
}

/// A change that this agent has made as owner and that waits for a second copy: mostly a commit.
struct PendingCommit: Sendable {
    /// Whoever asked for it: one, or more when it was sent again; nobody, when a former owner handed it in.
    var operations: [UInt64]
    let key: SessionKey
    let commit: CommitID?
    let delta: SessionState
    /// The session without it; nil when it makes the session.
    let before: SessionState?
    let result: [SessionSnapshot.Field]
    /// Whose word is missing.
    var waiting: [MemberID]
    /// Fewer than two when it rests on something that has fewer.
    var copiesMax: UInt8
    var held = 0
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
        case .open(let cookie):
            guard let session = cookies?.id(in: cookie) else { return reply(request, .session(nil)) }
            begin(.open(SessionKey(of: session)), for: .client(request, cookie: nil))
        case .read(let key): begin(.read(key), for: .client(request, cookie: nil))
        case .destroy(let key, let commit): begin(.destroy(key, commit), for: .client(request, cookie: nil))
        case .publish(let channel, let payload): begin(.publish(channel: channel, payload: payload), for: .client(request, cookie: nil))
        case .list(let user, let after): walk(request, for: .list(user: user, after: after))
        case .revoke(let user, let except): walk(request, for: .revoke(user: user, except: except))
        case .commit(let commit): receive(request, commit)
        }
    }

    private mutating func receive(_ request: RequestID, _ commit: SessionCommit) {
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
            requester: requester, body: body, deadline: now.uptime + configuration.requestDeadline.nanoseconds)
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
        let state = slots[Int(operation.body.slot.rawValue)]
        if state.isOwner {
            if mayAnswer(for: operation.body.slot) { execute(number) } else { park(number) }
            return
        }
        let owner = state.tenure.owner.flatMap { $0 != id && isReachable($0) ? $0.name : nil }
        let heir = table.primary(of: operation.body.slot)
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
        guard operations[number] != nil else { return }
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
        for number in expired {
            finish(number, .failed(ClientFailure(.unavailable, "no node that holds this session could be reached in time; try again")))
        }
        parked.removeAll { operations[$0] == nil }
        for number in parked { operations[number]?.hops = 0 }
    }

    mutating func finish(_ number: UInt64, _ result: OperationResult) {
        guard let operation = operations.removeValue(forKey: number) else { return }
        switch operation.requester {
        case .client(let request, let cookie): reply(request, response(to: operation.body, result, cookie: cookie))
        case .move(let key, let mover): moveWent(on: key, for: mover, result)
        case .walk(let walk): walkWent(on: walk, result, in: operation.body.slot)
        case .peer(let link, let id):
            if linkNames[link] != nil { directives.append(.linkMessage(link, PeerMessage.answer(id: id, result).encoded)) }
        }
    }

    private func response(to body: SessionOperation, _ result: OperationResult, cookie: String?) -> ClientResponse {
        switch (result, body) {
        case (.session(let snapshot), _): .session(snapshot)
        case (.published(let position), _): .published(position)
        case (.failed(let failure), _): .failure(failure)
        case (.conflict(let fields), _): .conflict(fields)
        case (.committed, .destroy): .done
        case (.committed(let copies, let counters), _):
            body.key.map { .committed(CommitReceipt(key: $0, cookie: cookie, copies: copies, counters: counters)) } ?? .done
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

    static var noSuchSession: ClientFailure {
        ClientFailure(.notFound, "there is no such session: it expired, was destroyed, or never was")
    }

    // MARK: At the owner

    private mutating func execute(_ number: UInt64) {
        guard let body = operations[number]?.body else { return }
        switch body {
        case .publish(let channel, let payload): publish(number, channel, payload)
        case .create(let key, let commit, let state): create(number, key, commit, state)
        case .open(let key), .read(let key), .move(let key, _, _, _), .commit(let key, _), .destroy(let key, _):
            let index = Int(key.slot.rawValue)
            if let entry = slots[index].sessions[key] {
                if !mayForget(entry.state, wall: wall) { return execute(number, on: key) }
                drop(key)
            }
            // A synced copy says that there is none; the mirror may know better.
            if mirror != nil { loadFromMirror(key, for: number) } else { isAbsent(number) }
        }
    }

    /// The operation's session is known not to be.
    mutating func isAbsent(_ number: UInt64) {
        guard let body = operations[number]?.body else { return }
        if let doubt = slots[Int(body.slot.rawValue)].doubt {
            let names = doubt.members.map(\.description).joined(separator: ", ")
            finish(number, .failed(ClientFailure(.unavailable, "who may hold the session is out of reach: \(names); try again later")))
        } else if case .commit(let key, let commit) = body, commit.makesSession {
            create(number, key, commit, nil)
        } else {
            finish(number, absent(body))
        }
    }

    var wall: Int64 { clock.wall(at: now) }

    /// The answer when a session is known not to be.
    private func absent(_ body: SessionOperation) -> OperationResult {
        switch body {
        case .open, .read: .session(nil)
        case .destroy: .committed(copies: 0, counters: [])
        case .commit, .create, .move, .publish: .failed(Self.noSuchSession)
        }
    }

    /// The session is held here.
    mutating func execute(_ number: UInt64, on key: SessionKey) {
        guard let operation = operations[number], let entry = slots[Int(key.slot.rawValue)].sessions[key] else { return }
        if operation.body.changesSession, waitsForMove(number, of: key) { return }
        switch operation.body {
        case .open, .read:
            // What has no second copy yet might be taken back by a kill; nobody is shown it.
            guard !waitsForCopies(number, of: key) else { return }
            finish(number, read(operation.body, key))
        case .move(_, let commit, let successor, let draw): move(number, key, commit, to: successor, draw: draw)
        case .commit(_, let commit), .create(_, let commit, _):
            // One that came before the end is done, though its answer was lost.
            if entry.state.isDestroyed, !entry.state.hasApplied(commit.id) { return finish(number, absent(operation.body)) }
            apply(number, key, commit, before: entry.state)
        case .destroy(_, let commit):
            if entry.state.hasApplied(commit) { return joinCommit(number, key, commit, counters: []) }
            let wall = wall
            guard let delta = slots[Int(key.slot.rawValue)].sessions[key]?.state.destroy(commit, wall: wall) else { return }
            hold(number, key, commit, delta, before: entry.state, counters: [])
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
        guard slots[index].sessions[key] == nil else {
            return createAgain(number, key, commit, state)
        }
        // One that was given another id lives on: nobody is logged out at a login for want of a place.
        guard state != nil || sessionCount < configuration.sessionsMax else {
            let full = ClientFailure(
                .full, "the agent \(id.name) holds \(configuration.sessionsMax) sessions, as many as it may; see --sessions-max")
            return finish(number, .failed(full))
        }
        var fresh = SessionState(createdAt: wall)
        if let state { fresh.merge(state) }
        slots[index].sessions[key] = SessionEntry(state: fresh)
        sessionCount += 1
        apply(number, key, commit, before: nil)
    }

    /// Another owner of the old id had begun to move it here. Something may have been committed to the old one since.
    private mutating func createAgain(_ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, _ state: SessionState?) {
        guard let state, let before = slots[Int(key.slot.rawValue)].sessions[key]?.state, !before.isDestroyed, before.hasApplied(commit.id)
        else { return execute(number, on: key) }
        merge(SyncedSession(key: key, mirrored: .zero, state: state))
        guard let merged = slots[Int(key.slot.rawValue)].sessions[key]?.state, merged != before else { return execute(number, on: key) }
        hold(number, key, commit.id, merged, before: before, counters: counters(of: commit, in: merged))
    }

    /// - Parameter before: the session as it is; nil when it is just being made.
    private mutating func apply(_ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, before: SessionState?) {
        let index = Int(key.slot.rawValue)
        guard var state = slots[index].sessions[key]?.state else { return }
        if state.hasApplied(commit.id) {
            return joinCommit(number, key, commit.id, counters: counters(of: commit, in: state))
        }
        if let present = state.conflict(with: commit) {
            if before == nil { remove(key) }
            if !waitsForCopies(number, of: key) { finish(number, .conflict(present)) }
            return
        }
        do {
            try SessionState.check(commit)
            if before != nil, !state.isChanged(by: commit) { return confirm(number, key, counters: counters(of: commit, in: state)) }
            let delta = try state.apply(commit, life: id.life, wall: wall)
            slots[index].sessions[key]?.state = state
            // Of a session that is new here nobody else has anything yet, and one that was moved came with all it had.
            hold(number, key, commit.id, before == nil ? state : delta, before: before, counters: counters(of: commit, in: state))
        } catch {
            if before == nil { remove(key) }
            finish(number, .failed(error))
        }
    }

    /// Everything is as the commit wants it; it counts as an access.
    private mutating func confirm(_ number: UInt64, _ key: SessionKey, counters: [SessionSnapshot.Field]) {
        guard !waitsForCopies(number, of: key) else { return }
        touch(key)
        let isAlone = slots[Int(key.slot.rawValue)].ownership?.synced.isEmpty ?? true
        finish(number, .committed(copies: isAlone ? 1 : 2, counters: counters))
    }

    /// Puts an operation whose answer would show what has no second copy yet behind those that make it.
    mutating func waitsForCopies(_ number: UInt64, of key: SessionKey) -> Bool {
        guard !(slots[Int(key.slot.rawValue)].sessions[key]?.pending.isEmpty ?? true) else { return false }
        slots[Int(key.slot.rawValue)].sessions[key]?.readers.append(number)
        return true
    }

    private mutating func touch(_ key: SessionKey) {
        let wall = wall
        guard let delta = slots[Int(key.slot.rawValue)].sessions[key]?.state.touch(wall: wall, policy: configuration.expiry) else { return }
        _ = replicate(delta, of: key, ticket: 0)
        markDirty(key)
    }

    /// The values of the counters and maxima that the commit changes.
    private func counters(of commit: SessionCommit, in state: SessionState) -> [SessionSnapshot.Field] {
        let names = commit.changes.compactMap { change in
            switch change {
            case .increment(let name, _), .raise(let name, _): name
            case .set, .remove, .insert, .erase, .drop: nil
            }
        }
        return names.isEmpty ? [] : state.visibleFields.filter { names.contains($0.name) }
    }

    // MARK: Second copies

    /// Waits until the change is held twice, then answers.
    mutating func hold(
        _ number: UInt64?, _ key: SessionKey, _ commit: CommitID?, _ delta: SessionState, before: SessionState?,
        counters: [SessionSnapshot.Field], copiesMax: UInt8 = 2
    ) {
        let ticket = nextNumber()
        let index = Int(key.slot.rawValue)
        markDirty(key)
        let waiting = replicate(delta, of: key, ticket: ticket)
        commits[ticket] = PendingCommit(
            operations: number.map { [$0] } ?? [], key: key, commit: commit, delta: delta, before: before, result: counters,
            waiting: waiting, copiesMax: copiesMax)
        slots[index].pending.append(ticket)
        slots[index].sessions[key]?.pending.append(ticket)
        if waiting.isEmpty { settle(ticket) }
    }

    /// A commit that came twice is answered when the first is.
    private mutating func joinCommit(_ number: UInt64, _ key: SessionKey, _ commit: CommitID, counters: [SessionSnapshot.Field]) {
        guard let entry = slots[Int(key.slot.rawValue)].sessions[key], let ownership = slots[Int(key.slot.rawValue)].ownership else {
            return
        }
        if let ticket = entry.pending.first(where: { commits[$0]?.commit == commit }) {
            commits[ticket]?.operations.append(number)
        } else if ownership.synced.isEmpty, !ownership.replicas.isEmpty {
            // It came with the copy that we took over on, and may be nowhere else.
            hold(number, key, commit, entry.state, before: entry.state, counters: counters)
        } else {
            finish(number, .committed(copies: ownership.synced.isEmpty ? 1 : 2, counters: counters))
        }
    }

    /// Answers a commit whose copies are as many as can be had, or sends it on when those it waited for are gone.
    ///
    /// - Parameter member: who says that it holds it; nil when something else has changed.
    mutating func settle(_ ticket: UInt64, heldBy member: MemberID? = nil) {
        // Out of the table while it is changed: a copy of it would be one of all it holds.
        guard var commit = commits.removeValue(forKey: ticket) else { return }
        let slot = commit.key.slot
        let replicas = slots[Int(slot.rawValue)].ownership?.replicas ?? []
        if member != nil { commit.held += 1 }
        commit.waiting.removeAll { waiting in waiting == member || !replicas.contains { $0.member == waiting } }
        guard commit.waiting.isEmpty, commit.held > 0 || replicas.isEmpty else {
            if commit.waiting.isEmpty { commit.waiting = replicate(commit.delta, of: commit.key, ticket: ticket) }
            commits[ticket] = commit
            return
        }
        let index = Int(slot.rawValue)
        slots[index].pending.removeAll { $0 == ticket }
        let readers = slots[index].sessions[commit.key]?.settled(ticket)
        for number in commit.operations {
            let copies = min(commit.copiesMax, commit.held > 0 ? 2 : 1)
            if case .move(_, _, let successor, let draw) = operations[number]?.body {
                finish(number, .moved(to: successor, draw: draw, copies: copies, counters: commit.result))
            } else {
                finish(number, .committed(copies: copies, counters: commit.result))
            }
        }
        if let readers {
            resumeMove(of: commit.key)
            // By the front door: the slot may have changed hands, its owner be asking whether it still is that, or another commit be waiting.
            for reader in readers { route(reader) }
        }
        if slots[index].pending.isEmpty { plan(slot) }
    }

    mutating func remove(_ key: SessionKey) {
        let index = Int(key.slot.rawValue)
        if slots[index].sessions.removeValue(forKey: key) != nil { sessionCount -= 1 }
        mirror?.queue.forget(key)
    }

    /// Lets go of a session of ours that expired, here and in every copy.
    mutating func drop(_ key: SessionKey) {
        remove(key)
        let slot = SlotTenure(slot: key.slot, tenure: slots[Int(key.slot.rawValue)].tenure)
        for replica in slots[Int(key.slot.rawValue)].ownership?.replicas ?? [] where replica.progress != .unsynced {
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
        if !subscribers.isEmpty { directives.append(.push(subscribers, message)) }
    }
}
