// How a session is cut into the entries of a mirror, each of which merges by itself.
//
// Every entry's version is 16 bytes, stamp then life, so that plain byte order decides. A counter becomes one entry a part: its
// writer is one node, and its count of writes serves as the stamp.

extension SessionState {
    private enum EntryKind {
        static let meta = UInt8(ascii: "m")
        static let register = UInt8(ascii: "r")
        static let counterBase = UInt8(ascii: "b")
        static let counterPart = UInt8(ascii: "p")
        static let set = UInt8(ascii: "o")
        static let element = UInt8(ascii: "e")
        static let maximum = UInt8(ascii: "x")
        static let tombstone = UInt8(ascii: "t")
    }

    public func mirrorRecord(of key: SessionKey, policy: ExpiryPolicy) -> MirrorRecord {
        let expiry = expiresAt(policy)
        if let destroyed {
            let grave = MirrorEntry(name: [EntryKind.tombstone], version: Self.entryVersion(destroyed, Life(rawValue: 0)), payload: [])
            return MirrorRecord(key: key, entries: [grave], expiresAt: expiry, isTombstone: true)
        }
        var entries: [MirrorEntry] = [metaEntry]
        for field in fields { entries.append(contentsOf: Self.entries(of: field)) }
        entries.sort { $0.name.lexicographicallyPrecedes($1.name) }
        let user = user
        return MirrorRecord(key: key, entries: entries, expiresAt: expiry, user: user.isEmpty ? nil : UserKey(of: user))
    }

    private var metaEntry: MirrorEntry {
        var payload = ByteWriter()
        payload.write(created.rawValue)
        payload.write(UInt64(bitPattern: accessedAt))
        payload.write(UInt16(commits.count))
        for mark in commits { payload.write(mark) }
        return MirrorEntry(
            name: [EntryKind.meta], version: Self.entryVersion(latest, Life(rawValue: UInt64(accessedAt))), payload: payload.bytes)
    }

    private static func entries(of field: Field) -> [MirrorEntry] {
        let name = Array(field.name.utf8)
        switch field.cell {
        case .register(let version, let bytes):
            return [
                MirrorEntry(
                    name: [EntryKind.register] + name, version: entryVersion(version.stamp, version.life),
                    payload: bytes.map { [1] + $0 } ?? [0])
            ]
        case .counter(let counter):
            var base = ByteWriter()
            base.write(counter.origin)
            base.write(UInt64(bitPattern: counter.base))
            base.write(counter.foldedThrough)
            let baseEntry = MirrorEntry(
                name: [EntryKind.counterBase] + name,
                version: entryVersion(counter.origin.stamp, Life(rawValue: counter.foldedThrough.stamp.rawValue)),
                payload: base.bytes)
            return [baseEntry]
                + counter.parts.map { part in
                    var partName = ByteWriter()
                    partName.write(EntryKind.counterPart)
                    partName.write(part.start)
                    partName.write(raw: name)
                    var payload = ByteWriter()
                    payload.write(counter.origin)
                    payload.write(UInt64(bitPattern: part.sum))
                    return MirrorEntry(
                        name: partName.bytes,
                        version: entryVersion(counter.origin.stamp, Life(rawValue: UInt64(part.writes))), payload: payload.bytes)
                }
        case .set(let set):
            let origin = MirrorEntry(name: [EntryKind.set] + name, version: entryVersion(set.origin.stamp, set.origin.life), payload: [])
            return [origin]
                + set.elements.map { element in
                    var elementName = ByteWriter()
                    elementName.write(EntryKind.element)
                    elementName.write(short: name)
                    elementName.write(raw: element.bytes)
                    var payload = ByteWriter()
                    payload.write(set.origin)
                    payload.write(UInt8(element.isRemoved ? 0 : 1))
                    return MirrorEntry(
                        name: elementName.bytes, version: entryVersion(element.version.stamp, element.version.life), payload: payload.bytes)
                }
        case .maximum(let maximum):
            var payload = ByteWriter()
            payload.write(maximum.origin)
            payload.write(UInt64(bitPattern: maximum.value))
            // The sign bit turned, so that byte order is the numbers' order.
            let order = Life(rawValue: UInt64(bitPattern: maximum.value) ^ 1 << 63)
            return [
                MirrorEntry(
                    name: [EntryKind.maximum] + name, version: entryVersion(maximum.origin.stamp, order), payload: payload.bytes)
            ]
        }
    }

    private static func entryVersion(_ stamp: Stamp, _ life: Life) -> [UInt8] {
        var writer = ByteWriter(reserving: MirrorEntry.versionBytes)
        writer.write(Version(stamp: stamp, life: life))
        return writer.bytes
    }

    /// Puts a session together again.
    /// - Throws: ``WireError`` when the entries are not ones that this type writes.
    public init(_ record: MirrorRecord) throws(WireError) {
        self.init()
        for entry in record.entries {
            var version = ByteReader(entry.version)
            let stamped = try version.readVersion()
            latest = max(latest, stamped.stamp)
            guard let kind = entry.name.first else { throw .truncated }
            var name = ByteReader(entry.name[1...])
            var payload = ByteReader(entry.payload)
            switch kind {
            case EntryKind.tombstone:
                destroyed = stamped.stamp
                bury()
            case EntryKind.meta: try readMeta(&payload)
            case EntryKind.register:
                let isSet: UInt8 = try payload.read()
                let bytes = isSet == 1 ? Array(try payload.read(raw: payload.remaining)) : nil
                try merge(fieldNamed: &name, .register(stamped, bytes))
            case EntryKind.counterBase:
                var counter = Counter(origin: try payload.readVersion())
                counter.base = Int64(bitPattern: try payload.read())
                counter.foldedThrough = try payload.readVersion()
                try merge(fieldNamed: &name, .counter(counter))
            case EntryKind.counterPart:
                let start = try name.readVersion()
                var counter = Counter(origin: try payload.readVersion())
                guard let writes = UInt32(exactly: stamped.life.rawValue) else { throw .unknownValue }
                counter.parts = [.init(start: start, writes: writes, sum: Int64(bitPattern: try payload.read()))]
                try merge(fieldNamed: &name, .counter(counter))
            case EntryKind.set: try merge(fieldNamed: &name, .set(ElementSet(origin: stamped)))
            case EntryKind.element:
                var fieldName = ByteReader(try name.readShort())
                let bytes = Array(try name.read(raw: name.remaining))
                guard bytes.count <= SessionLimits.elementBytesMax else { throw .tooLarge }
                var set = ElementSet(origin: try payload.readVersion())
                set.elements = [.init(bytes: bytes, version: stamped, isRemoved: try payload.read(UInt8.self) == 0)]
                try merge(fieldNamed: &fieldName, .set(set))
            case EntryKind.maximum:
                let origin = try payload.readVersion()
                try merge(fieldNamed: &name, .maximum(Maximum(origin: origin, value: Int64(bitPattern: try payload.read()))))
            default: throw .unknownValue
            }
        }
    }

    private mutating func readMeta(_ payload: inout ByteReader) throws(WireError) {
        created = Stamp(rawValue: try payload.read())
        accessedAt = try payload.readMilliseconds()
        let count = Int(try payload.read(UInt16.self))
        guard count <= Self.commitsMax else { throw .tooLarge }
        for _ in 0..<count {
            let mark = try payload.readCommitMark()
            guard commits.last.map({ $0 < mark }) ?? true else { throw .unknownValue }
            commits.append(mark)
        }
    }

    private mutating func merge(fieldNamed name: inout ByteReader, _ cell: Cell) throws(WireError) {
        guard let text = String(validating: try name.read(raw: name.remaining), as: UTF8.self) else { throw .malformedText }
        var written = FieldList()
        written.set(text, cell)
        // No mirror is trusted further than a peer.
        var reader = ByteReader(written.bytes)
        var part = SessionState()
        part.fields = try reader.readFields()
        merge(part)
    }
}
