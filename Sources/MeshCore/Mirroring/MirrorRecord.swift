/// A session as a mirror keeps it: named entries that merge one by one.
public struct MirrorRecord: Hashable, Sendable {
    public var key: SessionKey
    /// In the order of their names. A tombstone has the single entry that says so.
    public var entries: [MirrorEntry]
    /// When the mirror may forget it, in Unix milliseconds. A merge only ever moves it later.
    public var expiresAt: Int64
    /// The session was destroyed: drop every other entry, now and whenever a late merge comes.
    public var isTombstone: Bool
    /// A hint: the writer knows of no merge of this session before. Some stores make a record sooner than they look for one and merge. Nothing is wrong
    /// when there is one. It is not kept in the record.
    public var isNew: Bool
    /// Whose it is. Goes into the index of ``Mirror/sessions(of:)`` when the record is merged; it is not kept in the record, so a loaded one has nil.
    public var user: UserKey?

    /// Most entries of a record, in a merge and at rest. A session has 128 fields and a few entries more; the rest is room for deleted
    /// fields.
    public static let entriesMax = 1024
    /// Most bytes of names, versions and payloads in a record: sixteen of the largest sessions.
    public static let bytesMax = 1 << 20
    /// Sessions of one user in the index; of more those that expire first are not found.
    public static let sessionsOfUserMax = 1024

    public init(
        key: SessionKey, entries: [MirrorEntry], expiresAt: Int64, isTombstone: Bool = false, isNew: Bool = false, user: UserKey? = nil
    ) {
        self.key = key
        self.entries = entries
        self.expiresAt = expiresAt
        self.isTombstone = isTombstone
        self.isNew = isNew
        self.user = user
    }
}

/// One named value with the version that decides a merge.
public struct MirrorEntry: Hashable, Sendable {
    /// 1 to 255 bytes, any bytes. The entry of a tombstone may also have no name.
    public var name: [UInt8]
    /// 16 bytes, compared as unsigned bytes from the left; the greater wins, an equal one changes nothing.
    public var version: [UInt8]
    public var payload: [UInt8]

    public static let versionBytes = 16
    public static let nameBytesMax = 255

    public init(name: [UInt8], version: [UInt8], payload: [UInt8]) {
        self.name = name
        self.version = version
        self.payload = payload
    }

    public var byteCount: Int { name.count + version.count + payload.count }

    func isNewer(than other: MirrorEntry) -> Bool { other.version.lexicographicallyPrecedes(version) }
}

extension MirrorRecord {
    /// Merges `change`, a record of the same session, into this one. Commutative, associative and idempotent as long as equal versions of a
    /// name mean equal payloads, which stamps see to.
    ///
    /// A tombstone ends the session's entries whatever their versions, and stays at least as long as anything it has buried would have:
    /// else a late merge could raise the dead.
    public mutating func merge(_ change: MirrorRecord) {
        expiresAt = max(expiresAt, change.expiresAt)
        switch (isTombstone, change.isTombstone) {
        case (true, false): return
        case (false, true):
            entries = change.entries
            isTombstone = true
        case (true, true):
            if let mine = entries.first, let other = change.entries.first, other.isNewer(than: mine) { entries = change.entries }
        case (false, false):
            entries = Self.merged(entries, change.entries)
        }
    }

    /// Both lists in one, by name; of two entries with one name the newer.
    private static func merged(_ left: [MirrorEntry], _ right: [MirrorEntry]) -> [MirrorEntry] {
        var merged: [MirrorEntry] = []
        merged.reserveCapacity(max(left.count, right.count))
        var left = left[...]
        var right = right[...]
        while let a = left.first, let b = right.first {
            if a.name == b.name {
                merged.append(b.isNewer(than: a) ? b : a)
                left.removeFirst()
                right.removeFirst()
            } else if a.name.lexicographicallyPrecedes(b.name) {
                merged.append(a)
                left.removeFirst()
            } else {
                merged.append(b)
                right.removeFirst()
            }
        }
        return merged + left + right
    }

    /// What is wrong with a record as a record, in words for a person; nil when nothing is. Adapters ask before they send and after they
    /// load.
    public var fault: String? {
        if isTombstone && entries.count != 1 { return "a tombstone of \(entries.count) entries instead of one" }
        if entries.count > Self.entriesMax { return "more than \(Self.entriesMax) entries" }
        var bytes = 0
        for (index, entry) in entries.enumerated() {
            if entry.version.count != MirrorEntry.versionBytes { return "a version that hasn't \(MirrorEntry.versionBytes) bytes" }
            if entry.name.count > MirrorEntry.nameBytesMax { return "a name of more than \(MirrorEntry.nameBytesMax) bytes" }
            if entry.name.isEmpty && !isTombstone { return "an entry without a name" }
            if index > 0 && !entries[index - 1].name.lexicographicallyPrecedes(entry.name) {
                return "entries that aren't in the order of their names"
            }
            bytes += entry.byteCount
        }
        return bytes > Self.bytesMax ? "more than \(Self.bytesMax) bytes" : nil
    }
}
