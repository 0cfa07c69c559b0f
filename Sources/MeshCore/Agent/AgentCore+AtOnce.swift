// Reads that wait for nothing.
//
// Most requests ask their session's owner for a session of which every change is held twice. As an operation, one of them would be put into tables,
// looked up three times, taken out again and handed back as a directive; here it is looked up once and answered. Whatever is answered here,
// an operation would be given as its answer too.

extension AgentCore {
    /// Writes the reply to a request that changes nothing and waits for nothing, from the session as it is held. False, and nothing is written,
    /// for any other, and for one that is in doubt: give that to ``step(_:at:)``, and before anything else.
    public mutating func answerAtOnce(_ request: ClientRequest, at now: Moment, to reply: inout [UInt8]) -> Bool {
        let key: SessionKey
        let isOpened: Bool
        var renewal: String?
        switch request {
        case .read(let read): (key, isOpened) = (read, false)
        case .open(let cookie):
            switch verdict(of: cookie) {
            case .signed(let session, let number):
                (key, isOpened) = (SessionKey(of: session), true)
                renewal = cookies?.renewal(of: session, signedBy: number)
            case .refused(let reason):
                ClientProtocol.write(reason, to: &reply)
                return true
            }
        default: return false
        }
        self.now = now
        // What it finds to ask is said by the step that follows, for until that is answered nothing is answered at once.
        noticePause()
        guard let reading = readAtOnce(key, isOpened: isOpened) else { return false }
        if isOpened { counters.opens += 1 } else { counters.reads += 1 }
        if renewal != nil { counters.cookiesRenewed += 1 }
        ClientProtocol.write(reading, cookie: renewal, to: &reply)
        return true
    }

    /// The session, when this agent owns it, nothing is to be asked before it answers, and no change of it waits for a second copy.
    ///
    /// - Parameter isOpened: whether it counts as an access.
    func readAtOnce(_ key: SessionKey, isOpened: Bool) -> SessionReading? {
        guard configuration.role == .node else { return nil }
        let index = Int(key.slot.rawValue)
        guard mayAnswerAtAll, case .owner(let ownership) = slots[index].part, ownership.inquiry == nil, !isPending(key),
            let entry = slots[index].sessions[key], !entry.state.isDestroyed
        else { return nil }
        let wall = wall
        let terms = entry.state.terms
        if isOpened, entry.state.isTouched(by: wall, policy: configuration.expiry, terms: terms) { return nil }
        let reading = reading(of: entry.state, terms, key, backup: ownership.backup)
        return reading.head.expiresAt > wall ? reading : nil
    }

    func reading(of state: SessionState, _ terms: SessionState.Terms, _ key: SessionKey, backup: NodeName?) -> SessionReading {
        let head = SessionSnapshot(
            key: key, createdAt: state.created.milliseconds, accessedAt: state.accessedAt,
            idleSeconds: terms.idleSeconds ?? UInt32(clamping: configuration.expiry.idleMilliseconds / 1000),
            expiresAt: state.expiresAt(configuration.expiry, terms), user: state.user, fields: [],
            primary: configuration.name, backup: backup)
        return SessionReading(head: head, fields: state.fields)
    }
}
