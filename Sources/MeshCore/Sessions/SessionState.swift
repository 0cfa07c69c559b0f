/// One session: its fields as cells, and what is needed to expire it, to know a commit again, and to keep it destroyed.
///
/// Everything merges, so a whole session, a delta and a copy from a mirror are one type: a delta is a state that holds only
/// what changed. To replicate, to hand off, to mirror and to recover are all "send state, merge".
public struct SessionState: Hashable, Sendable {
    /// When it was made; zero in a delta that doesn't know.
    public internal(set) var created: Stamp = .zero
    /// The last request, in Unix milliseconds by the mesh's clock. Merges to the greater.
    public internal(set) var accessedAt: Int64 = 0
    /// The highest stamp ever given in this session.
    public internal(set) var latest: Stamp = .zero
    private var end: Boxed<End>?
    public internal(set) var fields = FieldList()
    /// The commits of the last 30 seconds, in the order of their stamps, so that one sent twice counts once.
    public internal(set) var commits: [CommitMark] = []

    public struct Field: Hashable, Sendable {
        public var name: String
        public var cell: Cell
    }

    private struct End: Hashable {
        var at: Stamp
        var moved: Move?
        var isBuried = false
    }

    /// A session that goes on under another id. Two sides of a cut may each have moved one: the lesser move counts then.
    public struct Move: Hashable, Comparable, Sendable {
        /// Whoever sends it again is given the same new id.
        public var commit: CommitID
        public var to: SessionKey
        /// What the new id was made of, besides ``commit`` and the old key; see ``CookieCodec/successor(of:by:draw:)``.
        public var draw: UInt64

        public static func < (lhs: Move, rhs: Move) -> Bool { (lhs.commit, lhs.to, lhs.draw) < (rhs.commit, rhs.to, rhs.draw) }
    }

    /// A commit and when it was applied. The stamp keeps old marks from pushing out new ones where two copies merge.
    public struct CommitMark: Hashable, Comparable, Sendable {
        public var stamp: Stamp
        public var id: CommitID

        public static func < (lhs: CommitMark, rhs: CommitMark) -> Bool { (lhs.stamp, lhs.id) < (rhs.stamp, rhs.id) }
    }

    /// How long before the session's latest stamp a commit may lie and still be known again, in milliseconds: longer than anybody goes on
    /// sending one again.
    public static let commitAgeMilliseconds: Int64 = 30_000
    /// Of more the newest are known: seventeen commits a second to one session. Each costs 24 bytes while it is remembered.
    public static let commitsMax = 512
    /// How long a destroyed session is remembered, in milliseconds: longer than any request or repeat of one may be under way.
    public static let tombstoneMilliseconds: Int64 = 3_600_000
    /// How long a session that was moved can still be read under its old id, in milliseconds: requests that a login overtook are still under way.
    public static let graceMilliseconds: Int64 = 10_000

    /// Removed fields that are remembered, so that a late copy doesn't bring them back.
    static let removalsMax = 128

    /// Names beginning with "@" are ours.
    static let userField = "@user"
    static let idleField = "@idle"
    static let absoluteField = "@absolute"
    static let rollingField = "@rolling"
    static let untilField = "@until"

    public init() {}

    /// A new session.
    public init(createdAt wall: Int64) {
        created = Stamp(wall: wall)
        latest = created
        accessedAt = wall
    }

    /// When it ended: it was destroyed, or moved to another id. Set once and never cleared: whatever arrives later, the session stays gone.
    public internal(set) var destroyed: Stamp? {
        get { end?.value.at }
        set {
            guard let newValue else { return }
            if end == nil { end = Boxed(End(at: newValue)) } else { end?.value.at = newValue }
        }
    }

    /// Where it went, of one that ended by a move.
    public internal(set) var moved: Move? {
        get { end?.value.moved }
        set { end?.value.moved = newValue }
    }

    /// Whether its fields are gone as well. One that was moved keeps them for a while, for those who still ask by the old id.
    public private(set) var isBuried: Bool {
        get { end?.value.isBuried ?? false }
        set { end?.value.isBuried = newValue }
    }

    public var isDestroyed: Bool { end != nil }

    /// Whether a reader may see it: it lives, or was moved just now.
    public func isReadable(wall: Int64) -> Bool {
        guard let destroyed else { return true }
        return !isBuried && wall < destroyed.milliseconds + Self.graceMilliseconds
    }

    public subscript(name: String) -> Cell? {
        fields[name]
    }

    public var user: String {
        fields.register(Self.userField).flatMap { String(validating: $0, as: UTF8.self) } ?? ""
    }

    /// What the session says of its own expiry; nil goes by the agent's default.
    public struct Terms: Hashable, Sendable {
        public var idleSeconds: UInt32?
        public var absoluteSeconds: UInt32?
        public var isRolling: Bool?
        /// Unix milliseconds; nil for no such date.
        public var until: Int64?
    }

    public var terms: Terms {
        var terms = Terms()
        for place in fields.places {
            if fields.isBehindOurs(place) { break }
            guard fields.isOurs(place), let bytes = fields.register(place) else { continue }
            var reader = ByteReader(bytes)
            switch fields.name(place) {
            case Self.idleField: terms.idleSeconds = try? reader.read()
            case Self.absoluteField: terms.absoluteSeconds = try? reader.read()
            case Self.rollingField: terms.isRolling = (try? reader.read(UInt8.self)).map { $0 != 0 }
            case Self.untilField: terms.until = (try? reader.read(UInt64.self)).map { Int64(clamping: $0) }
            default: break
            }
        }
        return terms
    }

    /// Fields that a reader sees.
    public var visibleFields: [SessionSnapshot.Field] { fields.visible }

    // MARK: Merging

    public mutating func merge(_ other: SessionState) {
        created = created == .zero ? other.created : other.created == .zero ? created : min(created, other.created)
        accessedAt = max(accessedAt, other.accessedAt)
        latest = max(latest, other.latest)
        if let theirs = other.destroyed { destroyed = min(destroyed ?? theirs, theirs) }
        if let theirs = other.moved { moved = min(moved ?? theirs, theirs) }
        if other.isBuried { bury() }
        if !isBuried { fields.merge(other.fields) }
        forgetOldRemovals()
        remember(other.commits)
    }

    /// Fields come and go under ever new names; a session that kept every removal would outgrow a peer message. Oldest first, and alike for
    /// everybody. An old copy that still has such a field could bring it back, but of 128 removals ago nobody has one but a peer long lost.
    private mutating func forgetOldRemovals() {
        guard fields.count > Self.removalsMax else { return }
        var removals: [(version: Version, name: String)] = []
        for field in fields { if case .register(let version, nil) = field.cell { removals.append((version, field.name)) } }
        guard removals.count > Self.removalsMax else { return }
        let forgotten = Set(removals.sorted { $0 < $1 }.prefix(removals.count - Self.removalsMax).map(\.name))
        fields = fields.keeping { !forgotten.contains(fields.name($0)) }
    }

    /// What one side of a cut has of a session that another has moved, and the move didn't take along. It belongs where the session went: two
    /// copies of one session give up to two such, for each side may have moved it.
    static func carried(_ one: SessionState, _ other: SessionState) -> [(to: SessionKey, state: SessionState)] {
        [(one, other), (other, one)].compactMap { mover, rest in
            guard let move = mover.moved, rest.moved != move, let state = rest.carried(past: mover) else { return nil }
            return (move.to, state)
        }
    }

    private func carried(past mover: SessionState) -> SessionState? {
        var state = self
        state.commits = []
        // One that was destroyed, and not because it had moved: so is the one that it went on as.
        if isDestroyed, moved == nil { return state }
        guard !isBuried else { return nil }
        state.end = nil
        var known = mover.fields
        known.merge(fields)
        return mover.isBuried || known != mover.fields ? state : nil
    }

    mutating func bury() {
        isBuried = true
        fields = FieldList()
    }

    private mutating func remember(_ marks: [CommitMark]) {
        for mark in marks {
            // Mostly it is the newest.
            var position = commits.endIndex
            while position > 0, mark < commits[position - 1] { position -= 1 }
            if position == 0 || commits[position - 1] != mark { commits.insert(mark, at: position) }
        }
        forgetOldMarks()
    }

    /// What stays follows from all marks and the latest stamp, and from nothing else: so marks merge by the same laws as fields.
    mutating func forgetOldMarks() {
        let oldest = latest.milliseconds - Self.commitAgeMilliseconds
        let tooOld = commits.firstIndex { $0.stamp.milliseconds >= oldest } ?? commits.count
        let forgotten = max(tooOld, commits.count - Self.commitsMax)
        if forgotten > 0 { commits.removeFirst(forgotten) }
    }

    /// Lets go of all marks once none can be asked for any more, and of the fields of a session that was moved. A session at rest has none.
    ///
    /// Not a change that others are told of: a copy that still has marks may bring them back, and lets go of them in its turn.
    public mutating func forgetMarksAtRest(wall: Int64) {
        guard hasMarksAtRest(wall: wall) else { return }
        commits = []
        if isDestroyed { bury() }
    }

    func hasMarksAtRest(wall: Int64) -> Bool {
        // The owner that gave the stamps may have been ahead of the mesh's clock as far as we are behind it.
        (!commits.isEmpty || isDestroyed && !isBuried) && latest.milliseconds + Self.commitAgeMilliseconds + 2 * MeshClock.leeway <= wall
    }

    /// Whether it began under its present id: then its first commit comes right behind its beginning, and in one that was moved much later. Known
    /// while that commit is remembered.
    var hasBegunHere: Bool { commits.first?.stamp.rawValue == created.rawValue &+ 1 }

    public func hasApplied(_ commit: CommitID) -> Bool {
        commits.contains { $0.id == commit }
    }

    // MARK: Writing, at the primary

    /// What is there of the fields that the commit's conditions name, when one of them doesn't hold; nil when all do.
    public func conflict(with commit: SessionCommit) -> [SessionSnapshot.Field]? {
        let holds = commit.conditions.allSatisfy { condition in
            switch (condition, self[condition.field]) {
            case (.holds(_, let bytes), .register(_, let present)): bytes == present
            case (.holds, _): false
            case (.isAbsent, let cell): cell?.isRemoved ?? true
            }
        }
        guard !holds else { return nil }
        let names = commit.conditions.map(\.field)
        return visibleFields.filter { names.contains($0.name) }
    }

    /// Whether the commit would leave the session other than it is.
    public func isChanged(by commit: SessionCommit) -> Bool {
        commit.changes.contains(where: isChanged) || commit.user.map { $0 != user } ?? false
            || Self.expiryFields(of: commit).contains { name, bytes in
                if case .register(_, let present) = self[name] { bytes != present } else { bytes != nil }
            }
    }

    /// What a commit says of the session's expiry, as the registers that keep it.
    private static func expiryFields(of commit: SessionCommit) -> [(name: String, bytes: [UInt8]?)] {
        func bytes(_ number: some FixedWidthInteger & UnsignedInteger) -> [UInt8] {
            var writer = ByteWriter()
            writer.write(number)
            return writer.bytes
        }
        var fields: [(String, [UInt8]?)] = []
        if let idle = commit.idleSeconds { fields.append((idleField, bytes(idle))) }
        if let absolute = commit.absoluteSeconds { fields.append((absoluteField, bytes(absolute))) }
        if let isRolling = commit.isRolling { fields.append((rollingField, bytes(UInt8(isRolling ? 1 : 0)))) }
        if let until = commit.until { fields.append((untilField, until > 0 ? bytes(UInt64(until)) : nil)) }
        return fields
    }

    /// What becomes of a commit.
    enum Taken {
        /// What changed, and the session as it was, without its marks.
        case applied(SessionState, former: SessionState)
        /// It was applied before. One that came before the end is done, though its answer was lost.
        case repeated
        /// The session was destroyed, or goes on under another id.
        case ended
        /// Everything is as it wants it.
        case unchanged
        /// What is there of the fields that its conditions name.
        case conflict([SessionSnapshot.Field])
    }

    /// Applies a commit, if it is to be.
    ///
    /// - Parameter isNew: whether the session is just being made: then also one that changes nothing counts.
    /// - Throws: as ``apply(_:life:wall:)``.
    mutating func take(_ commit: SessionCommit, isNew: Bool, life: Life, wall: Int64) throws(ClientFailure) -> Taken {
        if hasApplied(commit.id) { return .repeated }
        if isDestroyed { return .ended }
        if let present = conflict(with: commit) { return .conflict(present) }
        try Self.check(commit)
        if !isNew, !isChanged(by: commit) { return .unchanged }
        var former = self
        former.commits = []
        return .applied(try make(commit, life: life, wall: wall), former: former)
    }

    /// The values of the counters and maxima that the commit changes.
    func counters(changedBy commit: SessionCommit) -> [SessionSnapshot.Field] {
        let names = commit.changes.compactMap { change in
            switch change {
            case .increment(let name, _), .raise(let name, _): name
            case .set, .remove, .insert, .erase, .drop: nil
            }
        }
        return names.isEmpty ? [] : visibleFields.filter { names.contains($0.name) }
    }

    /// Applies a commit and gives what changed, ready to be merged elsewhere. Its conditions are asked for before.
    ///
    /// - Throws: ``ClientFailure`` `invalid`, and nothing is changed, when a limit would be broken.
    public mutating func apply(_ commit: SessionCommit, life: Life, wall: Int64) throws(ClientFailure) -> SessionState {
        try Self.check(commit)
        return try make(commit, life: life, wall: wall)
    }

    /// Applies what was checked.
    private mutating func make(_ commit: SessionCommit, life: Life, wall: Int64) throws(ClientFailure) -> SessionState {
        let version = Version(stamp: Stamp(after: latest, wall: wall), life: life)
        let former = fields
        var touched: [String] = []
        do throws(ClientFailure) {
            for change in commit.changes where isChanged(by: change) {
                try apply(change, version: version)
                touched.append(change.field)
            }
            if let user = commit.user {
                set(Self.userField, user.isEmpty ? nil : Array(user.utf8), version: version)
                touched.append(Self.userField)
            }
            for (name, bytes) in Self.expiryFields(of: commit) {
                set(name, bytes, version: version)
                touched.append(name)
            }
            try checkLimits()
        } catch {
            fields = former
            throw error
        }
        forgetOldRemovals()
        latest = version.stamp
        accessedAt = max(accessedAt, wall)
        remember([CommitMark(stamp: version.stamp, id: commit.id)])

        var delta = SessionState()
        delta.created = created
        delta.accessedAt = accessedAt
        delta.latest = latest
        delta.fields = fields.keeping { place in touched.contains { fields.isNamed($0, place) } }
        delta.commits = [CommitMark(stamp: version.stamp, id: commit.id)]
        return delta
    }

    /// Refuses what no session could take, whatever is in it.
    public static func check(_ commit: SessionCommit) throws(ClientFailure) {
        for change in commit.changes {
            guard (1...SessionLimits.fieldNameBytesMax).contains(change.field.utf8.count), !change.field.hasPrefix("@") else {
                throw ClientFailure(.invalid, "a field's name has 1 to \(SessionLimits.fieldNameBytesMax) bytes and doesn't begin with @")
            }
            switch change {
            case .set(_, let bytes) where bytes.count > SessionLimits.fieldBytesMax:
                throw ClientFailure(.invalid, "a field holds at most \(SessionLimits.fieldBytesMax) bytes; store less, or a reference")
            case .insert(_, let element) where element.count > SessionLimits.elementBytesMax:
                throw ClientFailure(.invalid, "an element of a set has at most \(SessionLimits.elementBytesMax) bytes; store a reference")
            default: break
            }
        }
        guard commit.user?.utf8.count ?? 0 <= SessionLimits.userBytesMax else {
            throw ClientFailure(.invalid, "a user's name has at most \(SessionLimits.userBytesMax) bytes")
        }
    }

    private mutating func apply(_ change: FieldChange, version: Version) throws(ClientFailure) {
        switch change {
        case .set(let name, let bytes): set(name, bytes, version: version)
        case .remove(let name): set(name, nil, version: version)
        case .increment(let name, let amount):
            let cell = self[name]
            var counter = if case .counter(let counter) = cell { counter } else { Counter(origin: origin(replacing: cell, at: version)) }
            guard counter.add(amount, version: version) else {
                throw ClientFailure(.invalid, "counter \"\(name)\" would leave the range of 64 bits; set it anew")
            }
            fields.set(name, .counter(counter))
        case .raise(let name, let value):
            let cell = self[name]
            let origin = if case .maximum(let maximum) = cell { maximum.origin } else { origin(replacing: cell, at: version) }
            fields.set(name, .maximum(Maximum(origin: origin, value: value)))
        case .insert(let name, let element): setElement(element, of: name, isRemoved: false, version: version)
        case .erase(let name, let element): setElement(element, of: name, isRemoved: true, version: version)
        case .drop(let name, _): set(name, nil, version: version)
        }
    }

    private mutating func setElement(_ element: [UInt8], of name: String, isRemoved: Bool, version: Version) {
        let cell = self[name]
        var elements = if case .set(let set) = cell { set } else { ElementSet(origin: origin(replacing: cell, at: version)) }
        elements.set(element, isRemoved: isRemoved, version: version)
        fields.set(name, .set(elements))
    }

    private func origin(replacing cell: Cell?, at version: Version) -> Version {
        cell?.origin(replacedAt: version) ?? .zero
    }

    /// Whether the change would leave the session other than it is. One that wouldn't is done already.
    private func isChanged(by change: FieldChange) -> Bool {
        // Most set a register, and that is compared where it lies.
        if case .set(let name, let bytes) = change { return !(fields.register(name)?.elementsEqual(bytes) ?? false) }
        return switch (change, self[change.field]) {
        case (.remove, let cell): !(cell?.isRemoved ?? true)
        case (.increment(_, let amount), .counter): amount != 0
        case (.raise(_, let value), .maximum(let maximum)): value > maximum.value
        case (.insert(_, let element), .set(let set)): !set.contains(element)
        case (.erase(_, let element), .set(let set)): set.contains(element)
        case (.erase, _): false
        case (.drop(_, let bytes), .register(_, let present)): bytes == present
        case (.drop, _): false
        case (.set, _), (.increment, _), (.raise, _), (.insert, _): true
        }
    }

    private mutating func set(_ name: String, _ bytes: [UInt8]?, version: Version) {
        fields.set(name, .register(version, bytes))
    }

    private func checkLimits() throws(ClientFailure) {
        var count = 0
        var bytes = 0
        var elements = 0
        for place in fields.places where fields.isVisible(place) {
            let byteCount = fields.byteCount(place)
            count += 1
            bytes += place.name.count + byteCount
            guard fields.kind(place) == .set, case .set(let set) = fields.cell(place) else { continue }
            elements += set.elements.count { !$0.isRemoved }
            guard byteCount <= SessionLimits.fieldBytesMax else {
                throw ClientFailure(.invalid, "a set holds at most \(SessionLimits.fieldBytesMax) bytes; store less, or a reference")
            }
        }
        guard elements <= SessionLimits.elementsMax else {
            throw ClientFailure(.invalid, "the sets of a session hold at most \(SessionLimits.elementsMax) elements; remove some")
        }
        guard count <= SessionLimits.fieldsMax else {
            throw ClientFailure(.invalid, "a session holds at most \(SessionLimits.fieldsMax) fields; remove some")
        }
        guard bytes <= SessionLimits.sessionBytesMax else {
            throw ClientFailure(.invalid, "a session holds at most \(SessionLimits.sessionBytesMax) bytes; store less, or a reference")
        }
    }

    /// Destroys the session and gives the delta that says so.
    public mutating func destroy(_ commit: CommitID, wall: Int64) -> SessionState {
        latest = Stamp(after: latest, wall: wall)
        destroyed = destroyed ?? latest
        bury()
        remember([CommitMark(stamp: latest, id: commit)])
        var delta = SessionState()
        delta.created = created
        delta.latest = latest
        delta.destroyed = destroyed
        delta.bury()
        delta.commits = [CommitMark(stamp: latest, id: commit)]
        return delta
    }

    /// Ends the session because it goes on under another id, and gives the delta that says so.
    public mutating func end(_ move: Move, wall: Int64) -> SessionState {
        latest = Stamp(after: latest, wall: wall)
        destroyed = destroyed ?? latest
        moved = move
        remember([CommitMark(stamp: latest, id: move.commit)])
        var delta = SessionState()
        delta.created = created
        delta.latest = latest
        delta.destroyed = destroyed
        delta.moved = move
        delta.commits = [CommitMark(stamp: latest, id: move.commit)]
        return delta
    }

    /// Whether an access now would be noted.
    func isTouched(by wall: Int64, policy: ExpiryPolicy, terms: Terms) -> Bool {
        guard !isDestroyed, terms.isRolling ?? policy.isRolling else { return false }
        return wall - accessedAt >= ExpiryPolicy.accessSlack(idleMilliseconds: idleMilliseconds(policy, terms))
    }

    /// Notes an access. Gives the delta when it moved the date far enough to be told to others, and would prolong the session.
    public mutating func touch(wall: Int64, policy: ExpiryPolicy) -> SessionState? {
        guard isTouched(by: wall, policy: policy, terms: terms) else { return nil }
        accessedAt = wall
        var delta = SessionState()
        delta.created = created
        delta.accessedAt = wall
        delta.latest = latest
        return delta
    }

    // MARK: Expiry

    /// Whether the session may be forgotten: idle too long, too old, or destroyed long enough ago.
    public func isExpired(wall: Int64, policy: ExpiryPolicy) -> Bool {
        expiresAt(policy) <= wall
    }

    /// Unix milliseconds. Never early. Idle time is late by at most its slack and the skew of clocks; an absolute end and a date are exact.
    public func expiresAt(_ policy: ExpiryPolicy) -> Int64 { expiresAt(policy, terms) }

    /// - Parameter terms: the session's own.
    func expiresAt(_ policy: ExpiryPolicy, _ terms: Terms) -> Int64 {
        if let destroyed { return destroyed.milliseconds + Self.tombstoneMilliseconds }
        let idle = idleMilliseconds(policy, terms)
        let isRolling = terms.isRolling ?? policy.isRolling
        let lastUse = isRolling ? accessedAt + ExpiryPolicy.accessSlack(idleMilliseconds: idle) : latest.milliseconds
        let idleEnd = lastUse + idle + ExpiryPolicy.skewMilliseconds
        let absolute = terms.absoluteSeconds.map { Int64($0) * 1000 } ?? policy.absoluteMilliseconds
        return min(idleEnd, absolute.map { created.milliseconds + $0 } ?? .max, terms.until ?? .max)
    }

    private func idleMilliseconds(_ policy: ExpiryPolicy, _ terms: Terms) -> Int64 {
        terms.idleSeconds.map { Int64($0) * 1000 } ?? policy.idleMilliseconds
    }
}
