/// The fields of a session in the order of their names' bytes, as they are written everywhere: at rest, in a delta, between nodes.
/// `Docs/PROTOCOL.md` has the table.
///
/// An agent holds a million sessions for each one that is changed just now, so what counts is what they take: one array of bytes, no String and
/// no value a field. To read one goes over those before it; to change one writes the array anew, or in its place what takes as much as before.
public struct FieldList: Hashable, Sendable {
    /// A count of 16 bits, then name and cell of each. No memory at all when there are none. Either written here or checked when it was read,
    /// so that nothing in it is doubted any more.
    private(set) var bytes: [UInt8] = []

    /// Where one stands in the bytes.
    struct Place {
        var name: Range<Int>
        /// Its first byte is the kind.
        var cell: Range<Int>

        /// With the length of the name.
        var all: Range<Int> { name.lowerBound - 1..<cell.upperBound }
    }

    public init() {}

    /// - Parameter bytes: as ``bytes``, checked.
    fileprivate init(checked bytes: some Collection<UInt8>, count: Int) {
        if count > 0 { self.bytes = Array(bytes) }
    }

    public var isEmpty: Bool { bytes.isEmpty }
    public var count: Int { bytes.isEmpty ? 0 : Int(bytes[0]) << 8 | Int(bytes[1]) }

    public subscript(name: String) -> Cell? { find(name.utf8).found.map(cell) }

    /// Puts a field in the place of the one of its name, or between those that are there.
    mutating func set(_ name: String, _ cell: Cell) {
        var writer = ByteWriter(reserving: name.utf8.count + cell.byteCount + 64)
        switch find(name.utf8) {
        case .found(let place):
            writer.write(cell)
            replace(place.cell, with: writer.bytes)
        case .missing(let offset):
            writer.write(text: name)
            writer.write(cell)
            replace(offset..<offset, with: writer.bytes, count: count + 1)
        }
    }

    mutating func merge(_ other: FieldList) {
        guard !isEmpty else { return self = other }
        for theirs in other.places {
            switch find(other.bytes[theirs.name]) {
            case .found(let mine):
                let (version, theirVersion) = (registerVersion(mine), other.registerVersion(theirs))
                // Of two registers the later counts, whatever they hold.
                if let version, let theirVersion, !version.elementsEqual(theirVersion) {
                    if version.lexicographicallyPrecedes(theirVersion) { replace(mine.cell, with: other.bytes[theirs.cell]) }
                    continue
                }
                var merged = cell(mine)
                merged.merge(other.cell(theirs))
                var writer = ByteWriter(reserving: mine.cell.count)
                writer.write(merged)
                replace(mine.cell, with: writer.bytes)
            case .missing(let offset): replace(offset..<offset, with: other.bytes[theirs.all], count: count + 1)
            }
        }
    }

    /// Those that `isIncluded` wants.
    func keeping(_ isIncluded: (Place) -> Bool) -> FieldList {
        var (count, size) = (0, Self.start)
        for place in places where isIncluded(place) { (count, size) = (count + 1, size + place.all.count) }
        guard count > 0 else { return FieldList() }
        var filtered = FieldList()
        filtered.bytes.reserveCapacity(size)
        filtered.bytes.append(UInt8(count >> 8))
        filtered.bytes.append(UInt8(truncatingIfNeeded: count))
        for place in places where isIncluded(place) { filtered.bytes += bytes[place.all] }
        return filtered
    }

    /// In its place when it takes as much as what it replaces, else in an array of just the size: a session rests for longer than it changes.
    private mutating func replace(_ range: Range<Int>, with new: some Collection<UInt8>, count: Int? = nil) {
        if new.count == range.count {
            bytes.replaceSubrange(range, with: new)
        } else {
            var replaced: [UInt8] = []
            replaced.reserveCapacity(Swift.max(bytes.count, Self.start) - range.count + new.count)
            replaced += bytes.isEmpty ? [0, 0] : bytes[..<range.lowerBound]
            replaced += new
            if !bytes.isEmpty { replaced += bytes[range.upperBound...] }
            bytes = replaced
        }
        if let count { (bytes[0], bytes[1]) = (UInt8(count >> 8), UInt8(truncatingIfNeeded: count)) }
    }

    // MARK: Finding

    /// Behind the count.
    private static let start = 2

    private enum Position {
        case found(Place)
        /// Where it would begin.
        case missing(Int)

        var found: Place? { if case .found(let place) = self { place } else { nil } }
    }

    private func find(_ name: some Collection<UInt8>) -> Position {
        var offset = Self.start
        while offset < bytes.count {
            let place = place(at: offset)
            let present = bytes[place.name]
            if !present.lexicographicallyPrecedes(name) { return present.elementsEqual(name) ? .found(place) : .missing(offset) }
            offset = place.cell.upperBound
        }
        return .missing(offset)
    }

    /// Goes over the fields from the first.
    struct Places: Sequence, IteratorProtocol {
        fileprivate let list: FieldList
        private var offset = FieldList.start

        fileprivate init(list: FieldList) { self.list = list }

        mutating func next() -> Place? {
            guard offset < list.bytes.count else { return nil }
            let place = list.place(at: offset)
            offset = place.cell.upperBound
            return place
        }
    }

    var places: Places { Places(list: self) }

    private func place(at offset: Int) -> Place {
        let name = offset + 1..<offset + 1 + Int(bytes[offset])
        return Place(name: name, cell: name.upperBound..<end(ofCellAt: name.upperBound))
    }

    private func end(ofCellAt start: Int) -> Int {
        let version = start + 1
        let rest = version + Version.byteCount
        switch CellKind(rawValue: bytes[start]) {
        case .removed: return rest
        case .register: return rest + 4 + integer(of: 4, at: rest)
        case .counter:
            let parts = rest + 8 + Version.byteCount
            return parts + 1 + Int(bytes[parts]) * (Version.byteCount + 4 + 8)
        case .set:
            var end = rest + 2
            for _ in 0..<integer(of: 2, at: rest) { end += 1 + Int(bytes[end]) + Version.byteCount + 1 }
            return end
        case .maximum: return rest + 8
        case nil: preconditionFailure("a field was kept that no reader has checked: kind \(bytes[start])")
        }
    }

    private func integer(of byteCount: Int, at offset: Int) -> Int {
        bytes[offset..<offset + byteCount].reduce(0) { $0 << 8 | Int($1) }
    }

    // MARK: Reading one

    func name(_ place: Place) -> String { String(decoding: bytes[place.name], as: UTF8.self) }

    func cell(_ place: Place) -> Cell {
        var reader = ByteReader(bytes[place.cell])
        guard let cell = try? reader.readCell() else { preconditionFailure("a cell was kept that no reader has checked") }
        return cell
    }

    func isNamed(_ name: String, _ place: Place) -> Bool { bytes[place.name].elementsEqual(name.utf8) }

    /// The later is the greater also as bytes. Nil for any cell but a register.
    private func registerVersion(_ place: Place) -> ArraySlice<UInt8>? {
        let start = place.cell.lowerBound + 1
        return kind(place) == .register ? bytes[start..<start + Version.byteCount] : nil
    }

    func kind(_ place: Place) -> CellKind? { CellKind(rawValue: bytes[place.cell.lowerBound]) }

    /// Whether its name begins with "@".
    func isOurs(_ place: Place) -> Bool { firstByte(place) == UInt8(ascii: "@") }

    /// Whether neither it nor any behind it is one of ours.
    func isBehindOurs(_ place: Place) -> Bool { firstByte(place) > UInt8(ascii: "@") }

    private func firstByte(_ place: Place) -> UInt8 { place.name.isEmpty ? 0 : bytes[place.name.lowerBound] }

    /// Whether a reader sees it: neither one of ours nor removed.
    func isVisible(_ place: Place) -> Bool { !isOurs(place) && kind(place) != .removed }

    /// Those that a reader sees.
    var visible: [SessionSnapshot.Field] {
        places.compactMap { place in value(place).map { SessionSnapshot.Field(name: name(place), value: $0) } }
    }

    /// The value of a register; nil for any other cell.
    func register(_ place: Place) -> ArraySlice<UInt8>? {
        guard kind(place) == .register else { return nil }
        return bytes[place.cell.lowerBound + 1 + Version.byteCount + 4..<place.cell.upperBound]
    }

    func register(_ name: String) -> ArraySlice<UInt8>? { find(name.utf8).found.flatMap(register) }

    /// What a reader sees of it.
    func value(_ place: Place) -> FieldValue? {
        guard isVisible(place) else { return nil }
        if let bytes = register(place) { return .bytes(Array(bytes)) }
        switch cell(place) {
        case .register(_, let bytes): return bytes.map { .bytes($0) }
        case .counter(let counter): return .integer(counter.value)
        case .maximum(let maximum): return .integer(maximum.value)
        case .set(let set): return .elements(set.present)
        }
    }

    /// See ``Cell/byteCount``.
    func byteCount(_ place: Place) -> Int { register(place)?.count ?? cell(place).byteCount }
}

extension FieldList: Sequence {
    public typealias Element = SessionState.Field

    public func makeIterator() -> some IteratorProtocol<SessionState.Field> {
        places.lazy.map { Element(name: name($0), cell: cell($0)) }.makeIterator()
    }
}

extension ByteWriter {
    mutating func write(_ fields: FieldList) {
        if fields.isEmpty { write(UInt16(0)) } else { write(raw: fields.bytes) }
    }
}

extension ByteReader {
    mutating func readFields() throws(WireError) -> FieldList {
        var count = 0
        let bytes = try read { (reader: inout ByteReader) throws(WireError) in
            count = Int(try reader.read(UInt16.self))
            guard count <= SessionState.fieldsWireMax else { throw .tooLarge }
            var last: ArraySlice<UInt8>?
            for _ in 0..<count {
                let name = try reader.readShort()
                guard String(validating: name, as: UTF8.self) != nil else { throw .malformedText }
                guard last?.lexicographicallyPrecedes(name) ?? true else { throw .unknownValue }
                last = name
                try reader.checkCell()
            }
        }
        return FieldList(checked: bytes, count: count)
    }

    /// Goes over a cell that is one.
    private mutating func checkCell() throws(WireError) {
        var register = self
        if try register.read(UInt8.self) == CellKind.register.rawValue {
            // Most are, and there is nothing in one to doubt, so nothing is copied either.
            _ = try register.readVersion()
            _ = try register.readLong(limit: SessionLimits.fieldBytesMax)
            self = register
        } else {
            _ = try readCell()
        }
    }
}
