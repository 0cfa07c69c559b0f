public import MeshCore

/// One visitor's session, as a value: what was loaded, and what this request changed.
///
/// Changes are recorded field by field and sent by ``SessionMesh/commit(_:isSecure:)``. A session that was never changed is never
/// created, and costs the mesh nothing.
public struct Session: Sendable {
    /// The session as it was when it was loaded or last committed; nil when there is none yet. For tools that show all of it.
    public private(set) var snapshot: SessionSnapshot?
    /// What was loaded, with this request's changes applied.
    private var fields: [String: FieldValue] = [:]
    private var pending: [String: PendingChange] = [:]
    private var pendingUser: String?
    private var pendingExpiry = PendingExpiry()
    private var isRegenerating = false
    /// What must be so for the changes to be made.
    private var conditions: [FieldCondition] = []
    /// An assignment can't throw, so what it would have thrown waits for the commit.
    private var failure: SessionError?
    /// Told of fields that can't be read.
    private let meter: SessionMeter
    /// Kept over a failed commit, so that committing again counts once. A change in between mints a new one.
    var commitID: CommitID?
    /// What the browser sent, or was last sent.
    private(set) var cookie: String?
    /// Whether the mesh has signed it anew, with the key in use now. Every answer to this request says so, so that one that is not lost does.
    let isCookieRenewed: Bool

    /// Whether it was destroyed by this request.
    public private(set) var isDestroyed = false

    /// What happens to one field: what is there may be removed first, and then one kind of change follows.
    private struct PendingChange {
        var isRemoved = false
        var change = Change.none

        enum Change {
            case none
            case set([UInt8])
            case increment(Int64)
            case raise(Int64)
            /// Whether each element is to be there.
            case elements([[UInt8]: Bool])
            case drop([UInt8])
        }
    }

    private struct PendingExpiry: Equatable {
        var idleSeconds: UInt32?
        var absoluteSeconds: UInt32?
        var isRolling: Bool?
    }

    /// - Parameter renewal: the cookie value that the browser should have instead of the one that it sent.
    init(
        _ snapshot: SessionSnapshot?, cookie: String?, renewal: String? = nil, absence: SessionAbsence? = nil, meter: SessionMeter
    ) {
        self.snapshot = snapshot
        self.cookie = renewal ?? cookie
        isCookieRenewed = renewal != nil
        self.absence = absence
        self.meter = meter
        for field in snapshot?.fields ?? [] { fields[field.name] = field.value }
    }

    /// Nil until a first commit creates the session.
    public var key: SessionKey? { snapshot?.key }
    /// The node that holds the session, and the one that holds its second copy.
    public var primary: NodeName? { snapshot?.primary }
    public var backup: NodeName? { snapshot?.backup }
    /// Why the browser's cookie opened no session; nil when it did, or there was none. A visitor whose session has ended may be told so:
    /// `ended` rather than a first visit. The others are worth a look when there are many: somebody is guessing, or an agent lacks a key.
    public let absence: SessionAbsence?
    /// Whether the browser has a cookie, be it of a live session or not.
    public var hasCookie: Bool { cookie != nil }
    /// Whom it is bound to; nil for nobody.
    public var user: String? {
        let user = pendingUser ?? snapshot?.user ?? ""
        return user.isEmpty ? nil : user
    }

    public var hasChanges: Bool {
        isDestroyed || isRegenerating || !pending.isEmpty || pendingUser != nil || pendingExpiry != PendingExpiry() || failure != nil
            || !conditions.isEmpty
    }

    // MARK: Fields

    /// A field's value; nil when there is none, or when its codec can't read what is there. Each read of such a field is counted under its
    /// name in `sessionmesh_client_unreadable_fields_total`; the other fields are as they are. Setting nil removes the field.
    public subscript<Value>(_ field: SessionField<Value>) -> Value? {
        get {
            switch fields[field.name] {
            case nil: return nil
            case .bytes(let bytes)?:
                if let value = try? field.codec.decode(bytes) { return value }
            case .integer?, .elements?: break
            }
            meter.foundUnreadable(field.name)
            return nil
        }
        set {
            guard let newValue else { return remove(name: field.name) }
            guard let bytes = encode(newValue, by: field.codec, of: field.name), fields[field.name] != .bytes(bytes) else { return }
            fields[field.name] = .bytes(bytes)
            change(field.name) { $0 = PendingChange(change: .set(bytes)) }
        }
    }

    /// Nil when the codec throws; the commit then fails.
    private mutating func encode<Value>(_ value: Value, by codec: FieldCodec<Value>, of name: String) -> [UInt8]? {
        do { return try codec.encode(value) } catch {
            // No cause: an encoder's error may quote the value, and errors are logged.
            failure = SessionError(.invalid, "field \(name) can't be encoded: its codec threw \(type(of: error))")
            return nil
        }
    }

    public mutating func remove<Value>(_ field: SessionField<Value>) { remove(name: field.name) }
    public mutating func remove(_ counter: SessionCounter) { remove(name: counter.name) }
    public mutating func remove(_ maximum: SessionMaximum) { remove(name: maximum.name) }
    public mutating func remove<Element>(_ set: SessionSet<Element>) { remove(name: set.name) }

    private mutating func remove(name: String) {
        guard fields.removeValue(forKey: name) != nil else { return }
        change(name) { $0 = PendingChange(isRemoved: true) }
    }

    private mutating func change(_ name: String, _ body: (inout PendingChange) -> Void) {
        commitID = nil
        body(&pending[name, default: PendingChange()])
    }

    // MARK: Counters and maxima

    /// A counter's value as far as this request knows; ``CommitOutcome/counters`` has the one that counts everybody's increments.
    /// A field that is no number counts as unreadable, and is 0.
    public subscript(_ counter: SessionCounter) -> Int64 { number(counter.name) ?? 0 }

    /// A maximum's value as far as this request knows; nil when it was never raised, or is unreadable.
    public subscript(_ maximum: SessionMaximum) -> Int64? { number(maximum.name) }

    private func number(_ name: String) -> Int64? {
        switch fields[name] {
        case nil: return nil
        case .integer(let value)?: return value
        case .bytes?, .elements?:
            meter.foundUnreadable(name)
            return nil
        }
    }

    public mutating func increment(_ counter: SessionCounter, by amount: Int64 = 1) {
        guard amount != 0 else { return }
        let before: Int64 = if case .increment(let sum)? = pending[counter.name]?.change { sum } else { 0 }
        let (value, overflow) = self[counter].addingReportingOverflow(amount)
        let (sum, sumOverflow) = before.addingReportingOverflow(amount)
        guard !overflow, !sumOverflow else {
            failure = SessionError(.invalid, "counter \(counter.name) would leave the range of 64 bits")
            return
        }
        fields[counter.name] = .integer(value)
        change(counter.name) { $0.change = .increment(sum) }
    }

    /// Makes a maximum `value` at least. A lesser value changes nothing.
    public mutating func raise(_ maximum: SessionMaximum, to value: Int64) {
        if let present = self[maximum], present >= value { return }
        fields[maximum.name] = .integer(value)
        change(maximum.name) { $0.change = .raise(value) }
    }

    // MARK: Sets

    /// A set's elements as far as this request knows. Those that its codec can't read are left out and counted, like fields.
    public subscript<Element>(_ set: SessionSet<Element>) -> Set<Element> {
        var elements: Set<Element> = []
        var isReadable = true
        switch fields[set.name] {
        case nil: break
        case .elements(let all)?:
            for bytes in all { if let element = try? set.codec.decode(bytes) { elements.insert(element) } else { isReadable = false } }
        case .bytes?, .integer?: isReadable = false
        }
        if !isReadable { meter.foundUnreadable(set.name) }
        return elements
    }

    public mutating func insert<Element>(_ element: Element, into set: SessionSet<Element>) { put(element, in: set, isPresent: true) }
    public mutating func remove<Element>(_ element: Element, from set: SessionSet<Element>) { put(element, in: set, isPresent: false) }

    private mutating func put<Element>(_ element: Element, in set: SessionSet<Element>, isPresent: Bool) {
        guard let bytes = encode(element, by: set.codec, of: set.name) else { return }
        var elements: [[UInt8]] = if case .elements(let all)? = fields[set.name] { all } else { [] }
        let index = elements.firstIndex { !$0.lexicographicallyPrecedes(bytes) } ?? elements.endIndex
        let isThere = index < elements.endIndex && elements[index] == bytes
        guard isThere != isPresent else { return }
        if isPresent { elements.insert(bytes, at: index) } else { elements.remove(at: index) }
        fields[set.name] = .elements(elements)
        change(set.name) { pending in
            var changes: [[UInt8]: Bool] = if case .elements(let changes) = pending.change { changes } else { [:] }
            changes[bytes] = isPresent
            pending.change = .elements(changes)
        }
    }

    // MARK: For the next page

    /// Leaves something for the visitor's next page, which takes it: "Your order is on its way." Kept beside the field's value, under its
    /// name with `~` in front.
    public mutating func flash<Value>(_ field: SessionField<Value>, _ value: Value) { self[field.flash] = value }

    /// What was left by ``flash(_:_:)``, and takes it away. What another request leaves meanwhile stays; of two that take at one moment,
    /// both may have it. ``SessionMesh/consume(_:_:isSecure:)`` is for what only one may have.
    public mutating func take<Value>(_ field: SessionField<Value>) -> Value? {
        let name = field.flash.name
        let value = self[field.flash]
        guard case .bytes? = fields.removeValue(forKey: name) else { return value }
        commitID = nil
        // Only what was loaded: whatever else is there by now hasn't been shown yet.
        pending[name] = loaded(name).map { PendingChange(change: .drop($0)) }
        return value
    }

    /// A register as it was loaded.
    private func loaded(_ name: String) -> [UInt8]? {
        guard case .bytes(let bytes)? = snapshot?.fields.first(where: { $0.name == name })?.value else { return nil }
        return bytes
    }

    // MARK: The session as a whole

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
    /// - Parameter isRolling: whether a request is enough to go on; otherwise only a commit that changes something is. Nil leaves it as it
    ///   is, and the agents' default is true.
    public mutating func expire(afterIdle idle: Duration, isRolling: Bool? = nil) {
        commitID = nil
        pendingExpiry.idleSeconds = Self.wholeSeconds(idle)
        if let isRolling { pendingExpiry.isRolling = isRolling }
    }

    /// At what age the session expires, however much it is used: whole seconds since it was made, at least one. Limits what a stolen cookie
    /// is worth.
    public mutating func expire(after age: Duration) {
        commitID = nil
        pendingExpiry.absoluteSeconds = Self.wholeSeconds(age)
    }

    private static func wholeSeconds(_ duration: Duration) -> UInt32 { UInt32(clamping: max(1, duration.components.seconds)) }

    // MARK: Committing

    /// What must be sent, or nil when nothing changed.
    mutating func commitRequest(_ acknowledgement: AcknowledgementLevel) throws(SessionError) -> ClientRequest? {
        if let failure { throw failure }
        guard hasChanges else { return nil }
        let id = commitID ?? CommitID(using: &SystemRandomNumberGenerator.shared)
        commitID = id
        return request(under: id, acknowledgement)
    }

    private func request(under id: CommitID, _ acknowledgement: AcknowledgementLevel) -> ClientRequest? {
        let key = key
        if isDestroyed { return key.map { .destroy($0, id) } }
        return .commit(
            SessionCommit(
                key: key, id: id, changes: changes, conditions: conditions, user: pendingUser, idleSeconds: pendingExpiry.idleSeconds,
                absoluteSeconds: pendingExpiry.absoluteSeconds, isRolling: pendingExpiry.isRolling, regenerate: isRegenerating,
                acknowledgement: acknowledgement, isStrict: !conditions.isEmpty))
    }

    /// In the order of their names, so that equal changes are equal bytes.
    private var changes: [FieldChange] {
        pending.sorted { $0.key < $1.key }.flatMap { name, pending -> [FieldChange] in
            let removal: [FieldChange] = pending.isRemoved ? [.remove(name)] : []
            switch pending.change {
            case .none: return removal
            // It replaces whatever is there.
            case .set(let value): return [.set(name, value)]
            case .increment(let sum): return removal + (sum == 0 ? [] : [.increment(name, by: sum)])
            case .raise(let value): return removal + [.raise(name, to: value)]
            case .elements(let changes):
                return removal
                    + changes.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { $1 ? .insert(name, $0) : .erase(name, $0) }
            case .drop(let value): return [.drop(name, value)]
            }
        }
    }

    /// Takes over what a commit brought about: from here on the session is as if it had just been loaded.
    mutating func apply(_ receipt: CommitReceipt, at node: NodeName) {
        for counter in receipt.counters { fields[counter.name] = counter.value }
        cookie = receipt.cookie ?? cookie
        snapshot = SessionSnapshot(
            key: receipt.key, createdAt: snapshot?.createdAt ?? 0, accessedAt: snapshot?.accessedAt ?? 0,
            idleSeconds: pendingExpiry.idleSeconds ?? snapshot?.idleSeconds ?? 0, expiresAt: snapshot?.expiresAt ?? 0, user: user ?? "",
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
        pendingExpiry = PendingExpiry()
        isRegenerating = false
        conditions = []
        commitID = nil
    }

    // MARK: Changes that depend on what is there

    /// Lets the next commit be made only if the field is still what it is here.
    mutating func commitOnlyIfUnchanged<Value>(_ field: SessionField<Value>) throws(SessionError) {
        guard pending[field.name] == nil, conditions.isEmpty else {
            throw SessionError(
                .invalid, "field \(field.name) has a change that was not committed; commit it first, or make it in the update")
        }
        guard !isDestroyed else { throw SessionError(.notFound, "this request has destroyed the session") }
        switch fields[field.name] {
        case nil: conditions = [.isAbsent(field.name)]
        case .bytes(let bytes)?: conditions = [.holds(field.name, bytes)]
        case .integer?, .elements?:
            throw SessionError(.invalid, "field \(field.name) holds a number or a set, which needs no update; change it directly")
        }
        // What isn't there yet can't have been changed by anybody.
        if snapshot == nil { conditions = [] }
        commitID = nil
    }

    /// The condition didn't hold: of the fields that it named, this is what is there.
    mutating func adopt(_ present: [SessionSnapshot.Field]) {
        let names = Set(conditions.map(\.field))
        for name in names {
            pending[name] = nil
            fields[name] = present.first { $0.name == name }?.value
        }
        snapshot?.fields.removeAll { names.contains($0.name) }
        snapshot?.fields += present.filter { names.contains($0.name) }
        snapshot?.fields.sort { $0.name < $1.name }
        conditions = []
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
    /// How many nodes hold the commit: 2, or 1 when nobody else is alive or a local acknowledgement was asked for, or 0 when there was
    /// nothing to commit.
    public var copies: Int
    /// Whether the mirror has it too, which only ``AcknowledgementLevel/mirrored`` waits for. When that did not answer within a second it is false,
    /// and the commit stands.
    public var isMirrored: Bool
    /// The counters and maxima that were changed, with everybody's changes.
    public var counters: [String: Int64]

    public subscript(_ counter: SessionCounter) -> Int64? { counters[counter.name] }
    public subscript(_ maximum: SessionMaximum) -> Int64? { counters[maximum.name] }

    public init(setCookie: SetCookie? = nil, copies: Int = 0, isMirrored: Bool = false, counters: [String: Int64] = [:]) {
        self.setCookie = setCookie
        self.copies = copies
        self.isMirrored = isMirrored
        self.counters = counters
    }
}
