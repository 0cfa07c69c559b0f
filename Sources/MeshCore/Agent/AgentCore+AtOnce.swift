// Reads that wait for nothing.
//
// Most requests ask their session's owner for a session of which every change is held twice. As an operation, one of them would be put into tables,
// looked up three times, taken out again and handed back as a directive; here it is looked up once and answered. Whatever is answered here,
// an operation would be given as its answer too.

extension AgentCore {
    /// The answer to a request that changes nothing and waits for nothing. Nil for any other, and for one that is in doubt: give that to
    /// ``step(_:at:)``, and before anything else.
    public mutating func answerAtOnce(_ request: ClientRequest, at now: Moment) -> ClientResponse? {
        let body: SessionOperation
        switch request {
        case .read(let key): body = .read(key)
        case .open(let cookie):
            guard let session = cookies?.id(in: cookie) else { return .session(nil) }
            body = .open(SessionKey(of: session))
        default: return nil
        }
        self.now = now
        // What it finds to ask is said by the step that follows, for until that is answered nothing is answered at once.
        noticePause()
        return readAtOnce(body).map { .session($0) }
    }

    /// The session, when this agent owns it, nothing is to be asked before it answers, and no change of it waits for a second copy.
    func readAtOnce(_ body: SessionOperation) -> SessionSnapshot? {
        guard configuration.role == .node, let key = body.key else { return nil }
        let index = Int(key.slot.rawValue)
        guard case .owner(let ownership) = slots[index].part, ownership.inquiry == nil, inquiries.afterPause == nil,
            let entry = slots[index].sessions[key], entry.pending.isEmpty, !entry.state.isDestroyed
        else { return nil }
        let wall = wall
        guard !entry.state.isExpired(wall: wall, policy: configuration.expiry) else { return nil }
        if case .open = body, entry.state.isTouched(by: wall, policy: configuration.expiry) { return nil }
        return snapshot(of: entry.state, key, backup: ownership.backup)
    }

    func snapshot(of state: SessionState, _ key: SessionKey, backup: NodeName?) -> SessionSnapshot {
        SessionSnapshot(
            key: key, createdAt: state.created.milliseconds, accessedAt: state.accessedAt,
            idleSeconds: state.idleSeconds ?? UInt32(clamping: configuration.expiry.idle.milliseconds / 1000),
            expiresAt: state.expiresAt(configuration.expiry), user: state.user, fields: state.visibleFields, primary: id.name,
            backup: backup)
    }
}
