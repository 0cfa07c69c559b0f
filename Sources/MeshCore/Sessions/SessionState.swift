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
    /// When it ended: it was destroyed, or moved to another id. Set once and never cleared: whatever arrives later, the session stays gone.
    public internal(set) var destroyed: Stamp?
    /// Where it went, of one that ended by a move.
    public internal(set) var moved: Move?
    /// Whether its fields are gone as well. One that was moved keeps them for a while, for those who still ask by the old id.
    public internal(set) var isBuried = false
    /// In the order of their names.
    public internal(set) var fields: [Field] = []
    /// The commits of the last 30 seconds, in the order of their stamps, so that one sent twice counts once.
    public internal(set) var commits: [CommitMark] = []

    public struct Field: Hashable, Sendable {
        public var name: String
        public var cell: Cell
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
    /// Accesses are written down only when they moved the date by this much, and expiry grants it on top.
    public static let accessSlackMilliseconds: Int64 = 10_000

    /// Removed fields that are remembered, so that a late copy doesn't bring them back.
    static let removalsMax = 128

    /// Names beginning with "@" are ours.
    static let userField = "@user"
    static let idleField = "@idle"

    public init() {}

    /// A new session.
    public init(createdAt wall: Int64) {
        created = Stamp(wall: wall)
        latest = created
        accessedAt = wall
    }

    public var isDestroyed: Bool { destroyed != nil }

    /// Whether a reader may see it: it lives, or was moved just now.
    public func isReadable(wall: Int64) -> Bool {
        guard let destroyed else { return true }
        return !isBuried && wall < destroyed.milliseconds + Self.graceMilliseconds
    }

    public subscript(name: String) -> Cell? {
        position(of: name).found.map { fields[$0].cell }
    }

    public var user: String {
        if case .register(_, let bytes?) = self[Self.userField] { String(validating: bytes, as: UTF8.self) ?? "" } else { "" }
    }

    /// Nil when the session goes by the agent's default.
    public var idleSeconds: UInt32? {
        guard case .register(_, let bytes?) = self[Self.idleField] else { return nil }
        var reader = ByteReader(bytes)
        return try? reader.read(UInt32.self)
    }

    /// Fields that a reader sees.
    public var visibleFields: [SessionSnapshot.Field] {
        fields.compactMap { field in
            guard !field.name.hasPrefix("@") else { return nil }
            switch field.cell {
            case .register(_, let bytes): return bytes.map { .init(name: field.name, value: .bytes($0)) }
            case .counter(let counter): return .init(name: field.name, value: .integer(counter.value))
            }
        }
    }

    // MARK: Merging

    public mutating func merge(_ other: SessionState) {
        created = created == .zero ? other.created : other.created == .zero ? created : min(created, other.created)
        accessedAt = max(accessedAt, other.accessedAt)
        latest = max(latest, other.latest)
        if let theirs = other.destroyed { destroyed = min(destroyed ?? theirs, theirs) }
        if let theirs = other.moved { moved = min(moved ?? theirs, theirs) }
        if other.isBuried { bury() }
        for field in other.fields { merge(field) }
        forgetOldRemovals()
        remember(other.commits)
    }

    private mutating func merge(_ field: Field) {
        guard !isBuried else { return }
        switch position(of: field.name) {
        case .found(let index): fields[index].cell.merge(field.cell)
        case .missing(let index): fields.insert(field, at: index)
        }
    }

    /// Fields come and go under ever new names; a session that kept every removal would outgrow a peer message. Oldest first, and alike for
    /// everybody. An old copy that still has such a field could bring it back, but of 128 removals ago nobody has one but a peer long lost.
    private mutating func forgetOldRemovals() {
        guard fields.count > Self.removalsMax else { return }
        var removals: [(version: Version, name: String)] = []
        for field in fields { if case .register(let version, nil) = field.cell { removals.append((version, field.name)) } }
        guard removals.count > Self.removalsMax else { return }
        let forgotten = Set(removals.sorted { $0 < $1 }.prefix(removals.count - Self.removalsMax).map(\.name))
        fields.removeAll { forgotten.contains($0.name) }
    }

    private mutating func bury() {
        isBuried = true
        fields = []
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

    /// Lets go of all marks once none can be asked for any more, and of what was kept of a session that was moved. A session at rest has none.
    ///
    /// Not a change that others are told of: a copy that still has marks may bring them back, and lets go of them in its turn.
    public mutating func forgetMarksAtRest(wall: Int64) {
        // The owner that gave the stamps may have been ahead of the mesh's clock as far as we are behind it.
        guard !commits.isEmpty || moved != nil, latest.milliseconds + Self.commitAgeMilliseconds + 2 * MeshClock.leeway <= wall else {
            return
        }
        commits = []
        moved = nil
        if isDestroyed { bury() }
    }

    public func hasApplied(_ commit: CommitID) -> Bool {
        commits.contains { $0.id == commit }
    }

    // MARK: Writing, at the primary

    /// Applies a commit and gives what changed, ready to be merged elsewhere.
    ///
    /// - Throws: ``ClientFailure`` `invalid`, and nothing is changed, when a limit would be broken.
    public mutating func apply(_ commit: SessionCommit, life: Life, wall: Int64) throws(ClientFailure) -> SessionState {
        var changed = self
        let version = Version(stamp: Stamp(after: latest, wall: wall), life: life)
        var touched: Set<String> = []
        for change in commit.changes {
            try changed.apply(change, version: version)
            touched.insert(change.field)
        }
        if let user = commit.user {
            guard user.utf8.count <= SessionLimits.userBytesMax else {
                throw ClientFailure(.invalid, "a user's name has at most \(SessionLimits.userBytesMax) bytes")
            }
            changed.set(Self.userField, user.isEmpty ? nil : Array(user.utf8), version: version)
            touched.insert(Self.userField)
        }
        if let idle = commit.idleSeconds {
            var writer = ByteWriter()
            writer.write(idle)
            changed.set(Self.idleField, writer.bytes, version: version)
            touched.insert(Self.idleField)
        }
        try changed.checkLimits()
        changed.forgetOldRemovals()
        changed.latest = version.stamp
        changed.accessedAt = max(accessedAt, wall)
        changed.remember([CommitMark(stamp: version.stamp, id: commit.id)])
        self = changed

        var delta = SessionState()
        delta.created = created
        delta.accessedAt = accessedAt
        delta.latest = latest
        delta.fields = fields.filter { touched.contains($0.name) }
        delta.commits = [CommitMark(stamp: version.stamp, id: commit.id)]
        return delta
    }

    private mutating func apply(_ change: FieldChange, version: Version) throws(ClientFailure) {
        let name = change.field
        guard (1...SessionLimits.fieldNameBytesMax).contains(name.utf8.count), !name.hasPrefix("@") else {
            throw ClientFailure(.invalid, "a field's name has 1 to \(SessionLimits.fieldNameBytesMax) bytes and doesn't begin with @")
        }
        switch change {
        case .set(let name, let bytes):
            guard bytes.count <= SessionLimits.fieldBytesMax else {
                throw ClientFailure(.invalid, "a field holds at most \(SessionLimits.fieldBytesMax) bytes; store less, or a reference")
            }
            set(name, bytes, version: version)
        case .remove(let name): set(name, nil, version: version)
        case .increment(let name, let amount):
            var counter =
                switch self[name] {
                case .counter(let counter): counter
                case .register(let replaced, _): Counter(origin: replaced)
                case nil: Counter()
                }
            guard counter.add(amount, version: version) else {
                throw ClientFailure(.invalid, "counter \"\(name)\" would leave the range of 64 bits; set it anew")
            }
            replace(name, .counter(counter))
        }
    }

    private mutating func set(_ name: String, _ bytes: [UInt8]?, version: Version) {
        replace(name, .register(version, bytes))
    }

    private mutating func replace(_ name: String, _ cell: Cell) {
        switch position(of: name) {
        case .found(let index): fields[index].cell = cell
        case .missing(let index): fields.insert(Field(name: name, cell: cell), at: index)
        }
    }

    private func checkLimits() throws(ClientFailure) {
        var count = 0
        var bytes = 0
        for field in fields where !field.name.hasPrefix("@") {
            guard !field.cell.isRemoved else { continue }
            count += 1
            bytes += field.name.utf8.count + field.cell.byteCount
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
        delta.isBuried = true
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

    /// Notes an access. Gives the delta when it moved the date far enough to be told to others.
    public mutating func touch(wall: Int64) -> SessionState? {
        guard !isDestroyed, wall - accessedAt >= Self.accessSlackMilliseconds else { return nil }
        accessedAt = wall
        var delta = SessionState()
        delta.created = created
        delta.accessedAt = wall
        delta.latest = latest
        return delta
    }

    // MARK: Expiry

    /// Whether the session may be forgotten: idle too long, or destroyed long enough ago.
    public func isExpired(wall: Int64, idleDefault: Duration) -> Bool {
        expiresAt(idleDefault: idleDefault) <= wall
    }

    /// Unix milliseconds. Never early; late by at most the slack.
    public func expiresAt(idleDefault: Duration) -> Int64 {
        if let destroyed { return destroyed.milliseconds + Self.tombstoneMilliseconds }
        let idle = idleSeconds.map { Int64($0) * 1000 } ?? idleDefault.milliseconds
        return accessedAt + idle + Self.accessSlackMilliseconds
    }

    // MARK: Finding

    private enum Position {
        case found(Int)
        case missing(Int)

        var found: Int? { if case .found(let index) = self { index } else { nil } }
    }

    private func position(of name: String) -> Position {
        var low = 0
        var high = fields.count
        while low < high {
            let middle = (low + high) / 2
            if fields[middle].name == name { return .found(middle) }
            if fields[middle].name < name { low = middle + 1 } else { high = middle }
        }
        return .missing(low)
    }
}
