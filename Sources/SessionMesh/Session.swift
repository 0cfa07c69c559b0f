public import MeshCore

/// One visitor's session, as a value: what was loaded, and what this request changed.
///
/// Changes are recorded field by field and sent by ``SessionMesh/commit(_:isSecure:)``. A session that was never changed is never
/// created, and costs the mesh nothing.
public struct Session: Sendable {
    /// The session as it was when it was loaded or last committed; nil when there is none yet. For tools that show all of it.
    public private(set) var snapshot: SessionSnapshot?
    /// What was loaded, with this request's changes to registers applied.
    private var fields: [String: FieldValue] = [:]
    private var pending: [String: PendingChange] = [:]
    private var pendingUser: String?
    private var pendingIdleSeconds: UInt32?
    private var isRegenerating = false
    /// An assignment can't throw, so what it would have thrown waits for the commit.
    private var failure: SessionError?
    /// Told of fields that can't be read.
    private let meter: SessionMeter
    /// Kept over a failed commit, so that committing again counts once. A change in between mints a new one.
    var commitID: CommitID?

    /// Whether it was destroyed by this request.
    public private(set) var isDestroyed = false
    /// Whether the browser sent a cookie, be it of a live session or not.
    public let hasCookie: Bool

    /// What happens to one field: it may be removed first, and then get a value or an increment.
    private struct PendingChange {
        var isRemoved = false
        var value: [UInt8]?
        var increment: Int64 = 0
    }

    init(_ snapshot: SessionSnapshot?, hasCookie: Bool, meter: SessionMeter) {
        self.snapshot = snapshot
        self.hasCookie = hasCookie
        self.meter = meter
        for field in snapshot?.fields ?? [] { fields[field.name] = field.value }
    }

    /// Nil until a first commit creates the session.
    public var key: SessionKey? { snapshot?.key }
    /// The node that holds the session, and the one that holds its second copy.
    public var primary: NodeName? { snapshot?.primary }
    public var backup: NodeName? { snapshot?.backup }
    /// Whom it is bound to; nil for nobody.
    public var user: String? {
        let user = pendingUser ?? snapshot?.user ?? ""
        return user.isEmpty ? nil : user
    }

    public var hasChanges: Bool {
        isDestroyed || isRegenerating || !pending.isEmpty || pendingUser != nil || pendingIdleSeconds != nil || failure != nil
    }

    /// A field's value; nil when there is none, or when its codec can't read what is there. Each read of such a field is counted under its
    /// name in `sessionmesh_client_unreadable_fields_total`; the other fields are as they are. Setting nil removes the field.
    public subscript<Value>(_ field: SessionField<Value>) -> Value? {
        get {
            switch fields[field.name] {
            case .bytes(let bytes)?:
                if let value = try? field.codec.decode(bytes) { return value }
            case .integer?, .elements?: break
            case nil: return nil
            }
            meter.foundUnreadable(field.name)
            return nil
        }
        set {
            guard let newValue else { return remove(name: field.name) }
            do {
                let bytes = try field.codec.encode(newValue)
                guard fields[field.name] != .bytes(bytes) else { return }
                fields[field.name] = .bytes(bytes)
                change(field.name) { $0 = PendingChange(value: bytes) }
            } catch {
                // No cause: an encoder's error may quote the value, and errors are logged.
                failure = SessionError(.invalid, "field \(field.name) can't be encoded: its codec threw \(type(of: error))")
            }
        }
    }

    /// A counter's value as far as this request knows; ``CommitOutcome/counters`` has the one that counts everybody's increments.
    /// A field that is no counter counts as unreadable, and is 0.
    public subscript(_ counter: SessionCounter) -> Int64 {
        switch fields[counter.name] {
        case .integer(let value)?: return value
        case .bytes?, .elements?:
            meter.foundUnreadable(counter.name)
            return 0
        case nil: return 0
        }
    }

    public mutating func increment(_ counter: SessionCounter, by amount: Int64 = 1) {
        guard amount != 0 else { return }
        let (value, overflow) = self[counter].addingReportingOverflow(amount)
        let (sum, sumOverflow) = (pending[counter.name]?.increment ?? 0).addingReportingOverflow(amount)
        guard !overflow, !sumOverflow else {
            failure = SessionError(.invalid, "counter \(counter.name) would leave the range of 64 bits")
            return
        }
        fields[counter.name] = .integer(value)
        change(counter.name) {
            $0.value = nil
            $0.increment = sum
        }
    }

    public mutating func remove<Value>(_ field: SessionField<Value>) { remove(name: field.name) }
    public mutating func remove(_ counter: SessionCounter) { remove(name: counter.name) }

    private mutating func remove(name: String) {
        guard fields.removeValue(forKey: name) != nil else { return }
        change(name) { $0 = PendingChange(isRemoved: true) }
    }

    private mutating func change(_ name: String, _ body: (inout PendingChange) -> Void) {
        commitID = nil
        body(&pending[name, default: PendingChange()])
    }

    /// Moves the session to a new id when it is committed. Due at every login, so that an id which somebody planted in the browser is
    /// worth nothing: for ten seconds it still reads what was there before, and no more. Tokens of ``csrfToken()`` end with the id.
    public mutating func regenerate() {
        commitID = nil
        remove(Self.csrfSecret)
        isRegenerating = snapshot != nil
    }

    /// Ends the session for good when it is committed, and takes the cookie away.
    public mutating func destroy() {
        commitID = nil
        isDestroyed = true
    }

    /// Binds the session to a user, or to nobody. Regenerate the id as well when that changes what the visitor may do.
    public mutating func bind(user: String?) {
        guard (user ?? "") != (self.user ?? "") else { return }
        commitID = nil
        pendingUser = user ?? ""
    }

    /// After how long without a request the session expires: whole seconds, at least one.
    public mutating func expire(afterIdle idle: Duration) {
        commitID = nil
        pendingIdleSeconds = UInt32(clamping: max(1, idle.components.seconds))
    }

    // MARK: Committing

    /// What must be sent, or nil when nothing changed.
    mutating func commitRequest() throws(SessionError) -> ClientRequest? {
        if let failure { throw failure }
        guard hasChanges else { return nil }
        let id = commitID ?? CommitID(using: &SystemRandomNumberGenerator.shared)
        commitID = id
        return request(under: id)
    }

    private func request(under id: CommitID) -> ClientRequest? {
        let key = key
        if isDestroyed { return key.map { .destroy($0, id) } }
        return .commit(
            SessionCommit(
                key: key, id: id, changes: changes, user: pendingUser, idleSeconds: pendingIdleSeconds, regenerate: isRegenerating))
    }

    /// In the order of their names, so that equal changes are equal bytes.
    private var changes: [FieldChange] {
        pending.sorted { $0.key < $1.key }.flatMap { name, change -> [FieldChange] in
            if let value = change.value { return [.set(name, value)] }
            let removal: [FieldChange] = change.isRemoved ? [.remove(name)] : []
            return removal + (change.increment == 0 ? [] : [.increment(name, by: change.increment)])
        }
    }

    /// Takes over what a commit brought about: from here on the session is as if it had just been loaded.
    mutating func apply(_ receipt: CommitReceipt, at node: NodeName) {
        for counter in receipt.counters { fields[counter.name] = counter.value }
        snapshot = SessionSnapshot(
            key: receipt.key, createdAt: snapshot?.createdAt ?? 0, accessedAt: snapshot?.accessedAt ?? 0,
            idleSeconds: pendingIdleSeconds ?? snapshot?.idleSeconds ?? 0, expiresAt: snapshot?.expiresAt ?? 0, user: user ?? "",
            fields: fields.sorted { $0.key < $1.key }.map { SessionSnapshot.Field(name: $0.key, value: $0.value) },
            primary: snapshot?.primary ?? node, backup: snapshot?.backup)
        forgetChanges()
    }

    mutating func applyDestruction() {
        snapshot = nil
        fields = [:]
        forgetChanges()
        isDestroyed = true
    }

    private mutating func forgetChanges() {
        pending = [:]
        pendingUser = nil
        pendingIdleSeconds = nil
        isRegenerating = false
        commitID = nil
    }
}

extension SystemRandomNumberGenerator {
    /// It has no state, so a fresh one is as good as any.
    fileprivate static var shared: SystemRandomNumberGenerator {
        get { SystemRandomNumberGenerator() }
        set {}
    }
}

/// What a commit brought about.
public struct CommitOutcome: Sendable {
    /// To be sent to the browser with this response; nil when its cookie stays as it is.
    public var setCookie: SetCookie?
    /// How many nodes hold the commit: 2, or 1 when nobody else is alive, or 0 when there was nothing to commit.
    public var copies: Int
    /// The counters that were incremented, with everybody's increments.
    public var counters: [String: Int64]

    public subscript(_ counter: SessionCounter) -> Int64? { counters[counter.name] }

    public init(setCookie: SetCookie? = nil, copies: Int = 0, counters: [String: Int64] = [:]) {
        self.setCookie = setCookie
        self.copies = copies
        self.counters = counters
    }
}
