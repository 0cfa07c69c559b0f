// How a session travels between nodes. Docs/PROTOCOL.md has the table.

enum CellKind: UInt8 {
    case removed = 0
    case register = 1
    case counter = 2
    case set = 3
    case maximum = 4
}

extension ByteWriter {
    public mutating func write(_ state: SessionState) {
        write(state.created.rawValue)
        write(UInt64(bitPattern: state.accessedAt))
        write(state.latest.rawValue)
        write(UInt8((state.isBuried ? 1 : 0) | (state.moved != nil ? 2 : 0)))
        if let destroyed = state.destroyed { write(destroyed.rawValue) }
        if let moved = state.moved {
            write(moved.commit)
            write(moved.to)
            write(moved.draw)
        }
        write(UInt16(state.commits.count))
        for mark in state.commits { write(mark) }
        write(state.fields)
    }

    public mutating func write(_ commit: CommitID) {
        write(commit.upper)
        write(commit.lower)
    }

    mutating func write(_ mark: SessionState.CommitMark) {
        write(mark.stamp.rawValue)
        write(mark.id)
    }

    mutating func write(_ version: Version) {
        write(version.stamp.rawValue)
        write(version.life)
    }

    /// ``FieldList`` finds its way over cells by this.
    mutating func write(_ cell: Cell) {
        switch cell {
        case .register(let version, nil):
            write(CellKind.removed.rawValue)
            write(version)
        case .register(let version, let bytes?):
            write(CellKind.register.rawValue)
            write(version)
            write(long: bytes)
        case .counter(let counter):
            write(CellKind.counter.rawValue)
            write(counter.origin)
            write(UInt64(bitPattern: counter.base))
            write(counter.foldedThrough)
            write(UInt8(counter.parts.count))
            for part in counter.parts {
                write(part.start)
                write(part.writes)
                write(UInt64(bitPattern: part.sum))
            }
        case .set(let set):
            write(CellKind.set.rawValue)
            write(set.origin)
            write(UInt16(set.elements.count))
            for element in set.elements {
                write(short: element.bytes)
                write(element.version)
                write(UInt8(element.isRemoved ? 0 : 1))
            }
        case .maximum(let maximum):
            write(CellKind.maximum.rawValue)
            write(maximum.origin)
            write(UInt64(bitPattern: maximum.value))
        }
    }
}

extension ByteReader {
    public mutating func readSessionState() throws(WireError) -> SessionState {
        var state = SessionState()
        state.created = Stamp(rawValue: try read())
        state.accessedAt = try readMilliseconds()
        state.latest = Stamp(rawValue: try read())
        let end: UInt8 = try read()
        guard end <= 3 else { throw .unknownValue }
        if end != 0 { state.destroyed = Stamp(rawValue: try read()) }
        if end & 1 != 0 { state.bury() }
        if end & 2 != 0 { state.moved = .init(commit: try readCommitID(), to: try readSessionKey(), draw: try read()) }
        let commits = Int(try read(UInt16.self))
        guard commits <= SessionState.commitsMax else { throw .tooLarge }
        for _ in 0..<commits {
            let mark = try readCommitMark()
            guard state.commits.last.map({ $0 < mark }) ?? true else { throw .unknownValue }
            state.commits.append(mark)
        }
        state.fields = try readFields()
        // A destroyed session has none; merging would drop them without a word.
        guard state.fields.isEmpty || !state.isBuried else { throw .unknownValue }
        return state
    }

    public mutating func readCommitID() throws(WireError) -> CommitID {
        CommitID(upper: try read(), lower: try read())
    }

    mutating func readCommitMark() throws(WireError) -> SessionState.CommitMark {
        SessionState.CommitMark(stamp: Stamp(rawValue: try read()), id: try readCommitID())
    }

    mutating func readVersion() throws(WireError) -> Version {
        Version(stamp: Stamp(rawValue: try read()), life: try readLife())
    }

    /// A date that arithmetic with durations can't overflow.
    mutating func readMilliseconds() throws(WireError) -> Int64 {
        let value = Int64(bitPattern: try read(UInt64.self))
        guard (0...SessionLimits.dateMax).contains(value) else { throw .unknownValue }
        return value
    }

    mutating func readCell() throws(WireError) -> Cell {
        switch CellKind(rawValue: try read()) {
        case .removed: return .register(try readVersion(), nil)
        case .register:
            let version = try readVersion()
            return .register(version, Array(try readLong(limit: SessionLimits.fieldBytesMax)))
        case .counter:
            var counter = Counter(origin: try readVersion())
            counter.base = Int64(bitPattern: try read())
            counter.foldedThrough = try readVersion()
            let parts = Int(try read(UInt8.self))
            guard parts <= Counter.partsWireMax else { throw .tooLarge }
            for _ in 0..<parts {
                let part = Counter.Part(start: try readVersion(), writes: try read(), sum: Int64(bitPattern: try read()))
                guard (counter.parts.last?.start ?? counter.foldedThrough) < part.start else { throw .unknownValue }
                counter.parts.append(part)
            }
            return .counter(counter)
        case .set:
            var set = ElementSet(origin: try readVersion())
            let count = Int(try read(UInt16.self))
            guard count <= ElementSet.elementsWireMax else { throw .tooLarge }
            for _ in 0..<count {
                let bytes = Array(try readShort())
                guard bytes.count <= SessionLimits.elementBytesMax else { throw .tooLarge }
                guard set.elements.last.map({ $0.bytes.lexicographicallyPrecedes(bytes) }) ?? true else { throw .unknownValue }
                let version = try readVersion()
                let word: UInt8 = try read()
                guard word <= 1 else { throw .unknownValue }
                set.elements.append(.init(bytes: bytes, version: version, isRemoved: word == 0))
            }
            return .set(set)
        case .maximum: return .maximum(Maximum(origin: try readVersion(), value: Int64(bitPattern: try read())))
        case nil: throw .unknownValue
        }
    }
}

extension SessionState {
    /// One that lives, without commits and fields.
    static let wireBytesMin = 29
    /// Visible fields, ours, and removed ones whose removal must still travel.
    static let fieldsWireMax = 1024
}
