@testable import MeshCore

/// Sessions by chance that keep the one rule merging rests on: one version, one value.
struct RandomSessions {
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number(_ range: ClosedRange<UInt64>) -> UInt64 { .random(in: range, using: &generator) }

    mutating func version() -> Version { Self.version(number(1...6)) }

    static func version(_ number: UInt64) -> Version { Version(stamp: Stamp(rawValue: number), life: Life(rawValue: number % 3 + 1)) }

    mutating func register() -> Cell {
        let version = version()
        return .register(version, version.stamp.rawValue % 3 == 0 ? nil : [UInt8](repeating: 9, count: Int(version.stamp.rawValue)))
    }

    mutating func counter() -> Counter {
        var counter = Counter(origin: Bool.random(using: &generator) ? .zero : version())
        let folded = number(0...3)
        counter.foldedThrough = folded == 0 ? .zero : Self.version(folded)
        counter.base = Int64(folded) * 100
        for start in folded + 1...6 where Bool.random(using: &generator) {
            let writes = number(1...3)
            counter.parts.append(.init(start: Self.version(start), writes: UInt32(writes), sum: Int64(start * writes) - 8))
        }
        return counter
    }

    /// - Parameter span: how many elements there are to choose from.
    mutating func set(of span: UInt8 = 4, versions: ClosedRange<UInt64> = 1...6) -> ElementSet {
        var set = ElementSet(origin: Bool.random(using: &generator) ? .zero : Self.version(1))
        for byte in 0..<span where Bool.random(using: &generator) {
            let version = Self.version(number(versions))
            set.set([byte], isRemoved: version.stamp.rawValue % 3 == 0, version: version)
        }
        return set
    }

    mutating func maximum() -> Maximum {
        Maximum(origin: Bool.random(using: &generator) ? .zero : version(), value: Int64(number(0...9)) - 4)
    }

    mutating func cell() -> Cell {
        switch number(0...3) {
        case 0: .counter(counter())
        case 1: .set(set())
        case 2: .maximum(maximum())
        default: register()
        }
    }

    /// - Parameter marksMax: commits to choose from, one each 20 ms of the last of them.
    mutating func session(destroyedIn chance: UInt64 = 8, marksMax: UInt64 = 60) -> SessionState {
        var state = SessionState()
        state.created = Stamp(rawValue: number(0...2))
        state.accessedAt = Int64(number(0...5))
        state.latest = Stamp(wall: Int64(number(0...45_000)))
        for mark in 1...marksMax where Bool.random(using: &generator) {
            state.commits.append(.init(stamp: Stamp(wall: Int64(mark) * 20), id: CommitID(upper: 0, lower: mark)))
        }
        state.forgetOldMarks()
        if chance > 0, number(1...chance) == 1 {
            state.destroyed = Stamp(rawValue: number(1...4))
            if Bool.random(using: &generator) {
                let (commit, draw) = (CommitID(upper: 0, lower: number(1...2)), number(1...2))
                if let to = SessionKey(bytes: [UInt8](repeating: UInt8(number(1...2)), count: 32)) {
                    state.moved = .init(commit: commit, to: to, draw: draw)
                }
            }
            if state.moved == nil || Bool.random(using: &generator) { state.bury() }
        }
        if !state.isBuried {
            for name in ["a", "b", "c"] where Bool.random(using: &generator) { state.fields.set(name, cell()) }
        }
        return state
    }

    mutating func commit(_ number: UInt64) -> SessionCommit {
        var commit = SessionCommit(key: nil, id: CommitID(upper: 1, lower: number))
        for _ in 0..<self.number(1...3) {
            let name = ["a", "b", "n"][Int(self.number(0...2))]
            switch self.number(0...8) {
            case 0: commit.changes.append(.set(name, [UInt8(truncatingIfNeeded: number)]))
            case 1: commit.changes.append(.remove(name))
            case 2: commit.changes.append(.raise(name, to: Int64(self.number(0...9))))
            case 3, 4: commit.changes.append(.insert(name, [UInt8(self.number(0...3))]))
            case 5: commit.changes.append(.erase(name, [UInt8(self.number(0...3))]))
            case 6: commit.changes.append(.drop(name, [UInt8(truncatingIfNeeded: number &- 1)]))
            default: commit.changes.append(.increment(name, by: Int64(self.number(0...9)) - 3))
            }
        }
        return commit
    }
}

extension SessionState {
    func merged(with other: SessionState) -> SessionState {
        var copy = self
        copy.merge(other)
        return copy
    }
}
